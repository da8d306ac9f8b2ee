//! What every workflow must pass: the published schema, actionlint and zizmor, each pinned by digest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use super::shown;
use crate::{Project, golang, matrix};

/// fastjsonschema, which has no dependencies, names the place that is wrong.
const VALIDATE: &str = include_str!("validate.py");

/// The folder with go.mod and go.sum of actionlint.
const ACTIONLINT: &str = ".github/actionlint";

pub fn run(project: &Project, files: &[PathBuf]) -> Result<()> {
    if project.fake {
        return Ok(());
    }
    let tools = project.checks()?;
    let mut found = Vec::new();
    let mut told = |result: Result<String>| {
        project.cancel.check()?;
        found.extend(result.err().map(|error| format!("{error:#}")));
        anyhow::Ok(())
    };
    for file in files {
        told(schema(project, &tools, file))?;
    }
    let shell = Shell::new()?;
    // By default it also runs shellcheck where that is installed: another verdict on another machine.
    let (actionlint, workflows) = (actionlint(project, &tools)?, files.iter().filter(|file| !is_action(file)));
    told(project.call(
        "workflow",
        "actionlint",
        cmd!(shell, "{actionlint} -no-color -shellcheck= -pyflakes= {workflows...}"),
        "",
    ))?;
    let (zizmor, config) = (tools.join("bin/zizmor"), project.folder.join(".github/zizmor.yml"));
    told(project.call(
        "workflow",
        "zizmor",
        cmd!(shell, "{zizmor} --offline --no-progress --color=never --config {config} {files...}"),
        "",
    ))?;
    ensure!(found.is_empty(), "the workflows are not right:\n{}", found.join("\n"));
    Ok(())
}

fn is_action(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "action.yml")
}

fn schema(project: &Project, tools: &Path, file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let name = shown(project, file);
    let document = matrix::document(&text, &name)?.to_string();
    let schema = if is_action(file) { "github-actions.json" } else { "github-workflows.json" };
    let (shell, python) = (Shell::new()?, tools.join("bin/python"));
    project.call("workflow", &name, cmd!(shell, "{python} -c {VALIDATE} {schema}").quiet(), &document)
}

/// actionlint, built once from the sources that go.sum pins.
fn actionlint(project: &Project, tools: &Path) -> Result<PathBuf> {
    let (folder, package) = (project.folder.join(ACTIONLINT), "github.com/rhysd/actionlint/cmd/actionlint");
    golang::program(project, &tools.join("bin/go"), &folder, package, "actionlint")
}
