//! Looks up results of steps: in the cache, in the engine, and in a registry.

use anyhow::Result;

use crate::cache::StepRecord;
use crate::exchange::Exchange;
use crate::plan::{Action, Step};
use crate::step::{self, RunContext};

/// Returns the recorded content of a step, from the cache or the registry. It is valid even if the step's image no
/// longer exists.
pub(super) fn content(
    step: &Step,
    key: &str,
    context: &RunContext,
    exchange: &Exchange,
    remember: bool,
) -> Option<String> {
    match context.cache.record(key) {
        Ok(Some(record)) => return record.output.content,
        Ok(None) => {}
        // `usable` reports the invalid record later.
        Err(_) => return None,
    }
    let record = exchange.note(step, key, context)?;
    // Store the record, so that the next run has the same keys without asking the registry.
    if remember
        && let Ok(_lock) = context.cache.lock(&format!("{key}.lock"), context.cancel, || {})
        && let Ok(None) = context.cache.record(key)
    {
        let _ = context.cache.remember(&record);
    }
    record.output.content
}

/// Returns the record of a key if its files and images still exist unchanged; otherwise calls `refuse` with the
/// reason.
pub(super) fn usable(step: &Step, key: &str, context: &RunContext, refuse: impl Fn(String)) -> Option<StepRecord> {
    let checked = context.cache.record(key).and_then(|record| match record {
        None => Ok(None),
        Some(record) => {
            context.cache.check(&record)?;
            step::wheel::recognise(&step.action, &record, context.cache)?;
            let available = present(step, &record, context)?;
            // Steps of equal definition share a key; use the id of this one.
            Ok(available.then(|| StepRecord { id: step.id.clone(), ..record }))
        }
    });
    match checked {
        Ok(record) => record,
        Err(error) => {
            refuse(format!("the cached result is invalid and built again: {error:#}"));
            None
        }
    }
}

/// Returns whether results outside the cache (images, the environment of tools) exist as recorded.
pub(super) fn present(step: &Step, record: &StepRecord, context: &RunContext) -> Result<bool> {
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

/// Restores the user-visible name of a cached image if another image has it.
pub(super) fn rename(record: &StepRecord, context: &RunContext) -> Result<()> {
    let (Some(image), Some(docker)) = (&record.output.image, context.docker) else { return Ok(()) };
    let Some((repository, tag)) = image.name.as_deref().and_then(|name| name.rsplit_once(':')) else { return Ok(()) };
    let holder = docker.image(&format!("{repository}:{tag}"))?;
    if holder.is_none_or(|holder| holder.id != image.id) {
        docker.tag(&image.reference, repository, tag)?;
    }
    Ok(())
}
