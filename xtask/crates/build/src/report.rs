//! Final table of a run: built artefacts, failed steps, and rows that could not be built.

use anyhow::Result;

use crate::manifest::{ArtefactKind, Manifest};
use crate::plan::{Action, Plan};
use crate::run::{Attempt, NotBuilt};
use crate::step::proof::NOT_LOADABLE;
use base::ui::{bytes, seconds};
use base::{summary, ui};
use wheelfile::LocalBuild;

/// Table row of a step without a result.
pub struct FailedRow {
    artefact: String,
    tag: String,
    state: &'static str,
    /// Reason why it was not started; empty for a step that failed.
    why: String,
}

/// Returns the failed steps and the rows that were not built, in the order of the plan.
pub fn failures(plan: &Plan, attempt: &Attempt) -> Vec<FailedRow> {
    let line = |id: &String, action: &Action| {
        let (state, why) = match attempt.not_built.get(id) {
            _ if attempt.failed.contains(id) => ("FAILED", String::new()),
            None => return None,
            Some(_) if !action.is_row() => return None,
            Some(NotBuilt::Needs(step)) => ("not built", format!("needs {step}")),
            Some(NotBuilt::Stopped) => ("not built", "without --keep-going".to_owned()),
        };
        let (artefact, tag) = action.row_name().unwrap_or((id, "-"));
        let (artefact, tag) = (artefact.to_owned(), tag.to_owned());
        Some(FailedRow { artefact, tag, state, why })
    };
    plan.steps.iter().filter_map(|step| line(&step.id, &step.action)).collect()
}

/// Prints the table, and adds it to the job summary on GitHub.
pub fn publish(manifest: &Manifest, failures: &[FailedRow]) -> Result<()> {
    let table = table(manifest, failures);
    summary::add(&summary::block(&table))?;
    ui::print_result(&table)
}

/// Formats one line per artefact and failure.
fn table(manifest: &Manifest, failures: &[FailedRow]) -> String {
    let built = manifest.artefacts.iter().map(|entry| {
        [
            // The tag alone identifies an image.
            match entry.kind {
                ArtefactKind::Image => "image".to_owned(),
                ArtefactKind::Base => "python".to_owned(),
                ArtefactKind::Wheel => entry.name.clone(),
            },
            entry.tag.clone(),
            bytes(entry.size),
            seconds(entry.seconds),
            match (&entry.taken_from, entry.cached) {
                (Some(_), _) => "taken",
                (None, true) => "cached",
                (None, false) => "built",
            }
            .to_owned(),
            entry.sha256.chars().take(8).collect(),
            entry.notes.get("gil").cloned().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let none = || "-".to_owned();
    let failed = failures.iter().map(|failure| {
        let why = if failure.why.is_empty() { none() } else { failure.why.clone() };
        [failure.artefact.clone(), failure.tag.clone(), none(), none(), failure.state.to_owned(), none(), why]
    });
    let head = ["ARTEFACT", "TAG", "SIZE", "TIME", "STATE", "SHA-256", "GIL"].map(str::to_owned);
    let all: Vec<[String; 7]> = std::iter::once(head).chain(built).chain(failed).collect();
    // Align numbers to the right.
    let table = ui::columns(&all, " ", |column| column == 2 || column == 3);
    table + &not_loadable(manifest) + &quick_line(manifest)
}

/// Formats a line for each image with modules that cannot be loaded and that no import of the image reaches.
fn not_loadable(manifest: &Manifest) -> String {
    let noted = manifest.artefacts.iter().filter_map(|entry| Some((&entry.tag, entry.notes.get(NOT_LOADABLE)?)));
    noted.map(|(tag, modules)| format!("not loadable in {tag}, and not imported: {modules}\n")).collect()
}

/// Formats a line that names what `--quick` built faster, and images with such wheels.
fn quick_line(manifest: &Manifest) -> String {
    let quick = manifest.artefacts.iter().filter(|entry| entry.local_build() == Some(LocalBuild::Quick));
    let names: Vec<String> = quick
        .map(|entry| match entry.kind {
            ArtefactKind::Image => format!("image {}", entry.tag),
            ArtefactKind::Base | ArtefactKind::Wheel => format!("{} {}", entry.name, entry.tag),
        })
        .collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("quick, for trying out and not for release: {}\n", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_cannot_be_loaded_are_listed_below_the_table() {
        let image = |notes: &str| {
            let text = format!(
                r#"{{"id": "proof-x", "kind": "image", "name": "demo", "tag": "x", "file": "demo:x", "sha256": "00",
                    "size": 1, "key": "11", "seconds": 1.0, "cached": false, "inputs": {{}}, "notes": {notes}}}"#
            );
            Manifest { artefacts: vec![serde_json::from_str(&text).unwrap()], ..Manifest::default() }
        };
        let table = table(&image(r#"{"gil": "off", "not-loadable": "demo._tk: ImportError: no Tk"}"#), &[]);
        assert!(
            table.ends_with(" off\nnot loadable in x, and not imported: demo._tk: ImportError: no Tk\n"),
            "{table}"
        );
        assert!(!super::table(&image(r#"{"gil": "off"}"#), &[]).contains("not loadable"));
    }
}
