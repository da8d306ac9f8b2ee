//! Measures one running service: loads it with a scenario and reads everything that is recorded.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::k6::{K6, Load};
use super::watch::Moment;
use crate::prometheus::{self, Series};
use crate::record::{Config, Machine, Phase, Record, Runtime, Slice};
use crate::samples::{self, Output, Request};
use base::cancel::Cancel;
use base::ui::Task;
use build::Project;
use matrix::{BenchServe, Word};
use service::Trial;

/// What is needed to load a service.
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    pub project: &'a Project,
    pub serve: &'a BenchServe,
    pub k6: &'a K6<'a>,
    /// Processors of k6.
    pub cpus: Option<&'a str>,
    pub vus: u16,
    pub rate: u16,
}

/// Running service of a configuration.
pub struct Measured<'a> {
    pub loader: Loader<'a>,
    pub config: &'a Config,
    pub trial: Trial<'a>,
}

/// Measurements of one period of load.
pub struct Measurements {
    pub output: Output,
    /// Increase of the application's counters.
    server: Vec<Series>,
    machine: Machine,
    /// Processor time of the service in seconds.
    cpu: f64,
    /// Start time in seconds since 1970.
    began: f64,
}

impl<'a> Loader<'a> {
    pub fn of(record: &'a Record, project: &'a Project, serve: &'a BenchServe, k6: &'a K6<'a>) -> Loader<'a> {
        let cpus = record.pinned.as_ref().map(|[.., k6]| k6.as_str());
        Loader { project, serve, k6, cpus, vus: record.load.vus, rate: record.load.rate }
    }
}

impl Measured<'_> {
    /// Loads the service and measures it. Processor time is read just before and just after the load.
    pub fn measure(&self, scenario: &str, seconds: u64, task: &Task) -> Result<Measurements> {
        let trial = &self.trial;
        let before = self.metrics()?;
        let begun = Moment::now(&trial.processes);
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let used = trial.processor_time()?;
        let output = self.load(scenario, seconds, task)?;
        let cpu = trial.processor_time()?.saturating_sub(used).as_secs_f64();
        let machine = begun.until(&Moment::now(&trial.processes));
        let server = prometheus::between(&before, self.metrics()?)?;
        Ok(Measurements { output, server, machine, cpu, began })
    }

    /// Runs one scenario, and stops it if the application exits.
    pub fn load(&self, scenario: &str, seconds: u64, task: &Task) -> Result<Output> {
        let Loader { project, k6, cpus, vus, rate, .. } = self.loader;
        let clients: Vec<&str> = self.config.asked.clients.iter().map(|client| &**client).collect();
        let told = [
            ("BASE", format!("http://{}", self.trial.address)),
            ("CLIENTS", clients.join(",")),
            ("VUS", vus.to_string()),
            ("SECONDS", seconds.to_string()),
            ("RATE", rate.to_string()),
        ];
        let (stop, ended, looked) = (Cancel::default(), RefCell::new(None), Cell::new(Instant::now()));
        let tick = || {
            if project.cancel.is_set() {
                stop.set();
            } else if looked.get().elapsed() > Duration::from_secs(1) {
                looked.set(Instant::now());
                // If the engine does not respond now, the state is checked again at the end.
                if let Ok(Some(how)) = self.trial.ended() {
                    *ended.borrow_mut() = Some(how);
                    stop.set();
                }
            }
        };
        let output = k6.run(&Load { scenario, told: &told, cpus }, task, &stop, &tick);
        project.cancel.check()?;
        let ended = ended.into_inner().map_or_else(|| self.trial.ended(), |how| Ok(Some(how)))?;
        if let Some(how) = ended {
            bail!("{how} during `{scenario}`");
        }
        output
    }

    fn metrics(&self) -> Result<Vec<Series>> {
        let Some(metrics) = &self.loader.serve.metrics else { return Ok(Vec::new()) };
        let mut names: Vec<&str> = metrics.parts.values().map(|name| &**name).collect();
        let stages = metrics.stages.as_ref().map(|stages| &*stages.metric);
        names.extend([&*metrics.requests].into_iter().chain(stages));
        let mut all = prometheus::parse(&self.trial.get(&metrics.path)?, &names)?;
        // Only means of stages are reported; their buckets would be the largest part of the manifest.
        let staged = all.iter_mut().filter(|series| stages == Some(series.name.as_str()));
        staged.for_each(|series| series.buckets.clear());
        Ok(all)
    }

    /// Returns the state that the application reports, after checking it against the configuration.
    pub fn runtime(&self) -> Result<Runtime> {
        let path = &*self.loader.serve.runtime;
        let told: Value = serde_json::from_str(&self.trial.get(path)?)
            .with_context(|| format!("the response of `{path}` is not JSON"))?;
        let runtime = read(&told)
            .with_context(|| format!("the response of `{path}` does not contain the interpreter and the GIL state"))?;
        match runtime.refuse(self.config.asked.gil) {
            Some(why) => bail!("refused: {why}"),
            None => Ok(runtime),
        }
    }
}

/// Combines the measurements of a scenario and writes its requests below the folder `out`.
pub fn phase(out: &Path, run: &str, scenario: &str, clients: &[Word], found: Vec<Measurements>) -> Result<Phase> {
    let several = found.len() > 1;
    let (mut requests, mut slices) = (Vec::new(), Vec::new());
    let mut phase = Phase {
        scenario: scenario.to_owned(),
        seconds: 0.0,
        iterations: 0,
        dropped: 0,
        samples: format!("samples/{run}-{scenario}.csv.gz"),
        sha256: String::new(),
        server: Vec::new(),
        machine: together(&found),
        cpu: Some(found.iter().map(|one| one.cpu).sum()),
        slices: Vec::new(),
        users: None,
    };
    for Measurements { output, server, cpu, began, .. } in found {
        // Measure until the last response, because k6 waits for pending requests.
        let seconds = output.requests.iter().map(|one| one.at + one.ms / 1000.0).fold(0.0, f64::max);
        ensure!(seconds > 0.0, "k6 sent no request in `{scenario}`");
        let answered = output.requests.iter().filter(|one| one.status == 200).count() as u64;
        slices.push(Slice { began, seconds, answered, cpu });
        requests.extend(output.requests.into_iter().map(|one| Request { at: one.at + phase.seconds, ..one }));
        phase.seconds += seconds;
        phase.iterations += output.iterations;
        phase.dropped += output.dropped;
        phase.server.extend(server);
    }
    answered(scenario, clients, &requests)?;
    phase.server = prometheus::sums(phase.server);
    phase.sha256 = samples::write(&out.join(&phase.samples), &requests)?;
    if several {
        phase.slices = slices;
    }
    Ok(phase)
}

/// Returns the mean load of the machine over periods of equal length.
fn together(found: &[Measurements]) -> Machine {
    let mean =
        |of: fn(&Machine) -> f64| found.iter().map(|one| of(&one.machine)).sum::<f64>() / found.len().max(1) as f64;
    let throttled = found.iter().map(|one| one.machine.throttled);
    Machine {
        busy: mean(|machine| machine.busy),
        other: mean(|machine| machine.other),
        steal: mean(|machine| machine.steal),
        throttled: throttled.reduce(|one, other| Some(one? + other?)).flatten(),
        load: found.last().and_then(|one| one.machine.load),
    }
}

/// Fails if a client has no successful response in a scenario, because its latency is then undefined.
fn answered(scenario: &str, clients: &[Word], requests: &[Request]) -> Result<()> {
    for client in clients {
        let statuses: Vec<u16> = requests.iter().filter(|one| one.client == **client).map(|one| one.status).collect();
        if statuses.contains(&200) {
            continue;
        }
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        statuses.iter().for_each(|status| *counts.entry(*status).or_default() += 1);
        let counts = counts.iter().map(|(status, count)| match status {
            0 => format!("{count} without an answer"),
            status => format!("{count} with status {status}"),
        });
        let counts = counts.collect::<Vec<_>>().join(", ");
        bail!(
            "none of {} requests to `{client}` in `{scenario}` was answered with status 200 ({})",
            statuses.len(),
            if counts.is_empty() { "none was sent" } else { &counts }
        );
    }
    Ok(())
}

fn read(told: &Value) -> Option<Runtime> {
    let versions = told["versions"].as_object().into_iter().flatten();
    Some(Runtime {
        python: told["interpreter"]["version"].as_str()?.to_owned(),
        gil: told["gil"]["now"].as_bool()?,
        forced_off: told["gil"]["forced_off"].as_bool()?,
        versions: versions.filter_map(|(name, version)| Some((name.clone(), version.as_str()?.to_owned()))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use matrix::GilState;

    #[test]
    fn a_gil_that_is_not_what_was_claimed_is_refused() {
        let told = |now: bool, forced: bool| {
            let gil = json!({"now": now, "forced_off": forced});
            read(&json!({"interpreter": {"version": "3.14.7"}, "gil": gil, "versions": {"a": "1", "b": null}})).unwrap()
        };
        assert_eq!(told(true, false).versions.len(), 1);
        for (now, forced, right) in
            [(true, false, GilState::On), (false, false, GilState::Off), (false, true, GilState::ForcedOff)]
        {
            for claimed in [GilState::On, GilState::Off, GilState::ForcedOff] {
                assert_eq!(told(now, forced).refuse(claimed).is_none(), claimed == right, "{now} {forced} {claimed}");
            }
        }
        let why = told(true, false).refuse(GilState::Off).unwrap();
        assert_eq!(why, "the GIL is on, but off was expected");
        assert_eq!(read(&json!({"gil": {"now": true}})), None);
    }

    #[test]
    fn a_scenario_without_a_successful_answer_is_refused() {
        let request = |client: &str, status: u16| Request { at: 0.0, client: client.to_owned(), status, ms: 1.0 };
        let matrix = matrix::Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        let serve = matrix.bench.unwrap().serve.unwrap();
        let clients = &serve.configs.iter().find(|config| config.clients.len() == 2).unwrap().clients;
        let [one, other] = [&*clients[0], &*clients[1]];
        answered("single", clients, &[request(one, 200), request(other, 500), request(other, 200)]).unwrap();
        let all = [request(one, 200), request(other, 0), request(other, 0), request(other, 502)];
        let error = answered("single", clients, &all).unwrap_err().to_string();
        assert!(error.contains(&format!("none of 3 requests to `{other}` in `single`")), "{error}");
        assert!(error.contains("(2 without an answer, 1 with status 502)"), "{error}");
        let error = answered("single", clients, &[request(one, 200)]).unwrap_err().to_string();
        assert!(error.contains("none was sent"), "{error}");
    }

    #[test]
    fn slices_of_a_scenario_are_one_phase() {
        let folder = crate::fixture::folder("slices", 1, 1.0);
        let request = |at: f64, status: u16| Request { at, client: "async".to_owned(), status, ms: 500.0 };
        let series = |count: f64| Series { name: "n".to_owned(), count, ..Series::default() };
        let slice = |status: u16, cpu: f64, began: f64| Measurements {
            output: Output { requests: vec![request(0.0, status), request(1.0, 200)], iterations: 2, dropped: 1 },
            server: vec![series(2.0)],
            machine: Machine { busy: cpu, throttled: Some(1), load: Some(began), ..Machine::default() },
            cpu,
            began,
        };
        let clients = fixture_clients();
        let found = phase(&folder.0, "01-x", "single", &clients, vec![slice(200, 0.25, 10.0), slice(503, 0.75, 20.0)]);
        let found = found.unwrap();
        assert_eq!((found.seconds, found.iterations, found.dropped, found.cpu), (3.0, 4, 2, Some(1.0)));
        assert_eq!((found.machine.busy, found.machine.throttled, found.machine.load), (0.5, Some(2), Some(20.0)));
        assert_eq!((found.server.len(), found.server[0].count), (1, 4.0));
        let slices: Vec<_> = found.slices.iter().map(|one| (one.began, one.seconds, one.answered, one.cpu)).collect();
        assert_eq!(slices, [(10.0, 1.5, 2, 0.25), (20.0, 1.5, 1, 0.75)]);
        let requests = samples::read(&folder.0.join(&found.samples), &found.sha256).unwrap();
        assert_eq!(requests.iter().map(|one| one.at).collect::<Vec<_>>(), [0.0, 1.0, 1.5, 2.5]);
        let none = || Measurements { output: Output::default(), ..slice(200, 1.0, 0.0) };
        let error = phase(&folder.0, "01-x", "single", &clients, vec![slice(200, 1.0, 0.0), none()]).unwrap_err();
        assert_eq!(error.to_string(), "k6 sent no request in `single`");
    }

    fn fixture_clients() -> Vec<Word> {
        let matrix = matrix::Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        matrix.bench.unwrap().serve.unwrap().configs.into_iter().find(|one| one.stages).unwrap().clients
    }
}
