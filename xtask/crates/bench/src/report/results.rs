//! Report sections with results: latency, throughput, and differences between configurations.

use std::collections::BTreeSet;

use super::page::{Block, Chart, Section};
use super::svg::{self, Bar, Line};
use super::view::{ORIGINAL, View, measured, section, table, text};
use super::words::theirs;
use crate::comparable::{Comparison, Comparisons, comparisons};
use crate::figures::{ALL, CPU, Figures, STEP, Subject};
use crate::infer;
use crate::record::{Config, Record};
use crate::samples::quantile;
use crate::verdict::{Good, PROCESSOR_TIME, RATE, Verdict, family};

/// Returns the sections of the page.
pub fn sections(record: &Record, figures: &Figures) -> Vec<Section> {
    let view = View { record, figures };
    let all = [view.why(), view.varied(), view.throughput(), view.p95_charts(), view.same_load(), view.solo()];
    [view.findings(view.first_charts())].into_iter().chain(all.into_iter().flatten()).collect()
}

/// Returns the sections of the appendix.
pub fn appendix(record: &Record, figures: &Figures) -> Vec<Section> {
    let view = View { record, figures };
    let all = [
        view.latency(),
        view.distribution(),
        view.counted_by_service(),
        view.open(),
        view.over_time(),
        view.same_load_rows(),
    ];
    all.into_iter().flatten().chain(view.compared()).map(Section::folded).collect()
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

    /// Returns the charts at the top of the page.
    fn first_charts(&self) -> Vec<Block> {
        let rates: Vec<Bar> = self.record.configs.iter().filter_map(|config| self.bar(config, "", ALL, RATE)).collect();
        let caption = "Answers per second over all scenarios, with their 95 % interval.";
        let rates = self.bar_chart("throughput", caption, ("Requests per second", "per s"), &rates);
        rates.into_iter().chain(self.scenarios().next().and_then(|scenario| self.p95_chart(0, scenario))).collect()
    }

    fn p95_chart(&self, number: usize, scenario: &str) -> Option<Block> {
        let bars: Vec<Bar> =
            self.each().filter_map(|(config, client)| self.bar(config, &client, scenario, "p95")).collect();
        let caption = format!("95 of 100 answers of `{scenario}` came within this time; with its 95 % interval.");
        self.bar_chart(&format!("p95-{number}"), &caption, (&format!("p95 latency, {scenario}"), "ms"), &bars)
    }

    /// Returns the charts of the other scenarios.
    fn p95_charts(&self) -> Option<Section> {
        let charts = self.scenarios().enumerate().skip(1);
        section("Latency", charts.filter_map(|(number, scenario)| self.p95_chart(number, scenario)).collect())
    }

    fn latency(&self) -> Option<Section> {
        let mut blocks = Vec::new();
        for scenario in self.scenarios() {
            let rows = self.each().map(|(config, client)| {
                let show = |figure: &str| self.show(config, &client, scenario, figure);
                let mut row = vec![config.asked.title.clone(), client.clone()];
                row.extend(["p50", "p95", "p99", "server p95"].map(show));
                row.extend([theirs(self.theirs(config, &client, scenario, "p95")), show("errors")]);
                row
            });
            let head = [
                "Configuration",
                "Client",
                "p50, ms",
                "p95, ms",
                "p99, ms",
                "p95 by the service, ms",
                "Original report, p95, ms",
                "Errors per run",
            ];
            blocks.push(Block::Heading(format!("`{scenario}`")));
            blocks.push(measured(2, head.map(str::to_owned).to_vec(), rows.collect()));
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
                (!points.is_empty()).then(|| Line { name: self.name(config, &client), points })
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
            "In `{closed}`, {} users send the next request when they have an answer: a slow service gets fewer requests, and \
             the time that further users would have waited is not counted (coordinated omission). In `{open}`, {} requests \
             per second are sent whether or not answers come; those that could not be started in time are counted.",
            load.vus, load.rate
        );
        let mut head = vec!["Configuration".to_owned(), "Client".to_owned()];
        for scenario in [closed, open] {
            head.extend(["p50, ms", "p99, ms", "answers/s"].map(|figure| format!("{scenario}: {figure}")));
        }
        head.push("Not started in time".to_owned());
        section("Constant request rate", vec![Block::Text(said), measured(2, head, rows.collect())])
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
        let head = ["Configuration", "Iterations/s", ORIGINAL, "Requests/s", ORIGINAL, "Errors per run"];
        section("Throughput", vec![measured(1, head.map(str::to_owned).to_vec(), whole.collect())])
    }

    fn counted_by_service(&self) -> Option<Section> {
        let rows = self.each().map(|(config, client)| {
            let figure = "server requests/s";
            let theirs = theirs(self.theirs(config, &client, ALL, figure));
            vec![config.asked.title.clone(), client.clone(), self.show(config, &client, ALL, figure), theirs]
        });
        let said = "Requests that the application counted, over all scenarios, errors included.";
        let head = ["Configuration", "Client", "Requests/s", ORIGINAL].map(str::to_owned).to_vec();
        section("Throughput by the service", vec![text(said), measured(2, head, rows.collect())])
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
                (!points.is_empty()).then(|| Line { name: self.name(config, ""), points })
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
