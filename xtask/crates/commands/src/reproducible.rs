//! Builds each wheel twice under different conditions and compares the bytes.
//!
//! Each build runs this program with a separate cache, which contains the downloads, tools and builder images of the
//! user's cache, but no wheels and no Cargo target folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use xshell::{Shell, cmd};

use base::{UsageError, failure, proc, ui};
use build::cache::Cache;
use build::exchange::Exchange;
use build::manifest::{Entry, Manifest};
use build::plan::Plan;
use build::run::{self, Outcome};
use build::step::{RunContext, tools};
use build::{BuildOptions, Project, debian};
use matrix::select::Selection;

/// One of the two builds, with its conditions.
struct Build<'a> {
    name: &'a str,
    /// The paths differ in length, because some formats pad them.
    folder: PathBuf,
    jobs: usize,
    umask: &'a str,
    env: [(&'a str, &'a str); 5],
}

impl Build<'_> {
    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    fn wheels(&self) -> PathBuf {
        self.folder.join("wheels")
    }
}

pub fn run(project: &Project, selection: &Selection, how: &BuildOptions) -> Result<()> {
    let (plan, facts) = project.plan(selection, how.quick)?;
    let mut built = Vec::new();
    for step in &plan.steps {
        let Some(wheel) = step.action.wheel() else { continue };
        if wheel.built.is_some() {
            built.push(step.id.as_str());
        } else {
            project.ui.say(&format!("[{}] is skipped, because it is built by its vendor", step.id));
        }
    }
    if built.is_empty() {
        return Err(anyhow!(UsageError(
            "the vendors have built all selected wheels: there is nothing to build".to_owned()
        )));
    }
    let exchange = Exchange::new(how.cache_from.clone(), None);
    let docker = project.prepare(&plan, &facts, how.yes, &exchange)?;
    // All steps except the wheels, on which no other step in this plan depends.
    let steps = plan.steps.iter().filter(|step| !built.contains(&step.id.as_str())).cloned().collect();
    let needs = Plan { steps, whole: true };
    let context =
        RunContext { engine_cores: project.engine_cores(docker.as_ref()), ..project.context(&facts, docker.as_ref()) };
    debian::check(&project.matrix, &plan, &context, &exchange)?;
    let needs = run::execute(&needs, &context, &exchange)?;
    exchange.end()?;

    let scratch = project.cache.scratch("reproducible")?;
    // If there is only one processor, use more jobs for the other build.
    let other = if project.cores > 1 { project.cores - 1 } else { 2 };
    let build =
        |name, folder: &str, jobs, umask, env| Build { name, folder: scratch.path().join(folder), jobs, umask, env };
    // These two time zones never have the same date.
    let first = [("TZ", "XXX-14"), ("LANG", "C"), ("LC_ALL", "C"), ("USER", "first"), ("LOGNAME", "first")];
    let second =
        [("TZ", "XXX12"), ("LANG", "tr_TR.UTF-8"), ("LC_ALL", "tr_TR.UTF-8"), ("USER", "2nd"), ("LOGNAME", "2nd")];
    let builds =
        [build("first", "1", project.cores, "022", first), build("second", "somewhere else", other, "027", second)];
    for build in &builds {
        build_all(build, project, selection, how, &needs)?;
        // Remove Cargo's target folders, which are large and no longer needed.
        fs::remove_dir_all(build.cache().join("v1/state"))?;
        // Timestamps in zip files have a resolution of two seconds.
        std::thread::sleep(Duration::from_secs(2));
        project.cancel.check()?;
    }
    compare(project, &built, &builds)
}

/// Builds the selected wheels in a cache that contains only the results in `needs`.
fn build_all(
    build: &Build,
    project: &Project,
    selection: &Selection,
    how: &BuildOptions,
    needs: &BTreeMap<String, Outcome>,
) -> Result<()> {
    let cache = Cache::at(&build.cache())?;
    for Outcome { record, .. } in needs.values() {
        for file in &record.output.files {
            let (from, to) = (project.cache.blob(&file.sha256), cache.blob(&file.sha256));
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ()))?;
        }
        if tools::complete(&project.cache, &record.key) {
            symlink(tools::folder(&project.cache, &record.key), tools::folder(&cache, &record.key))?;
        }
        cache.remember(record)?;
    }
    let program = std::env::current_exe().context("cannot determine the path of this program")?;
    let (matrix, jobs, wheels, umask) = (&project.file, build.jobs.to_string(), build.wheels(), build.umask);
    let mut options: Vec<String> = Vec::new();
    // The selection is a full combination of these lists, so they select the same rows.
    for (package, abi) in &selection.wheels {
        options.extend(["--package", package, "--abi", abi].map(str::to_owned));
    }
    options.extend(how.quick.then(|| "--quick".to_owned()));
    options.extend(project.fake.then(|| "--fake".to_owned()));
    let shell = Shell::new()?;
    shell.change_dir(&build.folder);
    let command = cmd!(
        shell,
        "sh -c 'umask \"$0\"; exec \"$@\"' {umask} {program} --matrix {matrix} --jobs {jobs} wheels --out {wheels} {options...}"
    );
    let command = command.envs(build.env).env("XTASK_CACHE_DIR", build.cache()).env_remove("GITHUB_ACTIONS");
    let command = command.env_remove("GITHUB_STEP_SUMMARY");
    let id = format!("{}-build", build.name);
    let task = project.ui.start(&id, "build the wheels without the cache", &project.cache.log(&id));
    task.open_log()?;
    let ended = proc::run(command, &task, &project.cancel)
        .map_err(|error| anyhow!("the {} build failed: {}", build.name, failure::explain(&error, &task)));
    task.end(if ended.is_ok() { "ok" } else { "FAILED" });
    ended
}

/// Prints the result for each wheel. Fails if wheels differ or contain local paths.
fn compare(project: &Project, ids: &[&str], builds: &[Build; 2]) -> Result<()> {
    let manifests = [Manifest::read(&builds[0].wheels())?, Manifest::read(&builds[1].wheels())?];
    let mut failed = Vec::new();
    for id in ids {
        let entry = |index: usize| -> Result<(&Entry, PathBuf)> {
            let entry = manifests[index].artefacts.iter().find(|entry| entry.id == *id);
            let entry = entry.with_context(|| format!("the {} build did not create `{id}`", builds[index].name))?;
            Ok((entry, builds[index].wheels().join(&entry.file)))
        };
        let ((one, first), (other, second)) = (entry(0)?, entry(1)?);
        let mut found = Vec::new();
        if one.key != other.key {
            found.push(format!("the key is {:.12} in the first build, {:.12} in the second", one.key, other.key));
        }
        if one.file != other.file {
            found.push(format!("the file name is {} in the first build, {} in the second", one.file, other.file));
        }
        found.extend(wheelfile::differences(&first, &second)?);
        for (wheel, build) in [(&first, &builds[0]), (&second, &builds[1])] {
            let spoken = wheelfile::find_local_paths(wheel, &folders(project, build))?;
            found.extend(spoken.into_iter().filter(|line| !found.contains(line)).collect::<Vec<_>>());
        }
        if found.is_empty() {
            ui::print_result(&format!("{id}  identical, sha256 {}\n", one.sha256))?;
        } else {
            failed.push(id);
            ui::print_result(&format!("{id}  NOT REPRODUCIBLE\n  {}\n", found.join("\n  ")))?;
        }
    }
    match failed.len() {
        0 => Ok(()),
        n => Err(anyhow!("{n} of {} wheels are not reproducible: {}", ids.len(), ui::quoted(failed))),
    }
}

/// Returns the local folders that must not occur in a wheel.
fn folders(project: &Project, build: &Build) -> Vec<String> {
    let var = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = var("HOME");
    let below = |name: &str, default: &str| var(name).or_else(|| home.as_ref().map(|home| home.join(default)));
    let all = [
        Some(build.folder.clone()),
        project.cache.dir().parent().map(Path::to_owned),
        Some(project.folder.clone()),
        below("CARGO_HOME", ".cargo"),
        below("RUSTUP_HOME", ".rustup"),
        home.clone(),
    ];
    // Skip `/` and `/root`, which exist everywhere.
    let all: Vec<PathBuf> = all.into_iter().flatten().filter(|folder| folder.components().count() > 2).collect();
    let outermost = |folder: &&PathBuf| !all.iter().any(|other| *folder != other && folder.starts_with(other));
    let folders: BTreeSet<String> = all.iter().filter(outermost).map(|folder| folder.display().to_string()).collect();
    folders.into_iter().collect()
}
