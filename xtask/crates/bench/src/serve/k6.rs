//! Finds and runs k6.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::record;
use crate::samples::{self, Output};
use base::cancel::Cancel;
use base::digest;
use base::environment::{self, Purpose};
use base::proc::{self, ProcessIo};
use base::ui::Task;
use build::{Project, doctor, golang};
use docker::{Content, ContextFile, Docker, Job};
use matrix::BenchServe;

/// Folders of the scripts and the output in the image.
const SCRIPTS: &str = "/load/scripts";
const OUT: &str = "/load/out";
const PACKAGE: &str = "go.k6.io/k6/v2";

pub struct K6<'a> {
    project: &'a Project,
    docker: &'a Docker,
    how: Runner,
    /// Folder of the scripts, and their SHA-256 by file name.
    pub scripts: BTreeMap<String, String>,
    folder: PathBuf,
    pub record: record::K6,
}

enum Runner {
    Program(PathBuf),
    Image(String),
}

/// Scenario to run.
pub struct Load<'a> {
    pub scenario: &'a str,
    /// Environment variables of the script.
    pub told: &'a [(&'a str, String)],
    pub cpus: Option<&'a str>,
}

impl<'a> K6<'a> {
    /// Finds k6 in PATH, else in its image, else builds it with the pinned Go.
    pub fn find(project: &'a Project, docker: &'a Docker, serve: &BenchServe) -> Result<K6<'a>> {
        let folder = project.folder.join(&*serve.scripts);
        let mut scripts = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "js") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                scripts.insert(name, digest::of_file(&path)?);
            }
        }
        for scenario in serve.scenarios.iter().chain([&serve.warmup]) {
            if !scripts.contains_key(&format!("{scenario}.js")) {
                bail!("`{}` has no `{scenario}.js`, which matrix.yaml names as a scenario", folder.display());
            }
        }
        let (how, from) = how(project, docker, serve, &folder)?;
        let (version, digest) = match &how {
            Runner::Program(path) => {
                (doctor::read_output(&path.display().to_string(), &["version"])?, digest::of_file(path)?)
            }
            Runner::Image(id) => (serve.k6.split('@').next().unwrap_or_default().to_owned(), id.clone()),
        };
        let version = version.lines().next().unwrap_or_default().trim().to_owned();
        let record = record::K6 { version, from, digest };
        Ok(K6 { project, docker, how, scripts, folder, record })
    }

    /// Returns whether k6's CPU time can be measured separately.
    pub fn is_seen(&self) -> bool {
        matches!(self.how, Runner::Program(_))
    }

    /// Runs one scenario until it ends; calls `tick` meanwhile.
    pub fn run(&self, load: &Load, task: &Task, cancel: &Cancel, tick: &dyn Fn()) -> Result<Output> {
        let mut arguments = ["run", "--quiet", "--no-color", "--no-usage-report"].map(str::to_owned).to_vec();
        for (name, value) in load.told {
            arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        let script = format!("{}.js", load.scenario);
        match &self.how {
            Runner::Program(program) => {
                let scratch = self.project.cache.scratch(&format!("k6-{}", load.scenario))?;
                let (out, script) = (scratch.path().join("k6.json"), self.folder.join(script));
                let shell = Shell::new()?;
                let mut command = match load.cpus {
                    Some(cpus) => cmd!(shell, "taskset --cpu-list {cpus} {program}"),
                    None => cmd!(shell, "{program}"),
                };
                command = environment::apply(command, Purpose::Local).env("HOME", scratch.path());
                command = command.args(arguments).arg(format!("--out=json={}", out.display())).arg(script);
                proc::run_with(command, task, cancel, &ProcessIo { tick, ..ProcessIo::default() })?;
                let file = File::open(&out).with_context(|| format!("k6 did not create `{}`", out.display()))?;
                samples::of_k6(BufReader::new(file))
            }
            Runner::Image(image) => {
                arguments.extend([format!("--out=json={OUT}/k6.json"), format!("{SCRIPTS}/{script}")]);
                let inputs = self.scripts.keys().map(|name| ContextFile {
                    path: format!("{SCRIPTS}/{name}"),
                    source: Content::File(self.folder.join(name)),
                    mode: 0o644,
                });
                let scratch = self.project.cache.scratch(&format!("k6-{}", load.scenario))?;
                let job = Job {
                    image,
                    entrypoint: Some(vec!["k6".to_owned()]),
                    command: arguments,
                    join: Some("host"),
                    read_only: true,
                    inputs: inputs.collect(),
                    outputs: vec![OUT.to_owned()],
                    out: Some(scratch.path()),
                    builds: true,
                    ..Job::default()
                };
                let ended = self.docker.run(&job, &|line| task.line(line), cancel)?;
                if ended.exit != 0 {
                    bail!("k6 exited with code {}: {}", ended.exit, ended.stderr.trim());
                }
                let name = ended.outputs.first().context("k6 did not write samples")?;
                samples::of_k6(BufReader::new(File::open(scratch.path().join(name))?))
            }
        }
    }
}

fn how(project: &Project, docker: &Docker, serve: &BenchServe, folder: &Path) -> Result<(Runner, String)> {
    if let Ok(path) = which::which("k6") {
        return Ok((Runner::Program(path), "from PATH".to_owned()));
    }
    let say = |line: &str| project.ui.say(&format!("[k6] {line}"));
    if docker.image(&serve.k6)?.is_some() || docker.check_registry(&serve.k6).is_ok() {
        let image = docker.image_or_pull(&serve.k6, &say, &project.cancel)?;
        return Ok((Runner::Image(image), "its image".to_owned()));
    }
    ensure!(
        folder.join("k6/go.mod").is_file(),
        "there is no k6 in PATH, its image `{}` cannot be pulled, and `{}` has no Go module `k6` to build it from: \
         install k6",
        serve.k6,
        folder.display()
    );
    let go = project.checks()?.join("bin/go");
    let program = golang::program(project, &go, &folder.join("k6"), PACKAGE, "k6")?;
    Ok((Runner::Program(program), "built with Go".to_owned()))
}
