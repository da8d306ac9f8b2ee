//! Everything that must pass before a change lands, in one command, the same on a laptop and in CI.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::manifest::Manifest;
use crate::provision::{self, Needs};
use crate::select::Selection;
use crate::{How, Project, audit, deny, sbom, verify, workflow};

/// What the tests start themselves, with the Debian packages that have it.
const PROGRAMS: [(&str, &str); 2] = [("docker", "docker.io"), ("docker-registry", "docker-registry")];

pub fn run(project: &Project, how: &How, fast: bool) -> Result<()> {
    if fast {
        return checks(project, how);
    }
    let needs = Needs { docker: false, programs: &PROGRAMS, bootstrap: &|_| false };
    provision::prepare(&needs, how.yes, &project.cache, &project.ui, &project.cancel)?;
    let mut parts = Parts { project, keep_going: how.keep_going, failed: Vec::new() };
    parts.run("checks", || checks(project, how))?;
    parts.run("wheels and images", || {
        project.make(&Selection::all(&project.matrix), how, &project.wheels()).map(drop)
    })?;
    // Everything that the matrix has, or with `--keep-going` what could be built of it.
    let listed = Manifest::read(&project.wheels())?.artefacts;
    let of = |kind: &'static str| listed.iter().filter(move |entry| entry.kind == kind);
    let promised: Vec<String> =
        of("wheel").map(|entry| entry.id.clone()).chain(of("image").map(|entry| entry.tag.clone())).collect();
    parts.run("sbom", || sbom::write(project, &promised, &project.wheels()))?;
    parts.run("verify", || verify::run(project, &promised, None))?;
    parts.run("audit", || audit::run(project, &audit::Options::default()))?;
    // With the engine and the artefacts that are there now; two at a time, since they time out, but mostly wait.
    let tests = ["test", "--locked", "--workspace", "--quiet", "--", "--ignored", "--test-threads=2"];
    parts.run("tests with an engine", || cargo(project, &tests))?;
    match parts.failed.as_slice() {
        [] => Ok(()),
        failed => bail!("these parts failed, as shown above: {}", failed.join(", ")),
    }
}

/// The parts of a run, one after another.
struct Parts<'a> {
    project: &'a Project,
    keep_going: bool,
    failed: Vec<&'static str>,
}

impl Parts<'_> {
    /// Runs a part. With `--keep-going` its failure is printed and remembered.
    fn run(&mut self, name: &'static str, part: impl FnOnce() -> Result<()>) -> Result<()> {
        match part() {
            Err(error) if self.keep_going && !self.project.cancel.is_set() => {
                self.project.ui.say(&format!("error: {name}: {error:#}"));
                self.failed.push(name);
                Ok(())
            }
            ended => ended,
        }
    }
}

/// What needs no engine.
fn checks(project: &Project, how: &How) -> Result<()> {
    let needs = Needs { docker: false, programs: &[], bootstrap: &|_| false };
    let yes = how.yes && !project.fake;
    provision::prepare(&needs, yes, &project.cache, &project.ui, &project.cancel)?;
    cargo(project, &["fmt", "--all", "--check"])?;
    cargo(project, &["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    workflow::run(project, true)?;
    deny::run(project)?;
    cargo(project, &["test", "--locked", "--workspace", "--quiet"])
}

fn cargo(project: &Project, arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let shown = format!("cargo {}", arguments.join(" "));
    project.ui.say(&format!("[ci] {shown}"));
    if project.fake {
        return Ok(());
    }
    let mut command = Command::new(&cargo);
    let status = command.args(arguments).current_dir(&project.folder).status();
    let status = status.with_context(|| format!("cannot start `{shown}`"))?;
    project.cancel.check()?;
    if !status.success() {
        bail!("`{shown}` failed: see above");
    }
    Ok(())
}
