//! All steps by hand, from a Debian root to the wheels or to the image.

use std::fs;

use anyhow::{Context as _, Result};
use xshell::{Cmd, cmd};

use super::image::image;
use super::{UsualTools, abi, container, requirement};
use crate::rows;
use crate::this_tool::Ready;
use base::environment::{self, Purpose};
use build::host;
use matrix::{BenchBuild, Matrix, Measure};

impl UsualTools {
    /// Returns the commands that build everything from downloads to the image, step by step, or up to the wheels if
    /// the row needs no more.
    pub fn everything(&self, row: Measure, bench: &BenchBuild, ready: &Ready, matrix: &Matrix) -> Result<Vec<Cmd<'_>>> {
        let wheel = container(bench, ready)?;
        let abi = abi(bench, matrix)?;
        let from = abi.interpreter.source.as_ref().context("an interpreter that is not compiled: this is a bug")?;
        let (docker, suite) = (&self.docker, &*matrix.root.suite);

        let apt = self.dockerfile("apt", include_str!("../../../../../docker/builder.Dockerfile"), &[])?;
        let bundle = match host::ca_bundle() {
            Some(path) => fs::read(path)?,
            None => Vec::new(),
        };
        fs::write(self.path("apt/ca.crt"), bundle)?;
        let proxies = host::proxies()?;
        let apt_image = |what: &str, root: &str, set: &str| {
            let mut args = vec![format!("ROOT={root}"), format!("APT={}", matrix.apt_packages(set).join(" "))];
            args.extend(proxies.iter().map(|(name, value)| format!("{name}={value}")));
            self.build(what, &apt, &args, true)
        };

        let python = self.dockerfile("python", include_str!("../../../../../docker/bench/python.Dockerfile"), &[])?;
        let archive = ready.files(&format!("source-{}", from.archive))?;
        let (_, archive) = archive.first().context("an archive of no file: this is a bug")?;
        build::cache::copy(archive, &self.path("python/python.tar.xz"))?;
        let mut configure = Vec::new();
        configure.extend(abi.free_threaded().then_some("--disable-gil"));
        if row == Measure::EverythingOptimized {
            configure.extend(["--enable-optimizations", "--with-lto"]);
        }
        let configure = configure.join(" ");
        let python_args = [format!("BUILDER={}", self.image("builder")), format!("CONFIGURE={configure}")];

        let set = matrix.package(&rows::container(bench)?.package).and_then(|package| package.build.apt.as_ref());
        let set = set.context("a package without an apt set: this is a bug")?;
        self.lay_out("wheel/in", ready, [&wheel.requires].into_iter().chain(&wheel.wheel.sdist))?;
        let compile = self.dockerfile("wheel", include_str!("../../../../../docker/bench/wheel.Dockerfile"), &[])?;
        let compile_args = [
            format!("DEVEL={}", self.image("devel")),
            format!("REQUIREMENT={}", requirement(bench, matrix)?),
            format!("PLATFORM={}", wheel.wheel.platform),
        ];

        let root = self.image("root");
        let (made, holder) = (self.image("wheel"), format!("{}-copy", self.name));
        let wheels = self.path("runtime/wheels");
        let mut steps = vec![
            environment::apply(cmd!(self.shell, "mmdebstrap --variant=minbase {suite} root.tar"), Purpose::Download),
            environment::apply(cmd!(self.shell, "{docker} import root.tar {root}"), Purpose::Docker),
            apt_image("builder", &root, &from.build_apt),
            self.build("python", &python, &python_args, true),
            apt_image("devel", &self.image("python"), set),
        ];
        steps.extend(self.maturin(ready, "everything-target", "runtime/wheels", &[abi])?);
        steps.extend([
            self.build("wheel", &compile, &compile_args, true),
            environment::apply(cmd!(self.shell, "{docker} create --name {holder} {made} true"), Purpose::Docker),
            environment::apply(cmd!(self.shell, "{docker} cp {holder}:/out/. {wheels}"), Purpose::Docker),
            environment::apply(cmd!(self.shell, "{docker} rm {holder}"), Purpose::Docker),
        ]);
        if row != Measure::AllWheels {
            let env: Vec<String> =
                image(bench, ready)?.env.iter().map(|(name, value)| format!("ENV {name}=\"{value}\"\n")).collect();
            let last =
                self.dockerfile("runtime", include_str!("../../../../../docker/bench/runtime.Dockerfile"), &env)?;
            let last_args =
                [format!("PYTHON={}", self.image("python")), format!("RUNTIME={}", self.image("libraries"))];
            steps.push(apt_image("libraries", &root, &from.runtime_apt));
            steps.push(self.build("runtime", &last, &last_args, true));
        }
        Ok(steps)
    }
}
