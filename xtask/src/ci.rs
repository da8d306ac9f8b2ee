//! Everything that must pass before a change lands, in one command, the same on a laptop and in CI.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::select::Selection;
use crate::{How, Project, verify};

pub fn run(project: &Project, how: How) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let steps: [&[&str]; 3] = [
        &["fmt", "--all", "--check"],
        &["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
        &["test", "--locked", "--workspace", "--quiet"],
    ];
    for arguments in steps {
        let shown = format!("cargo {}", arguments.join(" "));
        project.ui.say(&format!("[ci] {shown}"));
        let status = Command::new(&cargo)
            .args(arguments)
            .current_dir(&project.folder)
            .status()
            .with_context(|| format!("cannot start `{shown}`"))?;
        project.cancel.check()?;
        if !status.success() {
            bail!("`{shown}` failed: see above");
        }
    }
    project.make(&Selection::all(&project.matrix), how)?;
    let mut promised = verify::wheel_files(&project.wheels())?;
    promised.extend(project.matrix.images.iter().map(|image| image.tag.to_string()));
    verify::run(project, &promised)
}
