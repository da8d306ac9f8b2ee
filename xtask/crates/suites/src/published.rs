//! Generates docs/verdicts.md from docs/verdicts.json, to which `test --write` adds records.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::result::{Case, counts_tests, is_series};
use super::table;
use base::labels;
use build::{cache, doctor};
use matrix::{GilState, InterpreterBuild, Matrix};

/// Recorded results of one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Date (UTC), as year, month and day.
    pub date: String,
    pub python: String,
    /// Whether the interpreter was compiled with PGO and LTO.
    pub optimized: bool,
    /// GIL state that was verified when the image was built.
    pub gil: GilState,
    /// Modules that enable the GIL, or would without `PYTHON_GIL=0`.
    pub undeclared: Vec<String>,
    /// Versions by package.
    pub packages: BTreeMap<String, String>,
    pub server: String,
    /// Number of processes per scenario.
    pub repeat: u32,
    /// Git revisions of the checkouts that contain the tests, by package.
    pub sources: BTreeMap<String, String>,
    pub cases: Vec<Case>,
}

/// Finished run of the suites, from which the [`ImageRecord`] of its image is created.
pub struct TestRun<'a> {
    /// Image in the engine. Its labels contain the results of the check at build time.
    pub found: &'a docker::Image,
    pub image: &'a matrix::Image,
    /// Version of the interpreter, with a `t` if it is free-threaded.
    pub python: String,
    pub server: String,
    /// Number of processes per scenario.
    pub repeat: u32,
    /// Git revisions of the checkouts that contain the tests, by package.
    pub sources: BTreeMap<String, String>,
    pub cases: &'a [Case],
}

impl ImageRecord {
    pub fn new(run: TestRun) -> Result<ImageRecord> {
        let TestRun { found, image, python, server, repeat, sources, cases } = run;
        let label = |name: &str| found.labels.get(name).cloned().unwrap_or_default();
        let version = |id: &str| label(&labels::wheel(id)).split(' ').next().unwrap_or_default().to_owned();
        Ok(ImageRecord {
            date: doctor::read_output("date", &["-u", "+%Y-%m-%d"])?.trim().to_owned(),
            python,
            optimized: InterpreterBuild::parse(&label(labels::INTERPRETER_BUILD))
                .is_some_and(InterpreterBuild::is_optimized),
            gil: image.gil,
            undeclared: label(labels::UNDECLARED).split_whitespace().map(str::to_owned).collect(),
            packages: image.packages.iter().map(|id| (id.to_string(), version(id))).collect(),
            server,
            repeat,
            sources,
            cases: cases.to_vec(),
        })
    }
}

/// Replaces the record of an image and regenerates the page.
pub fn publish(folder: &Path, matrix: &Matrix, tag: &str, record: ImageRecord) -> Result<()> {
    let (data, page) = (folder.join("docs/verdicts.json"), folder.join("docs/verdicts.md"));
    let mut records = read(&data)?;
    records.insert(tag.to_owned(), record);
    records.retain(|tag, _| matrix.image(tag).is_some());
    let mut text = serde_json::to_string_pretty(&records)?;
    text.push('\n');
    cache::write(&data, text.as_bytes())?;
    cache::write(&page, document(&records).as_bytes())
}

pub fn read(path: &Path) -> Result<BTreeMap<String, ImageRecord>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| {
            format!("`{}` is not a file written by `cargo xtask test --write`: remove it", path.display())
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

const HEAD: &str = "\
# Verdicts

Written by `cargo xtask test TAG --write` from `verdicts.json`, where each run is recorded: do not edit.

- **smoke**: what each client must be able to do at all. **upstream**: the package's own tests, against the
  installed wheel. **storm**: scenarios made to break native extensions, each in so many fresh processes.
- **bound**: the greatest failure rate at which as few failures would still be seen in one of twenty such
  series (Clopper and Pearson, one-sided 95 %). None of 25 is *not* never: it is less than 11.3 %.
- With the GIL on, a storm says nothing about running without it; it is the control.
";

/// Returns the complete page.
pub fn document(records: &BTreeMap<String, ImageRecord>) -> String {
    let mut out = HEAD.to_owned();
    for (tag, record) in records {
        let ImageRecord { date, python, optimized, gil, undeclared, packages, server, repeat, sources, cases } = record;
        let build = if *optimized { "" } else { " (plain -O3)" };
        let listed = |pairs: &BTreeMap<String, String>| {
            pairs.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(out, "\n## {tag}\n\nCPython {python}{build}, {}. {date}, server: {server}.", listed(packages));
        let _ = writeln!(out, "\nGIL: **{gil}**{}.", blame(*gil, undeclared));
        if !sources.is_empty() {
            let _ = writeln!(
                out,
                "The packages' own tests are those of: {}.{}",
                listed(sources),
                other_version(sources, packages)
            );
        }
        let _ = writeln!(out, "Processes for each scenario of the storm: {repeat}.\n");
        out.push_str("| suite | client | case | runs | failed | skipped | bound | verdict |\n");
        out.push_str("|---|---|---|---:|---:|---:|---:|---|\n");
        for case in cases {
            let Case { suite, client, name, runs, failed, skipped, .. } = case;
            let bound = table::rate(case);
            let verdict = verdict(case, *gil);
            let _ =
                writeln!(out, "| {suite} | {client} | {name} | {runs} | {failed} | {skipped} | {bound} | {verdict} |");
        }
    }
    out
}

/// Tests of another version may fail because the package changed, which is not a thread-safety problem.
fn other_version(sources: &BTreeMap<String, String>, packages: &BTreeMap<String, String>) -> &'static str {
    let same = |(id, revision): (&String, &String)| packages.get(id).is_some_and(|version| revision.contains(version));
    if sources.iter().all(same) {
        return "";
    }
    " This is not the installed version: a failure may be due to changes of the package's API."
}

fn blame(gil: GilState, undeclared: &[String]) -> String {
    let names = base::ui::quoted(undeclared);
    match gil {
        GilState::ForcedOff => format!(" by `PYTHON_GIL=0`; {names} would enable it"),
        GilState::On if !undeclared.is_empty() => format!(", enabled by {names}"),
        GilState::On => ": this interpreter always has a GIL".to_owned(),
        GilState::Off => ": every module declares that it runs without".to_owned(),
    }
}

fn verdict(case: &Case, gil: GilState) -> String {
    // A `|` would end the table cell.
    let said: String = case.said.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().take(200).collect();
    match &case.fix {
        Some(fix) => format!("known: {said}; {fix}"),
        None if case.untested => format!("**nothing was tested**: {said}"),
        None if case.failed > 0 => format!("**failed**: {said}"),
        None if case.known => "the known crash was not seen".to_owned(),
        None if case.skipped == case.runs => format!("skipped: {said}"),
        None if is_series(&case.suite) && gil == GilState::On && !case.without_gil => "ok (control)".to_owned(),
        None if counts_tests(&case.suite) && case.skipped > 0 => "ok but for what was skipped".to_owned(),
        None => "ok".to_owned(),
    }
}
