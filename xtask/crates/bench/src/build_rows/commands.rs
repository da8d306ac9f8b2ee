//! What a row does before the clock starts, and the commands that are measured.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use xshell::{Cmd, cmd};

use super::{Bench, Side};
use crate::machine::file_time;
use crate::rows;
use crate::this_tool::Ready;
use crate::work::quietly;
use base::environment::{self, Purpose};
use matrix::{Abi, Measure};

impl Bench<'_> {
    /// Executes everything that is not measured.
    pub(super) fn prepare(&self, row: Measure, log: &File) -> Result<Option<Ready>> {
        self.ours(row).lay_out(&[], "")?;
        if !row.compares() {
            return Ok(None);
        }
        let ready = self.ours(row).prepare(row, &self.selection(row)?)?;
        match row {
            Measure::MaturinCold
            | Measure::MaturinUnchanged
            | Measure::MaturinOneLine
            | Measure::AllWheels
            | Measure::Everything
            | Measure::EverythingOptimized => {
                self.unpack_crate(&ready, log)?;
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
                quietly(self.plain.docker(), &["rm", "--force", &self.plain.container()]);
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
            Measure::ImageOneLine | Measure::ImageOneLineRelease => {
                self.unpack_crate(&ready, log)?;
                self.all(self.image_one_line(row, Side::ThisTool, &ready)?, log)?;
                self.all(self.image_one_line(row, Side::UsualTools, &ready)?, log)?;
            }
            Measure::ImageOneFile => {
                let package = &rows::application(self.what)?.package;
                let folder =
                    self.project.matrix.package(package).and_then(|row| row.working_copy(&self.project.folder));
                let folder = folder.context("an application without a folder: this is a bug")?;
                self.all([self.plain.copy_folder(&folder, &self.application_copy)?], log)?;
                self.all(self.plain.prepare_application(self.what, &ready, &folder)?, log)?;
                self.all(self.image_one_file(Side::ThisTool)?, log)?;
                self.all(self.image_one_file(Side::UsualTools)?, log)?;
            }
            Measure::ImageCold | Measure::Plan | Measure::Tool => {}
        }
        Ok(Some(ready))
    }

    /// Unpacks the sdist of the maturin package, once for each side.
    fn unpack_crate(&self, ready: &Ready, log: &File) -> Result<()> {
        let source = self.plain.source();
        if source.exists() {
            return Ok(());
        }
        let sdist = ready.files(&format!("sdist-{}", rows::maturin(self.what)?.package))?;
        let (_, sdist) = sdist.first().context("an sdist of no file: this is a bug")?;
        self.all([self.plain.unpack(sdist, &source)?, self.plain.unpack(sdist, &self.crate_copy)?], log)?;
        self.all([self.plain.fetch_crates()], log)
    }

    /// Resets one side to the state in which the row starts, and returns the commands to measure.
    pub(super) fn reset(&self, row: Measure, side: Side, ready: &Option<Ready>, log: &File) -> Result<Vec<Cmd<'_>>> {
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
                self.change_crate(side)?;
                if side == Side::UsualTools {
                    return self.wheels(side, ready);
                }
                let matrix = self.ours.with_working_copy(&rows::maturin(self.what)?.package, &self.crate_copy)?;
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
            (Measure::ImageOneLine | Measure::ImageOneLineRelease, _) => {
                self.change_crate(side)?;
                self.image_one_line(row, side, ready)
            }
            (Measure::ImageOneFile, _) => {
                let folder = match side {
                    Side::ThisTool => self.application_copy.clone(),
                    Side::UsualTools => self.plain.application(),
                };
                change(&folder.join(&*rows::application(self.what)?.touch), "application")?;
                self.image_one_file(side)
            }
            (Measure::AllWheels | Measure::Everything | Measure::EverythingOptimized, Side::ThisTool) => {
                self.ours.forget(row, &selection)?;
                self.warm[Side::ThisTool as usize].set(false);
                let all = ["builder.Dockerfile", "python.Dockerfile", "base.Dockerfile", "image.Dockerfile"];
                self.ours.lay_out(&all, &nonce)?;
                if row == Measure::AllWheels {
                    let arguments = ["wheels", "--abi", &*rows::container(self.what)?.abi];
                    return Ok(vec![self.ours.command(&arguments, self.ours.matrix_file())?]);
                }
                self.image(row, side, ready)
            }
            (Measure::AllWheels | Measure::Everything | Measure::EverythingOptimized, Side::UsualTools) => {
                self.plain.forget(&["everything-target", "runtime"])?;
                self.plain.everything(row, self.what, ready, self.ours.matrix())
            }
            (Measure::Plan | Measure::Tool, _) => self.alone(row),
        }
    }

    /// Changes a line of the crate, in the copy of one side.
    fn change_crate(&self, side: Side) -> Result<()> {
        let folder = if side == Side::ThisTool { self.crate_copy.clone() } else { self.plain.source() };
        change(&folder.join(&*rows::maturin(self.what)?.touch), "maturin")
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
        Ok(vec![match side {
            Side::ThisTool => self.our_image(row, self.ours(row).matrix_file())?,
            Side::UsualTools => self.plain.image_build(self.what, ready, row == Measure::ImageCold)?,
        }])
    }

    fn our_image(&self, row: Measure, matrix: &Path) -> Result<Cmd<'_>> {
        let mut arguments = vec!["image", rows::image(self.what)?];
        if rows::quick(row) {
            arguments.push("--quick");
        }
        self.ours(row).command(&arguments, matrix)
    }

    fn image_one_line(&self, row: Measure, side: Side, ready: &Ready) -> Result<Vec<Cmd<'_>>> {
        match side {
            Side::ThisTool => {
                let matrix = self.whole.with_working_copy(&rows::maturin(self.what)?.package, &self.crate_copy)?;
                Ok(vec![self.our_image(row, &matrix)?])
            }
            Side::UsualTools => self.plain.image_one_line(self.what, ready, self.whole.matrix()),
        }
    }

    fn image_one_file(&self, side: Side) -> Result<Vec<Cmd<'_>>> {
        let row = Measure::ImageOneFile;
        Ok(vec![match side {
            Side::ThisTool => {
                let package = &rows::application(self.what)?.package;
                self.our_image(row, &self.whole.with_working_copy(package, &self.application_copy)?)?
            }
            Side::UsualTools => self.plain.image_one_file(self.what)?,
        }])
    }
}

/// Appends a line of code that differs each time. `field` is the one of the matrix that names the file.
fn change(file: &Path, field: &str) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut open = File::options().append(true).open(file).with_context(|| {
        format!("cannot change `{}`: correct `bench.build.{field}.touch` in matrix.yaml", file.display())
    })?;
    if file.extension().is_some_and(|extension| extension == "py") {
        writeln!(open, "CHANGED_{now} = {now}")?;
    } else {
        writeln!(open, "pub fn changed_{now}() -> u128 {{ {now} }}")?;
    }
    Ok(())
}
