//! Scaling runs: one scenario with several numbers of users, on several numbers of processors.

use std::str::FromStr;

use anyhow::{Result, ensure};

use super::measure::phase;
use super::run::{Bench, planned, warm_up};
use crate::random::Random;
use crate::record::{Config, Record, Run, Scale};
use base::UsageError;
use base::ui::Task;

/// Ascending numbers without repetition: `1,2,4`, with the prefix `users=` for users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers(pub Vec<u16>);

impl FromStr for Numbers {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Numbers> {
        let list = text.strip_prefix("users=").unwrap_or(text);
        let numbers: Vec<u16> = list.split(',').map_while(|number| number.parse().ok()).collect();
        let ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        let valid =
            numbers.len() == list.split(',').count() && numbers.iter().all(|number| (1..=1000).contains(number));
        ensure!(valid && ascending, "write ascending numbers from 1 to 1000, as 1,2,4,8");
        Ok(Numbers(numbers))
    }
}

/// Returns the plan for these numbers of users and processors. The service may use the processors `own`.
pub fn plan(users: &Numbers, cpus: Option<&Numbers>, own: Vec<u16>) -> Result<Scale> {
    let most = own.len();
    let cpus = cpus.map_or_else(|| vec![most as u16], |cpus| cpus.0.clone());
    if let Some(over) = cpus.iter().find(|cpus| usize::from(**cpus) > most) {
        let why = format!("--cpus {over}: the service can have at most {most} processors of this machine");
        anyhow::bail!(UsageError(why));
    }
    Ok(Scale { users: users.0.clone(), cpus, processors: own })
}

/// Returns the processors of a list such as `0-1,3`.
pub fn listed(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// Returns the order of runs: in each round, each configuration once on each number of processors.
pub fn order(configs: &[String], scale: &Scale, repeat: u16, seed: u64) -> Vec<(String, u16)> {
    let mut random = Random::new(seed);
    let round = |_| {
        let pairs = configs.iter().flat_map(|config| scale.cpus.iter().map(|cpus| (config.clone(), *cpus)));
        let mut round: Vec<(String, u16)> = pairs.collect();
        random.shuffle(&mut round);
        round
    };
    (0..repeat).flat_map(round).collect()
}

/// Executes all runs in this order. A failed run is recorded and the next one is started.
pub fn all(bench: &Bench, record: &mut Record, order: &[(String, u16)]) -> Result<()> {
    let mut random = Random::new(record.seed);
    for (number, (id, cpus)) in order.iter().enumerate() {
        let (config, mut run) = planned(record, number)?;
        run.cpus = Some(*cpus);
        run.id = format!("{}-{cpus}", run.id);
        let what = format!("{id} on {cpus} processors, run {} of {}", number + 1, order.len());
        let task = bench.project.ui.start("serve", &what, &bench.project.cache.log(&format!("serve-{}", run.id)));
        let done = task.open_log().and_then(|()| one(bench, record, (&config, &mut run), &mut random, &task));
        task.end(if done.is_ok() { "ok" } else { "FAILED" });
        if let Err(error) = done {
            bench.failed(&mut run, &error);
        }
        record.runs.push(run);
        record.write(bench.out)?;
        bench.project.cancel.check()?;
    }
    Ok(())
}

/// Measures all numbers of users in random order on one running service.
fn one(
    bench: &Bench,
    record: &Record,
    (config, run): (&Config, &mut Run),
    random: &mut Random,
    task: &Task,
) -> Result<()> {
    let site = bench.site(record)?;
    let mut measured = bench.start(record, &site, config, run)?;
    measured.load(&bench.serve.warmup, warm_up(record.load.seconds), task)?;
    let mut users = record.scale.as_ref().map(|scale| scale.users.clone()).unwrap_or_default();
    random.shuffle(&mut users);
    for scenario in &record.load.scenarios {
        for users in &users {
            task.line(&format!("scenario {scenario}, {users} users"));
            measured.loader.vus = *users;
            let found = measured.measure(scenario, record.load.seconds, task)?;
            let name = format!("{}-{users}-users", run.id);
            let mut phase = phase(bench.out, &name, scenario, &config.asked.clients, vec![found])?;
            phase.users = Some(*users);
            run.phases.push(phase);
        }
    }
    bench.check(&measured, run)?;
    site.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend() {
        let read = |text: &str| text.parse::<Numbers>().map(|numbers| numbers.0).ok();
        assert_eq!(read("users=1,2,4"), Some(vec![1, 2, 4]));
        assert_eq!(read("8"), Some(vec![8]));
        for wrong in ["", "0", "2,1", "1,1", "1,,2", "users", "1-4", "1001", "cpus=1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn processors_are_those_of_the_machine() {
        assert_eq!(listed("0-1,3"), [0, 1, 3]);
        assert_eq!(listed("2"), [2]);
        let users = Numbers(vec![1, 2]);
        let scale = plan(&users, None, vec![0, 1]).unwrap();
        assert_eq!((scale.cpus.as_slice(), scale.cpuset(1), scale.cpuset(2)), (&[2][..], "1".into(), "0,1".into()));
        let error = plan(&users, Some(&Numbers(vec![1, 4])), vec![0, 1]).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("--cpus 4: the service can have at most 2"));
    }

    #[test]
    fn each_round_has_each_configuration_on_each_number_of_processors() {
        let scale = Scale { users: vec![1], cpus: vec![1, 2], processors: vec![0, 1] };
        let drawn = order(&["a".to_owned(), "b".to_owned()], &scale, 3, 7);
        for round in drawn.chunks(4) {
            let mut sorted: Vec<_> = round.iter().map(|(config, cpus)| (config.as_str(), *cpus)).collect();
            sorted.sort();
            assert_eq!(sorted, [("a", 1), ("a", 2), ("b", 1), ("b", 2)]);
        }
        assert_eq!(drawn, order(&["a".to_owned(), "b".to_owned()], &scale, 3, 7));
    }
}
