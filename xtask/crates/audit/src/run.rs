//! The command `cargo xtask audit`.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};

use crate::baseline::Baseline;
use crate::report::{Judged, Report, judge, refuse, without_baseline};
use crate::{declared, json, sarif, source, table};
use base::{UsageError, ui};
use build::{Project, cache};
use matrix::Audit;
use matrix::select;

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
        Format::Json => ui::print_result(&format!("{:#}\n", json::document(&judged)))?,
        Format::Sarif => ui::print_result(&format!("{:#}\n", sarif::document(&judged)))?,
    }
    let by_name = !asked.packages.is_empty();
    let (optional, required): (Vec<_>, Vec<_>) = judged.iter().partition(|one| !by_name && without_baseline(one));
    if !optional.is_empty() {
        project.ui.say(&format!(
            "[audit] not required to be reviewed, because matrix.yaml has no `audit` for {}",
            ui::quoted(optional.iter().map(|one| &one.report.package.id))
        ));
    }
    refuse(required.into_iter())
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
