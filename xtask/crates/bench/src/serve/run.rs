//! Executes the runs, each in fresh containers. The state of the service is checked before and after each run, and
//! only successful runs count.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::k6::{K6, Load};
use super::watch::Moment;
use super::{Options, now};
use crate::prometheus::{self, Series};
use crate::record::{Config, Machine, Phase, Record, Run, Runtime};
use crate::samples::{self, Output, Request};
use base::cancel::Cancel;
use base::ui::Task;
use build::Project;
use matrix::{BenchServe, ServerSide, Word};
use service::{PreparedServer, Trial, TrialOptions};

pub struct Bench<'a> {
    pub project: &'a Project,
    pub serve: &'a BenchServe,
    pub options: &'a Options,
    pub k6: &'a K6<'a>,
    pub ready: &'a PreparedServer<'a>,
    pub out: &'a Path,
}

/// Context of a scenario.
struct ScenarioContext<'a> {
    record: &'a Record,
    config: &'a Config,
    task: &'a Task,
}

/// Measurements of a scenario: requests, counters of the application, and load of the machine.
type Measurements = (Output, Vec<Series>, Machine);

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

/// Returns the duration of the warm-up in seconds.
pub fn warm_up(seconds: u64) -> u64 {
    (seconds / 3).clamp(1, 20)
}

impl Bench<'_> {
    /// Executes all runs in order. A failed run is recorded and the next one is started.
    pub fn all(&self, record: &mut Record) -> Result<()> {
        let order = record.order.clone();
        for (number, id) in order.iter().enumerate() {
            let config = record.config(id).context("a run of no configuration: this is a bug")?.clone();
            let mut run = Run {
                id: format!("{:02}-{id}", number + 1),
                config: id.clone(),
                began: now(),
                before: None,
                after: None,
                phases: Vec::new(),
                forwarded: false,
                failed: None,
            };
            let what = format!("{id}, run {} of {}", number + 1, order.len());
            let task = self.project.ui.start("serve", &what, &self.project.cache.log(&format!("serve-{}", run.id)));
            let done = task.open_log().and_then(|()| self.one(record, &config, &mut run, &task));
            task.end(if done.is_ok() { "ok" } else { "FAILED" });
            if let Err(error) = done {
                let interrupted = self.project.cancel.is_set();
                let why = if interrupted { "interrupted".to_owned() } else { format!("{error:#}") };
                // The reason must be one line, because it is shown in a table.
                run.failed = Some(why.split_whitespace().collect::<Vec<_>>().join(" "));
                self.project.ui.say(&format!("[serve] run {} failed and is not counted: {error:#}", run.id));
            }
            record.runs.push(run);
            // Write the record after each run, because a later one may fail or be interrupted.
            record.write(self.out)?;
            self.project.cancel.check()?;
        }
        Ok(())
    }

    fn one(&self, record: &Record, config: &Config, run: &mut Run, task: &Task) -> Result<()> {
        let asked = &config.asked;
        let mut env: Vec<(String, String)> = asked.env.clone().into_iter().collect();
        if asked.stages {
            env.extend(record.metrics.stages.env.clone());
        }
        let cpus = record.pinned.as_ref().map(|[server, service, _]| [server.as_str(), service.as_str()]);
        let Options { records, port, .. } = self.options;
        let ask = TrialOptions { tag: &asked.image, env: &env, records: *records, port: *port, cpus };
        let trial = self.ready.start(&ask)?;
        run.forwarded = trial.forwarded;
        run.before = Some(self.runtime(&trial, config)?);
        let context = ScenarioContext { record, config, task };
        self.load(&trial, &context, &self.serve.warmup, warm_up(record.load.seconds))?;
        for scenario in &record.load.scenarios {
            task.line(&format!("scenario {scenario}"));
            let before = self.metrics(&trial, &record.metrics)?;
            let begun = Moment::now(&trial.processes);
            let output = self.load(&trial, &context, scenario, record.load.seconds)?;
            let machine = begun.until(&Moment::now(&trial.processes));
            let server = prometheus::between(&before, self.metrics(&trial, &record.metrics)?)?;
            run.phases.push(self.phase(&run.id, scenario, &config.asked.clients, (output, server, machine))?);
        }
        run.after = Some(self.runtime(&trial, config)?);
        ensure!(run.before == run.after, "the runtime information of the application changed during the run");
        trial.end()
    }

    fn phase(&self, run: &str, scenario: &str, clients: &[Word], found: Measurements) -> Result<Phase> {
        let (output, server, machine) = found;
        // Measure until the last response, because k6 waits for pending requests.
        let end = output.requests.iter().map(|one| one.at + one.ms / 1000.0).fold(0.0, f64::max);
        ensure!(end > 0.0, "k6 sent no request in `{scenario}`");
        answered(scenario, clients, &output.requests)?;
        let samples = format!("samples/{run}-{scenario}.csv.gz");
        let sha256 = samples::write(&self.out.join(&samples), &output.requests)?;
        Ok(Phase {
            scenario: scenario.to_owned(),
            seconds: end,
            iterations: output.iterations,
            dropped: output.dropped,
            samples,
            sha256,
            server,
            machine,
        })
    }

    /// Runs one scenario, and stops it if the application exits.
    fn load(&self, trial: &Trial, context: &ScenarioContext, scenario: &str, seconds: u64) -> Result<Output> {
        let ScenarioContext { record, config, task } = context;
        let clients: Vec<&str> = config.asked.clients.iter().map(|client| &**client).collect();
        let told = [
            ("BASE", format!("http://{}", trial.address)),
            ("CLIENTS", clients.join(",")),
            ("VUS", self.options.vus.to_string()),
            ("SECONDS", seconds.to_string()),
            ("RATE", self.options.rate.to_string()),
        ];
        let cpus = record.pinned.as_ref().map(|[.., k6]| k6.as_str());
        let (stop, ended, looked) = (Cancel::default(), RefCell::new(None), Cell::new(Instant::now()));
        let tick = || {
            if self.project.cancel.is_set() {
                stop.set();
            } else if looked.get().elapsed() > Duration::from_secs(1) {
                looked.set(Instant::now());
                // If the engine does not respond now, the state is checked again at the end.
                if let Ok(Some(how)) = trial.ended() {
                    *ended.borrow_mut() = Some(how);
                    stop.set();
                }
            }
        };
        let output = self.k6.run(&Load { scenario, told: &told, cpus }, task, &stop, &tick);
        self.project.cancel.check()?;
        let ended = ended.into_inner().map_or_else(|| trial.ended(), |how| Ok(Some(how)))?;
        if let Some(how) = ended {
            bail!("{how} during `{scenario}`");
        }
        output
    }

    fn metrics(&self, trial: &Trial, metrics: &ServerSide) -> Result<Vec<Series>> {
        let mut names: Vec<&str> = metrics.parts.values().map(|name| &**name).collect();
        names.extend([&*metrics.requests, &*metrics.stages.metric]);
        let mut all = prometheus::parse(&trial.get(&metrics.path)?, &names)?;
        // Only means of stages are reported; their buckets would be the largest part of the manifest.
        all.iter_mut().filter(|series| series.name == *metrics.stages.metric).for_each(|series| series.buckets.clear());
        Ok(all)
    }

    /// Returns the state that the application reports, after checking it against the configuration.
    fn runtime(&self, trial: &Trial, config: &Config) -> Result<Runtime> {
        let path = &*self.serve.runtime;
        let told: Value =
            serde_json::from_str(&trial.get(path)?).with_context(|| format!("the response of `{path}` is not JSON"))?;
        let runtime = read(&told)
            .with_context(|| format!("the response of `{path}` does not contain the interpreter and the GIL state"))?;
        match runtime.refuse(config.asked.gil) {
            Some(why) => bail!("refused: {why}"),
            None => Ok(runtime),
        }
    }
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
            read(&json!({"interpreter": {"version": "3.14.5"}, "gil": gil, "versions": {"a": "1", "b": null}})).unwrap()
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
    fn the_warm_up_is_short() {
        assert_eq!([warm_up(1), warm_up(30), warm_up(600)], [1, 10, 20]);
    }
}
