//! The results of the audit of a package, compared with its baseline, and whether the audit passes.

use anyhow::{Result, anyhow};

use crate::baseline::{Baseline, Compared, Review};
use crate::declared::Declared;
use crate::finding::Finding;
use crate::source;
use matrix::Package;

/// All that the audit says of a package.
pub struct Report<'p> {
    pub package: &'p Package,
    pub scanned: source::Scanned,
    pub baseline: Baseline,
    /// Name of the baseline file, for errors.
    pub baseline_file: Option<String>,
    pub declared: Vec<Declared>,
}

/// A report that was compared with its baseline.
pub struct Judged<'r> {
    pub report: &'r Report<'r>,
    /// One review per finding, in the order of the findings.
    pub reviews: Vec<Option<&'r Review>>,
    pub problems: Vec<String>,
}

pub fn judge<'r>(report: &'r Report<'r>) -> Judged<'r> {
    let (findings, version) = (&report.scanned.findings, report.package.version());
    let unreviewed = report.baseline == Baseline::default();
    let compared = match unreviewed {
        true => Compared { reviews: vec![None; findings.len()], problems: Vec::new() },
        false => report.baseline.compare(findings, &report.package.id, version),
    };
    Judged { report, reviews: compared.reviews, problems: compared.problems }
}

impl Judged<'_> {
    /// Findings with what the baseline says of them.
    pub fn findings(&self) -> impl Iterator<Item = (&Finding, Option<&Review>)> {
        self.report.scanned.findings.iter().zip(self.reviews.iter().copied())
    }

    pub fn unreviewed(&self) -> usize {
        self.reviews.iter().filter(|review| review.is_none()).count()
    }
}

/// Why an audit that has read nothing is an error: the wheel of the package has native code.
fn nothing_read(report: &Report) -> Option<String> {
    let Report { package, scanned, .. } = report;
    let platform = package.build.platform.as_deref();
    if platform == Some("any") || scanned.rust + scanned.c > 0 || !scanned.findings.is_empty() {
        return None;
    }
    let id = &package.id;
    let said = match platform {
        Some(platform) => {
            format!("no native source of `{id}` was read, but its wheel, for `{platform}`, has an extension module")
        }
        // A package without native code.
        None if scanned.left_out.is_empty() => return None,
        None => format!("no native source of `{id}` was read"),
    };
    if scanned.left_out.is_empty() {
        return Some(format!("{said}: the source has no file in a compiled language"));
    }
    let folders = scanned.left_out.iter().map(|left| format!("`{}` ({} files, {})", left.folder, left.files, left.why));
    let folders = folders.collect::<Vec<_>>().join(", ");
    Some(format!("{said}: native code is in {folders}; name what to audit in `audit.sources` in matrix.yaml"))
}

/// Whether a package has findings but no `audit` in `matrix.yaml`. It fails only an audit that was asked for by name, so
/// that a project can add packages before it audits them.
pub fn without_baseline(judged: &Judged) -> bool {
    judged.report.baseline_file.is_none() && judged.unreviewed() > 0
}

/// One error for all that must be done before the audit passes.
pub fn refuse<'j>(judged: impl Iterator<Item = &'j Judged<'j>>) -> Result<()> {
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
