//! What every workflow must pass: the published schema, actionlint and zizmor, each pinned by digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use xshell::{Cmd, Shell, cmd};

use super::shown;
use crate::exchange::Exchange;
use crate::facts::Facts;
use crate::plan::{Action, Plan, Step, Tools};
use crate::proc::{self, Talk};
use crate::{Project, digest, golang, matrix, run, step};

/// fastjsonschema, which has no dependencies, names the place that is wrong.
const VALIDATE: &str = include_str!("validate.py");

/// The folder with go.mod and go.sum of actionlint.
const ACTIONLINT: &str = ".github/actionlint";

pub fn run(project: &Project, files: &[PathBuf]) -> Result<()> {
    if project.fake {
        return Ok(());
    }
    let tools = tools(project)?;
    let mut found = Vec::new();
    let mut told = |result: Result<()>| {
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
    told(check(
        project,
        "actionlint",
        cmd!(shell, "{actionlint} -no-color -shellcheck= -pyflakes= {workflows...}"),
        "",
    ))?;
    let (zizmor, config) = (tools.join("bin/zizmor"), project.folder.join(".github/zizmor.yml"));
    told(check(
        project,
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

/// The environment of the pinned checks, installed like the tools that build.
fn tools(project: &Project) -> Result<PathBuf> {
    let action = Action::Tools(Tools { tools: project.matrix.ci.checks.clone() });
    let code = digest::of(include_str!("../step/tools.rs"));
    let inputs = BTreeMap::from([("code".to_owned(), code)]);
    let step = Step { id: "checks".to_owned(), action, needs: Vec::new(), inputs };
    let (plan, facts) = (Plan { steps: vec![step], whole: true }, Facts::default());
    let outcomes = run::execute(&plan, &project.context(&facts, None), &Exchange::new(None, None))?;
    let outcome = outcomes.get("checks").context("the checks were not installed: this is a bug")?;
    Ok(step::tools::folder(&project.cache, &outcome.record.key))
}

fn schema(project: &Project, tools: &Path, file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let name = shown(project, file);
    let document = matrix::document(&text, &name)?.to_string();
    let schema = if is_action(file) { "github-actions.json" } else { "github-workflows.json" };
    let (shell, python) = (Shell::new()?, tools.join("bin/python"));
    check(project, &name, cmd!(shell, "{python} -c {VALIDATE} {schema}").quiet(), &document)
}

/// actionlint, built once from the sources that go.sum pins.
fn actionlint(project: &Project, tools: &Path) -> Result<PathBuf> {
    let (folder, package) = (project.folder.join(ACTIONLINT), "github.com/rhysd/actionlint/cmd/actionlint");
    golang::program(project, &tools.join("bin/go"), &folder, package, "actionlint")
}

fn check(project: &Project, what: &str, command: Cmd, input: &str) -> Result<()> {
    let log = project.cache.log(&format!("workflow-{}", what.replace(['/', ' '], "-")));
    let task = project.ui.start("workflow", what, &log);
    task.open_log()?;
    let done = proc::talk(command, &task, &project.cancel, &Talk { input, ..Talk::default() });
    let told = done.map(|_| ()).map_err(|_| {
        let said = task.tail().into_iter().filter(|line| !line.starts_with("$ "));
        let lines: Vec<String> = said.map(|line| format!("    | {line}")).collect();
        anyhow!("{what}:\n{}\n    whole log: {}", lines.join("\n"), task.log().display())
    });
    task.end(if told.is_ok() { "ok" } else { "FAILED" });
    told
}
