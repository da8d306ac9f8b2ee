//! Formats the results as a table with one line per verdict.

use std::fmt::Write as _;

use super::bound;
use super::result::{Case, is_series};
use base::{program, ui};
use matrix::GilState;

/// Maximum width of a message.
const MESSAGE: usize = 160;

/// Formats one line per case, at most 80 columns wide.
pub fn table(cases: &[Case]) -> String {
    let rows = cases.iter().map(|case| {
        [
            case.suite.clone(),
            case.client.clone(),
            case.name.clone(),
            case.runs.to_string(),
            case.failed.to_string(),
            case.skipped.to_string(),
            rate(case),
        ]
    });
    let head = ["SUITE", "CLIENT", "CASE", "RUNS", "FAILED", "SKIP", "BOUND"].map(str::to_owned);
    let all: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    ui::columns(&all, " ", |column| column >= 3)
}

/// Formats the upper 95 % bound of the failure rate. It exists only for completed series.
pub fn rate(case: &Case) -> String {
    let runs = case.runs - case.skipped;
    if !is_series(&case.suite) || runs == 0 || case.cut_short {
        return "-".to_owned();
    }
    format!("{:.1} %", 100.0 * bound::upper(case.failed, runs))
}

/// Formats one line for each suite and client, and one for each case that failed or has remarks. For a failure that
/// depends on a seed, a line has the command that repeats it.
pub fn verdicts(tag: &str, cases: &[Case], promise: GilState) -> String {
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for case in cases {
        if !groups.contains(&(&case.suite, &case.client)) {
            groups.push((&case.suite, &case.client));
        }
    }
    let mut out = String::new();
    for (suite, client) in groups {
        let of = || cases.iter().filter(|case| (&*case.suite, &*case.client) == (suite, client));
        // Cases that omit a precaution to reproduce a known crash do not count for the client's verdict.
        let used = || of().filter(|case| !case.known);
        let runs: u32 = used().map(|case| case.runs - case.skipped).sum();
        let skipped: u32 = used().map(|case| case.skipped).sum();
        let bad: u32 = of().filter(|case| case.bad()).map(|case| case.failed).sum();
        let state = match bad {
            0 if of().any(|case| case.untested) => "NOTHING",
            0 => "ok",
            _ => "FAILED",
        };
        let mut line = format!("{state:<7} {suite} of {client}: {bad} of {runs} failed");
        if skipped > 0 {
            let _ = write!(line, ", {skipped} skipped");
        }
        if is_series(suite) && promise == GilState::On && !of().any(|case| case.without_gil) {
            line.push_str("; the GIL was on, so this does not show how it works without the GIL");
        }
        let _ = writeln!(out, "{line}");
        for case in of() {
            let (name, failed, runs, said) = (&case.name, case.failed, case.runs, short(&case.said));
            if case.untested {
                let _ = writeln!(out, "NOTHING   {name}: {said}");
                continue;
            }
            let _ = match (&case.fix, case.failed) {
                (Some(fix), _) => writeln!(out, "known     {name}: {failed} of {runs} {said}: {fix}"),
                (None, 0) if case.known => {
                    writeln!(out, "not seen  {name}: the known crash occurred in none of {runs}")
                }
                (None, 0) => Ok(()),
                (None, _) => writeln!(out, "FAILED    {name}: {failed} of {runs}: {said}"),
            };
            if let Some(seed) = case.seed.filter(|_| case.bad()) {
                let _ = writeln!(
                    out,
                    "repeat    {} test {tag} --suite {suite} --package {client} --seed {seed} --repeat 1",
                    program::command()
                );
            }
        }
    }
    out
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MESSAGE {
        return line;
    }
    line.chars().take(MESSAGE).chain(['…']).collect()
}
