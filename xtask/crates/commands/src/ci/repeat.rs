//! Runs the same tests many times and prints a table, to find tests that fail sporadically.

use std::fs::{self, File};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use base::ui;
use build::Project;

/// Summary of the output of one `cargo test` run.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u32,
    failed: u32,
    /// Names of the failed tests.
    names: Vec<String>,
}

/// Runs `cargo` with these arguments `runs` times in sequence. Each run has a log below `test-results/engine`.
pub fn run(project: &Project, arguments: &[&str], runs: u32) -> Result<()> {
    let folder = project.folder.join("test-results/engine");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    ui::print_result(" RUN PASSED FAILED SECONDS FAILED TESTS\n")?;
    let mut failed = 0;
    for number in 1..=runs {
        let path = folder.join(format!("run-{number:02}.log"));
        let log = File::create(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        let mut command = super::cargo_command(project, arguments);
        command.stdout(log.try_clone()?).stderr(log);
        let begun = Instant::now();
        let status = command.status().context("cannot start `cargo`")?;
        project.cancel.check()?;
        let log = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let counts = count(&String::from_utf8_lossy(&log));
        ui::print_result(&row(number, &counts, begun.elapsed().as_secs(), status.success()))?;
        failed += u32::from(!status.success());
    }
    ui::print_result(&format!("{failed} of {runs} runs failed; the logs are in `{}`\n", folder.display()))?;
    if failed > 0 {
        bail!("{failed} of {runs} runs of the tests failed");
    }
    Ok(())
}

fn row(number: u32, counts: &Counts, seconds: u64, success: bool) -> String {
    let names = match counts.names.as_slice() {
        [] if success => "-".to_owned(),
        [] => "cargo failed: see the log".to_owned(),
        names => names.join(", "),
    };
    format!("{number:>4} {:>6} {:>6} {seconds:>7} {names}\n", counts.passed, counts.failed)
}

/// Parses the output of `cargo test`: one summary and one list of failures per test program.
fn count(output: &str) -> Counts {
    let mut counts = Counts::default();
    let mut in_list = false;
    for line in output.lines() {
        if let Some(summary) = line.strip_prefix("test result: ") {
            let number = |what: &str| {
                let words: Vec<&str> = summary.split([' ', ';']).filter(|word| !word.is_empty()).collect();
                let place = words.iter().position(|word| *word == what);
                place.and_then(|place| words.get(place.checked_sub(1)?)?.parse::<u32>().ok()).unwrap_or(0)
            };
            counts.passed += number("passed");
            counts.failed += number("failed");
        }
        // The list follows the output of the failed tests, which has the same heading.
        let name = line.strip_prefix("    ").filter(|name| in_list && !name.contains(' ') && !name.is_empty());
        counts.names.extend(name.map(str::to_owned));
        in_list = line == "failures:" || name.is_some();
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "running 2 tests
test real::gate ... ok
test inputs::deny ... FAILED

failures:

---- inputs::deny stdout ----

thread 'inputs::deny' panicked at tests/it/inputs.rs:1:1:
failures:
    two words are no name

failures:
    inputs::deny
    real::other

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 70 filtered out; finished in 5.00s

running 3 tests
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn results_of_all_test_programs_are_counted() {
        let names = vec!["inputs::deny".to_owned(), "real::other".to_owned()];
        assert_eq!(count(FAILED), Counts { passed: 4, failed: 2, names });
        assert_eq!(row(7, &count(FAILED), 213, false), "   7      4      2     213 inputs::deny, real::other\n");
    }

    #[test]
    fn a_run_that_did_not_reach_the_tests_has_failed() {
        assert_eq!(count("error: could not compile `xtask`\n"), Counts::default());
        assert!(row(1, &Counts::default(), 3, false).contains("cargo failed"));
    }
}
