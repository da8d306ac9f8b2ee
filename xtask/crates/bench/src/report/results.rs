//! Report sections with results: latency, throughput, and differences between configurations.

use std::collections::BTreeSet;

use super::page::{Block, Chart, Section, Table};
use super::svg::{self, Bar, Line};
use super::view::{View, section, short, table, text};
use super::words::theirs;
use crate::comparable::{Comparison, Comparisons, comparisons};
use crate::figures::{ALL, CPU, Figures, STEP, Subject};
use crate::infer;
use crate::record::{Config, Record};
use crate::samples::quantile;
use crate::verdict::{Good, PROCESSOR_TIME, RATE, Verdict, family};

pub fn sections(record: &Record, figures: &Figures) -> Vec<Section> {
    let view = View { record, figures };
    let mut sections = vec![view.findings(view.throughput_chart().into_iter().chain(view.latency_chart()).collect())];
    let all = [
        view.processor_time(),
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
    sections.extend(all.into_iter().flatten());
    sections
}

/// Returns all comparisons of configurations that differ in one thing.
pub fn comparisons_of(record: &Record, figures: &Figures) -> Vec<Section> {
    View { record, figures }.compared().into_iter().map(Section::folded).collect()
}

impl View<'_> {
    /// Compares configurations that differ in one thing, one section for each that others are compared with.
    fn compared(&self) -> Vec<Section> {
        let Comparisons { made, refused } = comparisons(self.record);
        let mut sections = Vec::new();
        for (index, base) in self.record.configs.iter().enumerate() {
            let own: Vec<&Comparison> = made.iter().filter(|one| std::ptr::eq(one.base, base)).collect();
            let refused = if index == 0 { refused.as_slice() } else { &[] };
            sections.extend(self.against(base, &own, refused));
        }
        sections
    }

    /// Compares one configuration with others, figure by figure.
    fn against(&self, base: &Config, others: &[&Comparison], refused: &[(&Config, String)]) -> Option<Section> {
        let mut rows = Vec::new();
        for Comparison { other, difference, .. } in others {
            for (name, verdict) in self.verdicts(base, other) {
                let (change, words) =
                    verdict.map_or(("–".into(), "–".into()), |found| (found.size(), found.words()));
                rows.push(vec![other.asked.title.clone(), difference.words.clone(), name, change, words]);
            }
        }
        rows.extend(
            refused
                .iter()
                .map(|(other, why)| vec![other.asked.title.clone(), "–".into(), "–".into(), "–".into(), why.clone()]),
        );
        let test = match self.record.load.slice {
            None => "Change of the mean over runs, with its 95 % interval. The test is a permutation test of the runs",
            Some(_) => {
                "Change within rounds (geometric mean), with its 95 % interval. The test is a t-test of the rounds"
            }
        };
        let mut said = format!(
            "{test}; its p is adjusted for all rows of the same configuration. Only configurations that differ in one \
             thing are compared. Where no difference was shown, the smallest that so many runs could have shown stands \
             beside it: it is no proof that there is none."
        );
        let unknown: BTreeSet<&str> = others.iter().flat_map(|one| one.difference.unknown.iter().copied()).collect();
        if !unknown.is_empty() {
            let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
            said.push_str(&format!(" Not recorded by the version that measured, so not checked: {names}."));
        }
        let head = ["Configuration", "Difference", "Figure", "Change", "Verdict"];
        section(&format!("Against {}", base.asked.title), vec![table(&head, rows)]).map(|mut section| {
            section.blocks.insert(0, Block::Text(said));
            section
        })
    }

    /// Returns the verdict about each figure of two configurations. All tests are adjusted together.
    pub fn verdicts(&self, base: &Config, other: &Config) -> Vec<(String, Option<Verdict>)> {
        let sides = |client: &str, scenario: &str, figure: &str, good: Good| {
            let subject = |config: &Config| Subject::new(&config.asked.id, client, scenario);
            self.figures.sides(self.record, (&subject(base), &subject(other)), figure, good)
        };
        let mut names = vec![PROCESSOR_TIME.to_owned(), RATE.to_owned()];
        let mut all = vec![sides("", ALL, CPU, Good::Low), sides("", ALL, RATE, Good::High)];
        for client in &other.asked.clients {
            for scenario in self.scenarios() {
                names.push(format!("{client}, p95 of {scenario}"));
                all.push(sides(client, scenario, "p95", Good::Low));
            }
        }
        // Old records have no processor time.
        names
            .into_iter()
            .zip(family(&all))
            .filter(|(name, verdict)| verdict.is_some() || name != PROCESSOR_TIME)
            .collect()
    }

    fn processor_time(&self) -> Option<Section> {
        let scenarios: Vec<&str> = [ALL].into_iter().chain(self.scenarios()).collect();
        let measured = |config: &&Config| !self.figures.get(&Subject::new(&config.asked.id, "", ALL), CPU).is_empty();
        let configs: Vec<&Config> = self.record.configs.iter().filter(measured).collect();
        let rows = configs.iter().map(|config| {
            let mut row = vec![config.asked.title.clone()];
            row.extend(scenarios.iter().map(|scenario| self.show(config, "", scenario, CPU)));
            row
        });
        let bars: Vec<Bar> = configs
            .iter()
            .filter_map(|config| {
                let estimate = self.figures.estimate(&Subject::new(&config.asked.id, "", ALL), CPU)?;
                Some(Bar { name: short(config), estimate, theirs: None, kind: 2 })
            })
            .collect();
        let mut head = vec!["Configuration".to_owned(), "All scenarios".to_owned()];
        head.extend(self.scenarios().map(str::to_owned));
        let rows: Vec<Vec<String>> = rows.collect();
        if rows.is_empty() {
            return None;
        }
        let said = "Processor time that the kernel accounted to the container of the service, in milliseconds per answer \
                    with status 200. It hardly depends on what else the machine does.";
        let caption = "Processor time per answer over all scenarios, with its 95 % interval";
        let chart = self.bar_chart("processor-time", caption, ("Processor time per request", "ms"), &bars);
        let blocks = [text(said), Block::Table(Table { head, rows })].into_iter().chain(chart).collect();
        section("Processor time per request", blocks)
    }

    /// Returns the chart of the first scenario.
    fn latency_chart(&self) -> Option<Block> {
        self.scenarios().next().and_then(|scenario| self.p95_chart(0, scenario))
    }

    fn p95_chart(&self, number: usize, scenario: &str) -> Option<Block> {
        let bars: Vec<Bar> = self
            .each()
            .filter_map(|(config, client)| {
                let estimate = self.figures.estimate(&Subject::new(&config.asked.id, &client, scenario), "p95")?;
                let theirs = self.theirs(config, &client, scenario, "p95");
                Some(Bar { name: format!("{}, {client}", short(config)), estimate, theirs, kind: self.kind(&client) })
            })
            .collect();
        self.bar_chart(
            &format!("p95-{number}"),
            &format!("p95 of `{scenario}` with its 95 % interval"),
            (&format!("p95 latency, {scenario}"), "ms"),
            &bars,
        )
    }

    /// Returns a chart of figures with their intervals and those of the original report; `None` without figures. `title` is
    /// that of the picture, with the unit of the figures.
    fn bar_chart(&self, name: &str, caption: &str, (title, unit): (&str, &str), bars: &[Bar]) -> Option<Block> {
        let original = bars.iter().any(|bar| bar.theirs.is_some());
        let diamonds = if original { "; diamonds: the original report's" } else { "" };
        (!bars.is_empty()).then(|| {
            Block::Chart(Chart {
                name: name.to_owned(),
                caption: format!("{caption}{diamonds}."),
                svg: svg::bars(&self.title(title), unit, bars),
            })
        })
    }

    fn latency(&self) -> Option<Section> {
        let mut blocks = Vec::new();
        for (number, scenario) in self.scenarios().enumerate() {
            let mut rows = Vec::new();
            for (config, client) in self.each() {
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
            }
            // The first chart is at the top of the page.
            blocks.extend(self.p95_chart(number, scenario).filter(|_| number > 0));
            blocks.push(text(&format!("`{scenario}`:")));
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

    fn throughput_chart(&self) -> Option<Block> {
        let bars: Vec<Bar> = self
            .record
            .configs
            .iter()
            .filter_map(|config| {
                let estimate = self.figures.estimate(&Subject::new(&config.asked.id, "", ALL), RATE)?;
                let theirs = self.theirs(config, "", ALL, RATE);
                Some(Bar { name: short(config), estimate, theirs, kind: 2 })
            })
            .collect();
        let caption = "Answers per second over all scenarios, with their 95 % interval";
        self.bar_chart("throughput", caption, ("Requests per second", "per s"), &bars)
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
        let head = ["Configuration", "Iterations/s", "theirs", "Requests/s", "theirs", "Errors"];
        let mut blocks = vec![table(&head, whole.collect())];
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
