//! Executes a plan: steps in parallel, each looked up in the cache first, all of them cancellable.

mod forecast;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::cache::{Output, Record, log_name};
use crate::exchange::Exchange;
use crate::plan::{Action, Plan, Step};
use crate::step::{self, Context, Env};
use base::ui::{Task, quoted};
use base::{disk, failure, summary};

pub use forecast::forecast;

/// How a step ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub record: Record,
    pub cached: bool,
    /// Keys of the steps that it was made from, by id.
    pub inputs: BTreeMap<String, String>,
}

/// What an execution came to.
pub struct Attempt {
    /// The steps that were made, or were found made, by id.
    pub done: BTreeMap<String, Outcome>,
    /// The ids of the steps that failed, in the order in which they did.
    pub failed: Vec<String>,
    /// The steps that were asked for and never started.
    pub not_built: BTreeMap<String, NotBuilt>,
    /// The keys of all steps, as far as they are known.
    pub keys: BTreeMap<String, Option<String>>,
    pub interrupted: bool,
}

/// Why a step was not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotBuilt {
    /// It needs the result of this step, which failed.
    Needs(String),
    /// Another step failed first, and the run was not told to keep going.
    Stopped,
}

impl Attempt {
    /// The outcomes of a run in which nothing failed; else an error that names the steps that did.
    pub fn complete(self) -> Result<BTreeMap<String, Outcome>> {
        ensure!(!self.interrupted, "interrupted");
        ensure!(
            self.failed.is_empty(),
            "{} failed, as shown above; the same command continues where this run stopped",
            quoted(self.failed)
        );
        ensure!(
            self.not_built.is_empty(),
            "{} could not be started: this is a bug",
            quoted(self.not_built.into_keys())
        );
        Ok(self.done)
    }
}

/// What is known so far.
#[derive(Default)]
struct Progress {
    keys: BTreeMap<String, Option<String>>,
    done: BTreeMap<String, Outcome>,
    /// Keys of steps that are neither here nor in the registry: these must be made.
    absent: BTreeSet<String>,
    running: BTreeSet<String>,
    failed: Vec<String>,
}

impl Progress {
    fn key(&self, id: &str) -> Option<&String> {
        self.keys.get(id)?.as_ref()
    }

    /// How a step ended. When Debian's archive gave something else than before, steps downstream
    /// have other keys than those under which they were found: then they have not ended.
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

/// What is to be done for a step: look for what was made before, which needs no other step; then make it.
#[derive(Clone, Copy)]
enum Work {
    Look,
    Make,
}

/// Makes the rows of the plan, and of the other steps those that are needed for what is neither
/// cached nor in the registry. After the first failure the steps that run are finished and no others
/// are started. An error if any step failed.
pub fn execute(plan: &Plan, context: &Context, exchange: &Exchange) -> Result<BTreeMap<String, Outcome>> {
    execute_with(plan, &|_| false, context, exchange)
}

/// The same, and the steps that are `asked` for although nothing that is made needs them.
pub fn execute_with(
    plan: &Plan,
    asked: &dyn Fn(&Step) -> bool,
    context: &Context,
    exchange: &Exchange,
) -> Result<BTreeMap<String, Outcome>> {
    attempt(plan, asked, context, exchange, false).complete()
}

/// The same, and tells of failures in its result. With `keep_going` every step is made that does not
/// need the result of one that failed.
pub fn attempt(
    plan: &Plan,
    asked: &dyn Fn(&Step) -> bool,
    context: &Context,
    exchange: &Exchange,
    keep_going: bool,
) -> Attempt {
    let mut first = Progress::default();
    first.keys = keys(plan, &first, context, exchange);
    // What is there already travels too, needed here or not; and images do even where the proof,
    // which nobody takes from others, is all that is left of them here.
    let here = |step: &Step, key: &String| usable(step, key, context, |_| {}).is_some();
    let travels =
        |step: &Step| matches!(step.action, Action::Image(_)) || first.key(&step.id).is_some_and(|key| here(step, key));
    // A step that fetches files whose pins were never checked would not run where all that needs it is cached.
    let unchecked = |step: &Step| match &step.action {
        Action::Fetch(fetch) => {
            let checked = |key: &String| matches!(context.cache.record(key), Ok(Some(_)));
            !first.key(&step.id).is_some_and(checked) && step::pin::is_contradicted(fetch, context.cache)
        }
        _ => false,
    };
    let wanted = |step: &Step| asked(step) || unchecked(step) || (exchange.pushes() && travels(step));
    let asked = plan.steps.iter().filter(|step| wanted(step));
    let asked: BTreeSet<&str> = asked.map(|step| step.id.as_str()).collect();
    let run = Run { plan, context, exchange, asked, urgency: plan.urgency(), keep_going, changed: Condvar::new() };

    let progress = Mutex::new(first);
    let workers = context.cores.clamp(1, plan.steps.len().max(1));
    // Beside the steps, one after another: an upload must not hold up what needs a processor.
    let (upload, uploads) = mpsc::channel::<(&Step, Record)>();
    std::thread::scope(|scope| {
        scope.spawn(|| uploads.into_iter().for_each(|(step, record)| exchange.publish(step, &record, context)));
        let (run, progress) = (&run, &progress);
        for _ in 0..workers {
            let upload = upload.clone();
            scope.spawn(move || {
                while let Some((step, work)) = run.next(progress) {
                    if let Some(record) = run.work(step, work, progress) {
                        let _ = upload.send((step, record));
                    }
                    run.changed.notify_all();
                }
            });
        }
        // The uploads end when the last worker has ended.
        drop(upload);
    });
    run.result(progress.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What all workers share and none changes.
struct Run<'a> {
    plan: &'a Plan,
    context: &'a Context<'a>,
    exchange: &'a Exchange,
    /// The steps that are asked for besides the rows: those whose results are here, and are to be in
    /// the registry, among them.
    asked: BTreeSet<&'a str>,
    urgency: BTreeMap<&'a str, u32>,
    keep_going: bool,
    changed: Condvar,
}

impl<'a> Run<'a> {
    /// The ids of the steps that something needs, as far as is known by now.
    fn wanted(&self, progress: &Progress) -> BTreeSet<&'a str> {
        // Not yet looked for counts as there.
        let there = |step: &Step| {
            progress.outcome(&step.id).is_some() || (progress.key(&step.id).is_some() && !progress.absent(&step.id))
        };
        self.plan.wanted(|step| self.asked.contains(step.id.as_str()), there)
    }

    /// What was made, what failed, and what was not started for which reason.
    fn result(&self, progress: Progress) -> Attempt {
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
            keys: progress.keys,
        }
    }

    /// Waits for a step that can be worked on and takes the most urgent; none when nothing is left to start.
    fn next(&self, progress: &Mutex<Progress>) -> Option<(&'a Step, Work)> {
        let mut progress = held(progress);
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
                    false => Some((step, Work::Look)),
                    true => met(step).then_some((step, Work::Make)),
                }
            });
            // The first of equals, so that a plan is executed in the order in which it is printed.
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

    /// Does it, notes how it ended, and returns what is there now.
    fn work(&self, step: &Step, work: Work, progress: &Mutex<Progress>) -> Option<Record> {
        let (key, needs) = {
            let progress = held(progress);
            let needs =
                step.needs.iter().filter_map(|need| Some((need.clone(), progress.outcome(need)?.record.clone())));
            (progress.key(&step.id).cloned().unwrap_or_default(), needs.collect::<BTreeMap<String, Record>>())
        };
        // A bug in one step must not leave the others waiting for it.
        let result = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Look => self.look(step, &key),
            Work::Make => self.make(step, &key, &needs).map(Some),
        }))
        .unwrap_or_else(|_| Err(anyhow!("[{}] panicked, see above: this is a bug", step.id)))
        // Afterwards: the names of modules are not part of the key, so that a build is kept when they are wrong.
        .and_then(|found| match &found {
            Some((record, _)) => step::wheel::check_imports(&step.action, record, self.context).map(|()| found),
            None => Ok(None),
        });
        let mut progress = held(progress);
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
                // Said at once: what is still under way may take minutes.
                if !self.context.cancel.is_set() {
                    self.context.ui.say(&format!("error: {error:#}"));
                    summary::add_step_failure(&error, self.context.ui);
                    if !self.keep_going && !progress.running.is_empty() {
                        self.context.ui.say(
                            "the steps that are running are finished and no others are started; with `--keep-going` \
                             all others are",
                        );
                    }
                }
                progress.failed.push(step.id.clone());
                None
            }
        }
    }

    /// What was made before, here or elsewhere, and whether anybody has it.
    fn look(&self, step: &Step, key: &str) -> Result<Option<(Record, bool)>> {
        let (context, exchange) = (self.context, self.exchange);
        let _lock = self.alone(step, key)?;
        if let Some(found) = self.found(step, key)? {
            return Ok(Some(found));
        }
        let Some(offer) = exchange.offer(step, key, context)? else { return Ok(None) };
        let task = self.start(step, key);
        let pulled = self.with(step, key, &BTreeMap::new(), &task, |env| exchange.fetch(step, &offer, env));
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
            Err(error) => Err(self.told(step, error, task)),
        }
    }

    /// Makes it, unless another process just has.
    fn make(&self, step: &Step, key: &str, needs: &BTreeMap<String, Record>) -> Result<(Record, bool)> {
        let _lock = self.alone(step, key)?;
        if let Some(found) = self.found(step, key)? {
            return Ok(found);
        }
        let task = self.start(step, key);
        let made = self.with(step, key, needs, &task, |env| {
            let before = task.seconds();
            let output = step::run(&step.action, env)?;
            let record = Record { id: step.id.clone(), key: key.to_owned(), seconds: task.seconds() - before, output };
            self.context.cache.remember(&record)?;
            Ok(record)
        });
        match made {
            Ok(record) => {
                task.end("ok");
                Ok((record, false))
            }
            Err(error) => Err(self.told(step, error, task)),
        }
    }

    /// Held until the record is written: a second process waits here and then finds it.
    fn alone(&self, step: &Step, key: &str) -> Result<std::fs::File> {
        let waiting = || self.context.ui.say(&format!("[{}] waits for another process that does the same", step.id));
        let lock = self.context.cache.lock(&format!("{key}.lock"), self.context.cancel, waiting);
        lock.with_context(|| format!("[{}]", step.id))
    }

    fn found(&self, step: &Step, key: &str) -> Result<Option<(Record, bool)>> {
        let context = self.context;
        let refuse = |why| context.ui.say(&format!("[{}] {why}", step.id));
        let Some(record) = usable(step, key, context, refuse) else { return Ok(None) };
        let task = self.start(step, key);
        context.cache.touch(key);
        match rename(&record, context) {
            Ok(()) => task.end("cached"),
            Err(error) => return Err(self.told(step, error, task)),
        }
        Ok(Some((record, true)))
    }

    fn start(&self, step: &Step, key: &str) -> Task {
        self.context.ui.start(&step.id, &step.action.describe(), &self.context.cache.log(&log_name(&step.id, key)))
    }

    /// Calls `work` with a log and an empty folder.
    fn with<T>(
        &self,
        step: &Step,
        key: &str,
        needs: &BTreeMap<String, Record>,
        task: &Task,
        work: impl FnOnce(&Env) -> Result<T>,
    ) -> Result<T> {
        task.open_log()?;
        let needs: BTreeMap<&str, &Output> = needs.iter().map(|(id, record)| (id.as_str(), &record.output)).collect();
        let scratch = self.context.cache.scratch(&step.id)?;
        work(&Env { id: &step.id, key, needs, scratch: scratch.path(), task, context: self.context })
    }

    /// An error with all that helps to mend it.
    fn told(&self, step: &Step, error: anyhow::Error, task: Task) -> anyhow::Error {
        let mut text = format!("[{}] {}", step.id, failure::explain(&error, &task));
        // Programs report a full disk in many ways, or not at all.
        let folders = [self.context.cache.dir(), &std::env::temp_dir()];
        if let Some(full) = disk::explain_full(&text, &[], &folders).filter(|_| !text.contains("the disk ")) {
            text.push_str(&format!("\n    {full}"));
        }
        task.end(if self.context.cancel.is_set() { "interrupted" } else { "FAILED" });
        anyhow!(text)
    }
}

/// The key of each step as far as it is known, now that this much is done.
fn keys(plan: &Plan, progress: &Progress, context: &Context, exchange: &Exchange) -> BTreeMap<String, Option<String>> {
    plan.keys(|step, key| match progress.done.get(&step.id).filter(|outcome| outcome.record.key == key) {
        Some(outcome) => outcome.record.output.content.clone(),
        None => content(step, key, context, exchange, true),
    })
}

/// What the outside world gave a step of this key when it ran last, here or where the registry's
/// images were made. Whether its image is still there does not matter to what was made of it.
fn content(step: &Step, key: &str, context: &Context, exchange: &Exchange, remember: bool) -> Option<String> {
    match context.cache.record(key) {
        Ok(Some(record)) => return record.output.content,
        Ok(None) => {}
        // Refused when the step is looked for.
        Err(_) => return None,
    }
    let record = exchange.note(step, key, context)?;
    // The next run must not have to ask for it, nor come to other keys.
    if remember
        && let Ok(_lock) = context.cache.lock(&format!("{key}.lock"), context.cancel, || {})
        && let Ok(None) = context.cache.record(key)
    {
        let _ = context.cache.remember(&record);
    }
    record.output.content
}

/// The record of a key, if all that it speaks of is still there and unchanged; else `refuse` is told why.
fn usable(step: &Step, key: &str, context: &Context, refuse: impl Fn(String)) -> Option<Record> {
    let checked = context.cache.record(key).and_then(|record| match record {
        None => Ok(None),
        Some(record) => {
            context.cache.check(&record)?;
            step::wheel::recognise(&step.action, &record, context.cache)?;
            let there = present(step, &record, context)?;
            // Steps of the same definition share a key, and the record speaks of the one that ran.
            Ok(there.then(|| Record { id: step.id.clone(), ..record }))
        }
    });
    match checked {
        Ok(record) => record,
        Err(error) => {
            refuse(format!("the cached result is refused and made again: {error:#}"));
            None
        }
    }
}

/// Whether what lies outside the store (images, the tools' environment) is there as recorded.
fn present(step: &Step, record: &Record, context: &Context) -> Result<bool> {
    if context.facts.fake {
        return Ok(true);
    }
    if let Action::Tools(_) = &step.action {
        return Ok(step::tools::complete(context.cache, &record.key));
    }
    match (&record.output.image, context.docker) {
        (None, _) => Ok(true),
        (Some(_), None) => Ok(false),
        (Some(image), Some(docker)) => Ok(docker.image(&image.reference)?.is_some_and(|found| found.id == image.id)),
    }
}

/// Gives an image that was found made its name for people again, if another has taken it meanwhile.
fn rename(record: &Record, context: &Context) -> Result<()> {
    let (Some(image), Some(docker)) = (&record.output.image, context.docker) else { return Ok(()) };
    let Some((repository, tag)) = image.name.as_deref().and_then(|name| name.rsplit_once(':')) else { return Ok(()) };
    let holder = docker.image(&format!("{repository}:{tag}"))?;
    if holder.is_none_or(|holder| holder.id != image.id) {
        docker.tag(&image.reference, repository, tag)?;
    }
    Ok(())
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
