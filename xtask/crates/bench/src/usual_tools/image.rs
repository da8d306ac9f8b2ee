//! Images by hand, from the same base image and wheels as ours.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::Cmd;

use super::UsualTools;
use crate::rows;
use crate::this_tool::Ready;
use build::plan::{self, Action};
use matrix::{BenchBuild, Matrix};

impl UsualTools {
    /// Returns the command that builds the image from the same base image and wheels.
    pub fn image_build(&self, bench: &BenchBuild, ready: &Ready, cold: bool) -> Result<Cmd<'_>> {
        self.image_without(bench, ready, None, cold)
    }

    /// Returns the commands for an image with a wheel of the changed crate. The requirements are in a layer below.
    pub fn image_one_line(&self, bench: &BenchBuild, ready: &Ready, matrix: &Matrix) -> Result<Vec<Cmd<'_>>> {
        let image = image(bench, ready)?;
        let abi = matrix.abi(&image.abi).context("an unknown ABI: this is a bug")?;
        let package = &rows::maturin(bench)?.package;
        let build = self.image_without(bench, ready, Some(package), false)?;
        let mut commands = self.maturin(ready, "image-target", &format!("{}/wheels", without(package)), &[abi])?;
        commands.push(build);
        Ok(commands)
    }

    /// Returns the commands that copy the sources of the application and build the image without it.
    pub fn prepare_application(&self, bench: &BenchBuild, ready: &Ready, source: &Path) -> Result<Vec<Cmd<'_>>> {
        let package = &rows::application(bench)?.package;
        let wheel = image(bench, ready)?.wheels.get(&**package);
        let Some(Action::Container(wheel)) = wheel.and_then(|id| ready.plan.step(id)).map(|step| &step.action) else {
            anyhow::bail!("`{package}` is not built in a container, as this row needs it");
        };
        self.lay_out("application/in", ready, [&wheel.requires])?;
        let copy = self.copy_folder(source, &self.application())?;
        Ok(vec![copy, self.image_without(bench, ready, Some(package), false)?])
    }

    /// Returns the folder with the application's sources.
    pub fn application(&self) -> PathBuf {
        self.path("application/source")
    }

    /// Returns the command that installs the application on the image without it.
    pub fn image_one_file(&self, bench: &BenchBuild) -> Result<Cmd<'_>> {
        let text = include_str!("../../../../../docker/bench/application.Dockerfile");
        let file = self.dockerfile("application", text, &[])?;
        let rest = format!("IMAGE={}", self.image(&without(&rows::application(bench)?.package)));
        Ok(self.build("application", &file, &[rest], false))
    }

    fn image_without(&self, bench: &BenchBuild, ready: &Ready, package: Option<&str>, cold: bool) -> Result<Cmd<'_>> {
        let own = image(bench, ready)?;
        let name = package.map_or_else(|| "image".to_owned(), without);
        let wheels = own.wheels.iter().filter(|(id, _)| package != Some(id.as_str())).map(|(_, step)| step);
        self.lay_out(&format!("{name}/wheels"), ready, wheels)?;
        self.lay_out(&format!("{name}/requirements"), ready, &own.locked)?;
        let env: Vec<String> = own.env.iter().map(|(name, value)| format!("ENV {name}=\"{value}\"\n")).collect();
        let file = self.dockerfile(&name, include_str!("../../../../../docker/bench/image.Dockerfile"), &env)?;
        let base = format!("BASE={}", ready.image(&own.base)?);
        Ok(self.build(&name, &file, &[base], cold))
    }
}

/// Name of the image that has all packages but one.
fn without(package: &str) -> String {
    format!("image-without-{package}")
}

pub fn image<'r>(bench: &BenchBuild, ready: &'r Ready) -> Result<&'r plan::Image> {
    let id = format!("image-{}", rows::image(bench)?);
    match ready.plan.step(&id).map(|step| &step.action) {
        Some(Action::Image(image)) => Ok(image),
        _ => anyhow::bail!("`{id}` is not an image: this is a bug"),
    }
}
