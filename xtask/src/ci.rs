//! Everything that must pass before a change lands, in one command, the same on a laptop and in CI.

use std::process::Command;

use anyhow::{Context, Result, bail};

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
    checks(project, how)?;
    project.make(&Selection::all(&project.matrix), how, &project.wheels())?;
    let mut promised = verify::wheel_files(&project.wheels())?;
    promised.extend(project.matrix.images.iter().map(|image| image.tag.to_string()));
    sbom::write(project, &promised, &project.wheels())?;
    verify::run(project, &promised, None)?;
    audit::run(project, &audit::Options::default())?;
    // With the engine and the artefacts that are there now; two at a time, since they time out, but mostly wait.
    cargo(project, &["test", "--locked", "--workspace", "--quiet", "--", "--ignored", "--test-threads=2"])
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
