//! `cargo xtask bench report`: regenerates the report of a result folder, or compares two folders.

mod clients;
mod compare;
mod findings;
mod flames;
mod html;
mod method;
mod migration;
mod page;
mod profiles;
mod results;
mod scaling;
mod svg;
mod varied;
mod view;
mod why;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::figures::{Figures, Subject};
use crate::record::Record;
use crate::scaling::{Curve, curves};
use base::{UsageError, ui};
use build::cache;
use page::{Block, Page, Section};
use profiles::Profiled;
use view::View;

#[derive(Debug, Args)]
pub struct Options {
    /// Result folder written by `bench serve`; with --compare two folders, the older first
    #[arg(required = true, num_args = 1..=2, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Compare two folders; fail if the second is worse than the first
    #[arg(long)]
    compare: bool,
}

pub fn run(options: &Options) -> Result<()> {
    match (options.folders.as_slice(), options.compare) {
        ([one], false) => {
            let failed = draw(one)?;
            ui::print_result(&failed.map(|line| format!("warning: {line}\n")).unwrap_or_default())?;
            ui::print_result(&format!("{}\n{}\n", one.join("report.md").display(), one.join("report.html").display()))
        }
        ([old, new], true) => compare::run(old, new),
        _ => Err(anyhow!(UsageError("specify one folder, or two with --compare".to_owned()))),
    }
}

/// Writes `report.md` with its charts and `report.html`. Returns where more requests failed than succeeded.
pub fn draw(folder: &Path) -> Result<Option<String>> {
    let record = Record::read(folder)?;
    let figures = Figures::of(&record, folder)?;
    let curves = if record.scale.is_some() { curves(&record, folder)? } else { Vec::new() };
    let profiles = profiles::read(folder, &record)?;
    let page = page(&record, &figures, &curves, &profiles);
    let charts = folder.join("charts");
    fs::create_dir_all(&charts).with_context(|| format!("cannot create `{}`", charts.display()))?;
    for chart in page.charts() {
        cache::write(&charts.join(format!("{}.svg", chart.name)), chart.svg.as_bytes())?;
    }
    cache::write(&folder.join("report.md"), page.markdown().as_bytes())?;
    cache::write(&folder.join("report.html"), html::html(&page).as_bytes())?;
    Ok(mostly_errors(&record, &figures))
}

/// Returns where more requests failed than succeeded; `None` if nowhere.
fn mostly_errors(record: &Record, figures: &Figures) -> Option<String> {
    let mut found = Vec::new();
    for config in &record.configs {
        for (client, scenario) in
            config.asked.clients.iter().flat_map(|client| record.load.scenarios.iter().map(move |one| (client, one)))
        {
            let subject = Subject::new(&config.asked.id, client, scenario);
            let (good, bad) = (
                figures.latencies.get(&subject).map_or(0, Vec::len),
                figures.get(&subject, "errors").iter().sum::<f64>(),
            );
            if bad > good as f64 {
                let all = bad + good as f64;
                found.push(format!("{}, {client}, {scenario} ({bad} of {all} requests)", config.asked.id));
            }
        }
    }
    (!found.is_empty()).then(|| format!("more errors than successes in {}", found.join("; ")))
}

fn page(record: &Record, figures: &Figures, curves: &[Curve], profiles: &[Profiled]) -> Page {
    let mut banner = Vec::new();
    let failed = mostly_errors(record, figures);
    // The title is the first line in all formats of the report.
    let title = match &failed {
        Some(_) => "More errors than successes: serving with and without the GIL",
        None => "Serving with and without the GIL",
    };
    banner.extend(failed.map(|line| format!("ERRORS: {line}")));
    if record.server.standin {
        banner
            .push("STAND-IN SERVER: its speed says nothing about a real one, nor do latencies measured with it".into());
    }
    banner.extend(record.incomplete().map(|why| format!("INCOMPLETE: {why}")));
    let (mut sections, mut appendix) = match record.scale {
        None => (results::sections(record, figures), results::appendix(record, figures)),
        Some(_) => (scaling::scaling(record, curves).into_iter().collect(), Vec::new()),
    };
    sections.extend(profiles::section_of(record, profiles));
    sections.push(method::warnings(record, figures));
    sections.extend(View { record, figures }.migration());
    appendix.extend(method::sections(record));
    let said = "All figures, the tests of significance, the conditions and the runs.".to_owned();
    sections.push(Section::new("Appendix", vec![Block::Text(said)]));
    sections.extend(appendix.into_iter().map(Section::folded));
    Page { title: title.to_owned(), lead: lead(record), banner, sections }
}

/// Says what was measured, where and when.
fn lead(record: &Record) -> String {
    let Record { when, load, server, machine, configs, .. } = record;
    let users = match record.scale {
        None => format!(" with {} users", load.vus),
        Some(_) => String::new(),
    };
    format!(
        "Measured on {when}. {} runs of {} configurations, {} s for each scenario{users}. Server: {}. Machine: {machine}",
        record.complete().count(),
        configs.len(),
        load.seconds,
        server.kind
    )
}

#[cfg(test)]
mod tests;
