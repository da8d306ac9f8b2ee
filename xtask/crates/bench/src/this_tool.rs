//! Measured runs of this tool, with a separate project, cache and image name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

use crate::rows;
use crate::work::Work;
use build::Project;
use build::cache::{Artefact, Cache, StepRecord};
use build::embedded;
use build::exchange::Exchange;
use build::lock::Pin;
use build::plan::{Action, Plan, Step};
use build::planner;
use build::run::{self, Outcome};
use docker::Docker;
use matrix::select::Selection;
use matrix::{BenchBuild, Matrix, Measure, variant};

pub struct ThisTool<'a> {
    user: &'a Project,
    what: &'a BenchBuild,
    docker: Option<&'a Docker>,
    project: Project,
    cache: PathBuf,
    shell: Shell,
    only: Vec<String>,
}

/// Results that exist before the measurement starts.
pub struct Ready {
    /// All steps, including the measured ones.
    pub plan: Plan,
    done: BTreeMap<String, Outcome>,
    blobs: Cache,
}

impl<'a> ThisTool<'a> {
    /// Creates a project below `work` with only the packages `only`, whose images have the name of `work`.
    pub fn new(
        user: &'a Project,
        what: &'a BenchBuild,
        docker: Option<&'a Docker>,
        work: &Work,
        only: Vec<String>,
    ) -> Result<ThisTool<'a>> {
        let (work, name) = (&work.folder, &work.name);
        let folder = work.join(format!("project-{}", only.join("-")));
        let cache = work.join("cache");
        let text = matrix(user, name, &only, None)?;
        let own = Cache::at(&cache)?;
        let project = Project {
            in_use: Some(own.in_use(&user.cancel, || {})?),
            folder: folder.clone(),
            file: folder.join("matrix.yaml"),
            matrix: Matrix::parse(&text, "matrix.yaml")?,
            cache: own,
            ui: user.ui.clone(),
            cancel: user.cancel.clone(),
            cores: user.cores,
            all_cores: user.all_cores,
            fake: user.fake,
            container_files: Some(folder.join("docker")),
        };
        fs::create_dir_all(folder.join("docker"))?;
        fs::write(&project.file, text)?;
        let shell = Shell::new()?;
        shell.change_dir(&folder);
        Ok(ThisTool { user, what, docker, project, cache, shell, only })
    }

    pub fn matrix(&self) -> &Matrix {
        &self.project.matrix
    }

    /// Returns the matrix of the same project with `package` built from `folder`.
    pub fn with_working_copy(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        let file = self.project.folder.join("working-copy.yaml");
        fs::write(
            &file,
            matrix(self.user, &self.project.matrix.name, &self.only, Some((package, &folder.display().to_string())))?,
        )?;
        Ok(file)
    }

    /// Writes the files that run in containers. With a `nonce`, each stage of the files in `cold` starts with a build
    /// argument of that value. BuildKit includes it in the cache key of each following RUN, so nothing is cached, without
    /// emptying the user's cache or changing the images.
    pub fn lay_out(&self, cold: &[&str], nonce: &str) -> Result<()> {
        for (path, mut text) in embedded::files() {
            if cold.iter().any(|name| path.ends_with(&format!("/{name}"))) {
                text = text.lines().map(|line| with_argument(line, nonce)).collect();
            }
            let file = self.project.folder.join(path);
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(file, text)?;
        }
        Ok(())
    }

    /// Executes all steps that `row` does not measure. Results in the user's cache are reused, including tools and
    /// downloads.
    pub fn prepare(&self, row: Measure, selection: &Selection) -> Result<Ready> {
        let (plan, facts) = self.project.plan(selection, rows::quick(row))?;
        let mut before = plan.clone();
        before.steps.retain(|step| !rows::measures(self.what, row, &step.action));
        let cache = &self.project.cache;
        let recorded = |step: &Step, key: &str| {
            self.adopt(step, key);
            cache.record(key).ok().flatten()?.output.content
        };
        // In some rows an input changes before each run. They may begin with results of the measured steps, too.
        let known = if rows::takes_known_results(row) { &plan } else { &before };
        let keys = known.keys(recorded);
        for step in &known.steps {
            if let Some(Some(key)) = keys.get(&step.id) {
                self.adopt(step, key);
            }
        }
        // The inputs of a measured step must exist, even if no other step needs them now.
        let used: BTreeSet<&String> =
            plan.steps.iter().filter(|s| rows::measures(self.what, row, &s.action)).flat_map(|s| &s.needs).collect();
        let asked = |step: &Step| used.contains(&step.id);
        let context = self.project.context(&facts, self.docker);
        let nobody = Exchange::new(None, None);
        let mut done = run::execute_with(&before, &asked, &context, &nobody)?;
        // The plain side starts with pip, even if this tool does not need it.
        let pip = self.project.matrix.tools.iter().find(|tool| tool.name == *"pip");
        let pip = pip.context("`tools` in matrix.yaml has no `pip`")?;
        let fetch = planner::fetch(&self.project.matrix, &facts, "tool-pip", &[Pin::of_tool(pip)]);
        done.extend(run::execute_with(&fetch, &|step| step.id == "tool-pip", &context, &nobody)?);
        Ok(Ready { plan, done, blobs: cache.clone() })
    }

    /// Copies a step's result from the user's cache. On failure, the step is executed instead.
    fn adopt(&self, step: &Step, key: &str) {
        // The environment of the tools contains its own path.
        if !matches!(step.action, Action::Tools(_)) && self.project.cache.record(key).ok().flatten().is_none() {
            let _ = self.take_over(step, key);
        }
    }

    fn take_over(&self, step: &Step, key: &str) -> Result<()> {
        let (from, to) = (&self.user.cache, &self.project.cache);
        let mut record = from.record(key)?.context("not there")?;
        from.check(&record)?;
        for file in &record.output.files {
            build::cache::copy(&from.blob(&file.sha256), &to.blob(&file.sha256))?;
        }
        if let Some(image) = &mut record.output.image {
            let docker = self.docker.context("no engine")?;
            let found = docker.image(&image.reference)?.context("the image does not exist")?;
            anyhow::ensure!(found.id == image.id, "the image has changed");
            let (repository, tag) =
                (format!("{}/build", self.project.matrix.name), format!("{}-{}", step.id, &key[..16]));
            docker.tag(&image.id, &repository, &tag)?;
            image.reference = format!("{repository}:{tag}");
            image.name = None;
        }
        to.remember(&record)
    }

    /// Removes the results that `row` measures.
    pub fn forget(&self, row: Measure, selection: &Selection) -> Result<()> {
        for record in self.measured(row, selection)? {
            fs::remove_file(self.project.cache.dir().join("records").join(format!("{}.json", record.key)))?;
        }
        // Remove reusable state (Cargo's folders, zig's cache), but keep the tools.
        for entry in fs::read_dir(self.project.cache.dir().join("state"))? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("tools-") {
                let path = entry.path();
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
            }
        }
        Ok(())
    }

    /// Returns the duration of each measured step.
    pub fn parts(&self, row: Measure, selection: &Selection) -> Result<BTreeMap<String, f64>> {
        Ok(self.measured(row, selection)?.into_iter().map(|record| (record.id, record.seconds)).collect())
    }

    fn measured(&self, row: Measure, selection: &Selection) -> Result<Vec<StepRecord>> {
        let (plan, _) = self.project.plan(selection, rows::quick(row))?;
        let cache = &self.project.cache;
        let keys = plan.keys(|_, key| cache.record(key).ok().flatten()?.output.content);
        let steps = plan.steps.iter().filter(|step| rows::measures(self.what, row, &step.action));
        let records = steps.filter_map(|step| cache.record(keys.get(&step.id)?.as_deref()?).transpose());
        records.collect()
    }

    /// Returns a command that calls this program, like a shell would.
    pub fn command(&self, arguments: &[&str], matrix: &Path) -> Result<Cmd<'_>> {
        let program = std::env::current_exe().context("cannot determine the path of this program")?;
        let fake: &[&str] = if self.project.fake { &["--fake"] } else { &[] };
        let shell = &self.shell;
        Ok(cmd!(shell, "{program} --matrix {matrix} {fake...} {arguments...}")
            .env("XTASK_CACHE_DIR", &self.cache)
            .env(embedded::VARIABLE, self.project.folder.join("docker")))
    }

    /// Returns the folder of the cache layout.
    pub fn cache_folder(&self) -> &Path {
        self.project.cache.dir()
    }

    pub fn matrix_file(&self) -> &Path {
        &self.project.file
    }
}

impl Ready {
    /// Returns the files that a step created, with the paths of their content.
    pub fn files(&self, step: &str) -> Result<Vec<(&Artefact, PathBuf)>> {
        let outcome = self.done.get(step).with_context(|| format!("`{step}` was not prepared: this is a bug"))?;
        Ok(outcome.record.output.files.iter().map(|file| (file, self.blobs.blob(&file.sha256))).collect())
    }

    pub fn image(&self, step: &str) -> Result<&str> {
        let image = self.done.get(step).and_then(|outcome| outcome.record.output.image.as_ref());
        Ok(&image.with_context(|| format!("`{step}` was not prepared: this is a bug"))?.reference)
    }

    /// Returns the path of a pinned tool's program.
    pub fn tool(&self, name: &str) -> Result<PathBuf> {
        let folder = self.done.get("tools").and_then(|outcome| outcome.record.output.notes.get("folder"));
        let folder = folder.context("the tools were not prepared: this is a bug")?;
        Ok(self.blobs.dir().join("state").join(folder).join("bin").join(name))
    }
}

/// Returns the text of the user's matrix with another name.
fn matrix(user: &Project, name: &str, only: &[String], working_copy: Option<(&str, &str)>) -> Result<String> {
    let text = fs::read_to_string(&user.file).with_context(|| format!("cannot read `{}`", user.file.display()))?;
    let only: Vec<&str> = only.iter().map(String::as_str).collect();
    variant(&text, name, &only, &user.folder, working_copy)
}

fn with_argument(line: &str, nonce: &str) -> String {
    let argument = if line.starts_with("FROM ") { format!("ARG BENCH_RUN={nonce}\n") } else { String::new() };
    format!("{line}\n{argument}")
}
