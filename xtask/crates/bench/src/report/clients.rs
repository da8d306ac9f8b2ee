//! Report sections about the time inside a request, and comparisons between clients.

use super::page::{Block, Chart, Section, Table};
use super::svg;
use super::view::{View, section, table, text};
use super::words::theirs;
use crate::comparable;
use crate::figures::{ALL, Subject};
use crate::infer;
use crate::record::Config;
use crate::verdict::{Good, Sides, family};

impl View<'_> {
    /// Returns the stages of the configurations with stage metrics, compared with the first of them.
    pub fn stages(&self) -> Option<Section> {
        let staged: Vec<&Config> = self.record.configs.iter().filter(|config| config.asked.stages).collect();
        let (first, others) = staged.split_first()?;
        let values = |config: &Config, stage: &str| {
            self.figures.get(&Subject::new(&config.asked.id, "", ALL), &format!("stage {stage}"))
        };
        let order = &self.record.stages()?.order;
        let mut head = vec!["Stage".to_owned()];
        for config in &staged {
            head.extend([config.asked.title.clone(), "theirs".to_owned()]);
        }
        head.extend(others.iter().map(|config| format!("Change: {}", config.asked.title)));
        let verdicts: Vec<_> = others
            .iter()
            .map(|other| {
                let whole = |config: &Config| Subject::new(&config.asked.id, "", ALL);
                let sides = |stage| {
                    let pair = (&whole(first), &whole(other));
                    self.figures.sides(self.record, pair, &format!("stage {stage}"), Good::Low)
                };
                let all: Vec<Sides> = order.iter().map(sides).collect();
                comparable::within(self.record, first, other).map(|_| family(&all))
            })
            .collect();
        let mut rows = Vec::new();
        for (index, stage) in order.iter().enumerate() {
            let figure = format!("stage {stage}");
            if staged.iter().all(|config| values(config, stage).is_empty()) {
                continue;
            }
            let mut row = vec![format!("`{stage}`")];
            for config in &staged {
                row.push(self.show(config, "", ALL, &figure));
                row.push(theirs(self.theirs(config, "", ALL, &figure)));
            }
            row.extend(verdicts.iter().map(|verdicts| match verdicts {
                Ok(found) => {
                    let found = found[index].as_ref();
                    found.map_or("–".to_owned(), |found| format!("{}: {}", found.size(), found.words()))
                }
                Err(_) => "not comparable".to_owned(),
            }));
            rows.push(row);
        }
        let groups: Vec<(String, Vec<(String, f64)>)> = staged
            .iter()
            .map(|config| {
                let mean =
                    |stage: &str| (!values(config, stage).is_empty()).then(|| infer::mean(values(config, stage)));
                let stages = order.iter().filter_map(|stage| Some((stage.to_string(), mean(stage)?)));
                (config.asked.title.clone(), stages.collect())
            })
            .collect();
        if rows.is_empty() {
            return None;
        }
        let chart = Chart {
            name: "stages".to_owned(),
            caption: "Means of the stages, one after the other; stages may overlap in truth.".to_owned(),
            svg: svg::waterfall(&self.title("Where the time goes"), "ms", &groups),
        };
        let mut said = "Means in milliseconds over all scenarios, as the client itself counts them.".to_owned();
        for (other, verdicts) in others.iter().zip(&verdicts) {
            if let Err(why) = verdicts {
                said.push_str(&format!(" {} and {} are {why}.", first.asked.title, other.asked.title));
            }
        }
        let blocks = vec![Block::Text(said), Block::Table(Table { head, rows }), Block::Chart(chart)];
        section("Stages", blocks)
    }

    /// Compares clients that share a process: the second and later ones with the first.
    pub fn same_load(&self) -> Option<Section> {
        let mut rows = Vec::new();
        for config in self.record.configs.iter().filter(|config| config.asked.clients.len() > 1) {
            let id = &config.asked.id;
            let clients = &config.asked.clients;
            for other in &clients[1..] {
                let pairs: Vec<_> = self
                    .scenarios()
                    .map(|scenario| {
                        let values = |client: &str| self.figures.get(&Subject::new(id, client, scenario), "p95");
                        Sides::apart(values(&clients[0]), values(other), Good::Low)
                    })
                    .collect();
                for (scenario, verdict) in self.scenarios().zip(family(&pairs)) {
                    let Some(found) = verdict else { continue };
                    let what = format!("{other} against {}", clients[0]);
                    let show = |client: &str| self.show(config, client, scenario, "p95");
                    let mut row = vec![config.asked.title.clone(), scenario.to_owned(), what];
                    row.extend([show(&clients[0]), show(other), found.size(), found.words()]);
                    rows.push(row);
                }
            }
        }
        let head = ["Configuration", "Scenario", "Clients", "First, p95", "Second, p95", "Change", "Verdict"];
        section("Clients under the same load", vec![table(&head, rows)])
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
        names.iter().for_each(|name| head.extend([name.clone(), "theirs".to_owned()]));
        section("Each client alone", vec![Block::Table(Table { head, rows })])
    }

    pub fn capacity(&self) -> Option<Section> {
        let scenario = self.scenarios().next()?;
        let rows = self.each().map(|(config, client)| {
            let show = |figure: &str| self.show(config, &client, scenario, figure);
            vec![
                config.asked.title.clone(),
                client.clone(),
                show("capacity"),
                theirs(self.theirs(config, &client, scenario, "capacity")),
                show("capacity of the mean"),
                show("requests/s"),
            ]
        });
        let said = format!(
            "Little's law: {} users divided by how long each waits. The original divides by the p95, which is below \
             what the law says; the law speaks of the mean. With several clients in turn each has its share of it.",
            self.record.load.vus
        );
        let head = ["Configuration", "Client", "By the p95", "theirs", "By the mean", "Measured requests/s"];
        section("Capacity", vec![Block::Text(said), table(&head, rows.collect())])
    }

    pub fn parts(&self) -> Option<Section> {
        let parts = self.record.parts();
        if parts.is_empty() {
            return None;
        }
        let rows = self.record.configs.iter().map(|config| {
            let mut row = vec![config.asked.title.clone()];
            for part in &parts {
                let figure = format!("{part} mean");
                row.push(self.show(config, "", ALL, &figure));
                row.push(theirs(self.theirs(config, "", ALL, &figure)));
            }
            row
        });
        let mut head = vec!["Configuration".to_owned()];
        parts.iter().for_each(|part| head.extend([(*part).clone(), "theirs".to_owned()]));
        let said = "Means in milliseconds over all scenarios, as the application counts them. What no client has a hand \
                    in is the control: it tells what the interpreter alone does.";
        section("Parts of a request", vec![text(said), Block::Table(Table { head, rows: rows.collect() })])
    }
}
