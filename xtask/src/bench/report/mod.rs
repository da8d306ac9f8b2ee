//! `cargo xtask bench report`: a folder of results drawn again, or two of them held against each other.

mod clients;
mod compare;
mod method;
mod page;
mod results;
mod svg;
mod view;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::figures::Figures;
use super::record::Record;
use crate::{Wrong, cache, ui};
use page::Page;

#[derive(Debug, Args)]
pub struct Options {
    /// A folder that `bench serve` has written; with --compare two, the older first
    #[arg(required = true, num_args = 1..=2, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Say what is worse in the second folder than in the first, and fail if anything is
    #[arg(long)]
    compare: bool,
}

pub fn run(options: &Options) -> Result<()> {
    match (options.folders.as_slice(), options.compare) {
        ([one], false) => {
            draw(one)?;
            ui::out(&format!("{}\n{}\n", one.join("report.md").display(), one.join("report.html").display()))
        }
        ([old, new], true) => compare::run(old, new),
        _ => Err(anyhow!(Wrong("name one folder, or two with --compare".to_owned()))),
    }
}

/// Writes `report.md` with its charts, and `report.html`.
pub fn draw(folder: &Path) -> Result<()> {
    let record = Record::read(folder)?;
    let page = page(&record, &Figures::of(&record, folder)?);
    let charts = folder.join("charts");
    fs::create_dir_all(&charts).with_context(|| format!("cannot make `{}`", charts.display()))?;
    for chart in page.charts() {
        cache::write(&charts.join(format!("{}.svg", chart.name)), chart.svg.as_bytes())?;
    }
    cache::write(&folder.join("report.md"), page.markdown().as_bytes())?;
    cache::write(&folder.join("report.html"), page.html().as_bytes())
}

fn page(record: &Record, figures: &Figures) -> Page {
    let mut banner = Vec::new();
    if record.server.standin {
        banner
            .push("STAND-IN SERVER: its speed says nothing about a real one, nor do latencies measured with it".into());
    }
    banner.extend(record.incomplete().map(|why| format!("INCOMPLETE: {why}")));
    let mut sections = vec![method::warnings(record, figures)];
    sections.extend(results::sections(record, figures));
    sections.extend(method::sections(record));
    Page { title: format!("Serving with and without the GIL, {}", record.when), banner, sections }
}

#[cfg(test)]
mod tests;
