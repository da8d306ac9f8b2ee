//! Installs wheels on a base image without network. The image is tagged only after its check.

use base::{digest, labels};
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};

use super::env::{StepEnv, text};
use super::quick;
use crate::cache::{Artefact, BuiltImage, Output};
use crate::plan::{Image, locked_id};
use docker::{Build, ContextFile, Network};
use matrix::Serve;
use wheelfile::{WheelName, normalise, same_name};

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 1;

pub fn run(image: &Image, env: &StepEnv) -> Result<Output> {
    let mut image_labels = BTreeMap::from([
        (labels::TITLE.to_owned(), format!("{}:{}", image.repository, image.tag)),
        // Overrides the version label of the base image, which is that of CPython.
        (labels::VERSION.to_owned(), image.tag.clone()),
        (labels::ABI.to_owned(), image.abi.clone()),
    ]);
    if let Some(base) = env.need(&image.base)?.notes.get("tag") {
        image_labels.insert(labels::BASE_NAME.to_owned(), base.clone());
    }
    let mut house = Wheelhouse::default();
    for (package, step) in &image.wheels {
        let wheel = env.file(step)?;
        let version = house.add(wheel, env)?.version;
        image_labels.insert(labels::wheel(package), format!("{version} sha256:{}", wheel.sha256));
    }
    let mut locked = Wheelhouse::default();
    for step in &image.locked {
        for wheel in &env.need(step)?.files {
            locked.add(wheel, env)?;
        }
    }
    let notes = quick::note(image, env)?;
    if let Some(packages) = notes.get(quick::NOTE) {
        image_labels.insert(labels::QUICK.to_owned(), packages.clone());
    }
    let base = env.need(&image.base)?.image.as_ref().context("the base is no image: this is a bug")?;
    let (base, scripts) = match requirements(base, &locked, &house, env)? {
        Some(layer) => (layer, scripts(&[ADDED, ("compile_all.py", "docker/compile_bytecode.py")], env)?),
        None => {
            house.merge(locked);
            (base.reference.clone(), scripts(&[ALL], env)?)
        }
    };
    let mut dockerfile = env.container_file("docker/image.Dockerfile")?.to_owned();
    for (name, value) in &image.env {
        dockerfile.push_str(&format!("ENV {name}=\"{value}\"\n"));
    }
    if let Some(serve) = &image.serve {
        dockerfile.push_str(&start(serve)?);
        image_labels.insert(labels::PORT.to_owned(), serve.port.to_string());
    }
    let built = env.build(
        Build {
            dockerfile: &dockerfile,
            context: house.context().into_iter().chain(scripts).collect(),
            args: BTreeMap::from([("BASE".to_owned(), base)]),
            labels: image_labels,
            network: Network::None,
            ..Build::default()
        },
        None,
    );
    let built = built.map_err(|error| match unmet(&env.task.tail(), image, env) {
        Some(text) => anyhow!(text),
        None => error,
    })?;
    Ok(Output { image: Some(built), notes, ..Output::default() })
}

/// The script that compiles byte code: its name in the build context, and the file.
const ALL: (&str, &str) = ("compile_bytecode.py", "docker/compile_bytecode.py");
/// The script of an image on a layer with byte code.
const ADDED: (&str, &str) = ("compile_bytecode.py", "docker/compile_added.py");

/// Returns uv and scripts for a build context.
fn scripts(files: &[(&str, &str)], env: &StepEnv) -> Result<Vec<ContextFile>> {
    let uv = env.file("tool-uv")?;
    let mut context = vec![env.stored(&uv.name, uv)];
    for (name, file) in files {
        context.push(text(name, env.container_file(file)?, 0o644));
    }
    Ok(context)
}

/// Returns an image with the wheels of the lock files, on which those of the packages are installed, so that a changed
/// package does not install and compile all others again. It is shared by images with the same requirements.
/// `None` if one installation of everything is needed.
fn requirements(base: &BuiltImage, locked: &Wheelhouse, own: &Wheelhouse, env: &StepEnv) -> Result<Option<String>> {
    // uv reports two wheels of one distribution only if it installs both at once.
    if locked.files.is_empty() || locked.names.iter().any(|name| own.names.contains(name)) {
        return Ok(None);
    }
    let (docker, dockerfile) = (env.docker()?, env.container_file("docker/image.Dockerfile")?);
    let scripts = scripts(&[ALL], env)?;
    let uv = env.file("tool-uv")?;
    let key = digest::of([&base.id, dockerfile, env.container_file(ALL.1)?, &uv.sha256, &locked.pins].join("\0"));
    let reference = format!("{}/build:requirements-{}", env.context.repository, &key[..16]);
    let waiting = || env.task.waiting("waiting for another image with the same requirements");
    let _lock = env.context.cache.lock(&format!("{key}.lock"), env.context.cancel, waiting)?;
    if docker.image(&reference)?.is_some_and(|found| found.labels.get(labels::KEY) == Some(&key)) {
        env.task.line(&format!("reusing the requirements in {reference}"));
        return Ok(Some(reference));
    }
    let build = Build {
        dockerfile,
        context: locked.clone().context().into_iter().chain(scripts).collect(),
        args: BTreeMap::from([("BASE".to_owned(), base.reference.clone())]),
        labels: BTreeMap::from([(labels::KEY.to_owned(), key)]),
        tags: vec![reference.clone()],
        network: Network::None,
        ..Build::default()
    };
    match docker.build(&build, &|line| env.task.line(line), env.context.cancel) {
        Ok(_) => Ok(Some(reference)),
        Err(error) => {
            env.context.cancel.check()?;
            // Requirements may need a wheel of the image's packages. What else is wrong, the next build says.
            env.task.line(&format!("all wheels are installed at once, because the requirements alone fail: {error:#}"));
            Ok(None)
        }
    }
}

/// Wheels that are installed together, with the requirements file for uv.
#[derive(Clone, Default)]
struct Wheelhouse {
    files: Vec<ContextFile>,
    /// Normalised names of the distributions.
    names: BTreeSet<String>,
    pins: String,
}

impl Wheelhouse {
    fn add(&mut self, wheel: &Artefact, env: &StepEnv) -> Result<WheelName> {
        let name = WheelName::parse(&wheel.name)?;
        let pin = format!("{}=={} --hash=sha256:{}\n", name.distribution, name.version, wheel.sha256);
        // Two packages may lock the same wheel; uv itself rejects conflicting ones.
        if !self.pins.contains(&pin) {
            self.pins.push_str(&pin);
            self.names.insert(normalise(&name.distribution));
            self.files.push(env.stored(&format!("wheelhouse/{}", wheel.name), wheel));
        }
        Ok(name)
    }

    fn merge(&mut self, other: Wheelhouse) {
        let known: BTreeSet<String> = self.pins.lines().map(str::to_owned).collect();
        for (pin, file) in other.pins.lines().zip(other.files) {
            if !known.contains(pin) {
                self.pins.push_str(&format!("{pin}\n"));
                self.files.push(file);
            }
        }
    }

    fn context(mut self) -> Vec<ContextFile> {
        self.files.push(text("wheelhouse/requirements.txt", &self.pins, 0o644));
        self.files
    }
}

/// Unmet requirement of an installed distribution, parsed from the output of `uv pip check`.
#[derive(Debug, PartialEq, Eq)]
struct Unmet<'l> {
    package: &'l str,
    requirement: &'l str,
    /// Installed version, if it is the wrong one.
    installed: Option<&'l str>,
}

impl<'l> Unmet<'l> {
    fn parse(line: &'l str) -> Option<Unmet<'l>> {
        let (package, rest) = line.split_once("The package `")?.1.split_once("` requires `")?;
        let (requirement, rest) = rest.split_once("`, but ")?;
        match rest.split_once("` is installed") {
            Some((version, _)) => Some(Unmet { package, requirement, installed: Some(version.strip_prefix('`')?) }),
            None => rest.starts_with("it's not installed").then_some(Unmet { package, requirement, installed: None }),
        }
    }
}

/// Returns an error with the lock files to correct if requirements of the image's wheels are not met.
fn unmet(lines: &[String], image: &Image, env: &StepEnv) -> Option<String> {
    let mut found = Vec::new();
    for Unmet { package, requirement, installed } in lines.iter().filter_map(|line| Unmet::parse(line)) {
        let state = installed.map_or("is not installed".to_owned(), |version| format!("is installed as {version}"));
        let mend = match locks_of(package, image, env) {
            Some(id) => format!("run `cargo xtask lock {id}`"),
            None => "run `cargo xtask lock`".to_owned(),
        };
        found.push(format!("`{package}` requires `{requirement}`, which {state}: {mend}"));
    }
    (!found.is_empty()).then(|| found.join("\n"))
}

/// Returns the package of the matrix that a distribution belongs to: the package itself, or the one whose lock file
/// contains it.
fn locks_of(distribution: &str, image: &Image, env: &StepEnv) -> Option<String> {
    if let Some(id) = image.wheels.keys().find(|id| same_name(id, distribution)) {
        return Some(id.clone());
    }
    let brings = |step: &&String| {
        let files = env.need(step).map(|output| output.files.as_slice()).unwrap_or_default();
        let mut names = files.iter().filter_map(|file| WheelName::parse(&file.name).ok());
        names.any(|name| same_name(&name.distribution, distribution))
    };
    let step = image.locked.iter().find(brings)?;
    image.wheels.keys().find(|id| *step == locked_id(id, &image.abi)).cloned()
}

/// Returns the Dockerfile instructions that start a service. Its settings come from the environment, so the port is
/// the default.
fn start(serve: &Serve) -> Result<String> {
    let (command, health) = (serde_json::to_string(&serve.command)?, serde_json::to_string(&serve.health)?);
    Ok(format!(
        "EXPOSE {}\nHEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD {health}\nCMD {command}\n",
        serve.port
    ))
}

#[cfg(test)]
mod tests {
    use super::Unmet;

    #[test]
    fn uvs_messages_about_unmet_requirements_are_parsed() {
        let missing = Unmet { package: "demo", requirement: "numpy>=2", installed: None };
        assert_eq!(Unmet::parse("The package `demo` requires `numpy>=2`, but it's not installed"), Some(missing));
        let other = Unmet { package: "demo", requirement: "numpy>=2 ; extra == 'x'", installed: Some("1.26.4") };
        let line = "#9 1.2 The package `demo` requires `numpy>=2 ; extra == 'x'`, but `1.26.4` is installed";
        assert_eq!(Unmet::parse(line), Some(other));
        assert_eq!(Unmet::parse("Found 1 incompatibility"), None);
    }
}
