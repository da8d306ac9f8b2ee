//! Predicts what a run would do with each step, without running any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::{content, lock_mutex};
use crate::cache::{BuiltImage, StepRecord};
use crate::exchange::Exchange;
use crate::plan::{Action, Plan, Status, Step};
use crate::step::{self, RunContext};

/// Predicts the status of each step. Files are not hashed: if a file changed but kept its size, the run that uses it
/// will reject it.
pub fn forecast(
    plan: &Plan,
    context: &RunContext,
    exchange: &Exchange,
) -> (BTreeMap<String, Option<String>>, BTreeMap<String, Status>) {
    let keys = plan.keys(|step, key| content(step, key, context, exchange, false));
    let key = |step: &Step| keys.get(&step.id).cloned().flatten();
    let records = plan.steps.iter().filter_map(|step| Some((step.id.as_str(), on_record(step, &key(step)?, context)?)));
    let cached = with_images(records.collect(), context);
    // Query the registry once for each requested step.
    let pulled = Mutex::new(BTreeSet::new());
    let there = |step: &Step| {
        let offered = || key(step).is_some_and(|key| matches!(exchange.offer(step, &key, context), Ok(Some(_))));
        cached.contains(step.id.as_str()) || (offered() && lock_mutex(&pulled).insert(step.id.clone()))
    };
    let wanted = plan.wanted(|_| false, there);
    let pulled = lock_mutex(&pulled);
    let status = plan.steps.iter().map(|step| {
        let status = match key(step) {
            _ if cached.contains(step.id.as_str()) => Status::Cached,
            _ if pulled.contains(&step.id) => Status::Pull,
            _ if !wanted.contains(step.id.as_str()) => Status::Unused,
            None => Status::Later,
            Some(_) => Status::Build,
        };
        (step.id.clone(), status)
    });
    let status = status.collect();
    (keys, status)
}

/// Returns the record of a key if its files exist.
fn on_record(step: &Step, key: &str, context: &RunContext) -> Option<StepRecord> {
    let record = context.cache.record(key).ok().flatten().filter(|record| context.cache.holds(record))?;
    let tools = matches!(step.action, Action::Tools(_)) && !context.facts.fake;
    (!tools || step::tools::complete(context.cache, key)).then_some(record)
}

/// Returns the steps whose images exist in the engine, with one query for all of them.
fn with_images<'a>(records: BTreeMap<&'a str, StepRecord>, context: &RunContext) -> BTreeSet<&'a str> {
    let image = |record: &StepRecord| record.output.image.clone().filter(|_| !context.facts.fake);
    let images: Vec<BuiltImage> = records.values().filter_map(image).collect();
    let references: Vec<&str> = images.iter().map(|image| image.reference.as_str()).collect();
    // If the engine does not respond, no image is available.
    let there = context.docker.and_then(|docker| docker.image_ids(&references).ok()).unwrap_or_default();
    let present =
        |record: &StepRecord| image(record).is_none_or(|image| there.get(&image.reference) == Some(&image.id));
    records.into_iter().filter(|(_, record)| present(record)).map(|(id, _)| id).collect()
}
