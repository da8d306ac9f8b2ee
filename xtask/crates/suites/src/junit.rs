//! Test results as JUnit XML, for continuous integration services.

use std::time::Duration;

use anyhow::{Context as _, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::races::RaceFinding;
use super::result::{Case, Outcome, Results};

/// A process or a test, as one test case of the report.
struct Item<'a> {
    suite: &'a str,
    client: &'a str,
    case: &'a str,
    name: String,
    outcome: Outcome,
    seconds: f64,
    message: &'a str,
    /// The whole output that belongs to the message.
    text: &'a str,
    stderr: &'a str,
}

/// Returns a report with a test suite for each suite and client, and a test case for each process and test.
pub fn document(tag: &str, results: &Results, cases: &[Case], races: &[RaceFinding]) -> Result<String> {
    let processes = results.processes.iter().filter(|process| process.counts());
    let processes = processes.map(|process| Item {
        suite: &process.suite,
        client: &process.client,
        case: &process.case,
        name: format!("{} #{}", process.case, process.number),
        outcome: process.outcome,
        seconds: process.seconds,
        message: &process.message,
        text: &process.message,
        stderr: &process.stderr,
    });
    let tests = results.tests.iter().map(|test| Item {
        suite: &test.suite,
        client: &test.client,
        case: &test.case,
        name: test.name.clone(),
        outcome: test.outcome,
        seconds: test.seconds,
        message: &test.message,
        text: if test.text.is_empty() { &test.message } else { &test.text },
        stderr: "",
    });
    let mut suites: Vec<((&str, &str), TestSuite)> = Vec::new();
    for item in processes.chain(tests) {
        let key = (item.suite, item.client);
        let at = suites.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
            suites.push((key, TestSuite::new(format!("{tag} {} {}", item.suite, item.client))));
            suites.len() - 1
        });
        let fix = cases.iter().find(|case| (&*case.suite, &*case.client, &*case.name) == (key.0, key.1, item.case));
        let suite = &mut suites[at].1;
        suite.add_test_case(test_case(tag, &item, fix.and_then(|case| case.fix.as_deref())));
        suite.set_time(suite.time.unwrap_or_default() + duration(item.seconds));
    }
    let mut report = Report::unnamed();
    report.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
    if !races.is_empty() {
        let mut suite = TestSuite::new(format!("{tag} races"));
        suite.add_test_cases(races.iter().map(|finding| race(tag, finding)));
        report.add_test_suite(suite);
    }
    report.to_string().context("cannot write the JUnit report")
}

/// A test case. A failure that is known, with its `fix`, counts as skipped.
fn test_case(tag: &str, item: &Item, fix: Option<&str>) -> TestCase {
    let mut status = match (item.outcome, fix) {
        (Outcome::Passed, _) => TestCaseStatus::success(),
        (Outcome::Skipped, _) | (_, Some(_)) => TestCaseStatus::skipped(),
        (Outcome::Untested, _) => TestCaseStatus::non_success(NonSuccessKind::Error),
        _ => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    match (item.outcome, fix) {
        (Outcome::Passed, _) => {}
        (Outcome::Skipped, _) => {
            status.set_message(item.message);
        }
        (_, Some(fix)) => {
            status.set_message(format!("known: {}; {fix}", item.message));
        }
        _ => {
            status.set_message(item.message).set_description(item.text);
        }
    }
    let mut case = TestCase::new(item.name.as_str(), status);
    case.set_classname(format!("{tag}.{}.{}", item.suite, item.client)).set_time(duration(item.seconds));
    if !item.stderr.is_empty() {
        case.set_system_err(item.stderr);
    }
    case
}

/// A race as a test case, which counts as skipped if the race was reviewed.
fn race(tag: &str, finding: &RaceFinding) -> TestCase {
    let mut status;
    match &finding.reason {
        Some(reason) => {
            status = TestCaseStatus::skipped();
            status.set_message(format!("known: {reason}"));
        }
        None => {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("{}, {}", finding.kind, finding.reports()));
            status.set_description(finding.stacks());
        }
    }
    let mut case = TestCase::new(finding.title(), status);
    case.set_classname(format!("{tag}.races.{}", finding.owner.describe()));
    case
}

/// The duration; zero for a number of seconds that is none.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
