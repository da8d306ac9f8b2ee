//! `cargo xtask check`: says whether wheels of distributions exist for an ABI, and with `--prove` what they do with the
//! GIL.

mod input;
mod judge;
mod locked;
mod lookup;
mod print;
mod prove;
mod requirements;
mod resolve;
mod target;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base::ui;
use build::index::{self, ProjectFiles};
use build::{Project, build_system};
use clap::{Args, ValueEnum};

use judge::{Row, SdistContents};
use lookup::Lookup;
use prove::{ProveOptions, ProvenImage};
use target::CheckTarget;
use wanted::WantedDistribution;

/// Maximum size of a source distribution that is downloaded to say how it is built, in bytes.
const LARGEST_SDIST: u64 = 8 << 20;

/// Options of `cargo xtask check`.
#[derive(Debug, Args)]
pub struct Options {
    /// Requirements file, pylock.toml, uv.lock, or a name with an optional version: `numpy`, `numpy==2.4.0`. Of names and
    /// requirements files, only what is listed is checked, not what it depends on; lock files list everything
    #[arg(required = true, value_name = "FILE|NAME[==VERSION]")]
    what: Vec<String>,
    /// ABI to check for (repeatable); default: the free-threaded ABIs of matrix.yaml, else cp314t
    #[arg(long = "abi", value_name = "ABI")]
    abis: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Also build what has no wheel, install everything in an image, with all that it depends on, and say which modules
    /// switch the GIL on
    #[arg(long)]
    prove: bool,
    /// With --prove: install and start what is missing with apt, as root or with sudo
    #[arg(long, requires = "prove")]
    yes: bool,
    /// With --prove: build the interpreter and the wheels faster, for trying out
    #[arg(long, requires = "prove")]
    quick: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Distributions that are wanted for a target, with what the index says about them.
struct Checked {
    target: CheckTarget,
    rows: Vec<Row>,
    proof: Option<ProvenImage>,
}

/// Runs `cargo xtask check`.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let mut wanted: Vec<(CheckTarget, Vec<WantedDistribution>)> = Vec::new();
    let mut partial = false;
    for target in target::targets(&project.matrix, &options.abis)? {
        if options.prove {
            prove::check_abi(&target.abi)?;
        }
        let found = input::read(&options.what, &target)?;
        found.notes.iter().filter(|_| wanted.is_empty()).for_each(|note| project.ui.say(note));
        let complete = options.prove && found.partial && !found.wanted.is_empty();
        let distributions = if complete { resolve::resolve(project, &found.wanted, &target)? } else { found.wanted };
        partial |= found.partial && !complete;
        wanted.push((target, distributions));
    }
    let needs_index = wanted.iter().flat_map(|(_, wanted)| wanted).any(|wanted| wanted.on_index().is_some());
    let url = if needs_index { index::index_url(Path::new("python3"))? } else { String::new() };
    let lookup = Lookup { project, url: &url };
    let mut checked = check(&lookup, wanted)?;
    // What is known is printed also if the proof fails.
    let proven = if options.prove { prove_all(project, &mut checked, options) } else { Ok(()) };
    ui::print_result(&match options.format {
        Format::Text => print::text(&checked, partial),
        Format::Json => format!("{:#}\n", print::json(&checked)),
    })?;
    proven.context("the proof failed")?;
    let missing: Vec<String> = checked.iter().filter_map(print::missing).collect();
    if !missing.is_empty() {
        bail!(missing.join("; "));
    }
    Ok(())
}

fn prove_all(project: &Project, checked: &mut [Checked], options: &Options) -> Result<()> {
    for checked in checked {
        let options = ProveOptions { yes: options.yes, quick: options.quick };
        checked.proof = Some(prove::prove(project, checked, options)?);
    }
    Ok(())
}

/// Asks the index for each distribution, and reads the sources of those without a wheel.
fn check(lookup: &Lookup, wanted: Vec<(CheckTarget, Vec<WantedDistribution>)>) -> Result<Vec<Checked>> {
    let mut names: Vec<&str> =
        wanted.iter().flat_map(|(_, wanted)| wanted).filter_map(WantedDistribution::on_index).collect();
    names.sort_unstable();
    names.dedup();
    let pages = lookup.each(&format!("look up distributions ({})", names.len()), &names, |index, name| {
        let files = index.project(name).with_context(|| format!("cannot look up `{name}` on the package index"))?;
        Ok(((*name).to_owned(), files))
    })?;
    let pages: BTreeMap<String, Option<ProjectFiles>> = pages.into_iter().collect();

    let mut checked: Vec<Checked> = Vec::new();
    for (target, wanted) in wanted {
        let page = |wanted: &WantedDistribution| wanted.on_index().and_then(|name| pages.get(name)?.as_ref());
        let rows = wanted.iter().map(|wanted| judge::row(wanted, page(wanted), &target)).collect();
        checked.push(Checked { target, rows, proof: None });
    }

    let all = checked.iter_mut().flat_map(|checked| &mut checked.rows);
    let mut built: Vec<&mut Row> = all.filter(|row| row.cheap_sdist(LARGEST_SDIST).is_some()).collect();
    let sdists: Vec<_> = built.iter().filter_map(|row| row.cheap_sdist(LARGEST_SDIST).cloned()).collect();
    let systems = lookup.each(&format!("read source distributions ({})", sdists.len()), &sdists, |index, sdist| {
        let path = index.scratch.join("sdist");
        index.download(sdist, &path)?;
        // A faulty source is a fault of that distribution, and no reason to stop.
        Ok(build_system::of_sdist(&path).map_err(|error| format!("{error:#}")))
    })?;
    for (row, system) in built.iter_mut().zip(systems) {
        row.source = Some(system.map_or_else(SdistContents::Unreadable, SdistContents::Read));
    }
    Ok(checked)
}
