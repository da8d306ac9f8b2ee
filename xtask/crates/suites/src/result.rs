//! Parses the output of the runner in the container and summarises it per case.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::options::Suite;
use base::UsageError;
use matrix::Known;
use matrix::gil::{self, GilRule};

/// Line of output, written by docker/suites/proving/runner.py.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Interpreter { version: String },
    Server { text: String },
    Process(Process),
    Test(Test),
    Control(Control),
    Libraries(Libraries),
    Race(Race),
    Wrong { text: String },
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// Terminated by a signal.
    Crashed,
    /// Reached its time limit.
    Hung,
    /// There was nothing that could be tested, which is no success.
    Untested,
    Skipped,
}

/// Process in the container.
#[derive(Debug, Clone, Deserialize)]
pub struct Process {
    pub suite: String,
    pub client: String,
    pub case: String,
    pub number: u32,
    pub outcome: Outcome,
    pub seconds: f64,
    pub signal: Option<String>,
    pub message: String,
    /// End of its standard error, with the stacks of a crash.
    pub stderr: String,
    pub gil_at_start: Option<bool>,
    pub gil_after: Option<bool>,
    /// Undeclared modules that it imported.
    #[serde(default)]
    pub undeclared: Vec<String>,
    /// Seed with which it can be repeated.
    #[serde(default)]
    pub seed: Option<u64>,
}

impl Process {
    /// Returns whether it is counted. A process that reports tests counts only if it failed itself.
    pub fn counts(&self) -> bool {
        !counts_tests(&self.suite) || self.outcome != Outcome::Passed
    }
}

/// Part of a process with a result of its own: a package's own test, a pair of calls, or something that was not tested.
#[derive(Debug, Clone, Deserialize)]
pub struct Test {
    pub suite: String,
    pub client: String,
    pub case: String,
    pub name: String,
    pub outcome: Outcome,
    pub seconds: f64,
    /// Assertion or exception, or the reason for skipping.
    pub message: String,
    /// Message with traceback.
    #[serde(default)]
    pub text: String,
    /// Seed with which it can be repeated.
    #[serde(default)]
    pub seed: Option<u64>,
}

/// Result of a control.
#[derive(Debug, Clone, Deserialize)]
pub struct Control {
    pub name: String,
    pub outcome: Outcome,
    pub message: String,
    /// Whether the GIL was enabled at the end of the process.
    pub gil_after: Option<bool>,
    /// Texts of the reports.
    pub races: Vec<String>,
}

/// The libraries that the packages of the image load.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Libraries {
    pub outcome: Option<Outcome>,
    #[serde(default)]
    pub message: String,
    pub libraries: Vec<Library>,
}

/// A shared library in a process.
#[derive(Debug, Clone, Deserialize)]
pub struct Library {
    pub path: String,
    /// Whether it was compiled with ThreadSanitizer.
    pub instrumented: bool,
}

/// A report with the process that it comes from.
#[derive(Debug, Clone, Deserialize)]
pub struct Race {
    pub suite: String,
    pub client: String,
    pub case: String,
    pub text: String,
}

/// Complete output of the runner.
#[derive(Debug, Default)]
pub struct Results {
    pub python: String,
    pub servers: Vec<String>,
    pub processes: Vec<Process>,
    pub tests: Vec<Test>,
    /// The proof that ThreadSanitizer works; only for images with it.
    pub controls: Vec<Control>,
    pub libraries: Libraries,
    /// Reports of ThreadSanitizer.
    pub races: Vec<Race>,
}

impl Results {
    /// Returns these results and, after them, those of another run in the same image.
    pub fn followed_by(mut self, other: Results) -> Results {
        if !other.python.is_empty() {
            self.python = other.python;
        }
        self.servers.extend(other.servers);
        self.processes.extend(other.processes);
        self.tests.extend(other.tests);
        self.races.extend(other.races);
        if self.libraries.outcome.is_none() {
            self.libraries = other.libraries;
        }
        self
    }

    /// Parses the runner's output. Fails if it is incomplete.
    pub fn read(output: &str) -> Result<Results> {
        let mut results = Results::default();
        for line in output.lines() {
            let line: Line =
                serde_json::from_str(line).with_context(|| format!("cannot parse the runner's output `{line}`"))?;
            match line {
                Line::Interpreter { version } => results.python = version,
                Line::Server { text } => results.servers.push(text),
                Line::Process(process) => results.processes.push(process),
                Line::Test(test) => results.tests.push(test),
                Line::Control(control) => results.controls.push(control),
                Line::Libraries(libraries) => results.libraries = libraries,
                Line::Race(race) => results.races.push(race),
                Line::Wrong { text } => return Err(anyhow!(UsageError(text))),
                Line::End => return Ok(results),
            }
        }
        bail!("the runner in the container exited before all suites finished")
    }
}

/// Summary of one case: all processes of a scenario, or all tests of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub suite: String,
    pub client: String,
    pub name: String,
    /// Number of processes; for a package's own tests, number of tests.
    pub runs: u32,
    pub failed: u32,
    pub skipped: u32,
    /// Whether it was stopped at its first failure, so that the rate is not meaningful.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_short: bool,
    /// Whether there was nothing that could be tested.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untested: bool,
    /// First failure, or the reason for skipping.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
    /// Workaround, if all failures are known crashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Whether a known crash is expected here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// Whether the GIL was disabled at the end of a process, which can happen even if the image's imports enable it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_gil: bool,
    /// Seed of the first process that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Case {
    /// Returns whether there is a failure other than known crashes, or nothing was tested.
    pub fn bad(&self) -> bool {
        self.untested || (self.failed > 0 && self.fix.is_none())
    }
}

/// Returns the name of a known crash's case, equal to that in the runner.
pub fn known_name(known: &Known) -> String {
    match &known.without {
        Some(precaution) => format!("{}, no {precaution}", known.scenario),
        None => known.scenario.to_string(),
    }
}

/// Returns the cases in the order of execution. `known` are the known crashes with their clients.
pub fn cases(results: &Results, known: &[(String, Known)], fail_fast: bool) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut at = |suite: &str, client: &str, name: &str| {
        let same = |case: &Case| case.suite == suite && case.client == client && case.name == name;
        cases.iter().position(same).unwrap_or_else(|| {
            let (suite, client, name) = (suite.to_owned(), client.to_owned(), name.to_owned());
            cases.push(Case {
                suite,
                client,
                name,
                runs: 0,
                failed: 0,
                skipped: 0,
                cut_short: false,
                untested: false,
                said: String::new(),
                fix: None,
                known: false,
                without_gil: false,
                seed: None,
            });
            cases.len() - 1
        })
    };
    let (mut facts, mut strange, mut without_gil, mut seeds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for process in &results.processes {
        let place = at(&process.suite, &process.client, &process.case);
        let row = known.iter().find(|(client, known)| *client == process.client && known_name(known) == process.case);
        let row = row.map(|(_, known)| known);
        if process.gil_after == Some(false) {
            without_gil.push(place);
        }
        if process.counts() {
            facts.push((place, process.outcome, process.message.clone(), row));
        }
        let expected = row.is_some_and(|known| match &known.signal {
            Some(signal) => process.signal.as_deref() == Some(&**signal),
            None => process.outcome == Outcome::Failed && process.signal.is_none(),
        });
        if !matches!(process.outcome, Outcome::Passed | Outcome::Skipped) {
            seeds.extend(process.seed.map(|seed| (place, seed)));
            if !expected {
                strange.push(place);
            }
        }
    }
    for test in &results.tests {
        let message = format!("{}: {}", test.name, test.message);
        let place = at(&test.suite, &test.client, &test.case);
        facts.push((place, test.outcome, message, None));
        if !matches!(test.outcome, Outcome::Passed | Outcome::Skipped) {
            strange.push(place);
            seeds.extend(test.seed.map(|seed| (place, seed)));
        }
    }
    for (place, outcome, message, known) in facts {
        let case = &mut cases[place];
        if outcome == Outcome::Untested {
            (case.untested, case.said) = (true, message);
            continue;
        }
        case.runs += 1;
        case.known |= known.is_some();
        match outcome {
            Outcome::Passed => continue,
            Outcome::Skipped => case.skipped += 1,
            _ => {
                // A failure replaces the reason for skipping.
                if case.failed == 0 && !case.untested {
                    case.said.clear();
                }
                case.failed += 1;
                case.fix = known.map(|known| known.fix.clone()).filter(|_| !strange.contains(&place));
                case.cut_short = fail_fast && is_series(&case.suite);
            }
        }
        if case.said.is_empty() {
            case.said = message;
        }
    }
    for place in without_gil {
        cases[place].without_gil = true;
    }
    for (place, seed) in seeds {
        cases[place].seed.get_or_insert(seed);
    }
    cases
}

/// Returns whether the suite with this name repeats each case in many processes.
pub fn is_series(suite: &str) -> bool {
    Suite::named(suite).is_some_and(Suite::is_series)
}

/// Returns whether the suite with this name counts what each process reports instead of processes.
pub fn counts_tests(suite: &str) -> bool {
    Suite::named(suite).is_some_and(Suite::counts_tests)
}

/// Returns the processes that break the image's promise, each with an explanation.
pub fn broken_promises<'r>(results: &'r Results, rule: &GilRule) -> Vec<(&'r Process, String)> {
    let broken = |process: &'r Process| {
        let Process { gil_at_start, gil_after, undeclared, .. } = process;
        let seen = gil::ProcessGil { at_start: *gil_at_start, at_end: *gil_after, undeclared };
        Some((process, rule.violation(&seen)?))
    };
    results.processes.iter().filter_map(broken).collect()
}
