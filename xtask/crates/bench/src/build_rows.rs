//! Measures the rows of `cargo xtask bench build`: alternating runs of this tool and the plain tools with the same
//! sources.

mod commands;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use xshell::{Cmd, Shell};

use crate::machine;
use crate::rows::{self, Built};
use crate::stats::{Sample, Samples};
use crate::this_tool::ThisTool;
use crate::timings::crates;
use crate::usual_tools::UsualTools;
use base::{proc, ui};
use build::Project;
use docker::Docker;
use matrix::select::{self, Selection};
use matrix::{BenchBuild, BenchRow, Measure};

/// Time limit of a single command.
pub const LIMIT: Duration = Duration::from_secs(2 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    ThisTool,
    UsualTools,
}

pub struct Bench<'a> {
    pub project: &'a Project,
    pub what: &'a BenchBuild,
    pub show: bool,
    /// Shell in the user's clone.
    pub shell: Shell,
    /// Projects with the two compared packages, and with all packages of the image.
    pub ours: ThisTool<'a>,
    pub whole: ThisTool<'a>,
    pub plain: UsualTools,
    /// Working copies of the packages in which a line is changed: of the crate, and of the application.
    pub crate_copy: PathBuf,
    pub application_copy: PathBuf,
    /// Whether the wheels are built and the source is unchanged since: for this tool, then for the plain tools.
    pub warm: [Cell<bool>; 2],
}

impl Bench<'_> {
    /// Measures all runs of a row, in pairs with alternating order.
    pub fn row(&self, row: &BenchRow, repeat: usize, docker: Option<&Docker>) -> Result<Samples> {
        let path = self.project.cache.log(&format!("bench-{}", row.row));
        let log = File::create(&path).with_context(|| format!("cannot write the log file `{}`", path.display()))?;
        let done = self.runs(row, repeat, &log);
        if let (Err(_), Some(docker)) = (&done, docker) {
            // Remove what an interrupted run left.
            for ours in [&self.ours, &self.whole] {
                let _ = docker.remove_leftovers(ours.cache_folder());
            }
        }
        done.map_err(|error| anyhow!("[{}] {error:#}{}\n    whole log: {}", row.row, last_lines(&path), path.display()))
    }

    fn runs(&self, row: &BenchRow, repeat: usize, log: &File) -> Result<Samples> {
        let say = |text: &str| self.project.ui.say(&format!("[bench] {}: {text}", row.row));
        say("prepares");
        let ready = self.prepare(row.measure, log)?;
        let mut samples = Samples::default();
        for pair in 0..repeat {
            let sides =
                if pair % 2 == 0 { [Side::ThisTool, Side::UsualTools] } else { [Side::UsualTools, Side::ThisTool] };
            for side in sides.into_iter().filter(|side| *side == Side::ThisTool || row.measure.compares()) {
                let commands = self.reset(row.measure, side, &ready, log)?;
                if self.show && pair == 0 {
                    commands.iter().for_each(|command| self.project.ui.say(&format!("    $ {command}")));
                }
                let load = machine::load();
                let before = machine::received();
                let mut seconds = 0.0;
                for command in commands {
                    seconds += proc::time(command, log, LIMIT, &self.project.cancel)?.as_secs_f64();
                }
                let (name, list) = match side {
                    Side::ThisTool => ("ours", &mut samples.ours),
                    Side::UsualTools => ("plain", &mut samples.plain),
                };
                let parts = match side {
                    Side::ThisTool => self.parts(row.measure)?,
                    Side::UsualTools => BTreeMap::new(),
                };
                if repeat < 10 {
                    say(&format!("{name} {} of {repeat}: {}", pair + 1, ui::seconds(seconds)));
                }
                let received = if rows::downloads(row.measure) {
                    before.zip(machine::received()).and_then(|(before, after)| after.checked_sub(before))
                } else {
                    None
                };
                list.push(Sample { seconds, load, parts, received });
            }
        }
        Ok(samples)
    }

    fn selection(&self, row: Measure) -> Result<Selection> {
        let list = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        match rows::built(row) {
            Built::MaturinWheels => {
                let maturin = rows::maturin(self.what)?;
                let abis: Vec<String> = maturin.abis.iter().map(|abi| abi.to_string()).collect();
                select::wheels(self.ours.matrix(), &abis, &list(&[&maturin.package]))
            }
            Built::ContainerWheel => {
                let container = rows::container(self.what)?;
                select::wheels(self.ours.matrix(), &list(&[&container.abi]), &list(&[&container.package]))
            }
            Built::BothWheels => {
                let abi = &rows::container(self.what)?.abi;
                select::wheels(self.ours.matrix(), &list(&[abi]), &[])
            }
            Built::Image | Built::ImageOfBoth => {
                select::images(self.ours(row).matrix(), &list(&[rows::image(self.what)?]))
            }
            Built::Nothing => Ok(Selection::default()),
        }
    }

    fn ours(&self, row: Measure) -> &ThisTool<'_> {
        if rows::built(row) == Built::Image { &self.whole } else { &self.ours }
    }

    /// Returns the durations of this tool's steps, if it executed any.
    fn parts(&self, row: Measure) -> Result<BTreeMap<String, f64>> {
        if row == Measure::Tool {
            return crates(&self.plain.path("xtask/cargo-timings/cargo-timing.html"));
        }
        if rows::is_cold(row) { self.ours(row).parts(row, &self.selection(row)?) } else { Ok(BTreeMap::new()) }
    }

    /// Runs commands that are not measured.
    fn all<'c>(&self, commands: impl IntoIterator<Item = Cmd<'c>>, log: &File) -> Result<()> {
        for command in commands {
            proc::time(command, log, LIMIT, &self.project.cancel)?;
        }
        Ok(())
    }
}

/// Returns the last lines of the output before a failure.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(25)).map(|line| format!("\n    | {line}")).collect()
}
