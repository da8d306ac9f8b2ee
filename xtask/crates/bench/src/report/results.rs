//! Report sections with results: latency, throughput, and differences between configurations.

use super::page::{Block, Chart, Section, Table};
use super::svg::{self, Bar, Line};
use super::view::{View, section, short, table, text};
use super::words::theirs;
use crate::figures::{ALL, Figures, STEP, Subject};
use crate::infer;
use crate::record::{Config, Record};
use crate::samples::quantile;
use crate::verdict::{Good, family};

pub fn sections(record: &Record, figures: &Figures) -> Vec<Section> {
    let view = View { record, figures };
    let all = [
        view.latency(),
        view.distribution(),
        view.open(),
        view.throughput(),
        view.stages(),
        view.same_load(),
        view.solo(),
        view.capacity(),
        view.parts(),
        view.over_time(),
    ];
    view.against_the_first().into_iter().chain(view.same_image()).chain(all.into_iter().flatten()).collect()
}

impl View<'_> {
    /// Compares every configuration with the first.
    fn against_the_first(&self) -> Option<Section> {
        let (first, others) = self.record.configs.split_first()?;
        self.against(first, others.iter().collect(), &format!("Against {}", first.asked.title))
    }

    /// Compares configurations that share an image and differ only in its environment variables.
    fn same_image(&self) -> Vec<Section> {
        let configs = &self.record.configs;
        let alike = |one: &Config, other: &Config| {
            let (a, b) = (&one.asked, &other.asked);
            let clients = a.clients.iter().map(|client| &**client).eq(b.clients.iter().map(|client| &**client));
            one.digest == other.digest && clients && a.stages == b.stages
        };
        let each = configs.iter().enumerate().filter_map(|(index, base)| {
            // Equal configurations are listed only once.
            let first = index > 0 && !configs[..index].iter().any(|earlier| alike(earlier, base));
            let others = configs[index + 1..].iter().filter(|other| first && alike(base, other));
            self.against(base, others.collect(), &format!("The same image: against {}", base.asked.title))
        });
        each.collect()
    }

    /// Compares one configuration with others, figure by figure.
    fn against(&self, first: &Config, others: Vec<&Config>, head: &str) -> Option<Section> {
        let mut rows = Vec::new();
        for config in others {
            // All tests about one configuration are adjusted together.
            let mut names = Vec::new();
            let mut pairs = Vec::new();
            let alike = config.asked.clients.len() == first.asked.clients.len();
            // A single client has the service to itself.
            let other = if alike { "" } else { " (other clients share the load)" };
            for client in config
                .asked
                .clients
                .iter()
                .filter(|client| first.asked.clients.iter().any(|other| **other == ***client))
            {
                for scenario in self.scenarios() {
                    let values =
                        |config: &Config| self.figures.get(&Subject::new(&config.asked.id, client, scenario), "p95");
                    names.push(format!("{client}, p95 of {scenario}{other}"));
                    pairs.push((values(first), values(config), Good::Low));
                }
            }
            let values = |config: &Config| self.figures.get(&Subject::new(&config.asked.id, "", ALL), "requests/s");
            if alike {
                names.push("requests/s".to_owned());
                pairs.push((values(first), values(config), Good::High));
            }
            for (name, verdict) in names.into_iter().zip(family(&pairs)) {
                let (change, words) =
                    verdict.map_or(("–".into(), "–".into()), |found| (found.size(), found.words()));
                rows.push(vec![config.asked.title.clone(), name, change, words]);
            }
        }
        let said = text(
            "Change of the mean over runs, with its 95 % interval. The test is a permutation test of the runs; its p is \
             adjusted for all rows of the same configuration. Where no difference was shown, the smallest that so many \
             runs could have shown stands beside it: it is no proof that there is none.",
        );
        section(head, vec![table(&["Configuration", "Figure", "Change", "Verdict"], rows)]).map(|mut section| {
            section.blocks.insert(0, said);
            section
        })
    }

    fn latency(&self) -> Option<Section> {
        let mut blocks = Vec::new();
        for (number, scenario) in self.scenarios().enumerate() {
            let mut bars = Vec::new();
            let mut rows = Vec::new();
            for (config, client) in self.each() {
                let subject = Subject::new(&config.asked.id, &client, scenario);
                let their = self.theirs(config, &client, scenario, "p95");
                let show = |figure: &str| self.show(config, &client, scenario, figure);
                rows.push(vec![
                    config.asked.title.clone(),
                    client.clone(),
                    show("p50"),
                    show("p95"),
                    show("p99"),
                    show("server p95"),
                    theirs(their),
                    show("errors"),
                ]);
                if let Some(estimate) = self.figures.estimate(&subject, "p95") {
                    let kind = self.kind(&client);
                    bars.push(Bar { name: format!("{}, {client}", short(config)), estimate, theirs: their, kind });
                }
            }
            if !bars.is_empty() {
                blocks.push(Block::Chart(Chart {
                    name: format!("p95-{number}"),
                    caption: format!("p95 of `{scenario}` with its 95 % interval; diamonds: the original report's."),
                    svg: svg::bars(&self.title(&format!("p95 latency, {scenario}")), "ms", &bars),
                }));
            }
            let head = ["Configuration", "Client", "p50", "p95", "p99", "p95 by the server", "p95 of theirs", "Errors"];
            blocks.push(table(&head, rows));
        }
        section("Latency in milliseconds", blocks)
    }

    fn distribution(&self) -> Option<Section> {
        let scenario = self.scenarios().next()?;
        let lines: Vec<Line> = self
            .each()
            .filter_map(|(config, client)| {
                let all = self.figures.latencies.get(&Subject::new(&config.asked.id, &client, scenario))?;
                // Equal steps of the share give equal resolution in steep and flat parts.
                let shares = (0..=199).map(|step| f64::from(step) / 200.0).chain([0.999]);
                let points: Vec<(f64, f64)> =
                    shares.filter_map(|share| Some((quantile(all, share)?, share * 100.0))).collect();
                (!points.is_empty()).then(|| Line { name: format!("{}, {client}", short(config)), points })
            })
            .collect();
        if lines.is_empty() {
            return None;
        }
        let chart = Block::Chart(Chart {
            name: "distribution".to_owned(),
            caption: format!("How many answers of `{scenario}` came within which time, all complete runs together."),
            svg: svg::lines(&self.title(&format!("Latency of {scenario}")), ("ms", "% of answers"), true, &lines),
        });
        section("Distribution of latencies", vec![chart])
    }

    /// Compares the closed-loop with the open-loop scenario.
    fn open(&self) -> Option<Section> {
        let (load, closed) = (&self.record.load, self.scenarios().next()?);
        let open = load.open.as_deref().filter(|open| *open != closed)?;
        let rows = self.each().map(|(config, client)| {
            let show = |scenario: &str, figure: &str| self.show(config, &client, scenario, figure);
            let mut row = vec![config.asked.title.clone(), client.clone()];
            row.extend(["p50", "p99", "requests/s"].map(|figure| show(closed, figure)));
            row.extend(["p50", "p99", "requests/s"].map(|figure| show(open, figure)));
            row.push(self.show(config, "", open, "dropped"));
            row
        });
        let said = format!(
            "In `{closed}`, {} users ask again when they have their answer: a service that hesitates is asked less, and the \
             wait of all who would have come meanwhile is in no number (coordinated omission). In `{open}`, {} requests per \
             second come whatever happens; those that could not even be begun are counted. Milliseconds.",
            load.vus, load.rate
        );
        let mut head = vec!["Configuration".to_owned(), "Client".to_owned()];
        for scenario in [closed, open] {
            head.extend(["p50", "p99", "answers/s"].map(|figure| format!("{scenario}: {figure}")));
        }
        head.push("Not begun in time".to_owned());
        let table = Block::Table(Table { head, rows: rows.collect() });
        section("When nobody waits", vec![Block::Text(said), table])
    }

    fn throughput(&self) -> Option<Section> {
        let rate = |config: &Config, figure: &str| {
            [self.show(config, "", ALL, figure), theirs(self.theirs(config, "", ALL, figure))]
        };
        let whole = self.record.configs.iter().map(|config| {
            let mut row = vec![config.asked.title.clone()];
            row.extend(rate(config, "iterations/s"));
            row.extend(rate(config, "requests/s"));
            row.push(self.show(config, "", ALL, "errors"));
            row
        });
        let server = self.each().map(|(config, client)| {
            let figure = "server requests/s";
            vec![
                config.asked.title.clone(),
                client.clone(),
                self.show(config, &client, ALL, figure),
                theirs(self.theirs(config, &client, ALL, figure)),
            ]
        });
        let bars: Vec<Bar> = self
            .record
            .configs
            .iter()
            .filter_map(|config| {
                let estimate = self.figures.estimate(&Subject::new(&config.asked.id, "", ALL), "requests/s")?;
                let theirs = self.theirs(config, "", ALL, "requests/s");
                Some(Bar { name: short(config), estimate, theirs, kind: 2 })
            })
            .collect();
        let head = ["Configuration", "Iterations/s", "theirs", "Requests/s", "theirs", "Errors"];
        let mut blocks = vec![table(&head, whole.collect())];
        if !bars.is_empty() {
            blocks.push(Block::Chart(Chart {
                name: "throughput".to_owned(),
                caption: "Answers per second over all scenarios; diamonds: the original report's.".to_owned(),
                svg: svg::bars(&self.title("Throughput"), "per s", &bars),
            }));
        }
        blocks.push(text("As the application counted them, over all scenarios, errors included:"));
        blocks.push(table(&["Configuration", "Client", "Requests/s", "theirs"], server.collect()));
        section("Throughput", blocks)
    }

    fn over_time(&self) -> Option<Section> {
        let scenario = self.scenarios().last()?;
        let lines: Vec<Line> = self
            .record
            .configs
            .iter()
            .filter_map(|config| {
                let runs = self.figures.series.get(&Subject::new(&config.asked.id, "", scenario))?;
                let steps = runs.iter().map(Vec::len).max().unwrap_or(0);
                let step = |step: usize| {
                    let seen: Vec<f64> = runs.iter().filter_map(|run| *run.get(step)?).collect();
                    (!seen.is_empty()).then(|| (step as f64 * STEP, infer::mean(&seen)))
                };
                let points: Vec<(f64, f64)> = (0..steps).filter_map(step).collect();
                (!points.is_empty()).then(|| Line { name: short(config), points })
            })
            .collect();
        if lines.is_empty() {
            return None;
        }
        let chart = Block::Chart(Chart {
            name: "time".to_owned(),
            caption: format!("Median latency of what was sent in each second of `{scenario}`, mean over runs."),
            svg: svg::lines(&self.title(&format!("{scenario} over time")), ("s", "ms"), false, &lines),
        });
        section("Over time", vec![chart])
    }
}
