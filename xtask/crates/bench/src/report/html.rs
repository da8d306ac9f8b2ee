//! Writes a report as a self-contained HTML file without scripts or external files.

use std::fmt::Write as _;

use super::page::{Block, Chart, Page, Section, Step, Table, escaped};

const STYLE: &str = include_str!("style.css");

/// Returns the HTML of a page.
pub fn html(page: &Page) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
    let title = escaped(&page.title);
    let _ = write!(out, "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n");
    if !page.banner.is_empty() {
        let lines: Vec<String> = page.banner.iter().map(|line| inline(line)).collect();
        let _ = writeln!(out, "<div class=\"banner\" role=\"note\">{}</div>", lines.join("<br>"));
    }
    let _ = write!(out, "<main>\n<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n", inline(&page.lead));
    page.sections.iter().for_each(|section| out.push_str(&section_of(section)));
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn section_of(section: &Section) -> String {
    let level = section.level();
    let heading = format!("<h{level}>{}</h{level}>", escaped(&section.heading));
    let (begin, end) = match section.folded {
        true => (format!("<details>\n<summary>{heading}</summary>"), "</details>\n"),
        false => (heading, ""),
    };
    // Tables are named after the heading above them.
    let mut above = section.heading.as_str();
    let mut body = String::new();
    for blocks in section.blocks.chunk_by(|a, b| matches!((a, b), (Block::Chart(_), Block::Chart(_)))) {
        let inside: String = blocks.iter().map(|block| html_of(block, above, level + 1)).collect();
        match blocks {
            [Block::Chart(_), ..] => {
                let _ = write!(body, "<div class=\"charts\">\n{inside}</div>\n");
            }
            [Block::Heading(text), ..] => {
                above = text;
                body.push_str(&inside);
            }
            _ => body.push_str(&inside),
        }
    }
    format!("<section>\n{begin}\n{body}{end}</section>\n")
}

fn html_of(block: &Block, above: &str, level: usize) -> String {
    match block {
        Block::Heading(text) => format!("<h{level}>{}</h{level}>\n", inline(text)),
        Block::Text(text) => format!("<p>{}</p>\n", inline(text)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Steps(steps) => {
            let command = |line: &String| format!("<pre><code>{}</code></pre>", escaped(line));
            let step = |Step { text, commands }: &Step| {
                format!("<li>{}{}</li>\n", inline(text), commands.iter().map(command).collect::<String>())
            };
            format!("<ol>\n{}</ol>\n", steps.iter().map(step).collect::<String>())
        }
        Block::Table(table) => table_of(table, above),
        Block::Chart(Chart { name: _, caption, svg }) => {
            format!("<figure>\n{svg}<figcaption>{}</figcaption>\n</figure>\n", inline(caption))
        }
    }
}

/// Returns a table in a box of its own, which scrolls, also by keys.
fn table_of(Table { head, rows }: &Table, above: &str) -> String {
    let head: String = head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", inline(cell))).collect();
    let row = |cells: &Vec<String>| {
        let cell = |(index, cell): (usize, &String)| match (index, figure(cell)) {
            (0, _) => format!("<th scope=\"row\">{}</th>", inline(cell)),
            (_, true) => format!("<td class=\"figure\">{}</td>", inline(cell)),
            (_, false) => format!("<td>{}</td>", inline(cell)),
        };
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    let body: String = rows.iter().map(row).collect();
    let name = escaped(&above.replace('`', ""));
    format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"Table: {name}\" tabindex=\"0\"><table>\n<thead>\n<tr>{head}</tr>\n\
         </thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )
}

/// Returns whether a cell is a figure, which is not broken into lines.
fn figure(cell: &str) -> bool {
    let cell = cell.trim_end_matches(" (one run)");
    !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || " .()–-−+%".contains(c))
}

/// Formats the supported inline markup: `**strong**` and code in backticks.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in escaped(text).split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(out, "<code>{part}</code>");
            continue;
        }
        for (index, part) in part.split("**").enumerate().filter(|(_, part)| !part.is_empty()) {
            let _ = if index % 2 == 1 { write!(out, "<strong>{part}</strong>") } else { write!(out, "{part}") };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_meaning_and_no_other() {
        assert_eq!(inline("a < b & **c `d`**"), "a &lt; b &amp; <strong>c </strong><code>d</code>");
        let row = ["first", "<script>", "7 (5–9)"].map(str::to_owned).to_vec();
        let table = Table { head: ["a", "b", "c"].map(str::to_owned).to_vec(), rows: vec![row] };
        let step = Step { text: "Do `it`.".to_owned(), commands: vec!["a <b>".to_owned()] };
        let blocks = vec![
            Block::Heading("`Below`".to_owned()),
            Block::Table(table),
            Block::List(vec!["`x`".to_owned()]),
            Block::Steps(vec![step]),
        ];
        let section = Section::new("H", blocks).folded();
        let page = Page { title: "T".to_owned(), lead: String::new(), banner: Vec::new(), sections: vec![section] };
        let html = html(&page);
        for part in [
            "<summary><h3>H</h3></summary>\n<h4><code>Below</code></h4>",
            "aria-label=\"Table: Below\"",
            "<th scope=\"row\">first</th><td>&lt;script&gt;</td><td class=\"figure\">7 (5–9)</td>",
            "<li><code>x</code></li>",
            "<li>Do <code>it</code>.<pre><code>a &lt;b&gt;</code></pre></li>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("http"), "nothing comes from elsewhere: {html}");
    }

    #[test]
    fn neighbouring_charts_stand_side_by_side() {
        let chart = |name: &str| {
            Block::Chart(Chart { name: name.to_owned(), caption: String::new(), svg: "<svg/>".to_owned() })
        };
        let section = Section::new("H", vec![chart("a"), chart("b"), Block::Text("t".to_owned()), chart("c")]);
        assert_eq!(section_of(&section).matches("<div class=\"charts\">").count(), 2);
    }
}
