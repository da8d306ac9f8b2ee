//! Lints all workflows with the published schema, actionlint and zizmor, each pinned by digest, and validates
//! `matrix.yaml` against its schema.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use super::shown;
use base::environment::{self, Purpose};
use build::{Project, golang};

/// Script with fastjsonschema, which has no dependencies and reports the position of errors.
const VALIDATE: &str = include_str!("validate.py");

/// The module that pins actionlint.
const ACTIONLINT: [(&str, &str); 2] = [
    ("go.mod", include_str!("../../../../../.github/actionlint/go.mod")),
    ("go.sum", include_str!("../../../../../.github/actionlint/go.sum")),
];

/// Prefix of the line in `matrix.yaml` that refers editors to the schema.
const SCHEMA_LINE: &str = "# yaml-language-server: $schema=";

const WORKFLOW: &str = "github-workflows.json";

pub fn run(project: &Project, files: &[PathBuf]) -> Result<()> {
    if project.fake {
        return Ok(());
    }
    let tools = project.checks()?;
    let mut found = Vec::new();
    let mut told = |result: Result<()>| {
        project.cancel.check()?;
        found.extend(result.err().map(|error| format!("{error:#}")));
        anyhow::Ok(())
    };
    for file in files {
        told(schema(project, &tools, file, schema_of(file).as_ref()))?;
    }
    let matrix =
        fs::read_to_string(&project.file).with_context(|| format!("cannot read `{}`", project.file.display()))?;
    if let Some(named) = matrix.lines().find_map(|line| line.strip_prefix(SCHEMA_LINE)) {
        told(schema(project, &tools, &project.file, &project.folder.join(named.trim())))?;
    }
    let shell = Shell::new()?;
    // Disable shellcheck, which actionlint runs only if it is installed, so that results do not depend on the
    // machine.
    let workflows = files.iter().filter(|file| schema_of(file) == WORKFLOW);
    let actionlint = actionlint(project, &tools)?;
    told(project.call(
        "workflow",
        "actionlint",
        cmd!(shell, "{actionlint} -no-color -shellcheck= -pyflakes= {workflows...}"),
        "",
    ))?;
    let (zizmor, config) = (tools.join("bin/zizmor"), project.folder.join(".github/zizmor.yml"));
    let config = if config.is_file() { vec!["--config".into(), config] } else { Vec::<PathBuf>::new() };
    told(project.call(
        "workflow",
        "zizmor",
        cmd!(shell, "{zizmor} --offline --no-progress --color=never {config...} {files...}"),
        "",
    ))?;
    ensure!(found.is_empty(), "the workflows have problems:\n{}", found.join("\n"));
    Ok(())
}

/// Returns the name of the published schema.
fn schema_of(file: &Path) -> &'static str {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("action.yml") => "github-actions.json",
        Some("dependabot.yml") => "dependabot.json",
        _ => WORKFLOW,
    }
}

/// Validates a file against `schema`: the name of a published schema, or a path.
fn schema(project: &Project, tools: &Path, file: &Path, schema: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let name = shown(project, file);
    let document = matrix::document(&text, &name)?.to_string();
    let (shell, python) = (Shell::new()?, tools.join("bin/python"));
    let validate = environment::apply(cmd!(shell, "{python} -c {VALIDATE} {schema}").quiet(), Purpose::Local);
    project.call("workflow", &name, validate, &document)
}

/// Returns actionlint, which is built once from the sources pinned by go.sum.
fn actionlint(project: &Project, tools: &Path) -> Result<PathBuf> {
    let scratch = project.cache.scratch("actionlint")?;
    for (name, text) in ACTIONLINT {
        let path = scratch.path().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let package = "github.com/rhysd/actionlint/cmd/actionlint";
    golang::program(project, &tools.join("bin/go"), scratch.path(), package, "actionlint")
}
