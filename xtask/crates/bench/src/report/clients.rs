//! Report sections that compare clients.

use super::findings::detectable;
use super::page::{Block, Section};
use super::view::{ORIGINAL, View, measured, section, table};
use super::words::theirs;
use crate::figures::Subject;
use crate::record::Config;
use crate::verdict::{Good, Sides, Verdict, family};

/// Heading of the comparison of clients that share a process.
const TOGETHER: &str = "Clients under the same load";

/// Two clients that share a process, in one scenario.
struct Pair<'r> {
    config: &'r Config,
    scenario: &'r str,
    clients: [&'r str; 2],
    verdict: Verdict,
}

impl View<'_> {
    /// Says where clients that share a process differ.
    pub fn same_load(&self) -> Option<Section> {
        let all = self.together();
        let (shown, not): (Vec<&Pair>, Vec<&Pair>) = all.iter().partition(|pair| pair.verdict.shown());
        let sentence = |Pair { config, scenario, clients: [first, other], verdict }: &&Pair| {
            let (longer, size) = (if verdict.worse() { "longer" } else { "shorter" }, verdict.size_with_interval());
            format!(
                "p95 of `{scenario}` with **{}**: **{longer}** by {other} than by {first}, {size}.",
                config.asked.title
            )
        };
        let mut sentences: Vec<String> = shown.iter().map(sentence).collect();
        if !not.is_empty() {
            let limit = detectable(not.iter().map(|pair| &pair.verdict));
            let other = if shown.is_empty() { "" } else { "other " };
            sentences.push(format!("In {} {other}cases, no difference in the p95 was shown ({limit}).", not.len()));
        }
        (!all.is_empty()).then(|| Section::new(TOGETHER, vec![Block::List(sentences)]))
    }

    /// Returns all figures of clients that share a process, for the appendix.
    pub fn same_load_rows(&self) -> Option<Section> {
        let all = self.together();
        let rows = all.iter().map(|Pair { config, scenario, clients: [first, other], verdict }| {
            let show = |client: &str| self.show(config, client, scenario, "p95");
            let what = format!("{other} against {first}");
            let names = [config.asked.title.clone(), (*scenario).to_owned(), what];
            names.into_iter().chain([show(first), show(other), verdict.size(), verdict.words()]).collect()
        });
        let head = ["Configuration", "Scenario", "Clients", "First, p95, ms", "Second, p95, ms", "Change", "Verdict"];
        section(TOGETHER, vec![table(&head, rows.collect())])
    }

    /// Compares clients that share a process: the second and later ones with the first.
    fn together(&self) -> Vec<Pair<'_>> {
        let mut all = Vec::new();
        for config in &self.record.configs {
            let Some((first, others)) = config.asked.clients.split_first() else { continue };
            for other in others {
                let values = |client: &str, scenario: &str| {
                    self.figures.get(&Subject::new(&config.asked.id, client, scenario), "p95")
                };
                let sides = |scenario| Sides::apart(values(first, scenario), values(other, scenario), Good::Low);
                let verdicts = family(&self.scenarios().map(sides).collect::<Vec<_>>());
                all.extend(self.scenarios().zip(verdicts).filter_map(|(scenario, verdict)| {
                    Some(Pair { config, scenario, clients: [first, other], verdict: verdict? })
                }));
            }
        }
        all
    }

    /// Compares configurations with one client each that differ only in the client and use the same scripts.
    pub fn solo(&self) -> Option<Section> {
        let alone: Vec<&Config> = self
            .record
            .configs
            .iter()
            .filter(|config| config.asked.clients.len() == 1 && !config.asked.stages)
            .collect();
        let alike = |a: &Config, b: &Config| {
            *a.asked.image == *b.asked.image && a.asked.env == b.asked.env && *a.asked.id != *b.asked.id
        };
        let mut rows = Vec::new();
        let mut names = vec!["p95".to_owned(), "server p95".to_owned()];
        names.extend(self.record.parts().iter().map(|part| format!("{part} p95")));
        names.push("capacity".to_owned());
        for config in alone.iter().filter(|config| alone.iter().any(|other| alike(config, other))) {
            let client = &config.asked.clients[0];
            for scenario in self.scenarios() {
                let mut row = vec![config.asked.title.clone(), scenario.to_owned()];
                for name in &names {
                    // The number of users is that of the closed-loop scenario (Little's law).
                    let shown = name != "capacity" || Some(scenario) == self.scenarios().next();
                    let show = || self.show(config, client, scenario, name);
                    row.push(if shown { show() } else { "–".to_owned() });
                    row.push(theirs(self.theirs(config, client, scenario, name)));
                }
                rows.push(row);
            }
        }
        let mut head = vec!["Configuration".to_owned(), "Scenario".to_owned()];
        for name in &names {
            head.push(match name.as_str() {
                "server p95" => "p95 by the service, ms".to_owned(),
                "capacity" => "Capacity by the p95, requests/s".to_owned(),
                name => format!("{name}, ms"),
            });
            head.push(ORIGINAL.to_owned());
        }
        let heading = if rows.is_empty() { "Requests that the users can make" } else { "Each client alone" };
        let mut blocks = vec![measured(2, head, rows)];
        blocks.extend(self.capacity());
        section(heading, blocks)
    }

    /// Returns what Little's law says about the first scenario.
    fn capacity(&self) -> Vec<Block> {
        let Some(scenario) = self.scenarios().next() else { return Vec::new() };
        let rows = self.each().map(|(config, client)| {
            let show = |figure: &str| self.show(config, &client, scenario, figure);
            vec![
                config.asked.title.clone(),
                client.clone(),
                show("capacity of the mean"),
                show("capacity"),
                theirs(self.theirs(config, &client, scenario, "capacity")),
                show("requests/s"),
            ]
        });
        let original = match self.record.original {
            Some(_) => " The original report divides by the p95, which gives less.",
            None => "",
        };
        let said = format!(
            "Little's law: {} users, divided by the mean time of a request, is the number of requests per second that \
             they can make.{original} Of several clients that are loaded in turn, each has its share.",
            self.record.load.vus
        );
        let head = ["Configuration", "Client", "By the mean", "By the p95", ORIGINAL, "Measured"];
        let head = head.map(str::to_owned).to_vec();
        let heading = Block::Heading(format!("Requests per second of `{scenario}` by Little's law"));
        vec![heading, Block::Text(said), measured(2, head, rows.collect())]
    }
}
