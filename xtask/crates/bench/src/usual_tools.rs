//! Measured runs of the plain tools, called as users call them manually. This file defines what this tool is compared
//! with.

mod everything;
mod image;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

use crate::rows;
use crate::this_tool::Ready;
use base::environment::{self, Purpose};
use base::platform::Platform;
use build::plan::{self, Action};
use matrix::{Abi, BenchBuild, Matrix};

pub struct UsualTools {
    /// Shells in the work folder and in the source folder.
    shell: Shell,
    inside: Shell,
    /// Folder of all results of this side.
    folder: PathBuf,
    /// Docker client; unused if no row needs it.
    docker: PathBuf,
    /// Prefix of the names of images and containers.
    pub name: String,
    platform: Platform,
}

impl UsualTools {
    pub fn new(folder: PathBuf, docker: Option<PathBuf>, name: String, platform: Platform) -> Result<UsualTools> {
        fs::create_dir_all(&folder)?;
        let shell = Shell::new()?;
        shell.change_dir(&folder);
        let inside = Shell::new()?;
        inside.change_dir(folder.join("src"));
        Ok(UsualTools { shell, inside, folder, docker: docker.unwrap_or_default(), name, platform })
    }

    /// Returns the path of a folder or file of this side.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn docker(&self) -> &Path {
        &self.docker
    }

    /// Returns the name of an image.
    fn image(&self, what: &str) -> String {
        format!("{}/plain:{what}", self.name)
    }

    pub fn container(&self) -> String {
        format!("{}-plain", self.name)
    }

    /// Returns the command that unpacks the sdist `archive`.
    pub fn unpack(&self, archive: &Path, folder: &Path) -> Result<Cmd<'_>> {
        fs::create_dir_all(folder)?;
        let unpack = cmd!(self.shell, "tar -xzmf {archive} -C {folder} --strip-components=1 --no-same-owner");
        Ok(environment::apply(unpack, Purpose::Local))
    }

    /// Returns the command that copies a folder with all that is in it.
    pub fn copy_folder(&self, from: &Path, to: &Path) -> Result<Cmd<'_>> {
        fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.display()))?;
        Ok(environment::apply(cmd!(self.shell, "cp -R {from}/. {to}"), Purpose::Local))
    }

    /// Returns the command that downloads crates before the measurement. Both sides use the user's folder of crates.
    pub fn fetch_crates(&self) -> Cmd<'_> {
        environment::apply(cmd!(self.inside, "cargo fetch --locked"), Purpose::Cargo)
    }

    /// Returns the folder of the unpacked sdist.
    pub fn source(&self) -> PathBuf {
        self.path("src")
    }

    /// Returns the commands that build for one ABI after another with a shared target folder.
    ///
    /// Without `--target`, maturin would run the interpreter, which is not installed; with it, maturin uses its
    /// built-in knowledge. It is passed for each ABI, because Cargo uses separate folders with and without
    /// `--target`, and dependencies would not be shared.
    pub fn maturin(&self, ready: &Ready, target: &str, out: &str, abis: &[&Abi]) -> Result<Vec<Cmd<'_>>> {
        let (maturin, target, out) = (ready.tool("maturin")?, self.path(target), self.path(out));
        let triple = self.platform.rust_target();
        let build = |abi: &&Abi| {
            let python = format!("python{}", abi.interpreter_name());
            let build = cmd!(
                self.inside,
                "{maturin} build --release --locked --target {triple} -i {python}
                 --target-dir {target} --out {out}"
            );
            environment::apply(build, Purpose::Cargo)
        };
        Ok(abis.iter().map(build).collect())
    }

    /// Copies the files created by steps to a folder, with their own names.
    pub fn lay_out<'r>(
        &self,
        folder: &str,
        ready: &'r Ready,
        steps: impl IntoIterator<Item = &'r String>,
    ) -> Result<PathBuf> {
        let folder = self.path(folder);
        fs::create_dir_all(&folder)?;
        for step in steps {
            for (file, blob) in ready.files(step)? {
                build::cache::copy(&blob, &folder.join(&file.name))?;
            }
        }
        Ok(folder)
    }

    /// Returns the command that builds an image with BuildKit; `cold` disables its cache.
    fn build(&self, what: &str, dockerfile: &Path, args: &[String], cold: bool) -> Cmd<'_> {
        // The folder beside `NAME.Dockerfile` is its build context.
        let context = dockerfile.with_extension("");
        let (docker, tag) = (&self.docker, self.image(what));
        let cold: &[&str] = if cold { &["--no-cache"] } else { &[] };
        let args = args.iter().flat_map(|arg| ["--build-arg", arg]);
        let build = cmd!(self.shell, "{docker} build {cold...} --tag {tag} --file {dockerfile} {args...} {context}");
        environment::apply(build, Purpose::Docker).env("DOCKER_BUILDKIT", "1")
    }

    /// Returns the commands that start a container of the image for compiling, with pip and all inputs.
    pub fn start_container(&self, bench: &BenchBuild, ready: &Ready, matrix: &Matrix) -> Result<Vec<Cmd<'_>>> {
        let own = container(bench, ready)?;
        self.lay_out("pip/in", ready, [&own.requires, &"tool-pip".to_owned()].into_iter().chain(&own.wheel.sdist))?;
        let file = self.dockerfile("pip", include_str!("../../../../docker/bench/pip.Dockerfile"), &[])?;
        let args = [format!("DEVEL={}", ready.image(&own.devel)?), format!("PYTHON={}", python(bench, matrix)?)];
        let (docker, image, name) = (&self.docker, self.image("pip"), self.container());
        Ok(vec![
            self.build("pip", &file, &args, false),
            environment::apply(
                cmd!(self.shell, "{docker} run --detach --rm --network none --name {name} {image} sleep 86400"),
                Purpose::Docker,
            ),
        ])
    }

    /// Returns the pip command with pip's default wheel cache, which is searched for sdists given by name.
    pub fn pip_wheel(&self, bench: &BenchBuild, matrix: &Matrix) -> Result<Cmd<'_>> {
        let (docker, name, python) = (&self.docker, self.container(), python(bench, matrix)?);
        let requirement = requirement(bench, matrix)?;
        let build = cmd!(
            self.shell,
            "{docker} exec {name} {python} -m pip wheel --no-index --find-links /in --no-deps --wheel-dir /out {requirement}"
        );
        Ok(environment::apply(build, Purpose::Docker))
    }

    pub fn forget_wheels(&self, cache_too: bool) -> Cmd<'_> {
        let (docker, name) = (&self.docker, self.container());
        let script = if cache_too { "rm -rf /out ~/.cache/pip" } else { "rm -rf /out" };
        environment::apply(cmd!(self.shell, "{docker} exec {name} sh -c {script}"), Purpose::Docker)
    }

    /// Creates the folder of a build context with its Dockerfile next to it, so that it is not sent to the engine.
    fn dockerfile(&self, name: &str, text: &str, more: &[String]) -> Result<PathBuf> {
        fs::create_dir_all(self.path(name))?;
        let file = self.path(&format!("{name}.Dockerfile"));
        fs::write(&file, format!("{text}{}", more.concat()))?;
        Ok(file)
    }

    /// Removes results before the next cold run.
    pub fn forget(&self, names: &[&str]) -> Result<()> {
        for name in names {
            let path = self.path(name);
            if path.exists() {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
            }
        }
        Ok(())
    }
}

fn abi<'m>(bench: &BenchBuild, matrix: &'m Matrix) -> Result<&'m Abi> {
    matrix.abi(&rows::container(bench)?.abi).context("an unknown ABI: this is a bug")
}

fn python(bench: &BenchBuild, matrix: &Matrix) -> Result<String> {
    Ok(format!("python{}", abi(bench, matrix)?.interpreter_name()))
}

fn requirement(bench: &BenchBuild, matrix: &Matrix) -> Result<String> {
    let package = &rows::container(bench)?.package;
    let version = matrix.package(package).and_then(|package| package.version());
    Ok(format!("{package}=={}", version.context("a package without a version: this is a bug")?))
}

fn container<'r>(bench: &BenchBuild, ready: &'r Ready) -> Result<&'r plan::Container> {
    let id = plan::wheel_id(&rows::container(bench)?.package, &rows::container(bench)?.abi);
    match ready.plan.step(&id).map(|step| &step.action) {
        Some(Action::Container(container)) => Ok(container),
        _ => anyhow::bail!("`{id}` is not built in a container: this is a bug"),
    }
}

/// Returns the first docker client that supports BuildKit; since version 23 it needs the plugin buildx.
pub fn docker_client() -> Result<PathBuf> {
    let clients: Vec<PathBuf> = which::which_all("docker").map(Iterator::collect).unwrap_or_default();
    let able = |client: &&PathBuf| {
        let said = |arguments: &[&str]| build::doctor::read_output(&client.display().to_string(), arguments).ok();
        let version = said(&["--version"]).unwrap_or_default();
        let major = version.trim_start_matches("Docker version ").split('.').next().and_then(|n| n.parse::<u32>().ok());
        major.is_some_and(|major| (18..23).contains(&major)) || said(&["buildx", "version"]).is_some()
    };
    clients.iter().find(able).cloned().with_context(|| {
        let found = base::ui::quoted(clients.iter().map(|client| client.display()));
        let found = if found.is_empty() { "none is there".to_owned() } else { format!("there is {found}") };
        format!(
            "no docker client that can build with BuildKit, which the plain side needs ({found}): \
             install docker-buildx beside it, or docker.io"
        )
    })
}
