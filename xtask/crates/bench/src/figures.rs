//! Computes figures from runs: one value per run for each figure, by configuration, client and scenario.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::infer::{self, Estimate};
use crate::prometheus::{Series, merged};
use crate::record::{Phase, Record, Run};
use crate::samples::{self, Request, quantile};
use crate::verdict::{Good, Sides};

/// Name for all scenarios of a run together.
pub const ALL: &str = "all";
/// Processor time of the service per successful response, in milliseconds.
pub const CPU: &str = "processor time";
/// Interval of time series in seconds.
pub const STEP: f64 = 1.0;

/// What a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub config: String,
    /// Empty if the figure does not belong to a client.
    pub client: String,
    pub scenario: String,
}

impl Subject {
    pub fn new(config: &str, client: &str, scenario: &str) -> Subject {
        Subject { config: config.to_owned(), client: client.to_owned(), scenario: scenario.to_owned() }
    }
}

/// All figures of a report. Latencies are in milliseconds and include only responses with status 200.
#[derive(Debug, Default)]
pub struct Figures {
    values: BTreeMap<(Subject, String), Vec<f64>>,
    /// Round of each value.
    rounds: BTreeMap<(Subject, String), Vec<u16>>,
    /// Round of the run that is being added.
    round: u16,
    /// Latencies of all complete runs together, sorted.
    pub latencies: BTreeMap<Subject, Vec<f64>>,
    /// Median latency of all clients in each interval, per run.
    pub series: BTreeMap<Subject, Vec<Vec<Option<f64>>>>,
}

impl Figures {
    /// Computes the figures of the runs that count.
    pub fn of(record: &Record, folder: &Path) -> Result<Figures> {
        let mut figures = Figures::default();
        // The phases of scaling runs are not comparable with each other.
        for run in record.complete().filter(|_| record.scale.is_none()) {
            let read = |phase: &Phase| samples::read(&folder.join(&phase.samples), &phase.sha256);
            let requests = run.phases.iter().map(read).collect::<Result<Vec<_>>>()?;
            figures.add(record, run, &requests);
        }
        figures.latencies.values_mut().for_each(|all| all.sort_by(f64::total_cmp));
        Ok(figures)
    }

    fn add(&mut self, record: &Record, run: &Run, requests: &[Vec<Request>]) {
        self.round = run.round;
        let clients = record.config(&run.config).map(|config| config.asked.clients.as_slice()).unwrap_or_default();
        for (phase, requests) in run.phases.iter().zip(requests) {
            let subject_of = |client: &str| Subject::new(&run.config, client, &phase.scenario);
            for client in clients {
                let subject = subject_of(client);
                let (good, bad): (Vec<&Request>, Vec<&Request>) =
                    requests.iter().filter(|one| *one.client == **client).partition(|one| one.status == 200);
                let mut latencies: Vec<f64> = good.iter().map(|one| one.ms).collect();
                latencies.sort_by(f64::total_cmp);
                for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
                    self.put(&subject, name, quantile(&latencies, share));
                }
                let mean = (!latencies.is_empty()).then(|| infer::mean(&latencies));
                self.put(&subject, "mean", mean);
                self.put(&subject, "requests/s", Some(good.len() as f64 / phase.seconds));
                self.put(&subject, "errors", Some(bad.len() as f64));
                let vus = f64::from(record.load.vus) * 1000.0;
                self.put(&subject, "capacity", quantile(&latencies, 0.95).map(|p95| vus / p95));
                self.put(&subject, "capacity of the mean", mean.map(|mean| vus / mean));
                self.server(record, &subject, &[phase]);
                self.latencies.entry(subject).or_default().extend(latencies);
            }
            self.put(&subject_of(""), "dropped", Some(phase.dropped as f64));
            self.put(&subject_of(""), CPU, cpu(&[phase], requests.iter()));
            self.series.entry(subject_of("")).or_default().push(steps(requests));
        }
        let phases: Vec<&Phase> = run.phases.iter().collect();
        let seconds: f64 = phases.iter().map(|phase| phase.seconds).sum();
        let count = |wanted: fn(&Request) -> bool| requests.iter().flatten().filter(|one| wanted(one)).count() as f64;
        let subject = Subject::new(&run.config, "", ALL);
        let iterations: u64 = phases.iter().map(|phase| phase.iterations).sum();
        self.put(&subject, CPU, cpu(&phases, requests.iter().flatten()));
        self.put(&subject, "iterations/s", Some(iterations as f64 / seconds));
        self.put(&subject, "requests/s", Some(count(|one| one.status == 200) / seconds));
        self.put(&subject, "errors", Some(count(|one| one.status != 200)));
        self.server(record, &subject, &phases);
        for client in clients {
            self.server(record, &Subject::new(&run.config, client, ALL), &phases);
        }
        self.stages(record, &subject, &phases);
    }

    /// Adds the metrics that the application exports.
    fn server(&mut self, record: &Record, subject: &Subject, phases: &[&Phase]) {
        let Some(metrics) = &record.metrics else { return };
        let label = |series: &&Series| {
            subject.client.is_empty()
                || series.labels.get(&*metrics.client).is_some_and(|client| *client == subject.client)
        };
        let of_metric = |name: &str| {
            merged(phases.iter().flat_map(|phase| &phase.server).filter(|series| series.name == *name).filter(label))
        };
        let seconds: f64 = phases.iter().map(|phase| phase.seconds).sum();
        if let Some(all) = of_metric(&metrics.requests) {
            self.put(subject, "server p95", all.quantile(0.95).map(|found| found * 1000.0));
            self.put(subject, "server mean", all.mean().map(|found| found * 1000.0));
            self.put(subject, "server requests/s", Some(all.count / seconds));
        }
        for (part, metric) in &metrics.parts {
            if let Some(all) = of_metric(metric) {
                self.put(subject, &format!("{part} p95"), all.quantile(0.95).map(|found| found * 1000.0));
                self.put(subject, &format!("{part} mean"), all.mean().map(|found| found * 1000.0));
            }
        }
    }

    fn stages(&mut self, record: &Record, subject: &Subject, phases: &[&Phase]) {
        let Some(stages) = record.stages() else { return };
        for stage in &stages.order {
            let here = |series: &&Series| {
                series.name == *stages.metric && series.labels.get(&*stages.label).is_some_and(|name| *name == **stage)
            };
            let all = merged(phases.iter().flat_map(|phase| &phase.server).filter(here));
            self.put(subject, &format!("stage {stage}"), all.and_then(|all| all.mean()).map(|found| found * 1000.0));
        }
    }

    fn put(&mut self, subject: &Subject, figure: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            let key = (subject.clone(), figure.to_owned());
            self.values.entry(key.clone()).or_default().push(value);
            self.rounds.entry(key).or_default().push(self.round);
        }
    }

    /// Returns one value per run; empty if the figure does not exist.
    pub fn get(&self, subject: &Subject, figure: &str) -> &[f64] {
        self.values.get(&(subject.clone(), figure.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the values of those rounds in which both subjects have one, in the order of rounds.
    pub fn matched(&self, a: &Subject, b: &Subject, figure: &str) -> (Vec<f64>, Vec<f64>) {
        let by_round = |subject: &Subject| -> BTreeMap<u16, f64> {
            let rounds = self.rounds.get(&(subject.clone(), figure.to_owned()));
            rounds.into_iter().flatten().copied().zip(self.get(subject, figure).iter().copied()).collect()
        };
        let other = by_round(b);
        by_round(a).into_iter().filter_map(|(round, value)| Some((value, *other.get(&round)?))).unzip()
    }

    /// Returns the values of a figure on both sides of a comparison, by round if the record is paired.
    pub fn sides(&self, record: &Record, (a, b): (&Subject, &Subject), figure: &str, good: Good) -> Sides<'_> {
        if record.load.slice.is_none() {
            return Sides::apart(self.get(a, figure), self.get(b, figure), good);
        }
        let (a, b) = self.matched(a, b, figure);
        let first = record.sequential.as_ref().map_or(a.len(), |sequential| usize::from(sequential.first));
        Sides { a: a.into(), b: b.into(), good, first: Some(first) }
    }

    pub fn estimate(&self, subject: &Subject, figure: &str) -> Option<Estimate> {
        infer::estimate(self.get(subject, figure))
    }
}

/// Returns the processor time per successful response; `None` if it was not recorded.
fn cpu<'r>(phases: &[&Phase], requests: impl Iterator<Item = &'r Request>) -> Option<f64> {
    let seconds = phases.iter().map(|phase| phase.cpu).sum::<Option<f64>>()?;
    Some(seconds * 1000.0 / requests.filter(|one| one.status == 200).count() as f64)
}

/// Returns the median latency of the requests sent in each interval; `None` for an interval without responses.
fn steps(requests: &[Request]) -> Vec<Option<f64>> {
    let mut steps: Vec<Vec<f64>> = Vec::new();
    for one in requests.iter().filter(|one| one.status == 200) {
        let step = (one.at / STEP) as usize;
        if steps.len() <= step {
            steps.resize(step + 1, Vec::new());
        }
        steps[step].push(one.ms);
    }
    let median = |mut step: Vec<f64>| {
        step.sort_by(f64::total_cmp);
        quantile(&step, 0.5)
    };
    steps.into_iter().map(median).collect()
}
