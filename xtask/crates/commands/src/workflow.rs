//! `cargo xtask workflow`: generates the parts of the workflows that depend on the matrix, and lints all workflows.

mod lint;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use base::ui;
use build::{Project, cache};

/// Updates the generated parts. With `check`, fails if a file would change or a linter reports problems.
pub fn run(project: &Project, check: bool) -> Result<()> {
    let files = files(&project.folder)?;
    let mut drifted = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let name = shown(project, path);
        let wanted = matrix::workflow(&text, &project.matrix).with_context(|| format!("`{name}`"))?;
        if text == wanted {
            continue;
        }
        if !check {
            cache::write(path, wanted.as_bytes())?;
            ui::print_result(&format!("{name}\n"))?;
        }
        drifted.push(name);
    }
    if !check {
        return Ok(());
    }
    if !drifted.is_empty() {
        bail!("out of date with matrix.yaml: {}: run `cargo xtask workflow`", ui::quoted(drifted));
    }
    lint::run(project, &files)
}

/// Returns the workflows, composite actions and Dependabot rules, sorted.
fn files(project: &Path) -> Result<Vec<PathBuf>> {
    let workflows = fs::read_dir(project.join(".github/workflows")).context("cannot list `.github/workflows`")?;
    let mut files = workflows.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    for entry in fs::read_dir(project.join(".github/actions")).into_iter().flatten() {
        files.push(entry?.path().join("action.yml"));
    }
    files.push(project.join(".github/dependabot.yml"));
    files.retain(|path| path.extension().is_some_and(|ext| ext == "yml" || ext == "yaml") && path.is_file());
    files.sort();
    ensure!(!files.is_empty(), "`.github/workflows` has no workflow");
    Ok(files)
}

fn shown(project: &Project, path: &Path) -> String {
    path.strip_prefix(&project.folder).unwrap_or(path).display().to_string()
}
