//! Data of a report: results with their names and formatting.

use super::page::{Block, Section, Table};
use super::words::estimate;
use crate::figures::{Figures, Subject};
use crate::record::{Config, Record};

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

    pub fn kind(&self, client: &str) -> usize {
        let clients: std::collections::BTreeSet<String> = self.each().map(|(_, client)| client).collect();
        clients.iter().position(|known| known == client).unwrap_or(0)
    }

    /// Returns the title of a chart, which must be understandable on its own.
    pub fn title(&self, text: &str) -> String {
        format!("{text}{}", if self.record.server.standin { " (STAND-IN server)" } else { "" })
    }
}

pub fn section(heading: &str, blocks: Vec<Block>) -> Option<Section> {
    let empty = |block: &Block| matches!(block, Block::Table(table) if table.rows.is_empty());
    (!blocks.iter().all(empty)).then(|| Section::new(heading, blocks))
}

pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> Block {
    Block::Table(Table { head: head.iter().map(|name| (*name).to_owned()).collect(), rows })
}

pub fn text(text: &str) -> Block {
    Block::Text(text.to_owned())
}

/// Returns a short name that fits next to a bar.
pub fn short(config: &Config) -> String {
    config.asked.id.to_string()
}
