//! Report document of headings, text, tables and charts, which is written as Markdown and as a single HTML file.

use std::fmt::Write as _;

pub struct Page {
    pub title: String,
    /// What was measured, where and when, in one paragraph.
    pub lead: String,
    /// Warnings shown at the top, and on each printed page.
    pub banner: Vec<String>,
    pub sections: Vec<Section>,
}

#[derive(Clone)]
pub struct Section {
    pub heading: String,
    pub blocks: Vec<Block>,
    /// Part of the appendix: below its heading, and the page shows only the heading until a reader opens it.
    pub folded: bool,
}

impl Section {
    pub fn new(heading: &str, blocks: Vec<Block>) -> Section {
        Section { heading: heading.to_owned(), blocks, folded: false }
    }

    /// Returns the section as one of the appendix.
    pub fn folded(self) -> Section {
        Section { folded: true, ..self }
    }

    /// Level of the heading; the title of the page has level 1.
    pub fn level(&self) -> usize {
        if self.folded { 3 } else { 2 }
    }
}

#[derive(Clone)]
pub enum Block {
    /// Heading below that of the section.
    Heading(String),
    Text(String),
    List(Vec<String>),
    Steps(Vec<Step>),
    Table(Table),
    Chart(Chart),
}

/// What a reader does, with commands.
#[derive(Clone)]
pub struct Step {
    pub text: String,
    pub commands: Vec<String>,
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
            Block::Heading(_) | Block::Text(_) | Block::List(_) | Block::Steps(_) | Block::Table(_) => None,
        })
    }

    /// Returns the Markdown. Charts are separate files in the folder `charts`.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n", self.title);
        for line in &self.banner {
            let _ = write!(out, "\n> **{line}**\n");
        }
        let _ = write!(out, "\n{}\n", self.lead);
        for section in &self.sections {
            let _ = write!(out, "\n{} {}\n", "#".repeat(section.level()), section.heading);
            for block in &section.blocks {
                let _ = write!(out, "\n{}", markdown_of(block, section.level() + 1));
            }
        }
        out
    }
}

fn markdown_of(block: &Block, level: usize) -> String {
    match block {
        Block::Heading(text) => format!("{} {text}\n", "#".repeat(level)),
        Block::Text(text) => format!("{text}\n"),
        Block::List(items) => items.iter().map(|item| format!("- {item}\n")).collect(),
        Block::Steps(steps) => {
            let commands =
                |step: &Step| step.commands.iter().map(|line| format!("       {line}\n")).collect::<String>();
            let step = |(index, step): (usize, &Step)| {
                let commands = Some(commands(step)).filter(|lines| !lines.is_empty());
                format!(
                    "{}. {}\n{}",
                    index + 1,
                    step.text,
                    commands.map_or_else(String::new, |lines| format!("\n{lines}\n"))
                )
            };
            steps.iter().enumerate().map(step).collect()
        }
        Block::Table(table) => {
            let line = |cells: &[String]| {
                let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
                format!("| {} |\n", cells.join(" | "))
            };
            let rule = format!("|{}\n", "---|".repeat(table.head.len()));
            [line(&table.head), rule].into_iter().chain(table.rows.iter().map(|row| line(row))).collect()
        }
        Block::Chart(Chart { name, caption, svg: _ }) => format!("![{caption}](charts/{name}.svg)\n\n*{caption}*\n"),
    }
}

/// Escapes characters with a meaning in HTML and SVG.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_markdown() {
        let table = Table { head: vec!["a|b".to_owned()], rows: vec![vec!["<script>".to_owned()]] };
        let steps = vec![
            Step { text: "First.".to_owned(), commands: vec!["one".to_owned(), "two".to_owned()] },
            Step { text: "Last.".to_owned(), commands: Vec::new() },
        ];
        let blocks = vec![Block::Heading("Below".to_owned()), Block::Table(table), Block::Steps(steps)];
        let sections = vec![Section::new("H", blocks.clone()), Section::new("Opened", blocks).folded()];
        let page = Page { title: "T".to_owned(), lead: "L".to_owned(), banner: vec!["Beware".to_owned()], sections };
        let text = page.markdown();
        assert!(
            text.starts_with("# T\n\n> **Beware**\n\nL\n\n## H\n\n### Below\n\n| a\\|b |\n|---|\n| <script> |"),
            "{text}"
        );
        assert!(
            text.contains("\n1. First.\n\n       one\n       two\n\n2. Last.\n\n### Opened\n\n#### Below\n"),
            "{text}"
        );
    }
}
