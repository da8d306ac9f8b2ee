//! Executes a plan: runs steps in parallel after looking up their results in the cache.

mod error;
mod forecast;
mod lookup;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::cache::{Output, StepRecord, log_name};
use crate::exchange::Exchange;
use crate::missing::Missing;
use crate::plan::{Action, Plan, Step};
use crate::step::{self, RunContext, StepEnv};
use base::ui::{Task, quoted};
use base::{disk, failure, summary};

use error::StepFailure;
pub use error::StepsFailed;
pub use forecast::forecast;
use lookup::{content, rename, usable};

/// Result of a step.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub record: StepRecord,
    pub cached: bool,
    /// Keys of the steps it was built from, by id.
    pub inputs: BTreeMap<String, String>,
}

/// Result of an execution.
pub struct Attempt {
    /// Results of the steps that were executed or found, by id.
    pub done: BTreeMap<String, Outcome>,
    /// Ids of the failed steps in the order of their failures.
    pub failed: Vec<String>,
    /// What the failed steps miss.
    pub missing: Vec<Missing>,
    /// First line of the error of each failed step, by id.
    pub causes: BTreeMap<String, String>,
    /// Requested steps that were not started.
    pub not_built: BTreeMap<String, NotBuilt>,
    /// Keys of all steps, as far as known.
    pub keys: BTreeMap<String, Option<String>>,
    pub interrupted: bool,
}

/// Reason why a step was not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotBuilt {
    /// It needs the result of this step, which failed.
    Needs(String),
    /// Another step failed first, and `--keep-going` was not given.
    Stopped,
}

impl Attempt {
    /// Returns the outcomes if nothing failed. The error lists the failed steps.
    pub fn complete(self) -> Result<BTreeMap<String, Outcome>> {
        ensure!(!self.interrupted, "interrupted");
        if !self.failed.is_empty() {
            return Err(anyhow!(StepsFailed { failed: self.failed, missing: self.missing, causes: self.causes }));
        }
        ensure!(self.not_built.is_empty(), "{} were not started: this is a bug", quoted(self.not_built.into_keys()));
        Ok(self.done)
    }
}

/// State of an execution.
#[derive(Default)]
struct ExecutionState {
    keys: BTreeMap<String, Option<String>>,
    done: BTreeMap<String, Outcome>,
    /// Keys of steps that are neither cached nor in the registry and must be executed.
    absent: BTreeSet<String>,
    running: BTreeSet<String>,
    failed: Vec<String>,
    missing: Vec<Missing>,
    causes: BTreeMap<String, String>,
}

impl ExecutionState {
    fn key(&self, id: &str) -> Option<&String> {
        self.keys.get(id)?.as_ref()
    }

    /// Returns the result of a step. If Debian's archive has changed, dependent steps have new keys, and results
    /// under their old keys do not count.
    fn outcome(&self, id: &str) -> Option<&Outcome> {
        self.done.get(id).filter(|outcome| Some(&outcome.record.key) == self.key(id))
    }

    fn has_failed(&self, id: &str) -> bool {
        self.failed.iter().any(|failed| failed == id)
    }

    fn absent(&self, id: &str) -> bool {
        self.key(id).is_some_and(|key| self.absent.contains(key))
    }
}

/// The work on a step: first look it up, which needs no other step, then execute it.
#[derive(Clone, Copy)]
enum StepWork {
    Look,
    Make,
}

/// Executes the rows of a plan, and other steps as far as results that are neither cached nor in the registry need
/// them. After the first failure, running steps finish and no others start. Fails if any step failed.
pub fn execute(plan: &Plan, context: &RunContext, exchange: &Exchange) -> Result<BTreeMap<String, Outcome>> {
    execute_with(plan, &|_| false, context, exchange)
}

/// Like [`execute`], with further steps for which `requested` holds.
pub fn execute_with(
    plan: &Plan,
    requested: &dyn Fn(&Step) -> bool,
    context: &RunContext,
    exchange: &Exchange,
) -> Result<BTreeMap<String, Outcome>> {
    attempt(plan, requested, context, exchange, false).complete()
}

/// Like [`execute_with`], but returns failures in the result. With `keep_going`, all steps that do not depend on a
/// failed one are executed.
pub fn attempt(
    plan: &Plan,
    requested: &dyn Fn(&Step) -> bool,
    context: &RunContext,
    exchange: &Exchange,
    keep_going: bool,
) -> Attempt {
    let mut first = ExecutionState::default();
    first.keys = keys(plan, &first, context, exchange);
    // Cached results are pushed as well, even if they are not needed here. Images are pushed even if only their proof
    // is cached, because proofs are not shared.
    let here = |step: &Step, key: &String| usable(step, key, context, |_| {}).is_some();
    let travels =
        |step: &Step| matches!(step.action, Action::Image(_)) || first.key(&step.id).is_some_and(|key| here(step, key));
    // A step that fetches files must run if their pins were never checked, even if all dependent steps are cached.
    let unchecked = |step: &Step| {
        let Action::Fetch(fetch) = &step.action else { return false };
        let checked = |key: &String| matches!(context.cache.record(key), Ok(Some(_)));
        !first.key(&step.id).is_some_and(checked) && step::pin::is_contradicted(fetch, context.cache)
    };
    let wanted = |step: &Step| requested(step) || unchecked(step) || (exchange.pushes() && travels(step));
    let requested = plan.steps.iter().filter(|step| wanted(step));
    let requested: BTreeSet<&str> = requested.map(|step| step.id.as_str()).collect();
    let run = Run { plan, context, exchange, requested, urgency: plan.urgency(), keep_going, changed: Condvar::new() };

    let progress = Mutex::new(first);
    let workers = context.cores.clamp(1, plan.steps.len().max(1));
    // Uploads run sequentially on their own thread, because they need no processor.
    let (upload, uploads) = mpsc::channel::<(&Step, StepRecord)>();
    std::thread::scope(|scope| {
        scope.spawn(|| uploads.into_iter().for_each(|(step, record)| exchange.publish(step, &record, context)));
        let (run, progress) = (&run, &progress);
        for _ in 0..workers {
            let upload = upload.clone();
            scope.spawn(move || {
                while let Some((step, work)) = run.next(progress) {
                    if let Some(record) = run.perform(step, work, progress) {
                        let _ = upload.send((step, record));
                    }
                    run.changed.notify_all();
                }
            });
        }
        // Ends the upload thread once all workers have ended.
        drop(upload);
    });
    run.result(progress.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Immutable state shared by all workers.
struct Run<'a> {
    plan: &'a Plan,
    context: &'a RunContext<'a>,
    exchange: &'a Exchange,
    /// Steps requested in addition to rows, including those whose cached results are to be pushed.
    requested: BTreeSet<&'a str>,
    urgency: BTreeMap<&'a str, u32>,
    keep_going: bool,
    changed: Condvar,
}

/// Returns the keys of all steps that are known at this point.
fn keys(
    plan: &Plan,
    progress: &ExecutionState,
    context: &RunContext,
    exchange: &Exchange,
) -> BTreeMap<String, Option<String>> {
    plan.keys(|step, key| match progress.done.get(&step.id).filter(|outcome| outcome.record.key == key) {
        Some(outcome) => outcome.record.output.content.clone(),
        None => content(step, key, context, exchange, true),
    })
}

impl<'a> Run<'a> {
    /// Returns the ids of the steps that are needed, as far as known.
    fn wanted(&self, progress: &ExecutionState) -> BTreeSet<&'a str> {
        // A step that was not looked up yet counts as available.
        let available = |step: &Step| {
            progress.outcome(&step.id).is_some() || (progress.key(&step.id).is_some() && !progress.absent(&step.id))
        };
        self.plan.wanted(|step| self.requested.contains(step.id.as_str()), available)
    }

    /// Returns the completed, failed and not started steps.
    fn result(&self, progress: ExecutionState) -> Attempt {
        let mut blocked: BTreeMap<&str, &str> = BTreeMap::new();
        for step in &self.plan.steps {
            let cause = step.needs.iter().find_map(|need| match progress.has_failed(need) {
                true => Some(need.as_str()),
                false => blocked.get(need.as_str()).copied(),
            });
            if let Some(cause) = cause {
                blocked.insert(&step.id, cause);
            }
        }
        let open = self.wanted(&progress).into_iter();
        let open = open.filter(|id| progress.outcome(id).is_none() && !progress.has_failed(id));
        let not_built = open.map(|id| {
            let cause = blocked.get(id).map_or(NotBuilt::Stopped, |cause| NotBuilt::Needs((*cause).to_owned()));
            (id.to_owned(), cause)
        });
        let done =
            self.plan.steps.iter().filter_map(|step| Some((step.id.clone(), progress.outcome(&step.id)?.clone())));
        Attempt {
            not_built: not_built.collect(),
            done: done.collect(),
            interrupted: self.context.cancel.is_set(),
            failed: progress.failed,
            missing: progress.missing,
            causes: progress.causes,
            keys: progress.keys,
        }
    }

    /// Waits for a step that is ready and returns the most urgent one; `None` if no more steps will start.
    fn next(&self, progress: &Mutex<ExecutionState>) -> Option<(&'a Step, StepWork)> {
        let mut progress = lock_mutex(progress);
        loop {
            if self.context.cancel.is_set() || (!self.keep_going && !progress.failed.is_empty()) {
                return None;
            }
            let wanted = self.wanted(&progress);
            let waiting = self
                .plan
                .steps
                .iter()
                .filter(|step| wanted.contains(step.id.as_str()) && progress.outcome(&step.id).is_none());
            let met = |step: &Step| step.needs.iter().all(|need| progress.outcome(need).is_some());
            let idle = |step: &&Step| !progress.running.contains(&step.id) && !progress.has_failed(&step.id);
            let ready = waiting.clone().filter(idle).filter_map(|step| {
                progress.key(&step.id)?;
                match progress.absent(&step.id) {
                    false => Some((step, StepWork::Look)),
                    true => met(step).then_some((step, StepWork::Make)),
                }
            });
            // Of equally urgent steps the first is taken, so execution follows the printed order.
            let ready = ready.rev().max_by_key(|(step, _)| self.urgency.get(step.id.as_str()).copied());
            if let Some((step, work)) = ready {
                progress.running.insert(step.id.clone());
                return Some((step, work));
            }
            if waiting.clone().next().is_none() || progress.running.is_empty() {
                return None;
            }
            let timeout = std::time::Duration::from_millis(200);
            progress = self.changed.wait_timeout(progress, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Performs the work, stores the result, and returns the record to upload.
    fn perform(&self, step: &Step, work: StepWork, progress: &Mutex<ExecutionState>) -> Option<StepRecord> {
        let (key, needs) = {
            let progress = lock_mutex(progress);
            let needs =
                step.needs.iter().filter_map(|need| Some((need.clone(), progress.outcome(need)?.record.clone())));
            (progress.key(&step.id).cloned().unwrap_or_default(), needs.collect::<BTreeMap<String, StepRecord>>())
        };
        // A panic in one step must not block the others.
        let result = catch_unwind(AssertUnwindSafe(|| match work {
            StepWork::Look => self.look_up(step, &key),
            StepWork::Make => self.make(step, &key, &needs).map(Some),
        }))
        .unwrap_or_else(|_| Err(anyhow!("[{}] panicked: this is a bug", step.id)))
        // Check imports after the build: module names are not part of the key, so the build remains valid if they are
        // wrong.
        .and_then(|found| match &found {
            Some((record, _)) => step::wheel::check_imports(&step.action, record, self.context).map(|()| found),
            None => Ok(None),
        });
        let mut progress = lock_mutex(progress);
        progress.running.remove(&step.id);
        match result {
            Ok(Some((record, cached))) => {
                let known = step.needs.iter().filter_map(|need| Some((need.clone(), progress.key(need)?.clone())));
                let outcome = Outcome { record: record.clone(), cached, inputs: known.collect() };
                progress.done.insert(step.id.clone(), outcome);
                if step.action.is_recorded() {
                    progress.keys = keys(self.plan, &progress, self.context, self.exchange);
                }
                Some(record)
            }
            Ok(None) => {
                progress.absent.insert(key);
                None
            }
            Err(error) => {
                // Print the error immediately, because running steps may take minutes.
                if !self.context.cancel.is_set() {
                    self.context.ui.say(&format!("error: {error:#}"));
                    summary::add_step_failure(&error, self.context.ui);
                    if !self.keep_going && !progress.running.is_empty() {
                        self.context.ui.say(
                            "running steps are finished and no others are started; use `--keep-going` \
                             to start all steps that do not depend on the failed one",
                        );
                    }
                }
                progress.failed.push(step.id.clone());
                progress.causes.insert(step.id.clone(), cause(&step.id, &error));
                progress
                    .missing
                    .extend(error.downcast_ref::<StepFailure>().and_then(|failure| failure.missing.clone()));
                None
            }
        }
    }

    /// Looks up a result in the cache and the registry. The flag tells whether the registry has it.
    fn look_up(&self, step: &Step, key: &str) -> Result<Option<(StepRecord, bool)>> {
        let (context, exchange) = (self.context, self.exchange);
        let _lock = self.lock_step(step, key)?;
        if let Some(found) = self.found(step, key)? {
            return Ok(Some(found));
        }
        let Some(offer) = exchange.offer(step, key, context)? else { return Ok(None) };
        let task = self.start(step, key);
        let pulled = self.run_step(StepRun { step, key, needs: &BTreeMap::new(), task: &task }, |env| {
            exchange.fetch(step, &offer, env)
        });
        match pulled {
            Ok(Some(record)) => {
                context.cache.remember(&record)?;
                rename(&record, context)?;
                task.end("pulled");
                Ok(Some((record, true)))
            }
            Ok(None) => {
                task.end("not pulled");
                Ok(None)
            }
            Err(error) => Err(self.explain_error(step, error, task)),
        }
    }

    /// Executes a step, unless another process has just done so.
    fn make(&self, step: &Step, key: &str, needs: &BTreeMap<String, StepRecord>) -> Result<(StepRecord, bool)> {
        let _lock = self.lock_step(step, key)?;
        if let Some(found) = self.found(step, key)? {
            return Ok(found);
        }
        let task = self.start(step, key);
        let made = self.run_step(StepRun { step, key, needs, task: &task }, |env| {
            let before = task.seconds();
            let output = step::run(&step.action, env)?;
            let record =
                StepRecord { id: step.id.clone(), key: key.to_owned(), seconds: task.seconds() - before, output };
            self.context.cache.remember(&record)?;
            Ok(record)
        });
        match made {
            Ok(record) => {
                task.end("ok");
                Ok((record, false))
            }
            Err(error) => Err(self.explain_error(step, error, task)),
        }
    }

    /// Locks a step until its record is written, so that a second process waits and then finds the record.
    fn lock_step(&self, step: &Step, key: &str) -> Result<std::fs::File> {
        let waiting = || self.context.ui.say(&format!("[{}] waiting for another process that runs this step", step.id));
        let lock = self.context.cache.lock(&format!("{key}.lock"), self.context.cancel, waiting);
        lock.with_context(|| format!("[{}]", step.id))
    }

    fn found(&self, step: &Step, key: &str) -> Result<Option<(StepRecord, bool)>> {
        let context = self.context;
        let refuse = |why| context.ui.say(&format!("[{}] {why}", step.id));
        let Some(record) = usable(step, key, context, refuse) else { return Ok(None) };
        let task = self.start(step, key);
        context.cache.touch(key);
        match rename(&record, context) {
            Ok(()) => task.end("cached"),
            Err(error) => return Err(self.explain_error(step, error, task)),
        }
        Ok(Some((record, true)))
    }

    fn start(&self, step: &Step, key: &str) -> Task {
        self.context.ui.start(&step.id, &step.action.describe(), &self.context.cache.log(&log_name(&step.id, key)))
    }

    /// Calls `work` with an empty scratch folder.
    fn run_step<T>(&self, run: StepRun, work: impl FnOnce(&StepEnv) -> Result<T>) -> Result<T> {
        let StepRun { step, key, needs, task } = run;
        task.open_log()?;
        let needs: BTreeMap<&str, &Output> = needs.iter().map(|(id, record)| (id.as_str(), &record.output)).collect();
        let scratch = self.context.cache.scratch(&step.id)?;
        work(&StepEnv { id: &step.id, key, needs, scratch: scratch.path(), task, context: self.context })
    }

    /// Adds log, last lines and command to the error of a step, and ends its task.
    fn explain_error(&self, step: &Step, error: anyhow::Error, task: Task) -> anyhow::Error {
        let missing = Missing::of(&error);
        let mut text = format!("[{}] {}", step.id, failure::explain(&error, &task));
        // Many programs do not report a full disk clearly.
        let folders = [self.context.cache.dir(), &std::env::temp_dir()];
        if let Some(full) = disk::explain_full(&text, &[], &folders).filter(|_| !text.contains("the disk ")) {
            text.push_str(&format!("\n    {full}"));
        }
        task.end(if self.context.cancel.is_set() { "interrupted" } else { "FAILED" });
        anyhow!(StepFailure { text, missing })
    }
}

/// A step whose result is made here or fetched from a registry.
struct StepRun<'a> {
    step: &'a Step,
    key: &'a str,
    /// Records of the steps that it needs.
    needs: &'a BTreeMap<String, StepRecord>,
    task: &'a Task,
}

/// Returns the first line of the error of a step, without the id of the step.
fn cause(id: &str, error: &anyhow::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix(&format!("[{id}] ")).unwrap_or(&text);
    text.lines().next().unwrap_or_default().to_owned()
}

fn lock_mutex<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
