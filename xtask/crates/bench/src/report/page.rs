//! Report document of headings, text, tables and charts, which is written as Markdown and as a single HTML file.

use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

pub struct Page {
    pub title: String,
    /// Warnings shown at the top, and on each printed page.
    pub banner: Vec<String>,
    pub sections: Vec<Section>,
}

#[derive(Clone)]
pub struct Section {
    pub heading: String,
    pub blocks: Vec<Block>,
    /// Whether the page shows only the heading until a reader opens it.
    pub folded: bool,
}

impl Section {
    pub fn new(heading: &str, blocks: Vec<Block>) -> Section {
        Section { heading: heading.to_owned(), blocks, folded: false }
    }

    /// Returns the section as one that a reader opens.
    pub fn folded(self) -> Section {
        Section { folded: true, ..self }
    }
}

#[derive(Clone)]
pub enum Block {
    Text(String),
    List(Vec<String>),
    Table(Table),
    Chart(Chart),
}

#[derive(Clone)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

#[derive(Clone)]
pub struct Chart {
    /// File name without `.svg`.
    pub name: String,
    pub caption: String,
    pub svg: String,
}

impl Page {
    pub fn charts(&self) -> impl Iterator<Item = &Chart> {
        self.sections.iter().flat_map(|section| &section.blocks).filter_map(|block| match block {
            Block::Chart(chart) => Some(chart),
            Block::Text(_) | Block::List(_) | Block::Table(_) => None,
        })
    }

    /// Returns the Markdown. Charts are separate files in the folder `charts`.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n", self.title);
        for line in &self.banner {
            let _ = write!(out, "\n> **{line}**\n");
        }
        for Section { heading, blocks, folded: _ } in &self.sections {
            let _ = write!(out, "\n## {heading}\n");
            for block in blocks {
                out.push('\n');
                match block {
                    Block::Text(text) => {
                        let _ = writeln!(out, "{text}");
                    }
                    Block::List(items) => items.iter().for_each(|item| {
                        let _ = writeln!(out, "- {item}");
                    }),
                    Block::Table(table) => {
                        let line = |cells: &[String]| {
                            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
                            format!("| {} |\n", cells.join(" | "))
                        };
                        out.push_str(&line(&table.head));
                        let _ = writeln!(out, "|{}", "---|".repeat(table.head.len()));
                        table.rows.iter().for_each(|row| out.push_str(&line(row)));
                    }
                    Block::Chart(Chart { name, caption, svg: _ }) => {
                        let _ = writeln!(out, "![{caption}](charts/{name}.svg)\n\n*{caption}*");
                    }
                }
            }
        }
        out
    }

    /// Returns a self-contained HTML file without scripts or external files.
    pub fn html(&self) -> String {
        let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        out.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
        let _ = write!(out, "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n", escaped(&self.title));
        if !self.banner.is_empty() {
            let lines: Vec<String> = self.banner.iter().map(|line| inline(line)).collect();
            let _ = writeln!(out, "<div class=\"banner\" role=\"note\">{}</div>", lines.join("<br>"));
        }
        let _ = write!(out, "<main>\n<h1>{}</h1>\n", escaped(&self.title));
        for Section { heading, blocks, folded } in &self.sections {
            let heading = format!("<h2>{}</h2>", escaped(heading));
            let (begin, end) = match folded {
                true => (format!("<details>\n<summary>{heading}</summary>"), "</details>\n"),
                false => (heading, ""),
            };
            let _ = writeln!(out, "<section>\n{begin}");
            blocks.iter().for_each(|block| out.push_str(&html_of(block)));
            let _ = writeln!(out, "{end}</section>");
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }
}

fn html_of(block: &Block) -> String {
    match block {
        Block::Text(text) => format!("<p>{}</p>\n", inline(text)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Table(Table { head, rows }) => {
            let row = |tag: &str, cells: &[String]| {
                let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", inline(cell))).collect();
                format!("<tr>{cells}</tr>\n")
            };
            let body: String = rows.iter().map(|cells| row("td", cells)).collect();
            let head = row("th", head);
            format!("<div class=\"wide\"><table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n")
        }
        Block::Chart(Chart { name: _, caption, svg }) => {
            format!("<figure>\n{svg}<figcaption>{}</figcaption>\n</figure>\n", inline(caption))
        }
    }
}

/// Escapes characters with a meaning in HTML and SVG.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
        let table = Table { head: vec!["a|b".to_owned()], rows: vec![vec!["<script>".to_owned()]] };
        let blocks = vec![Block::Table(table), Block::List(vec!["`x`".to_owned()])];
        let section = Section::new("H", blocks).folded();
        let page = Page { title: "T".to_owned(), banner: vec!["Beware".to_owned()], sections: vec![section] };
        let (markdown, html) = (page.markdown(), page.html());
        assert!(markdown.contains("| a\\|b |\n|---|\n| <script> |") && markdown.contains("> **Beware**"), "{markdown}");
        assert!(html.contains("<td>&lt;script&gt;</td>") && html.contains("<li><code>x</code></li>"), "{html}");
        assert!(html.contains("<summary><h2>H</h2></summary>"), "{html}");
        assert!(!html.contains("http"), "nothing comes from elsewhere: {html}");
    }
}
