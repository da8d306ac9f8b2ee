//! Looks through a package's native code for what the GIL used to hide, and refuses what nobody has reviewed.
//!
//! `docs/audit.md` and [`rules`] say what is looked for; `docs/audit/` has what was found, and why it is sound or not.

mod baseline;
mod c;
mod choice;
mod declared;
mod language;
mod rules;
mod rust;
mod sarif;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use base::{UsageError, ui};
use baseline::{Baseline, Review};
use build::{Project, cache};
use choice::LeftOut;
use declared::Declared;
use matrix::select;
use matrix::{Audit, Package};
use rules::Rule;

/// What stands for a function outside of any.
const FILE_LEVEL: &str = "(file)";

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Only this package (repeatable)
    #[arg(long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Output format; `sarif` is the format of code scanning services such as GitHub's
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show findings without a problem too, and list reviewed findings one by one instead of in groups
    #[arg(long)]
    all: bool,
    /// Update the baselines; new findings are added without a verdict, which a reviewer then fills in
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
    Sarif,
}

/// What a scanner has found, in the file that it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    rule: &'static Rule,
    /// From 1.
    line: usize,
    /// From 1.
    column: usize,
    /// The function around it, or [`FILE_LEVEL`].
    function: String,
    /// The code itself, without comments and white space that does not matter.
    snippet: String,
    /// What the rule's title does not say.
    note: String,
}

/// A finding that can be recognised.
#[derive(Debug, Clone)]
pub struct Finding {
    file: String,
    found: Found,
    /// Of rule, file, function and code.
    print: String,
}

/// Gives what was found in a file its fingerprints.
fn identified(file: &str, found: Vec<Found>) -> Vec<Finding> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let identify = |found: Found| {
        let equal = seen.entry(source::print(&found, file, 0)).or_default();
        let print = source::print(&found, file, *equal);
        *equal += 1;
        Finding { file: file.to_owned(), found, print }
    };
    found.into_iter().map(identify).collect()
}

/// All that the audit says of a package.
struct Report<'p> {
    package: &'p Package,
    scanned: source::Scanned,
    baseline: Baseline,
    /// What errors call it.
    baseline_file: Option<String>,
    declared: Vec<Declared>,
}

/// A report with the baseline's answers.
struct Judged<'r> {
    report: &'r Report<'r>,
    /// Of each finding, in their order.
    reviews: Vec<Option<&'r Review>>,
    problems: Vec<String>,
}

pub fn run(project: &Project, asked: &Options) -> Result<()> {
    let packages = select::packages(&project.matrix, &asked.packages)?;
    let sources = source::of(project, &packages)?;
    let mut reports = Vec::new();
    for (package, source) in packages.into_iter().zip(&sources) {
        let audit = package.audit.as_ref();
        let folders: Vec<String> = audit.iter().flat_map(|audit| &audit.sources).map(|one| one.to_string()).collect();
        let scanned = source.scan(&folders).with_context(|| format!("cannot audit `{}`", package.id))?;
        project.cancel.check()?;
        let (baseline, baseline_file) = read(project, audit)?;
        let declared = declared::of(project, package)?;
        let mut report = Report { package, scanned, baseline, baseline_file, declared };
        if asked.write {
            write(project, &mut report)?;
        }
        reports.push(report);
    }
    let judged: Vec<Judged> = reports.iter().map(judge).collect();
    match asked.format {
        Format::Table => ui::print_result(&table::text(&judged, asked.all))?,
        Format::Json => ui::print_result(&format!("{:#}\n", document(&judged)))?,
        Format::Sarif => ui::print_result(&format!("{:#}\n", sarif::document(&judged)))?,
    }
    refuse(&judged)
}

fn read(project: &Project, audit: Option<&Audit>) -> Result<(Baseline, Option<String>)> {
    let Some(Audit { baseline: file, .. }) = audit else { return Ok((Baseline::default(), None)) };
    let path = project.folder.join(&**file);
    // Without a file nothing was reviewed: each finding is new.
    if !path.exists() {
        return Ok((Baseline::default(), Some(file.to_string())));
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let baseline = Baseline::parse(&text, file).map_err(|error| anyhow!(UsageError(format!("{error:#}"))))?;
    Ok((baseline, Some(file.to_string())))
}

fn write(project: &Project, report: &mut Report) -> Result<()> {
    let id = &report.package.id;
    let Some(file) = &report.baseline_file else {
        if report.scanned.findings.is_empty() {
            return Ok(());
        }
        return Err(anyhow!(UsageError(format!(
            "`{id}` has findings and no baseline: add `audit: {{baseline: docs/audit/{id}.yaml}}` to it in matrix.yaml"
        ))));
    };
    let path = project.folder.join(file);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    report.baseline = report.baseline.renewed(&report.scanned.findings, id, report.package.version());
    cache::write(&path, report.baseline.write().as_bytes())?;
    project.ui.say(&format!("[audit] wrote {file}"));
    Ok(())
}

fn judge<'r>(report: &'r Report<'r>) -> Judged<'r> {
    let (findings, version) = (&report.scanned.findings, report.package.version());
    let unreviewed = report.baseline == Baseline::default();
    let compared = match unreviewed {
        true => baseline::Compared { reviews: vec![None; findings.len()], problems: Vec::new() },
        false => report.baseline.compare(findings, &report.package.id, version),
    };
    Judged { report, reviews: compared.reviews, problems: compared.problems }
}

impl Judged<'_> {
    /// Findings with what the baseline says of them.
    fn findings(&self) -> impl Iterator<Item = (&Finding, Option<&Review>)> {
        self.report.scanned.findings.iter().zip(self.reviews.iter().copied())
    }

    fn unreviewed(&self) -> usize {
        self.reviews.iter().filter(|review| review.is_none()).count()
    }
}

/// Why an audit that has read nothing is an error: the wheel of the package has native code.
fn nothing_read(report: &Report) -> Option<String> {
    let Report { package, scanned, .. } = report;
    if &*package.build.platform == "any" || scanned.rust + scanned.c > 0 || !scanned.findings.is_empty() {
        return None;
    }
    let id = &package.id;
    let platform = &package.build.platform;
    let said = format!("no native source of `{id}` was read, but its wheel, for `{platform}`, has an extension module");
    if scanned.left_out.is_empty() {
        return Some(format!("{said}: the source has no file in a compiled language"));
    }
    let folders = scanned.left_out.iter().map(|left| format!("`{}` ({} files, {})", left.folder, left.files, left.why));
    let folders = folders.collect::<Vec<_>>().join(", ");
    Some(format!("{said}: native code is in {folders}; name what to audit in `audit.sources` in matrix.yaml"))
}

/// One error for all that must be done before the audit passes.
fn refuse(judged: &[Judged]) -> Result<()> {
    let mut said = Vec::new();
    for judged in judged {
        let (id, new) = (&judged.report.package.id, judged.unreviewed());
        let file = judged.report.baseline_file.as_deref();
        said.extend(nothing_read(judged.report));
        if new > 0 {
            let how = match file {
                Some(file) => format!("review them; `cargo xtask audit --package {id} --write` adds them to {file}"),
                None => format!("name a baseline for it, `audit: {{baseline: docs/audit/{id}.yaml}}` in matrix.yaml"),
            };
            said.push(format!("`{id}` has {new} findings that nobody has reviewed: {how}"));
        }
        let problems = &judged.problems;
        if let Some(first) = problems.first() {
            let file = file.unwrap_or("the baseline");
            let more = if problems.len() > 1 { format!(", and {} more", problems.len() - 1) } else { String::new() };
            said.push(format!("{file}: {first}{more}"));
        }
    }
    if said.is_empty() { Ok(()) } else { Err(anyhow!(said.join("; "))) }
}

/// `{"schema": 1, "packages": [{package, version, baseline, files, left_out, findings, declared, problems}]}`.
fn document(judged: &[Judged]) -> Value {
    let packages = judged.iter().map(|judged| {
        let report = judged.report;
        let findings = judged.findings().map(|(finding, review)| {
            let found = &finding.found;
            json!({
                "rule": found.rule.id,
                "level": found.rule.level.word(),
                "file": finding.file,
                "line": found.line,
                "column": found.column,
                "function": found.function,
                "code": found.snippet,
                "note": found.note,
                "fingerprint": finding.print,
                "verdict": review.map_or("new", |review| review.verdict.word()),
                "reviewed": review.map(|review| review.reviewed),
                "reason": review.map(|review| &review.reason),
            })
        });
        json!({
            "package": &*report.package.id,
            "version": report.package.version(),
            "baseline": report.baseline_file,
            "files": {"rust": report.scanned.rust, "c": report.scanned.c, "unread": report.scanned.unread},
            "left_out": report.scanned.left_out.iter().map(LeftOut::json).collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
            "declared": report.declared.iter().map(Declared::json).collect::<Vec<_>>(),
            "problems": judged.problems,
        })
    });
    json!({"schema": 1, "packages": packages.collect::<Vec<_>>()})
}
