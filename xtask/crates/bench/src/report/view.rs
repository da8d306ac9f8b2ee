//! Data of a report: results with their names and formatting.

use std::collections::BTreeSet;

use super::page::{Block, Chart, Section, Table};
use super::svg::{self, Bar};
use super::words::estimate;
use crate::figures::{Figures, Subject};
use crate::record::{Config, Record};
use matrix::GilState;

/// Kinds of bars, by [`Bar::kind`].
const GIL: [&str; 2] = ["GIL off", "GIL on"];

/// Start of the head of columns with published figures.
pub const ORIGINAL: &str = "Original report";

pub struct View<'a> {
    pub record: &'a Record,
    pub figures: &'a Figures,
}

impl View<'_> {
    /// Returns all pairs of a configuration and one of its clients.
    pub fn each(&self) -> impl Iterator<Item = (&Config, String)> {
        let clients =
            |config: &Config| config.asked.clients.iter().map(|client| client.to_string()).collect::<Vec<_>>();
        self.record
            .configs
            .iter()
            .flat_map(move |config| clients(config).into_iter().map(move |client| (config, client)))
    }

    pub fn scenarios(&self) -> impl Iterator<Item = &str> {
        self.record.load.scenarios.iter().map(String::as_str)
    }

    pub fn show(&self, config: &Config, client: &str, scenario: &str, figure: &str) -> String {
        estimate(self.figures.estimate(&Subject::new(&config.asked.id, client, scenario), figure))
    }

    pub fn theirs(&self, config: &Config, client: &str, scenario: &str, figure: &str) -> Option<f64> {
        let original = self.record.original.as_ref()?;
        let same = original.figures.iter().find(|theirs| {
            *theirs.config == *config.asked.id
                && theirs.client == client
                && theirs.scenario == scenario
                && theirs.figure == figure
        });
        same.map(|theirs| theirs.value)
    }

    /// Returns the name of a configuration with one of its clients, if there is more than one client.
    pub fn name(&self, config: &Config, client: &str) -> String {
        let clients: BTreeSet<String> = self.each().map(|(_, client)| client).collect();
        match client.is_empty() || clients.len() < 2 {
            true => config.asked.title.clone(),
            false => format!("{} · {client}", config.asked.title),
        }
    }

    /// Returns the title of a chart, which must be understandable on its own.
    pub fn title(&self, text: &str) -> String {
        format!("{text}{}", if self.record.server.standin { " (STAND-IN server)" } else { "" })
    }

    /// Returns the bar of a figure; `None` if it was not measured.
    pub fn bar(&self, config: &Config, client: &str, scenario: &str, figure: &str) -> Option<Bar> {
        let estimate = self.figures.estimate(&Subject::new(&config.asked.id, client, scenario), figure)?;
        let theirs = self.theirs(config, client, scenario, figure);
        let kind = usize::from(config.asked.gil == GilState::On);
        Some(Bar { name: self.name(config, client), estimate, theirs, kind })
    }

    /// Returns a chart of figures with their intervals and those of the original report; `None` without figures. `title` is
    /// that of the picture, with the unit of the figures.
    pub fn bar_chart(&self, name: &str, caption: &str, (title, unit): (&str, &str), bars: &[Bar]) -> Option<Block> {
        let first = bars.first()?;
        let kinds = if bars.iter().all(|bar| bar.kind == first.kind) { &[][..] } else { &GIL };
        let svg = svg::bars((&self.title(title), unit), kinds, bars);
        Some(Block::Chart(Chart { name: name.to_owned(), caption: caption.to_owned(), svg }))
    }
}

/// Returns the section without empty tables; `None` if it would have no figures.
pub fn section(heading: &str, mut blocks: Vec<Block>) -> Option<Section> {
    blocks.retain(|block| !matches!(block, Block::Table(table) if table.rows.is_empty()));
    let filled = |block: &Block| !matches!(block, Block::Heading(_) | Block::Text(_));
    blocks.iter().any(filled).then(|| Section::new(heading, blocks))
}

pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> Block {
    Block::Table(Table { head: head.iter().map(|name| (*name).to_owned()).collect(), rows })
}

/// Returns a table of figures without the columns in which no row has one. The first `names` columns say what a row is
/// about; without any measured figure, there are no rows.
pub fn measured(names: usize, head: Vec<String>, rows: Vec<Vec<String>>) -> Block {
    let filled: Vec<bool> =
        (0..head.len()).map(|column| column < names || rows.iter().any(|row| row[column] != "–")).collect();
    let kept =
        |cells: Vec<String>| cells.into_iter().zip(&filled).filter(|(_, kept)| **kept).map(|(cell, _)| cell).collect();
    let any = filled.iter().zip(&head).skip(names).any(|(kept, name)| *kept && !name.starts_with(ORIGINAL));
    let rows = if any { rows.into_iter().map(kept).collect() } else { Vec::new() };
    Block::Table(Table { head: kept(head), rows })
}

pub fn text(text: &str) -> Block {
    Block::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_figures_are_left_out() {
        let cells = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let shown = |rows| match measured(1, cells(&["name", "a", "b"]), rows) {
            Block::Table(table) => (table.head, table.rows),
            _ => panic!("a table"),
        };
        let rows = vec![cells(&["x", "–", "–"]), cells(&["–", "–", "1"])];
        assert_eq!(shown(rows), (cells(&["name", "b"]), vec![cells(&["x", "–"]), cells(&["–", "1"])]));
        assert!(shown(vec![cells(&["x", "–", "–"])]).1.is_empty());
        let original = measured(1, cells(&["name", "a", "Original report, ms"]), vec![cells(&["x", "–", "1"])]);
        assert!(section("nothing measured", vec![original]).is_none());
    }
}
