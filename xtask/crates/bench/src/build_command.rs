//! The command `cargo xtask bench build`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use clap::Args;
use xshell::Shell;

use crate::build_rows::Bench;
use crate::machine::{self, file_time};
use crate::rows;
use crate::stats::Samples;
use crate::table;
use crate::this_tool::ThisTool;
use crate::usual_tools::{self, UsualTools};
use crate::work::Work;
use base::{UsageError, ui};
use build::{Project, provision};
use matrix::{BenchRow, Word};

#[derive(Debug, Args)]
pub struct Options {
    /// Only this row (repeatable)
    #[arg(long = "row", value_name = "ROW")]
    rows: Vec<String>,
    /// Number of runs of each side of a row
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
    /// Write the table to docs/performance.md
    #[arg(long)]
    write: bool,
    /// Print each command before it is measured
    #[arg(long)]
    show: bool,
    /// Install and start what is missing with apt, as root or with sudo
    #[arg(long)]
    yes: bool,
}

pub fn build(project: &Project, options: &Options) -> Result<()> {
    let what = project.matrix.bench.as_ref().and_then(|bench| bench.build.as_ref()).ok_or_else(|| {
        anyhow!(UsageError("matrix.yaml has no `bench.build`, which says what stands for all others".to_owned()))
    })?;
    let rows = rows::choose(what, &options.rows)?;
    let pair: Vec<&Word> = what.packages().collect();
    for package in &pair {
        if project.matrix.package(package).is_none_or(|package| package.version().is_none()) {
            let message = format!("`{package}` is a working copy: only a pinned sdist is the same on both sides");
            return Err(anyhow!(UsageError(message)));
        }
    }
    let document = project.folder.join("docs/performance.md");
    if options.write {
        // Before hours of measurements, not after them.
        table::parts(&document).map_err(|error| anyhow!(UsageError(format!("`--write` has no place: {error:#}"))))?;
    }
    let repeat = usize::from(options.repeat);
    announce(project, &rows, repeat);

    let engine = rows.iter().any(|row| rows::needs_docker(row.measure));
    let programs: &[_] = if engine { &[("docker", "docker.io"), ("mmdebstrap", "mmdebstrap")] } else { &[] };
    let needs = provision::Needs { platform: project.matrix.platform, docker: engine, programs, bootstrap: &|_| false };
    let docker = provision::prepare(&needs, options.yes, &project.cache, &project.ui, &project.cancel)?;
    let client = if engine { Some(usual_tools::docker_client()?) } else { None };
    let machine = machine::describe(&project.matrix);
    let when = machine::when(&project.folder)?;

    let folder = project.cache.state("bench")?;
    let waiting = || project.ui.say("[bench] waits until another bench has ended");
    let _lock = project.cache.lock("bench.lock", &project.cancel, waiting)?;
    // A separate name, so that the user's images are neither reused nor replaced.
    let name = format!("{}-bench", project.matrix.name);
    let work = Work::new(folder.join("work"), client.clone(), name.clone())?;
    let shell = Shell::new()?;
    shell.change_dir(&project.folder);
    let ids = |words: &[&Word]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    let image = what.image.as_ref().and_then(|tag| project.matrix.image(tag));
    let all = image.map_or_else(|| ids(&pair), |image| ids(&image.packages.iter().collect::<Vec<_>>()));
    let pair = ids(&pair);
    let bench = Bench {
        project,
        what,
        show: options.show,
        shell,
        ours: ThisTool::new(project, what, docker.as_ref(), &work, pair)?,
        whole: ThisTool::new(project, what, docker.as_ref(), &work, all)?,
        plain: UsualTools::new(work.folder.join("plain"), client, name, project.matrix.platform)?,
        crate_copy: work.folder.join("crate"),
        application_copy: work.folder.join("application"),
        warm: [Cell::new(false), Cell::new(false)],
    };
    let raw = folder.join(format!("build-{}.json", file_time()?));
    let mut measured = Vec::new();
    for row in rows {
        let samples = bench.row(&row, rows::runs(row.measure, repeat), docker.as_ref())?;
        measured.push((row, samples));
        // After each row, because a later one may fail or be interrupted.
        keep(&raw, &machine, &when, &measured)?;
        if options.write {
            table::write(&document, &what.rows, &measured, &machine, &when)?;
        }
    }
    ui::print_result(&table::text(&measured))?;
    project.ui.say(&format!("[bench] {machine} {when}"));
    project.ui.say(&format!("[bench] all samples: {}", raw.display()));
    Ok(())
}

/// Prints the rows and their approximate duration.
fn announce(project: &Project, rows: &[BenchRow], repeat: usize) {
    for row in rows {
        let sides = if row.measure.compares() { "ours and plain in turn" } else { "ours alone" };
        project.ui.say(&format!(
            "[bench] {}: {} runs, {sides}: {}",
            row.row,
            rows::runs(row.measure, repeat),
            rows::work(row.measure)
        ));
    }
    let minutes: usize = rows.iter().map(|row| row.minutes as usize * repeat).sum();
    let minutes = minutes.max(1);
    project.ui.say(&format!(
        "[bench] about {minutes} min on two cores with nothing else to do, and what must be prepared; Ctrl-C ends it"
    ));
}

fn keep(raw: &Path, machine: &str, when: &str, measured: &[(BenchRow, Samples)]) -> Result<()> {
    let rows: BTreeMap<&str, &Samples> = measured.iter().map(|(row, samples)| (&*row.row, samples)).collect();
    let text = serde_json::json!({ "machine": machine, "when": when, "rows": rows });
    build::cache::write(raw, format!("{text:#}\n").as_bytes())
}
