//! Paired runs: in each round, all configurations have fresh containers side by side and are loaded in turn, in short
//! slices. All but the loaded one are paused, so that drift of the machine affects all of them equally.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::measure::{Measured, Measurements, phase};
use super::run::{Bench, planned, warm_up};
use crate::comparable::comparisons;
use crate::figures::{ALL, CPU, Figures, Subject};
use crate::pairs;
use crate::random::Random;
use crate::record::{Config, Record, Run, Sequential};
use base::ui::Task;

/// Run of a configuration in a round; without a service after a failure.
struct Turn<'a> {
    run: Run,
    config: &'a Config,
    service: Option<Measured<'a>>,
    found: Vec<Measurements>,
}

/// Returns the durations of the slices of a scenario in seconds.
pub fn slices(seconds: u64, slice: u64) -> Vec<u64> {
    let number = (seconds / slice.max(1)).max(1);
    (0..number).map(|index| seconds / number + u64::from(index < seconds % number)).collect()
}

/// Executes all rounds. With `record.sequential`, adds rounds after the first ones until the interval is narrow enough.
pub fn all(bench: &Bench, record: &mut Record) -> Result<()> {
    let configs = record.configs.len();
    let mut random = Random::new(record.seed);
    let mut number = 0;
    while number < record.order.len() {
        let round = number / configs + 1;
        let what = format!("round {round} of {}: {configs} configurations in turn", record.order.len() / configs);
        let task = bench.project.ui.start("serve", &what, &bench.project.cache.log(&format!("serve-round-{round}")));
        let runs = task.open_log().and_then(|()| one(bench, record, number, &mut random, &task));
        let good = runs.as_ref().is_ok_and(|runs| runs.iter().all(|run| run.failed.is_none()));
        task.end(if good { "ok" } else { "FAILED" });
        record.runs.extend(runs?);
        // Write the record after each round, because a later one may fail or be interrupted.
        record.write(bench.out)?;
        bench.project.cancel.check()?;
        number += configs;
        if number == record.order.len() {
            let more = more_rounds(record, bench.out)?;
            for _ in 0..more {
                let mut next: Vec<String> = record.configs.iter().map(|config| config.asked.id.to_string()).collect();
                random.shuffle(&mut next);
                record.order.extend(next);
            }
            if let Some(Sequential { needed: Some(needed), precision, most, .. }) =
                record.sequential.as_ref().filter(|_| more > 0)
            {
                bench.project.ui.say(&format!(
                    "[serve] an interval of ±{} % needs {needed} rounds by the variance of the first; there will be {} (--max-repeat {most})",
                    precision * 100.0,
                    record.order.len() / configs
                ));
            }
        }
    }
    Ok(())
}

/// Executes one round, whose runs begin at `first` in the order.
fn one(bench: &Bench, record: &Record, first: usize, random: &mut Random, task: &Task) -> Result<Vec<Run>> {
    let site = bench.site(record)?;
    let planned = (first..first + record.configs.len()).map(|number| planned(record, number));
    let planned = planned.collect::<Result<Vec<_>>>()?;
    let mut turns: Vec<Turn> = Vec::new();
    for (config, run) in &planned {
        let mut run = run.clone();
        let started = bench.start(record, &site, config, &mut run).and_then(|service| {
            service.load(&bench.serve.warmup, warm_up(record.load.seconds), task)?;
            service.trial.pause()?;
            Ok(service)
        });
        let service = started.map_err(|error| bench.failed(&mut run, &error)).ok();
        turns.push(Turn { run, config, service, found: Vec::new() });
    }
    for scenario in &record.load.scenarios {
        for seconds in slices(record.load.seconds, record.load.slice.unwrap_or(record.load.seconds)) {
            random.shuffle(&mut turns);
            for turn in &mut turns {
                bench.project.cancel.check()?;
                task.line(&format!("scenario {scenario}, {}", turn.run.config));
                turn.attempt(bench, |service, found| {
                    found.push(in_turn(service, |service| service.measure(scenario, seconds, task))?);
                    Ok(())
                });
            }
        }
        for turn in &mut turns {
            let (run, clients) = (turn.run.id.clone(), &turn.config.asked.clients);
            let phases = &mut turn.run.phases;
            if turn.service.is_some() {
                let done = phase(bench.out, &run, scenario, clients, std::mem::take(&mut turn.found));
                match done {
                    Ok(done) => phases.push(done),
                    Err(error) => turn.fail(bench, &error),
                }
            }
        }
    }
    for turn in &mut turns {
        let Some(service) = turn.service.take() else { continue };
        if let Err(error) = in_turn(&service, |service| bench.check(service, &mut turn.run)) {
            bench.failed(&mut turn.run, &error);
        }
    }
    site.end()?;
    turns.sort_by(|a, b| a.run.id.cmp(&b.run.id));
    Ok(turns.into_iter().map(|turn| turn.run).collect())
}

impl Turn<'_> {
    /// Does something with the service. If it fails, the run does not count and the service is not used again.
    fn attempt(&mut self, bench: &Bench, act: impl FnOnce(&Measured, &mut Vec<Measurements>) -> Result<()>) {
        let Some(service) = &self.service else { return };
        if let Err(error) = act(service, &mut self.found) {
            self.fail(bench, &error);
        }
    }

    fn fail(&mut self, bench: &Bench, error: &anyhow::Error) {
        self.service = None;
        bench.failed(&mut self.run, error);
    }
}

/// Resumes a service for as long as something is done with it.
fn in_turn<T>(service: &Measured, act: impl FnOnce(&Measured) -> Result<T>) -> Result<T> {
    service.trial.resume()?;
    let done = act(service);
    // Also after a failure, because the others are still measured.
    let paused = service.trial.pause();
    let done = done?;
    paused?;
    Ok(done)
}

/// Returns the number of rounds to add, and records the number that the precision needs. It is decided once, from the
/// variance of the first rounds only.
fn more_rounds(record: &mut Record, out: &Path) -> Result<u64> {
    let Some(sequential) = record.sequential.clone().filter(|one| one.needed.is_none()) else { return Ok(0) };
    let figures = Figures::of(record, out)?;
    let compared = comparisons(record);
    let needed = compared.made.iter().map(|one| {
        let subject = |config: &Config| Subject::new(&config.asked.id, "", ALL);
        let (a, b) = figures.matched(&subject(one.base), &subject(one.other), CPU);
        pairs::needed(&a, &b, sequential.precision)
    });
    let needed = needed.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max());
    let needed = needed.context("the first rounds are not complete, so that no number of rounds follows from them")?;
    let more = needed.min(u64::from(sequential.most)).saturating_sub(u64::from(sequential.first));
    record.sequential = Some(Sequential { needed: Some(needed), ..sequential });
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_fill_the_scenario() {
        assert_eq!(slices(10, 5), [5, 5]);
        assert_eq!(slices(11, 5), [6, 5]);
        assert_eq!(slices(3, 5), [3]);
        assert_eq!(slices(7, 2), [3, 2, 2]);
        assert_eq!(slices(5, 0), [1; 5]);
    }

    #[test]
    fn the_variance_of_the_first_rounds_decides_how_many_there_are() {
        let folder = crate::fixture::folder("sequential", 1, 1.0);
        let mut record = Record::read(&folder.0).unwrap();
        let sequential = |precision, most| Sequential { precision, first: 5, most, needed: None };
        let mut decide = |precision, most| {
            record.sequential = Some(sequential(precision, most));
            let more = more_rounds(&mut record, &folder.0).unwrap();
            // The decision is made only once.
            assert_eq!(more_rounds(&mut record, &folder.0).unwrap(), 0);
            (more, record.sequential.as_ref().unwrap().needed.unwrap())
        };
        assert_eq!(decide(0.5, 20).0, 0);
        let (more, needed) = decide(0.01, 1000);
        assert!(needed > 5 && more == needed - 5, "{needed}");
        assert_eq!(decide(0.01, 6), (1, needed));
        // Without complete rounds, nothing follows.
        record.runs.iter_mut().for_each(|run| run.failed = Some("failed".to_owned()));
        record.sequential = Some(sequential(0.01, 20));
        assert!(more_rounds(&mut record, &folder.0).unwrap_err().to_string().contains("not complete"));
    }
}
