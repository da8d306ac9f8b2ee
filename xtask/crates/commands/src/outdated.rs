//! `cargo xtask outdated`: finds newer versions of pinned inputs and updates the matrix.

mod archive;
mod index;
mod patches;
mod program;
mod registry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use crate::deny;
use base::environment::{self, Purpose};
use base::{summary, ui};
use build::{Project, cache, doctor};
use matrix::{Edit, Matrix};

/// Script that queries the package index with pip, which knows the user's index and credentials.
const QUERY: &str = include_str!("outdated/query.py");

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Write newer versions and their digests to matrix.yaml
    #[arg(long)]
    write: bool,
    /// Fail if a newer version exists
    #[arg(long, conflicts_with = "write")]
    check: bool,
}

/// Pinned input and the result of its query.
#[derive(Debug)]
struct PinnedInput {
    input: String,
    pinned: String,
    newest: String,
    state: State,
    note: String,
    /// Changes of the matrix, which are applied together or not at all.
    edits: Vec<Edit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Current,
    Newer,
    /// The query failed; the note states the reason.
    Unasked,
}

impl PinnedInput {
    fn new(input: impl Into<String>, pinned: &str, state: State, note: impl Into<String>) -> PinnedInput {
        let (input, note) = (input.into(), note.into());
        let newest = if state == State::Current { pinned } else { "?" };
        PinnedInput { input, pinned: pinned.to_owned(), newest: newest.to_owned(), state, note, edits: Vec::new() }
    }

    /// Discards edits if the index was queried over plain HTTP, which can be tampered with.
    fn doubt_index(&mut self) {
        if !self.edits.is_empty() {
            self.edits.clear();
            self.note = "not written: the package index is asked over plain HTTP; set PIP_INDEX_URL to one with https"
                .to_owned();
        }
    }

    /// Discards edits of a default of this tool, which matrix.yaml does not have.
    fn keep_defaults(&mut self) {
        if self.edits.iter().any(|edit| matrix::is_embedded(edit.ordinal)) {
            self.edits.clear();
            self.note =
                "not written: an ABI that is a default of this tool needs it; list the ABI in `abis`".to_owned();
        }
    }

    fn newer(
        input: impl Into<String>,
        pinned: &str,
        newest: &str,
        note: impl Into<String>,
        edits: Vec<Edit>,
    ) -> PinnedInput {
        PinnedInput { newest: newest.to_owned(), edits, ..PinnedInput::new(input, pinned, State::Newer, note) }
    }
}

/// Shown instead of a version for what is not pinned, because this project builds it.
const BUILT: &str = "built";

/// Input of `query.py`.
#[derive(Debug, Default, Serialize)]
struct Question {
    /// Projects, each with the digests that are pinned: what is older than they is not told.
    projects: BTreeMap<String, Vec<String>>,
    addresses: Vec<String>,
    /// URLs of files whose SHA-256 is requested.
    digests: Vec<String>,
}

/// Output of `query.py`.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    /// Releases of each project, oldest first; `None` if the index did not respond.
    projects: BTreeMap<String, Vec<Release>>,
    addresses: BTreeMap<String, Reached>,
    digests: BTreeMap<String, String>,
    /// Whether an index is queried over plain HTTP.
    #[serde(default)]
    plain_index: bool,
}

#[derive(Debug, Deserialize)]
struct Release {
    version: String,
    stable: bool,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    name: String,
    sha256: String,
    /// Yanked by its publisher (PEP 592).
    withdrawn: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reached {
    Exists(bool),
    Failed(String),
}

pub fn run(project: &Project, options: &Options) -> Result<()> {
    let text =
        std::fs::read_to_string(&project.file).with_context(|| format!("cannot read `{}`", project.file.display()))?;
    // Parse the current text, because edits contain positions in it.
    let matrix = Matrix::parse(&text, "matrix.yaml")?.without_defaults();
    let mirrors = if project.fake { Vec::new() } else { archive::mirrors() };
    let mut question = Question { projects: index::projects(&matrix), ..Question::default() };
    question.addresses = archive::addresses(&matrix, &mirrors);
    let answer = ask(project, &question)?;

    let (docker, engine) =
        if project.fake { (None, None) } else { Some(doctor::engine(project.matrix.platform)).unzip() };
    let engine = engine.map_or_else(|| "nothing is asked with --fake".to_owned(), |check| check.detail);
    let offer = |reference: &str| match docker.as_ref().and_then(Option::as_ref) {
        Some(docker) => docker.registry_image(reference, &project.cancel).map(|offer| offer.map(|offer| offer.digest)),
        None => Err(anyhow!("no Docker engine: {engine}")),
    };
    let mut rows = index::rows(&matrix, &text, &answer);
    if answer.plain_index {
        rows.iter_mut().for_each(PinnedInput::doubt_index);
    }
    if !project.fake {
        patches::judge(&matrix, &mut rows, &|package, version| patches::try_on(project, package, version));
    }
    let digest = |url: &str| {
        let answer = ask(project, &Question { digests: vec![url.to_owned()], ..Question::default() })?;
        answer.digests.get(url).cloned().with_context(|| format!("no digest of `{url}`"))
    };
    rows.extend(archive::rows(&matrix, &mirrors, &answer, options.write.then_some(&digest))?);
    if !matrix::is_embedded(matrix.ci.deny.version.ordinal) {
        rows.push(program::row(&matrix.ci.deny, &|version| match project.fake {
            true => Err(anyhow!("nothing is asked with --fake")),
            false => deny::download(project, &matrix.ci.deny.name, version),
        }));
    }
    rows.extend(registry::rows(&matrix, &offer));
    for row in &mut rows {
        row.keep_defaults();
    }
    project.cancel.check()?;
    tell(project, &rows)?;

    let newer = rows.iter().filter(|row| row.state == State::Newer).count();
    let edits: Vec<Edit> = rows.iter().flat_map(|row| row.edits.clone()).collect();
    if options.write && !edits.is_empty() {
        cache::write(&project.file, matrix::replaced(&text, &edits)?.as_bytes())?;
        let (changed, left) =
            rows.iter().filter(|row| row.state == State::Newer).partition::<Vec<_>, _>(|row| !row.edits.is_empty());
        project.ui.say(&format!("matrix.yaml: updated {} of {newer}", changed.len()));
        if !left.is_empty() {
            project.ui.say(&format!(
                "update manually as described in the table: {}",
                ui::quoted(left.iter().map(|row| &row.input))
            ));
        }
    }
    if options.check && newer > 0 {
        bail!("{newer} inputs are outdated: run `cargo xtask outdated --write` to update them");
    }
    Ok(())
}

fn tell(project: &Project, rows: &[PinnedInput]) -> Result<()> {
    let table = table(rows);
    summary::add(&summary::block(&table))?;
    ui::print_result(&table)?;
    let count = |state: State| rows.iter().filter(|row| row.state == state).count();
    let (newer, unasked) = (count(State::Newer), count(State::Unasked));
    project.ui.say(&format!("{} inputs: {newer} newer, {unasked} could not be checked", rows.len()));
    Ok(())
}

/// Formats one line per input, with notes below it.
fn table(rows: &[PinnedInput]) -> String {
    let mut cells = vec![["INPUT", "PINNED", "NEWEST", "STATE"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let state = match row.state {
            State::Current => "current",
            State::Newer => "newer",
            State::Unasked => "not asked",
        };
        [row.input.clone(), row.pinned.clone(), row.newest.clone(), state.to_owned()]
    }));
    let table = ui::columns(&cells, " ", |_| false);
    let notes = std::iter::once("").chain(rows.iter().map(|row| row.note.as_str()));
    let mut out = String::new();
    for (line, note) in table.lines().zip(notes) {
        let _ = writeln!(out, "{line}");
        for line in note.lines() {
            // Rows for matrix.yaml stay whole.
            match line.contains("sha256:") {
                true => out.push_str(&format!("    {line}\n")),
                false => ui::wrap(&mut out, "    ", line),
            }
        }
    }
    if rows.iter().any(|row| row.pinned == BUILT) {
        ui::wrap(&mut out, "", &format!("`{BUILT}`: nothing is pinned, because this project builds it from source"));
    }
    out
}

fn ask(project: &Project, question: &Question) -> Result<Answer> {
    if project.fake {
        return Ok(Answer::default());
    }
    let python = project.tools()?.join("bin/python");
    let (shell, input) = (Shell::new()?, serde_json::to_string(question)?);
    let command = environment::apply(cmd!(shell, "{python} -c {QUERY}").quiet(), Purpose::Download);
    let said = project.ask("outdated", "ask the package index", command, &input)?;
    serde_json::from_str(&said).context("the output of the query with pip is not valid")
}
