//! Executes the runs, each in fresh containers. The state of the service is checked before and after each run, and
//! only successful runs count.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::k6::K6;
use super::measure::{Loader, Measured, phase};
use super::{Options, now};
use crate::record::{Config, Record, Run};
use base::ui::Task;
use build::Project;
use matrix::BenchServe;
use service::{PreparedServer, Site, TrialOptions};

pub struct Bench<'a> {
    pub project: &'a Project,
    pub serve: &'a BenchServe,
    pub options: &'a Options,
    pub k6: &'a K6<'a>,
    pub ready: &'a PreparedServer<'a>,
    pub out: &'a Path,
}

/// Returns the duration of the warm-up in seconds.
pub fn warm_up(seconds: u64) -> u64 {
    (seconds / 3).clamp(1, 20)
}

/// Returns a run that has not begun. `number` is its position in the order, from 0.
pub fn planned(record: &Record, number: usize) -> Result<(Config, Run)> {
    let id = record.order.get(number).context("a run that is not planned: this is a bug")?;
    let config = record.config(id).context("a run of no configuration: this is a bug")?.clone();
    let run = Run {
        id: format!("{:02}-{id}", number + 1),
        config: id.clone(),
        round: u16::try_from(number / record.round_size() + 1).unwrap_or(u16::MAX),
        began: now(),
        before: None,
        after: None,
        phases: Vec::new(),
        cpus: None,
        forwarded: false,
        failed: None,
    };
    Ok((config, run))
}

impl<'a> Bench<'a> {
    /// Executes all runs in order. A failed run is recorded and the next one is started.
    pub fn all(&self, record: &mut Record) -> Result<()> {
        for number in 0..record.order.len() {
            let (config, mut run) = planned(record, number)?;
            let what = format!("{}, run {} of {}", run.config, number + 1, record.order.len());
            let task = self.project.ui.start("serve", &what, &self.project.cache.log(&format!("serve-{}", run.id)));
            let done = task.open_log().and_then(|()| self.one(record, &config, &mut run, &task));
            task.end(if done.is_ok() { "ok" } else { "FAILED" });
            if let Err(error) = done {
                self.failed(&mut run, &error);
            }
            record.runs.push(run);
            // Write the record after each run, because a later one may fail or be interrupted.
            record.write(self.out)?;
            self.project.cancel.check()?;
        }
        Ok(())
    }

    /// Records why a run does not count.
    pub fn failed(&self, run: &mut Run, error: &anyhow::Error) {
        let interrupted = self.project.cancel.is_set();
        let why = if interrupted { "interrupted".to_owned() } else { format!("{error:#}") };
        // The reason must be one line, because it is shown in a table.
        run.failed = Some(why.split_whitespace().collect::<Vec<_>>().join(" "));
        self.project.ui.say(&format!("[serve] run {} failed and is not counted: {error:#}", run.id));
    }

    /// Starts the server, or only a network if the services use none.
    pub fn site(&self, record: &Record) -> Result<Site<'a>> {
        self.ready.open(self.options.records, record.pinned.as_ref().map(|[server, ..]| server.as_str()))
    }

    /// Starts the service of a configuration and checks its GIL state.
    pub fn start<'s>(
        &self,
        record: &'s Record,
        site: &Site<'a>,
        config: &'s Config,
        run: &mut Run,
    ) -> Result<Measured<'s>>
    where
        'a: 's,
    {
        let asked = &config.asked;
        let mut env: Vec<(String, String)> = asked.env.clone().into_iter().collect();
        env.extend(record.stages().filter(|_| asked.stages).into_iter().flat_map(|stages| stages.env.clone()));
        let scaled = record.scale.as_ref().zip(run.cpus).map(|(scale, cpus)| scale.cpuset(cpus));
        let pinned = record.pinned.as_ref().map(|[_, service, _]| service.clone());
        let cpus = scaled.or(pinned);
        let ask = TrialOptions { tag: &asked.image, env: &env, port: self.options.port, cpus: cpus.as_deref() };
        let trial = site.start(&ask)?;
        run.forwarded = trial.forwarded;
        let loader = Loader::of(record, self.project, self.serve, self.k6);
        let measured = Measured { loader, config, trial };
        run.before = Some(measured.runtime()?);
        Ok(measured)
    }

    /// Checks the state of the service after a run.
    pub fn check(&self, measured: &Measured, run: &mut Run) -> Result<()> {
        run.after = Some(measured.runtime()?);
        ensure!(run.before == run.after, "the runtime information of the application changed during the run");
        Ok(())
    }

    fn one(&self, record: &Record, config: &Config, run: &mut Run, task: &Task) -> Result<()> {
        let site = self.site(record)?;
        let measured = self.start(record, &site, config, run)?;
        measured.load(&self.serve.warmup, warm_up(record.load.seconds), task)?;
        for scenario in &record.load.scenarios {
            task.line(&format!("scenario {scenario}"));
            let found = measured.measure(scenario, record.load.seconds, task)?;
            run.phases.push(phase(self.out, &run.id, scenario, &config.asked.clients, vec![found])?);
        }
        self.check(&measured, run)?;
        site.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_short() {
        assert_eq!([warm_up(1), warm_up(30), warm_up(600)], [1, 10, 20]);
    }
}
