//! Measures the rows of `cargo xtask bench build`: alternating runs of this tool and the plain tools with the same
//! sources.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use xshell::{Cmd, Shell, cmd};

use crate::machine::{self, file_time};
use crate::rows;
use crate::stats::{Sample, Samples};
use crate::this_tool::{Ready, ThisTool};
use crate::timings::crates;
use crate::usual_tools::UsualTools;
use crate::work::quietly;
use base::environment::{self, Purpose};
use base::{proc, ui};
use build::Project;
use docker::Docker;
use matrix::select::{self, Selection};
use matrix::{Abi, BenchBuild, BenchRow, Measure};

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
    /// Working copy of the package in which one line is changed.
    pub copy: PathBuf,
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
                list.push(Sample { seconds, load, parts });
            }
        }
        Ok(samples)
    }

    fn selection(&self, row: Measure) -> Result<Selection> {
        let list = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        match row {
            Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine => {
                let maturin = rows::maturin(self.what)?;
                let abis: Vec<String> = maturin.abis.iter().map(|abi| abi.to_string()).collect();
                select::wheels(self.ours.matrix(), &abis, &list(&[&maturin.package]))
            }
            Measure::ContainerCold | Measure::ContainerUnchanged => {
                let container = rows::container(self.what)?;
                select::wheels(self.ours.matrix(), &list(&[&container.abi]), &list(&[&container.package]))
            }
            Measure::ImageCold | Measure::ImageUnchanged | Measure::Everything => {
                select::images(self.ours(row).matrix(), &list(&[rows::image(self.what)?]))
            }
            Measure::Plan | Measure::Tool => Ok(Selection::default()),
        }
    }

    fn ours(&self, row: Measure) -> &ThisTool<'_> {
        match row {
            Measure::ImageCold | Measure::ImageUnchanged => &self.whole,
            _ => &self.ours,
        }
    }

    /// Executes everything that is not measured.
    fn prepare(&self, row: Measure, log: &File) -> Result<Option<Ready>> {
        self.ours(row).lay_out(&[], "")?;
        if !row.compares() {
            return Ok(None);
        }
        let ready = self.ours(row).prepare(row, &self.selection(row)?)?;
        let source = self.plain.source();
        match row {
            Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine | Measure::Everything => {
                if !source.exists() {
                    let sdist = ready.files(&format!("sdist-{}", rows::maturin(self.what)?.package))?;
                    let (_, sdist) = sdist.first().context("an sdist of no file: this is a bug")?;
                    self.all([self.plain.unpack(sdist, &source)?, self.plain.unpack(sdist, &self.copy)?], log)?;
                    self.all([self.plain.fetch_crates()], log)?;
                }
                if matches!(row, Measure::MaturinUnchanged | Measure::MaturinOneLine) {
                    for side in [Side::ThisTool, Side::UsualTools] {
                        if !self.warm[side as usize].get() {
                            self.all(self.wheels(side, &ready)?, log)?;
                            self.warm[side as usize].set(true);
                        }
                    }
                }
            }
            Measure::ContainerCold | Measure::ContainerUnchanged => {
                self.quietly(&["rm", "--force", &self.plain.container()]);
                self.all(self.plain.start_container(self.what, &ready, self.ours.matrix())?, log)?;
                if row == Measure::ContainerUnchanged {
                    self.all(self.container(Side::ThisTool)?, log)?;
                    self.all(self.container(Side::UsualTools)?, log)?;
                }
            }
            Measure::ImageUnchanged => {
                self.all(self.image(row, Side::ThisTool, &ready)?, log)?;
                self.all(self.image(row, Side::UsualTools, &ready)?, log)?;
            }
            Measure::ImageCold | Measure::Plan | Measure::Tool => {}
        }
        Ok(Some(ready))
    }

    /// Resets one side to the state in which the row starts, and returns the commands to measure.
    fn reset(&self, row: Measure, side: Side, ready: &Option<Ready>, log: &File) -> Result<Vec<Cmd<'_>>> {
        let Some(ready) = ready else { return self.alone(row) };
        let selection = self.selection(row)?;
        let nonce = format!("{}-{}", std::process::id(), file_time()?);
        match (row, side) {
            (Measure::MaturinCold, _) => {
                match side {
                    Side::ThisTool => self.ours.forget(row, &selection)?,
                    Side::UsualTools => self.plain.forget(&["target", "wheels"])?,
                }
                // Set early: a failed run ends the benchmark.
                self.warm[side as usize].set(true);
                self.wheels(side, ready)
            }
            (Measure::MaturinUnchanged, _) => self.wheels(side, ready),
            (Measure::MaturinOneLine, _) => {
                let folder = if side == Side::ThisTool { self.copy.clone() } else { self.plain.source() };
                change(&folder.join(&*rows::maturin(self.what)?.touch))?;
                if side == Side::UsualTools {
                    return self.wheels(side, ready);
                }
                let matrix = self.ours.with_working_copy(&rows::maturin(self.what)?.package, &self.copy)?;
                Ok(vec![self.our_wheels(&matrix)?])
            }
            (Measure::ContainerCold | Measure::ContainerUnchanged, Side::ThisTool) => {
                if row == Measure::ContainerCold {
                    self.ours.forget(row, &selection)?;
                }
                self.container(side)
            }
            (Measure::ContainerCold | Measure::ContainerUnchanged, Side::UsualTools) => {
                self.all([self.plain.forget_wheels(row == Measure::ContainerCold)], log)?;
                self.container(side)
            }
            (Measure::ImageCold, Side::ThisTool) => {
                self.whole.lay_out(&["image.Dockerfile"], &nonce)?;
                self.image(row, side, ready)
            }
            (Measure::ImageCold | Measure::ImageUnchanged, _) => self.image(row, side, ready),
            (Measure::Everything, Side::ThisTool) => {
                self.ours.forget(row, &selection)?;
                self.warm[Side::ThisTool as usize].set(false);
                let all = ["builder.Dockerfile", "python.Dockerfile", "base.Dockerfile", "image.Dockerfile"];
                self.ours.lay_out(&all, &nonce)?;
                self.image(row, side, ready)
            }
            (Measure::Everything, Side::UsualTools) => {
                self.plain.forget(&["everything-target", "runtime"])?;
                self.plain.everything(self.what, ready, self.ours.matrix())
            }
            (Measure::Plan | Measure::Tool, _) => self.alone(row),
        }
    }

    /// Returns the command of a row without comparison.
    fn alone(&self, row: Measure) -> Result<Vec<Cmd<'_>>> {
        let shell = &self.shell;
        if row == Measure::Plan {
            // Use the user's own project and cache, to measure what users experience.
            let program = std::env::current_exe().context("cannot determine the path of this program")?;
            let matrix = &self.project.file;
            let fake: &[&str] = if self.project.fake { &["--fake"] } else { &[] };
            return Ok(vec![cmd!(shell, "{program} --matrix {matrix} {fake...} plan")]);
        }
        self.plain.forget(&["xtask"])?;
        let target = self.plain.path("xtask");
        let build = cmd!(shell, "cargo build --locked --package xtask --timings --target-dir {target}");
        Ok(vec![environment::apply(build, Purpose::Cargo)])
    }

    fn wheels(&self, side: Side, ready: &Ready) -> Result<Vec<Cmd<'_>>> {
        match side {
            Side::ThisTool => Ok(vec![self.our_wheels(self.ours.matrix_file())?]),
            Side::UsualTools => {
                let known = |abi: &_| self.ours.matrix().abi(abi);
                let abis: Vec<&Abi> = rows::maturin(self.what)?.abis.iter().filter_map(|abi| known(abi)).collect();
                self.plain.maturin(ready, "target", "wheels", &abis)
            }
        }
    }

    fn our_wheels(&self, matrix: &Path) -> Result<Cmd<'_>> {
        let mut arguments = vec!["wheels", "--package", &rows::maturin(self.what)?.package];
        rows::maturin(self.what)?.abis.iter().for_each(|abi| arguments.extend(["--abi", abi]));
        self.ours.command(&arguments, matrix)
    }

    fn container(&self, side: Side) -> Result<Vec<Cmd<'_>>> {
        let (package, abi) = (&rows::container(self.what)?.package, &rows::container(self.what)?.abi);
        Ok(vec![match side {
            Side::ThisTool => {
                let arguments = ["wheels", "--package", package, "--abi", abi, "--quick"];
                self.ours.command(&arguments, self.ours.matrix_file())?
            }
            Side::UsualTools => self.plain.pip_wheel(self.what, self.ours.matrix())?,
        }])
    }

    fn image(&self, row: Measure, side: Side, ready: &Ready) -> Result<Vec<Cmd<'_>>> {
        let ours = self.ours(row);
        Ok(vec![match side {
            Side::ThisTool => ours.command(&["image", rows::image(self.what)?, "--quick"], ours.matrix_file())?,
            Side::UsualTools => self.plain.image_build(self.what, ready, row == Measure::ImageCold)?,
        }])
    }

    /// Returns the durations of this tool's steps, if it executed any.
    fn parts(&self, row: Measure) -> Result<BTreeMap<String, f64>> {
        match row {
            Measure::MaturinCold | Measure::ContainerCold | Measure::ImageCold | Measure::Everything => {
                self.ours(row).parts(row, &self.selection(row)?)
            }
            Measure::Tool => crates(&self.plain.path("xtask/cargo-timings/cargo-timing.html")),
            Measure::MaturinUnchanged
            | Measure::MaturinOneLine
            | Measure::ContainerUnchanged
            | Measure::ImageUnchanged
            | Measure::Plan => Ok(BTreeMap::new()),
        }
    }

    /// Runs commands that are not measured.
    fn all<'c>(&self, commands: impl IntoIterator<Item = Cmd<'c>>, log: &File) -> Result<()> {
        for command in commands {
            proc::time(command, log, LIMIT, &self.project.cancel)?;
        }
        Ok(())
    }
}

/// Appends a line of code that differs each time.
fn change(file: &Path) -> Result<()> {
    use std::io::Write as _;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut open = File::options().append(true).open(file).with_context(|| {
        format!("cannot change `{}`: correct `bench.build.maturin.touch` in matrix.yaml", file.display())
    })?;
    writeln!(open, "pub fn changed_{now}() -> u128 {{ {now} }}")?;
    Ok(())
}

impl Bench<'_> {
    fn quietly(&self, arguments: &[&str]) {
        quietly(self.plain.docker(), arguments);
    }
}

/// Returns the last lines of the output before a failure.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(25)).map(|line| format!("\n    | {line}")).collect()
}
