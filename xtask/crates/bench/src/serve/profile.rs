//! Records what the threads of each service do under load, in runs of their own after the measurements, because
//! reading a process may slow it down.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;

use super::run::{Bench, planned, warm_up};
use crate::profile::{self, Samples};
use crate::record::{Config, Profile, Record, Stacks};
use base::ui::Task;
use docker::{Content, ContextFile, Job, Network};
use matrix::Abi;

/// How often all threads are looked at. Not a multiple of usual timers, such as those of 10 ms.
const PER_SECOND: u64 = 47;

/// Seconds in which the container starts that reads the service. The load goes on that much longer.
const START: u64 = 5;

const SCRIPT: &str = "/sampling/sample_stacks.py";
const PY_SPY: &str = "/sampling/py-spy";

/// Output of `docker/sample_stacks.py`, whose docstring describes it.
#[derive(Deserialize)]
struct Seen {
    tool: String,
    looks: u64,
    failed: u64,
    running: Samples,
    gil_waits: Option<u64>,
}

/// Loads each configuration once more, with the first scenario whose users wait for their answers. Why a service could
/// not be read is recorded.
pub fn all(bench: &Bench, record: &mut Record) -> Result<()> {
    let open = record.load.open.clone();
    let Some(scenario) = record.load.scenarios.iter().find(|one| open.as_ref() != Some(one)).cloned() else {
        bench.project.ui.say("[profile] left out: no scenario was chosen whose users wait for their answers");
        return Ok(());
    };
    for config in record.configs.clone() {
        let id = &config.asked.id;
        let log = bench.project.cache.log(&format!("profile-{id}"));
        let task = bench.project.ui.start("profile", &format!("{id}, {scenario}"), &log);
        let found = task.open_log().and_then(|()| one(bench, record, &config, &scenario, &task));
        task.end(if found.is_ok() { "ok" } else { "FAILED" });
        bench.project.cancel.check()?;
        let stacks = found.map_err(|error| format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" "));
        if let Err(why) = &stacks {
            bench.project.ui.say(&format!("[profile] {id}: {why}"));
        }
        record.profiles.push(Profile { config: id.to_string(), scenario: scenario.clone(), stacks });
        record.write(bench.out)?;
    }
    Ok(())
}

fn one(bench: &Bench, record: &Record, config: &Config, scenario: &str, task: &Task) -> Result<Stacks> {
    let number = record.order.iter().position(|id| *id == *config.asked.id).context("a configuration without runs")?;
    let (_, mut run) = planned(record, number)?;
    let site = bench.site(record)?;
    let measured = bench.start(record, &site, config, &mut run)?;
    let seconds = record.load.seconds;
    let py_spy = if is_free_threaded(bench, config) { None } else { Some(py_spy()?) };
    let input = |path: &str, bytes: Vec<u8>, mode: u32| ContextFile {
        path: path.to_owned(),
        source: Content::Bytes(bytes),
        mode,
    };
    let mut inputs = vec![input(SCRIPT, include_bytes!("../../../../../docker/sample_stacks.py").to_vec(), 0o644)];
    let mut command = vec!["python".to_owned(), SCRIPT.to_owned(), seconds.to_string(), PER_SECOND.to_string()];
    if let Some(program) = py_spy {
        inputs.push(input(PY_SPY, program, 0o755));
        command.push(PY_SPY.to_owned());
    }
    let job = Job {
        image: &config.digest,
        command,
        network: Network::None,
        inputs,
        capabilities: &["SYS_PTRACE"],
        timeout: Some(Duration::from_secs(seconds * 2 + 60)),
        ..Job::default()
    };
    measured.load(&bench.serve.warmup, warm_up(seconds), task)?;
    let (loaded, sampled) = std::thread::scope(|scope| {
        let sampled = scope.spawn(|| measured.trial.beside(&job, &bench.project.cancel));
        let loaded = measured.load(scenario, seconds + START, task);
        (loaded, sampled.join())
    });
    let Ok(sampled) = sampled else { bail!("the thread that reads the service panicked") };
    let ended = sampled?;
    loaded?;
    ensure!(ended.exit == 0, "{}", ended.stderr.trim().lines().last().unwrap_or("reading the service failed"));
    let seen: Seen = serde_json::from_str(&ended.stdout).context("the stacks of the service are not valid")?;
    site.end()?;
    store(bench.out, &config.asked.id, seen)
}

fn is_free_threaded(bench: &Bench, config: &Config) -> bool {
    let matrix = &bench.project.matrix;
    let image = matrix.image(&config.asked.image);
    image.and_then(|image| matrix.abi(&image.abi)).is_some_and(Abi::free_threaded)
}

/// Returns the program py-spy, which reads interpreters that are not free-threaded.
fn py_spy() -> Result<Vec<u8>> {
    let path = which::which("py-spy").map_err(|_| {
        anyhow!("there is no py-spy in PATH, which reads interpreters with the GIL: `pip install py-spy`")
    })?;
    std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Writes the stacks to the folder of the results.
fn store(out: &Path, config: &str, seen: Seen) -> Result<Stacks> {
    let running: u64 = seen.running.values().sum();
    ensure!(running > 0 && seen.looks > 0, "no thread was seen running at {} looks", seen.looks);
    let file = format!("profiles/{config}.folded");
    let sha256 = profile::write(&out.join(&file), &seen.running)?;
    let Seen { tool, looks, failed, gil_waits, .. } = seen;
    Ok(Stacks { tool, looks, failed, running, gil_waits, file, sha256 })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use fixture::Folder;

    #[test]
    fn the_script_passes_its_own_tests() {
        let tests = fixture::project().join("docker/tests/test_sample_stacks.py");
        let output = Command::new("python3").arg(tests).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_service_in_which_nothing_runs_has_no_profile() {
        let folder = Folder::new("profile");
        let seen = |stacks: &str| {
            let text = format!(r#"{{"tool": "t", "looks": 4, "failed": 0, "running": {stacks}, "gil_waits": 3}}"#);
            store(&folder.0, "x", serde_json::from_str(&text).unwrap())
        };
        let error = seen("{}").unwrap_err().to_string();
        assert_eq!(error, "no thread was seen running at 4 looks");
        let stacks = seen(r#"{"a;b": 5, "a": 1}"#).unwrap();
        assert_eq!((stacks.running, stacks.gil_waits, &*stacks.file), (6, Some(3), "profiles/x.folded"));
        assert_eq!(std::fs::read_to_string(folder.0.join(&stacks.file)).unwrap(), "a 1\na;b 5\n");
    }
}
