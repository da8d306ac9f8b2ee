//! `cargo xtask ci`: all checks that must pass before a change is merged, locally and in CI.

mod repeat;

use std::num::NonZeroU32;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{deny, sbom, verify, workflow};
use base::ui;
use build::manifest::{ArtefactKind, Manifest};
use build::provision::{self, Needs};
use build::{BuildOptions, Project, make};
use matrix::select::Selection;

/// Programs that the tests start, with their Debian packages.
const PROGRAMS: [(&str, &str); 4] =
    [("docker", "docker.io"), ("docker-registry", "docker-registry"), ("ip", "iproute2"), ("patch", "patch")];

/// Tests that need no Docker engine. Many wait for processes and for their time limits, so more tests run in parallel
/// than there are processors.
const TESTS: [&str; 6] = ["test", "--locked", "--workspace", "--quiet", "--", "--test-threads=4"];

/// Tests that need a Docker engine and the results of `ci`. They mostly wait for containers and the network.
const ENGINE_TESTS: [&str; 7] =
    ["test", "--locked", "--workspace", "--no-fail-fast", "--", "--ignored", "--test-threads=4"];

/// Selects a part of `ci`.
#[derive(Debug, Args)]
pub struct Options {
    /// Only the checks that need no Docker engine: formatting, lints, workflows and tests
    #[arg(long)]
    fast: bool,
    /// Only run the tests that need a Docker engine, N times, and print a table; requires an earlier `ci`
    #[arg(long, value_name = "N", conflicts_with = "fast")]
    repeat: Option<NonZeroU32>,
}

pub fn run(project: &Project, how: &BuildOptions, asked: &Options) -> Result<()> {
    if asked.fast {
        return checks(project, how);
    }
    let programs: &[_] = if project.is_clone() { &PROGRAMS } else { &[] };
    let needs = Needs { platform: project.matrix.platform, docker: false, programs, bootstrap: &|_| false };
    provision::prepare(&needs, how.yes, &project.cache, &project.ui, &project.cancel)?;
    if let Some(runs) = asked.repeat {
        project.needs_clone("ci --repeat")?;
        return repeat::run(project, &ENGINE_TESTS, runs.get());
    }
    let mut parts = Parts { project, keep_going: how.keep_going, failed: Vec::new() };
    parts.run("checks", || checks(project, how))?;
    parts.run("wheels and images", || {
        make::make(project, &Selection::all(&project.matrix), how, &project.wheels()).map(drop)
    })?;
    // All rows of the matrix; with `--keep-going`, those that could be built.
    let listed = Manifest::read(&project.wheels())?.artefacts;
    let of = |kind: ArtefactKind| listed.iter().filter(move |entry| entry.kind == kind);
    let promised: Vec<String> = of(ArtefactKind::Wheel)
        .map(|entry| entry.id.clone())
        .chain(of(ArtefactKind::Image).map(|entry| entry.tag.clone()))
        .collect();
    parts.run("sbom", || sbom::write(project, &promised, &project.wheels()))?;
    parts.run("verify", || verify::check(project, &promised, None))?;
    parts.run("audit", || audit::run(project, &audit::Options::default()))?;
    if project.is_clone() {
        parts.run("tests with an engine", || cargo(project, &ENGINE_TESTS))?;
    }
    match parts.failed.as_slice() {
        [] => Ok(()),
        failed => bail!("these parts failed (see above): {}", failed.join(", ")),
    }
}

/// Parts of a run, executed in order.
struct Parts<'a> {
    project: &'a Project,
    keep_going: bool,
    failed: Vec<&'static str>,
}

impl Parts<'_> {
    /// Runs a part and says how long it took. With `--keep-going`, a failure is printed and recorded.
    fn run(&mut self, name: &'static str, part: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        let ended = part();
        let time = ui::seconds(began.elapsed().as_secs_f64());
        self.project.ui.say(&format!("[ci] {name}: {} after {time}", if ended.is_ok() { "ok" } else { "FAILED" }));
        match ended {
            Err(error) if self.keep_going && !self.project.cancel.is_set() => {
                self.project.ui.say(&format!("error: {name}: {error:#}"));
                self.failed.push(name);
                Ok(())
            }
            ended => ended,
        }
    }
}

/// Runs the checks that need no engine: of the tool's sources in a clone, and of workflows elsewhere.
fn checks(project: &Project, how: &BuildOptions) -> Result<()> {
    let needs = Needs { platform: project.matrix.platform, docker: false, programs: &[], bootstrap: &|_| false };
    let yes = how.yes && !project.fake;
    provision::prepare(&needs, yes, &project.cache, &project.ui, &project.cancel)?;
    // Other projects have no sources of this tool, and may have no workflows.
    if !project.is_clone() {
        return if project.folder.join(".github/workflows").is_dir() { workflow::run(project, true) } else { Ok(()) };
    }
    cargo(project, &["fmt", "--all", "--check"])?;
    cargo(project, &["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    workflow::run(project, true)?;
    deny::run(project)?;
    cargo(project, &TESTS)
}

fn cargo(project: &Project, arguments: &[&str]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    project.ui.say(&format!("[ci] {shown}"));
    if project.fake {
        return Ok(());
    }
    let began = Instant::now();
    let status = cargo_command(project, arguments).status();
    let status = status.with_context(|| format!("cannot start `{shown}`"))?;
    project.ui.say(&format!("[ci] `cargo {}` took {}", arguments[0], ui::seconds(began.elapsed().as_secs_f64())));
    project.cancel.check()?;
    if !status.success() {
        bail!("`{shown}` failed: see above");
    }
    Ok(())
}

/// Returns a command of the Cargo that runs this tool, in the project folder.
fn cargo_command(project: &Project, arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(&project.folder);
    command
}
