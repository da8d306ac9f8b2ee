//! Shares step results between machines through a registry, by key.
//!
//! A result is pushed as an image with two labels, the key and a `ResultMetadata`. For a step that builds an image, it has
//! the same layers; for a wheel, it contains only the file. For results that depend on Debian's archive, a small
//! additional image tagged `….note` contains the recorded content, from which the keys of dependent steps are
//! computed without pulling the large image.
//!
//! Everybody who can write to the repository can replace results: the metadata detects mistakes, not attacks.

mod metadata;
mod registry;
mod repository;
mod take;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::cache::StepRecord;
use crate::cache::log_name;
use crate::plan::{Action, Step};
use crate::step::{RunContext, StepEnv};
use base::labels;
use base::retry;
use base::ui::Task;
use docker::{Build, Content, ContextFile, Docker, Image, Network, RegistryImage};
use metadata::{ResultMetadata, fingerprint};
use registry::{FailureEffect, RegistryState};
pub use repository::Repository;
use take::{take_image, take_note, take_wheel};

/// Maximum time without progress of a transfer. Building is faster than waiting longer.
const STILL: Duration = Duration::from_secs(180);
/// Folder of the files in an image that contains only files.
const FILES: &str = "/files";

/// Source and destination of results during one run.
#[derive(Debug)]
pub struct Exchange {
    from: Option<RegistryState>,
    to: Option<RegistryState>,
    /// Notes already requested, by key.
    notes: Mutex<BTreeMap<String, Option<StepRecord>>>,
    /// Ids of the steps whose results could not be pushed.
    not_pushed: Mutex<Vec<String>>,
}

impl Exchange {
    pub fn new(from: Option<Repository>, to: Option<Repository>) -> Exchange {
        Exchange {
            from: from.map(RegistryState::new),
            to: to.map(RegistryState::new),
            notes: Mutex::default(),
            not_pushed: Mutex::default(),
        }
    }

    /// Sets the destination for `--stage`: images are tagged and labelled for `repository` in the engine, and another
    /// machine pushes them.
    pub fn stage(mut self, repository: Repository) -> Exchange {
        let mut state = RegistryState::new(repository);
        state.staged = true;
        self.to = Some(state);
        self
    }

    /// Returns whether results are pushed or staged.
    pub fn pushes(&self) -> bool {
        self.to.is_some()
    }

    /// Looks up a step's result in the registry, with up to three attempts per request. A registry that does not
    /// respond is reported once and not used again. Fails only if the run is interrupted.
    pub fn offer(&self, step: &Step, key: &str, context: &RunContext) -> Result<Option<RegistryImage>> {
        if !is_shared(&step.action) {
            return Ok(None);
        }
        self.query(step, context, |from, docker| docker.registry_image(&from.name(&step.id, key), context.cancel))
    }

    /// Pulls an offered result and verifies it.
    pub fn fetch(&self, step: &Step, offer: &RegistryImage, env: &StepEnv) -> Result<Option<StepRecord>> {
        self.query(step, env.context, |from, docker| {
            let taken = match step.action.wheel().and_then(|wheel| wheel.built) {
                Some(wheel) => take_wheel(from, docker, wheel, offer, env),
                None => take_image(from, docker, step, offer, env),
            };
            taken.inspect_err(|error| env.task.line(&format!("{error:#}")))
        })
    }

    /// Returns the recorded content of a step that depends on Debian's archive, without pulling its image.
    pub fn note(&self, step: &Step, key: &str, context: &RunContext) -> Option<StepRecord> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = notes.get(key) {
            return known.clone();
        }
        // The caller checks for interruptions.
        let found =
            self.query(step, context, |from, docker| take_note(from, docker, step, key, context)).ok().flatten();
        notes.insert(key.to_owned(), found.clone());
        found
    }

    fn query<T>(
        &self,
        step: &Step,
        context: &RunContext,
        question: impl Fn(&Repository, &Docker) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let (Some(state), Some(docker)) = (self.from.as_ref().filter(|state| state.open()), context.docker) else {
            return Ok(None);
        };
        let work = || question(&state.repository, docker);
        match retry::repeat(&retry::PAUSES, context.cancel, docker::is_permanent, |_| {}, work) {
            Ok(found) => {
                state.succeed();
                Ok(found)
            }
            Err(error) => {
                context.cancel.check()?;
                let (id, repository) = (&step.id, &state.repository);
                match state.fail(state.answers(docker, context)) {
                    FailureEffect::Object => context
                        .ui
                        .say(&format!("[{id}] is built locally, because it cannot be taken from `{repository}`: {error:#}")),
                    FailureEffect::Repository => context.ui.say(&format!(
                        "warning: [{id}] continues without `{repository}`, which is not used again in this run: {error:#}"
                    )),
                    FailureEffect::Known => {}
                }
                Ok(None)
            }
        }
    }

    /// Pushes a step's result unless the registry already has it. A failure is reported immediately and again by
    /// `end`.
    pub fn publish(&self, step: &Step, record: &StepRecord, context: &RunContext) {
        let (Some(state), Some(docker)) = (&self.to, context.docker) else { return };
        // The next run pushes what is still in the queue.
        if context.cancel.is_set() || !(is_shared(&step.action) || record.output.image.is_some()) {
            return;
        }
        if state.open() {
            let what = format!("{} {}", if state.staged { "stage for" } else { "push to" }, state.repository);
            let log = context.cache.log(&format!("push-{}", log_name(&record.id, &record.key)));
            let task = context.ui.start(&record.id, &what, &log);
            let again = |error: &anyhow::Error| task.line(&format!("retrying: {error:#}"));
            let work = || send_result(state, record, docker, context, &task);
            let given = task
                .open_log()
                .and_then(|()| retry::repeat(&retry::PAUSES, context.cancel, docker::is_permanent, again, work));
            match given {
                Ok(new) => {
                    state.succeed();
                    return task.end(if new { "ok" } else { "cached" });
                }
                Err(_) if context.cancel.is_set() => return task.end("interrupted"),
                Err(error) => {
                    task.end("FAILED");
                    let rest = match state.fail(state.answers(docker, context)) {
                        FailureEffect::Object => "",
                        FailureEffect::Repository | FailureEffect::Known => "; nothing more is pushed in this run",
                    };
                    context.ui.say(&format!("error: [{}] {error:#}{rest}", record.id));
                }
            }
        }
        self.not_pushed.lock().unwrap_or_else(PoisonError::into_inner).push(record.id.clone());
    }

    /// Fails if a result could not be pushed.
    pub fn end(&self) -> Result<()> {
        let not_pushed = self.not_pushed.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.to, not_pushed.is_empty()) {
            (Some(state), false) => Err(anyhow!(
                "cannot push to `{}` (see above): `{}`; everything is built; run the same command again to retry the push",
                state.repository,
                not_pushed.join("`, `")
            )),
            _ => Ok(()),
        }
    }
}

/// Returns whether results of this kind are taken from other machines. Proofs are not: they take only seconds and
/// must be made locally. Published wheels are downloaded from the index.
fn is_shared(action: &Action) -> bool {
    match action {
        Action::Root(_)
        | Action::Apt(_)
        | Action::Python(_)
        | Action::Base(_)
        | Action::Maturin(_)
        | Action::Container(_)
        | Action::Controls(_)
        | Action::Image(_) => true,
        Action::Tools(_)
        | Action::Fetch(_)
        | Action::Patch(_)
        | Action::Published(_)
        | Action::Stable(_)
        | Action::Proof(_) => false,
    }
}

fn note_name(name: &str) -> String {
    format!("{name}.note")
}

fn tag(docker: &Docker, image: &str, name: &str) -> Result<()> {
    let (repository, tag) = name.rsplit_once(':').context("a name without a tag: this is a bug")?;
    docker.tag(image, repository, tag)
}

/// Pushes or stages a result with its metadata. Returns whether anything was missing in the registry.
fn send_result(
    to: &RegistryState,
    record: &StepRecord,
    docker: &Docker,
    context: &RunContext,
    task: &Task,
) -> Result<bool> {
    let name = to.repository.name(&record.id, &record.key);
    let sender = Sender { key: &record.key, staged: to.staged, docker, context, task };
    let general = ResultMetadata {
        // Rounded, because longer fractions can change when written and read again.
        seconds: (record.seconds * 1000.0).round() / 1000.0,
        content: record.output.content.clone(),
        notes: record.output.notes.clone(),
        ..ResultMetadata::default()
    };
    let mut new = false;
    if let Some(image) = &record.output.image {
        let made = docker.image(&image.reference)?.with_context(|| format!("`{}` is gone", image.reference))?;
        let metadata = ResultMetadata { image: Some(fingerprint(&made)), name: image.name.clone(), ..general.clone() };
        let build = Build {
            dockerfile: "ARG IMAGE\nFROM ${IMAGE}\n",
            args: BTreeMap::from([("IMAGE".to_owned(), image.reference.clone())]),
            ..Build::default()
        };
        new |= sender.send(&name, &metadata, build)?;
    } else {
        let metadata = ResultMetadata { files: record.output.files.clone(), ..general.clone() };
        let file = |file: &crate::cache::Artefact| (file.name.clone(), Content::File(context.cache.blob(&file.sha256)));
        let build = files_image(record.output.files.iter().map(file));
        new |= sender.send(&name, &metadata, build)?;
    }
    if let Some(content) = &record.output.content {
        // Not all registries accept an image without layers.
        let build = files_image([("content".to_owned(), Content::Bytes(content.clone().into_bytes()))]);
        new |= sender.send(&note_name(&name), &general, build)?;
    }
    Ok(new)
}

/// Returns an image that contains only these files.
fn files_image<'a>(files: impl IntoIterator<Item = (String, Content)>) -> Build<'a> {
    let file = |(name, source)| ContextFile { path: format!("files/{name}"), source, mode: 0o644 };
    let context = files.into_iter().map(file).collect();
    Build { dockerfile: "FROM scratch\nCOPY files /files\n", context, ..Build::default() }
}

/// Common data of all images of one result.
struct Sender<'a> {
    key: &'a str,
    staged: bool,
    docker: &'a Docker,
    context: &'a RunContext<'a>,
    task: &'a Task,
}

impl Sender<'_> {
    /// Pushes or stages the image of `build` with its labels as `name`. Returns whether it was missing.
    fn send(&self, name: &str, metadata: &ResultMetadata, mut build: Build) -> Result<bool> {
        let Sender { key, staged, docker, context, task } = *self;
        build.labels = BTreeMap::from([
            (labels::KEY.to_owned(), key.to_owned()),
            (labels::RESULT_METADATA.to_owned(), serde_json::to_string(metadata)?),
        ]);
        build.tags = vec![name.to_owned()];
        build.network = Network::None;
        let labelled = |image: &Image| {
            build.labels.iter().all(|(name, value)| image.labels.get(name) == Some(value))
                && metadata.image.as_ref().is_none_or(|made| fingerprint(image) == *made)
        };
        match docker.image(name)?.filter(labelled) {
            // Use the image in the registry, not the engine's memory of earlier pushes. Another machine may have
            // pushed an image for this key with other Debian packages, which would not match the dependent results.
            Some(_) if staged => return Ok(false),
            Some(ready) => {
                let offer = docker.registry_image(name, context.cancel)?;
                if offer.is_some_and(|offer| ready.digests.iter().any(|known| known.ends_with(&offer.digest))) {
                    return Ok(false);
                }
            }
            None => {
                docker.build(&build, &|line| task.line(line), context.cancel)?;
                let built = docker.image(name)?.with_context(|| format!("`{name}` is gone"))?;
                ensure!(
                    labelled(&built),
                    "this engine changes the layers of an image when adding labels, so the image cannot be pushed"
                );
            }
        }
        if staged {
            return Ok(true);
        }
        docker.push(name, STILL, &|line| task.line(line), context.cancel)?;
        Ok(true)
    }
}
