//! The one loop that executes a plan: side by side, cached, and cancellable.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use anyhow::{Context as _, Result, anyhow};

use crate::cache::{Output, Record};
use crate::cancel::Cancel;
use crate::doctor;
use crate::exchange::Exchange;
use crate::plan::{Action, Plan, Status, Step};
use crate::step::{self, Context, Env};
use crate::ui::{Task, bytes, quoted};

/// With less than this many bytes left a failure is put down to the disk.
const NO_ROOM: u64 = 16 << 20;

/// How a step ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub record: Record,
    pub cached: bool,
}

#[derive(Default)]
struct Progress {
    done: BTreeMap<String, Outcome>,
    running: BTreeSet<String>,
    failed: Vec<String>,
}

/// Runs what is neither cached nor in the registry. The first failure lets the steps under way end
/// and starts no others.
pub fn execute(plan: &Plan, context: &Context, exchange: &Exchange) -> Result<BTreeMap<String, Outcome>> {
    let progress = Mutex::new(Progress::default());
    let changed = Condvar::new();
    let urgency = plan.urgency();
    let workers = context.cores.clamp(1, plan.steps.len().max(1));
    // Beside the steps, one after another: an upload must not hold up what needs a processor.
    let (upload, uploads) = mpsc::channel::<Record>();
    std::thread::scope(|scope| {
        scope.spawn(|| uploads.into_iter().for_each(|record| exchange.publish(&record, context)));
        let (progress, changed, urgency) = (&progress, &changed, &urgency);
        for _ in 0..workers {
            let upload = upload.clone();
            scope.spawn(move || {
                while let Some(step) = next(plan, urgency, progress, changed, context.cancel) {
                    let inputs = held(progress).done.clone();
                    // A bug in one step must not leave the others waiting for it.
                    let outcome = catch_unwind(AssertUnwindSafe(|| perform(plan, step, &inputs, context, exchange)))
                        .unwrap_or_else(|_| Err(anyhow!("[{}] panicked, see above: this is a bug", step.id)));
                    let mut progress = held(progress);
                    progress.running.remove(&step.id);
                    match outcome {
                        Ok(outcome) => {
                            let _ = upload.send(outcome.record.clone());
                            progress.done.insert(step.id.clone(), outcome);
                        }
                        Err(error) => {
                            // Said at once: what is still under way may take minutes.
                            if !context.cancel.is_set() {
                                context.ui.say(&format!("error: {error:#}"));
                                if !progress.running.is_empty() {
                                    context.ui.say("the steps under way are brought to their end; none is started");
                                }
                            }
                            progress.failed.push(step.id.clone());
                        }
                    }
                    changed.notify_all();
                }
            });
        }
        // The uploads end when the last worker has ended.
        drop(upload);
    });
    let Progress { done, failed, .. } = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    if context.cancel.is_set() {
        return Err(anyhow!("interrupted"));
    }
    if failed.is_empty() {
        return Ok(done);
    }
    Err(anyhow!(
        "{} failed, as shown above; when it is mended, the same command continues where it stopped",
        quoted(failed)
    ))
}

/// Waits for a step whose needs are met and takes the most urgent; none when nothing is left to start.
fn next<'p>(
    plan: &'p Plan,
    urgency: &BTreeMap<&str, u32>,
    progress: &Mutex<Progress>,
    changed: &Condvar,
    cancel: &Cancel,
) -> Option<&'p Step> {
    let mut progress = held(progress);
    loop {
        if cancel.is_set() || !progress.failed.is_empty() {
            return None;
        }
        let waiting = plan
            .steps
            .iter()
            .filter(|step| !progress.done.contains_key(&step.id) && !progress.running.contains(&step.id));
        let ready = waiting
            .clone()
            .filter(|step| step.needs.iter().all(|need| progress.done.contains_key(need)))
            // The first of equals, so that a plan is executed in the order in which it is printed.
            .rev()
            .max_by_key(|step| urgency.get(step.id.as_str()).copied());
        if let Some(step) = ready {
            progress.running.insert(step.id.clone());
            return Some(step);
        }
        waiting.clone().next()?;
        let timeout = std::time::Duration::from_millis(200);
        progress = changed.wait_timeout(progress, timeout).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn perform(
    plan: &Plan,
    step: &Step,
    done: &BTreeMap<String, Outcome>,
    context: &Context,
    exchange: &Exchange,
) -> Result<Outcome> {
    let recorded = |step: &Step, _: &str| done.get(&step.id).and_then(|o| o.record.output.content.clone());
    let key = plan
        .keys(recorded)
        .remove(&step.id)
        .flatten()
        .with_context(|| format!("[{}] has no key although all it needs is done: this is a bug", step.id))?;
    let task = context.ui.start(&step.id, &step.action.describe(), &context.cache.log(&step.id));
    match attempt(step, &key, done, context, exchange, &task) {
        Ok((outcome, how)) => {
            task.end(how);
            Ok(outcome)
        }
        Err(error) => {
            let interrupted = context.cancel.is_set();
            let mut text = format!("[{}] {error:#}", step.id);
            for line in task.tail() {
                let long = line.chars().count() > 160;
                let line: String = line.chars().take(160).collect();
                text.push_str(&format!("\n    | {line}{}", if long { " …" } else { "" }));
            }
            text.push_str(&format!("\n    whole log: {}", task.log().display()));
            // Programs that find no room say so in many words, or in none.
            if let Some(left) = doctor::free(context.cache.dir()).filter(|left| *left < NO_ROOM) {
                let folder = context.cache.dir().display();
                text.push_str(&format!(
                    "\n    the disk is full: {} left at `{folder}`; free some space there",
                    bytes(left)
                ));
            }
            task.end(if interrupted { "interrupted" } else { "FAILED" });
            Err(anyhow!(text))
        }
    }
}

/// The outcome, and the word for how it came about.
fn attempt(
    step: &Step,
    key: &str,
    done: &BTreeMap<String, Outcome>,
    context: &Context,
    exchange: &Exchange,
    task: &Task,
) -> Result<(Outcome, &'static str)> {
    // Held until the record is written: a second process waits here and then finds it.
    let _lock = context.cache.lock(&format!("{key}.lock"), context.cancel, || {
        task.waiting("waits for another process that does the same")
    })?;
    if let Some(record) = usable(step, key, context, |why| context.ui.say(&format!("[{}] {why}", step.id))) {
        context.cache.touch(key);
        rename(&record, context)?;
        return Ok((Outcome { record, cached: true }, "cached"));
    }
    task.open_log()?;
    let needs = step
        .needs
        .iter()
        .filter_map(|need| Some((need.as_str(), &done.get(need)?.record.output)))
        .collect::<BTreeMap<&str, &Output>>();
    let scratch = context.cache.scratch(&step.id)?;
    let env = Env { id: &step.id, key, needs, scratch: scratch.path(), task, context };
    if let Some(record) = exchange.fetch(&step.action, &env)? {
        context.cache.remember(&record)?;
        rename(&record, context)?;
        return Ok((Outcome { record, cached: true }, "pulled"));
    }
    let before = task.seconds();
    let output = step::run(&step.action, &env)?;
    let record = Record { id: step.id.clone(), key: key.to_owned(), seconds: task.seconds() - before, output };
    context.cache.remember(&record)?;
    Ok((Outcome { record, cached: false }, "ok"))
}

/// The record of a key, if all that it speaks of is still there and unchanged; else `refuse` is told why.
fn usable(step: &Step, key: &str, context: &Context, refuse: impl Fn(String)) -> Option<Record> {
    let checked = context.cache.record(key).and_then(|record| match record {
        None => Ok(None),
        Some(record) => {
            context.cache.check(&record)?;
            Ok(present(step, &record, context)?.then_some(record))
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

/// What would happen to each step, as far as can be told without running any.
pub fn forecast(plan: &Plan, context: &Context) -> (BTreeMap<String, Option<String>>, BTreeMap<String, Status>) {
    // To look is to hash files and to ask the engine: once for each step.
    let seen = RefCell::new(BTreeMap::<String, Option<Record>>::new());
    let usable = |step: &Step, key: &str| {
        let look = || usable(step, key, context, |_| {});
        seen.borrow_mut().entry(step.id.clone()).or_insert_with(look).clone()
    };
    let keys = plan.keys(|step, key| usable(step, key).and_then(|record| record.output.content));
    let status = plan
        .steps
        .iter()
        .map(|step| {
            let status = match keys.get(&step.id).cloned().flatten() {
                None => Status::Later,
                Some(key) if usable(step, &key).is_some() => Status::Cached,
                Some(_) => Status::Build,
            };
            (step.id.clone(), status)
        })
        .collect();
    (keys, status)
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
