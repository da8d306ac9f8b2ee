//! The project of a command, with the operations that commands share: planning, previews and execution.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use xshell::Cmd;

use crate::cache::Cache;
use crate::embedded;
use crate::exchange::Exchange;
use crate::facts::Facts;
use crate::plan::{Action, Plan, Status, Step, Tools};
use crate::step::{self, RunContext};
use crate::{planner, provision, run};
use base::cancel::Cancel;
use base::proc::{self, ProcessIo};
use base::ui::{Task, Ui};
use base::{NothingSelected, UsageError, failure, retry};
use matrix::Matrix;
use matrix::select::Selection;

/// File name of the matrix.
const MATRIX: &str = "matrix.yaml";

/// Global command line options.
pub struct OpenOptions<'a> {
    /// `--matrix`
    pub matrix: Option<&'a Path>,
    /// `--jobs`
    pub jobs: Option<NonZeroUsize>,
    /// `--fake`
    pub fake: bool,
    /// Whether the command needs a `matrix.yaml`. Without one, the others work in the current folder with the default
    /// interpreters and tools.
    pub needs_matrix: bool,
    /// Whether the command removes cache entries, which requires exclusive access.
    pub prunes: bool,
}

/// Folder with a `matrix.yaml` in which a command runs.
pub struct Project {
    /// Path of `matrix.yaml`. The file exists if the command needs it ([`OpenOptions::needs_matrix`]).
    pub file: PathBuf,
    pub folder: PathBuf,
    pub matrix: Matrix,
    pub cache: Cache,
    pub ui: Ui,
    pub cancel: Cancel,
    pub cores: usize,
    /// Whether `--jobs` was not given.
    pub all_cores: bool,
    pub fake: bool,
    /// Lock that prevents `prune` from removing entries in use.
    pub in_use: Option<File>,
    /// Folder with files to use instead of those of [`embedded`] with the same name.
    pub container_files: Option<PathBuf>,
}

impl Project {
    /// Finds and parses the matrix, and opens the cache.
    pub fn open(options: &OpenOptions, cancel: Cancel) -> Result<Project> {
        let here = std::env::current_dir().context("cannot determine the current folder")?;
        let found = match options.matrix {
            Some(file) => Some(std::path::absolute(file)?),
            None => here.ancestors().map(|folder| folder.join(MATRIX)).find(|file| file.is_file()),
        };
        let matrix = match &found {
            Some(file) => {
                let shown = options.matrix.unwrap_or(Path::new(MATRIX));
                Matrix::load(file, &shown.display().to_string())
                    .map_err(|error| anyhow!(UsageError(format!("{error:#}"))))?
            }
            None if options.needs_matrix => {
                return Err(anyhow!(UsageError(format!(
                    "no {MATRIX} in `{}` or its parent folders: change into a folder with one, name it with --matrix, \
                     or create one with `cargo xtask init`",
                    here.display()
                ))));
            }
            None => Matrix::without_rows()?,
        };
        let file = found.unwrap_or_else(|| here.join(MATRIX));
        let ui = Ui::detect();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let cache = Cache::open(|line| ui.say(line))?;
        let waiting = || ui.say("waiting for `cargo xtask cache prune` to finish");
        let in_use = if options.prunes { None } else { Some(cache.in_use(&cancel, waiting)?) };
        docker::owner::register_below(cache.dir());
        Ok(Project {
            folder: file.parent().unwrap_or(Path::new("/")).to_owned(),
            file,
            matrix,
            cache,
            ui,
            cancel,
            cores: options.jobs.map_or(cores, NonZeroUsize::get),
            all_cores: options.jobs.is_none(),
            fake: options.fake,
            in_use,
            container_files: std::env::var_os(embedded::VARIABLE).map(PathBuf::from),
        })
    }

    pub fn facts(&self, quick: bool) -> Result<Facts> {
        let mut facts = Facts::read(&self.matrix, &self.folder, &self.cache, quick, self.fake)?;
        if let Some(folder) = &self.container_files {
            facts.files = embedded::files_or_those_in(folder)?;
        }
        Ok(Facts { matrix: self.file.clone(), ..facts })
    }

    pub fn plan(&self, selection: &Selection, quick: bool) -> Result<(Plan, Facts)> {
        if selection.is_empty() {
            return Err(anyhow!(NothingSelected));
        }
        let facts = self.facts(quick)?;
        let plan = planner::plan(&self.matrix, selection, &facts);
        planner::check_build_locks(&facts, &self.matrix, &plan)?;
        Ok((plan, facts))
    }

    /// Returns the number of processors that a step may use in the engine.
    pub fn engine_cores(&self, docker: Option<&docker::Docker>) -> usize {
        match docker.and_then(|docker| docker.info().ok()) {
            Some(info) if self.all_cores => usize::try_from(info.cpus).unwrap_or(1).max(1),
            _ => self.cores,
        }
    }

    /// Returns a context for previews. It assumes that the engine has as many processors as this machine, because
    /// querying it takes time.
    pub fn context<'a>(&'a self, facts: &'a Facts, docker: Option<&'a docker::Docker>) -> RunContext<'a> {
        RunContext {
            cache: &self.cache,
            facts,
            ui: &self.ui,
            cancel: &self.cancel,
            docker,
            cores: self.cores,
            engine_cores: self.cores,
            repository: &self.matrix.name,
            pinned_root: false,
        }
    }

    /// Prepares the machine for a plan, and connects to the engine if the plan needs it.
    pub fn prepare(
        &self,
        plan: &Plan,
        facts: &Facts,
        yes: bool,
        exchange: &Exchange,
    ) -> Result<Option<docker::Docker>> {
        let patches = plan.steps.iter().any(|step| matches!(step.action, Action::Patch(_)));
        let needs = provision::Needs {
            platform: self.matrix.platform,
            docker: plan.steps.iter().any(|step| step.action.needs_docker()),
            programs: if patches { &[("patch", "patch")] } else { &[] },
            bootstrap: &|docker| {
                let (_, status) = run::forecast(plan, &self.context(facts, Some(docker)), exchange);
                let image = self.matrix.root.image.as_deref();
                let build = status.get("root").is_some_and(|status| *status == Status::Build);
                let reached = |image: &str| {
                    let ask = || docker.check_registry(image);
                    retry::repeat(&retry::PAUSES, &self.cancel, docker::is_permanent, |_| {}, ask).is_ok()
                };
                build && image.is_none_or(|image| !reached(image))
            },
        };
        let docker = match self.fake {
            true => None,
            false => provision::prepare(&needs, yes, &self.cache, &self.ui, &self.cancel)?,
        };
        if let Some(docker) = &docker {
            let removed = docker.remove_leftovers(self.cache.dir());
            removed.context("cannot remove leftovers of an earlier run from the Docker engine")?;
        }
        Ok(docker)
    }

    /// Returns the environment with the build tools, which is installed on first use.
    pub fn tools(&self) -> Result<PathBuf> {
        let facts = Facts { fake: self.fake, ..Facts::default() };
        self.environment(&planner::tools(&self.matrix, &facts), &facts)
    }

    /// Returns the environment with the tools that check workflows and other files.
    pub fn checks(&self) -> Result<PathBuf> {
        let action = Action::Tools(Tools { tools: self.matrix.ci.checks.clone() });
        let inputs = BTreeMap::from([("revision".to_owned(), step::revision(&action))]);
        let step = Step { id: "checks".to_owned(), action, needs: Vec::new(), inputs };
        self.environment(&Plan { steps: vec![step], whole: true }, &Facts::default())
    }

    fn environment(&self, plan: &Plan, facts: &Facts) -> Result<PathBuf> {
        let outcomes = run::execute(plan, &self.context(facts, None), &Exchange::new(None, None))?;
        let outcome =
            outcomes.values().next().context("the step that installs the tools has no result: this is a bug")?;
        Ok(step::tools::folder(&self.cache, &outcome.record.key))
    }

    /// Runs a program that is not part of a step, with a log. The error contains the last lines of its output.
    pub fn call(&self, id: &str, what: &str, command: Cmd, input: &str) -> Result<()> {
        self.with_log(id, what, |task| {
            proc::run_with(command, task, &self.cancel, &ProcessIo { input, ..ProcessIo::default() })
        })
    }

    /// Runs a program like `call` and returns its standard output.
    pub fn ask(&self, id: &str, what: &str, command: Cmd, input: &str) -> Result<String> {
        self.with_log(id, what, |task| proc::read(command, task, &self.cancel, input))
    }

    fn with_log<T>(&self, id: &str, what: &str, work: impl FnOnce(&Task) -> Result<T>) -> Result<T> {
        let task = self.ui.start(id, what, &self.cache.log(&format!("{id}-{}", what.replace(['/', ' '], "-"))));
        task.open_log()?;
        let done = work(&task).map_err(|error| anyhow!("{what}: {}", failure::explain(&error, &task)));
        task.end(if done.is_ok() { "ok" } else { "FAILED" });
        done
    }

    /// Returns a program, which is built on first use. Only one process builds it at a time.
    pub fn program(&self, name: &str, path: PathBuf, build: impl FnOnce() -> Result<()>) -> Result<PathBuf> {
        if path.is_file() {
            return Ok(path);
        }
        let waiting = || self.ui.say(&format!("[{name}] waiting for another process that builds it"));
        let _lock = self.cache.lock(&format!("{name}.lock"), &self.cancel, waiting)?;
        if !path.is_file() {
            build()?;
        }
        ensure!(path.is_file(), "the build of {name} did not create `{}`", path.display());
        Ok(path)
    }

    /// Whether the folder is a clone of this tool, which has more to check than the rows of the matrix.
    pub fn is_clone(&self) -> bool {
        self.folder.join("xtask/Cargo.toml").is_file()
    }

    /// Checks that the folder is a clone of this tool, for commands that work on its sources.
    pub fn needs_clone(&self, command: &str) -> Result<()> {
        let folder = self.folder.display();
        ensure!(
            self.fake || self.is_clone(),
            UsageError(format!("`{command}` works on the sources of this tool, which are not in `{folder}`"))
        );
        Ok(())
    }

    pub fn wheels(&self) -> PathBuf {
        self.folder.join("wheels")
    }
}
