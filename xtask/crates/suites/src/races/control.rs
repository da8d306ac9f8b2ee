//! The proof that ThreadSanitizer works in an image. Without it, a run without reports would show nothing.

use anyhow::{Result, bail, ensure};

use super::report::RaceReport;
use crate::result::{Control, Libraries, Outcome};

/// Functions with a data race, and without one.
const UNGUARDED: [&str; 2] = ["c_unguarded", "rust_unguarded"];
const GUARDED: [&str; 2] = ["c_guarded", "rust_guarded"];

/// Checks that ThreadSanitizer reports the races of the controls, and nothing else.
pub fn check(controls: &[Control], libraries: &Libraries) -> Result<()> {
    for name in UNGUARDED.iter().chain(&GUARDED) {
        let Some(control) = controls.iter().find(|control| control.name == **name) else {
            bail!("the control `{name}` was not run")
        };
        ensure!(
            control.outcome == Outcome::Passed,
            "the control `{name}` could not be run: {}",
            control.message.trim().lines().last().unwrap_or_default()
        );
        ensure!(
            control.gil_after == Some(false),
            "the GIL is on in the control `{name}`, which prevents the races that are looked for"
        );
        let reports: Vec<RaceReport> = control.races.iter().filter_map(|text| RaceReport::parse(text)).collect();
        ensure!(reports.len() == control.races.len(), "a report of the control `{name}` cannot be parsed");
        let seen = reports.iter().flat_map(RaceReport::functions).collect::<Vec<_>>();
        if GUARDED.contains(name) {
            ensure!(reports.is_empty(), "ThreadSanitizer reports a race in `{name}`, which has none: {seen:?}");
            continue;
        }
        ensure!(
            reports.len() == 1,
            "ThreadSanitizer must report exactly one race in `{name}`, but it reported {}",
            reports.len()
        );
        ensure!(
            seen.iter().all(|function| function == name) && reports[0].tops().all(|frame| frame.place.is_some()),
            "the report of the race in `{name}` does not name this function with its line, but {seen:?}"
        );
    }
    ensure!(
        libraries.outcome == Some(Outcome::Passed),
        "the modules of the packages cannot be imported: {}",
        libraries.message
    );
    Ok(())
}
