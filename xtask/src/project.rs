//! The clone that a command works in, and what commands have in common: to plan, to show, to make.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use xshell::Cmd;

use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::exchange::Exchange;
use crate::facts::Facts;
use crate::manifest::Manifest;
use crate::matrix::Matrix;
use crate::plan::{self, Action, Plan, Status, Step, Tools};
use crate::proc::{self, Talk};
use crate::select::Selection;
use crate::step::{self, Context, root};
use crate::ui::{self, Task, Ui};
use crate::{
    Cli, Empty, Format, How, JobRows, Wrong, debian, docker, failure, incoming, provision, report, retry, run, since,
};

/// The clone that a command works in.
pub struct Project {
    /// `matrix.yaml`, and the folder that it lies in.
    pub file: PathBuf,
    pub folder: PathBuf,
    pub matrix: Matrix,
    pub cache: Cache,
    pub ui: Ui,
    pub cancel: Cancel,
    pub cores: usize,
    /// Nobody said how many.
    pub all_cores: bool,
    pub fake: bool,
    /// Keeps `prune` from removing what this command uses.
    pub in_use: Option<File>,
}

impl Project {
    pub fn open(cli: &Cli, cancel: Cancel) -> Result<Project> {
        let file = match &cli.matrix {
            Some(file) => file.clone(),
            None => find_matrix()?,
        };
        let file = std::path::absolute(&file)?;
        let shown = cli.matrix.clone().unwrap_or_else(|| PathBuf::from("matrix.yaml"));
        let matrix =
            Matrix::load(&file, &shown.display().to_string()).map_err(|error| anyhow!(Wrong(format!("{error:#}"))))?;
        let ui = Ui::new();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let cache = Cache::open(|line| ui.say(line))?;
        let waiting = || ui.say("waiting until `cargo xtask cache prune` has ended");
        let in_use = if cli.prunes() { None } else { Some(cache.in_use(&cancel, waiting)?) };
        docker::owner::register_below(cache.dir());
        Ok(Project {
            folder: file.parent().unwrap_or(Path::new("/")).to_owned(),
            file,
            matrix,
            cache,
            ui,
            cancel,
            cores: cli.jobs.map_or(cores, NonZeroUsize::get),
            all_cores: cli.jobs.is_none(),
            fake: cli.fake,
            in_use,
        })
    }

    pub fn facts(&self, quick: bool) -> Result<Facts> {
        let facts = Facts::read(&self.matrix, &self.folder, &self.cache, quick, self.fake)?;
        Ok(Facts { matrix: self.file.clone(), ..facts })
    }

    pub fn plan(&self, selection: &Selection, quick: bool) -> Result<(Plan, Facts)> {
        if selection.is_empty() {
            return Err(anyhow!(Empty));
        }
        let facts = self.facts(quick)?;
        let plan = plan::plan(&self.matrix, selection, &facts);
        facts.check_build_locks(&self.matrix, &plan)?;
        Ok((plan, facts))
    }

    /// What a step may use in the engine.
    pub fn engine_cores(&self, docker: Option<&docker::Docker>) -> usize {
        match docker.and_then(|docker| docker.info().ok()) {
            Some(info) if self.all_cores => usize::try_from(info.cpus).unwrap_or(1).max(1),
            _ => self.cores,
        }
    }

    /// For looking only: as if the engine had this machine's processors, since to ask takes time.
    pub fn context<'a>(&'a self, facts: &'a Facts, docker: Option<&'a docker::Docker>) -> Context<'a> {
        Context {
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

    pub fn show(
        &self,
        selection: &Selection,
        quick: bool,
        exchange: Exchange,
        format: Format,
        jobs: &JobRows,
    ) -> Result<()> {
        // Side by side: the engine's greeting and the compiler's each take a while.
        let (planned, docker) = std::thread::scope(|scope| {
            let docker = scope.spawn(|| if self.fake { None } else { docker::Docker::connect_to_look().ok() });
            (self.plan(selection, quick), docker.join().ok().flatten())
        });
        let (plan, facts) = planned?;
        let (keys, status) = run::forecast(&plan, &self.context(&facts, docker.as_ref()), &exchange);
        self.cancel.check()?;
        let status = |step: &plan::Step| status.get(&step.id).copied().unwrap_or(Status::Build);
        if format != Format::Github && (jobs.event.is_some() || jobs.changed_since.is_some()) {
            return Err(anyhow!(Wrong("--event and --changed-since choose jobs: add `--format github`".to_owned())));
        }
        match format {
            Format::Github => {
                let jobs = since::jobs(self, jobs, &plan, &keys, &facts, &status)?;
                ui::out(&format!("{}\n", serde_json::to_string(&jobs)?))
            }
            Format::Text => ui::out(&plan::text(&plan, &keys, &status)),
            Format::Json => ui::out(&format!("{:#}\n", plan::json(&plan, &keys, &status))),
        }
    }

    /// The engine, as far as a look needs it, where everything that is asked for was made before: then
    /// nothing that makes things has to be on this machine, and nobody waits for the checks of that.
    fn all_there(&self, plan: &Plan, facts: &Facts) -> Option<Option<docker::Docker>> {
        let images = plan.steps.iter().any(|step| matches!(step.action, Action::Proof(_)));
        let docker = if images && !self.fake { docker::Docker::connect_to_look().ok() } else { None };
        let nobody = Exchange::new(None, None);
        let (_, status) = run::forecast(plan, &self.context(facts, docker.as_ref()), &nobody);
        let there = |status: &Status| matches!(status, Status::Cached | Status::Unused);
        status.values().all(there).then_some(docker)
    }

    /// The engine, if the plan needs one, with all else that it needs of the machine.
    pub fn prepare(
        &self,
        plan: &Plan,
        facts: &Facts,
        yes: bool,
        exchange: &Exchange,
    ) -> Result<Option<docker::Docker>> {
        let needs = provision::Needs {
            docker: plan.steps.iter().any(|step| step.action.needs_docker()),
            programs: &[],
            bootstrap: &|docker| {
                let (_, status) = run::forecast(plan, &self.context(facts, Some(docker)), exchange);
                let image = self.matrix.root.image.as_deref();
                let build = status.get("root").is_some_and(|status| *status == Status::Build);
                let reached = |image: &str| {
                    let ask = || docker.offered(image);
                    retry::repeat(&retry::PAUSES, &self.cancel, docker::is_final, |_| {}, ask).is_ok()
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
            removed.context("cannot remove what an earlier run left in the Docker engine")?;
        }
        Ok(docker)
    }

    /// Makes what is selected, puts what could be made and the manifest into `wheels`, and prints the
    /// table. An error if any step failed.
    pub fn make(&self, selection: &Selection, how: &How, wheels: &Path) -> Result<Manifest> {
        let (plan, facts) = self.plan(selection, how.quick)?;
        if let Some(folder) = &how.wheels_from {
            incoming::take(self, folder)?;
        }
        let mut exchange = Exchange::new(how.cache_from.clone(), how.push.clone());
        if let Some(repository) = &how.stage {
            exchange = exchange.stage(repository.clone());
        }
        let pinned_root = how.pinned_root || exchange.pushes();
        let looked = if pinned_root { None } else { self.all_there(&plan, &facts) };
        let all_there = looked.is_some();
        let (docker, engine_cores) = match looked {
            Some(docker) => (docker, self.cores),
            None => {
                let docker = self.prepare(&plan, &facts, how.yes, &exchange)?;
                let cores = self.engine_cores(docker.as_ref());
                (docker, cores)
            }
        };
        if let (false, Some(docker)) = (all_there, &docker)
            && let Some(fallback) = root::fallback(&plan, &self.cache)?
            && fallback.give_up(&self.cache, docker, pinned_root)?
        {
            self.ui.say("[root] the pinned image replaces the fallback that mmdebstrap built");
        }
        let context = Context { engine_cores, pinned_root, ..self.context(&facts, docker.as_ref()) };
        debian::check(&self.matrix, &plan, &context, &exchange)?;
        let attempt = run::attempt(&plan, &|_| false, &context, &exchange, how.keep_going);
        // What was built is delivered, whatever else failed.
        let mut manifest = Manifest::of_attempt(&plan, &attempt, &self.matrix.name, wheels);
        let fallback = root::fallback(&plan, &self.cache)?;
        if let Some(fallback) = &fallback {
            manifest.add_note(&plan, root::NOTE, &fallback.note);
        }
        // Another folder than `wheels/` may be one that another project uses, too.
        let matrix = (wheels == self.wheels()).then_some(&self.matrix);
        manifest.publish(wheels, matrix, &self.cache)?;
        if !attempt.interrupted {
            report::publish(&manifest, &report::failures(&plan, &attempt))?;
        }
        if let Some(fallback) = &fallback {
            self.ui.say(&format!("warning: the root file system is {}", fallback.note));
        }
        attempt.complete()?;
        exchange.end()?;
        Ok(manifest)
    }

    /// The environment with the tools that build, installed where that was not done yet.
    pub fn tools(&self) -> Result<PathBuf> {
        let facts = Facts { fake: self.fake, ..Facts::default() };
        self.environment(&plan::tools(&self.matrix, &facts), &facts)
    }

    /// The same with what the workflows and other files are checked with.
    pub fn checks(&self) -> Result<PathBuf> {
        let action = Action::Tools(Tools { tools: self.matrix.ci.checks.clone() });
        let inputs = BTreeMap::from([("revision".to_owned(), step::revision(&action))]);
        let step = Step { id: "checks".to_owned(), action, needs: Vec::new(), inputs };
        self.environment(&Plan { steps: vec![step], whole: true }, &Facts::default())
    }

    fn environment(&self, plan: &Plan, facts: &Facts) -> Result<PathBuf> {
        let outcomes = run::execute(plan, &self.context(facts, None), &Exchange::new(None, None))?;
        let outcome = outcomes.values().next().context("no tools were installed: this is a bug")?;
        Ok(step::tools::folder(&self.cache, &outcome.record.key))
    }

    /// Runs a program that has no step of its own, with a log. Where it fails, the error has its last lines.
    pub fn call(&self, id: &str, what: &str, command: Cmd, input: &str) -> Result<()> {
        self.with_log(id, what, |task| proc::talk(command, task, &self.cancel, &Talk { input, ..Talk::default() }))
    }

    /// The same for a program whose standard output is the answer to a question.
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

    /// A program that is built once and kept, however many processes ask for it at the same time.
    pub fn program(&self, name: &str, path: PathBuf, build: impl FnOnce() -> Result<()>) -> Result<PathBuf> {
        if path.is_file() {
            return Ok(path);
        }
        let waiting = || self.ui.say(&format!("[{name}] waits until another process has built it"));
        let _lock = self.cache.lock(&format!("{name}.lock"), &self.cancel, waiting)?;
        if !path.is_file() {
            build()?;
        }
        ensure!(path.is_file(), "the build of {name} left no `{}`", path.display());
        Ok(path)
    }

    pub fn wheels(&self) -> PathBuf {
        self.folder.join("wheels")
    }
}

fn find_matrix() -> Result<PathBuf> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let found = here.ancestors().map(|folder| folder.join("matrix.yaml")).find(|file| file.is_file());
    found.ok_or_else(|| {
        anyhow!(Wrong(format!(
            "no matrix.yaml in `{}` or above: change into a clone of the project, or use --matrix",
            here.display()
        )))
    })
}
