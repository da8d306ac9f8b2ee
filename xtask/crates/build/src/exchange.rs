//! What steps made, to and from a registry, tagged with their keys, so that what one machine made another need not make.
//!
//! What is pushed is an image with two labels, the key and a `Passport`: for a step that makes an
//! image the same layers, for a wheel an image of nothing but the file, and for what Debian's archive
//! gave one more, tagged `….note`: the keys of what was made of it are known without its gigabytes.
//!
//! Whoever may write to the repository decides what comes out of it: a passport tells a mistake from
//! what was meant, not an attacker from a friend.

mod passport;
mod repository;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::cache::log_name;
use crate::cache::{BuiltImage, Output, Record};
use crate::plan::{Action, Root, Step, Wheel};
use crate::step::{Context, Env, root, wheel};
use base::labels;
use base::retry;
use base::ui::Task;
use docker::{Build, Content, ContextFile, Docker, Image, Network, RegistryImage};
use passport::{Passport, fingerprint};
pub use repository::Repository;

/// How long a transfer may stand still: waiting longer than building takes would help nobody.
const STILL: Duration = Duration::from_secs(180);
/// Where the files are in an image of nothing else.
const FILES: &str = "/files";

/// So many objects in a row may fail before a repository is given up although its registry answers.
const FAILURES: u32 = 3;

/// A repository, and whether it is still used in this run.
#[derive(Debug)]
struct Side {
    repository: Repository,
    closed: AtomicBool,
    /// Objects that failed since the last success.
    failures: AtomicU32,
    /// Whether images only get their names for the repository, and nothing is sent there.
    staged: bool,
}

/// What follows from a failure of one object.
#[derive(Debug, PartialEq, Eq)]
enum Loss {
    /// The repository is used for other objects.
    Object,
    /// The repository is not used any more; this is the failure that decided it.
    Repository,
    /// It was given up before.
    Known,
}

impl Side {
    fn new(repository: Repository) -> Side {
        Side { repository, closed: AtomicBool::new(false), failures: AtomicU32::new(0), staged: false }
    }

    fn open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    fn succeed(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Notes that an object failed, all tries included, and whether the registry answered then.
    fn fail(&self, answers: bool) -> Loss {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if answers && failures < FAILURES {
            return Loss::Object;
        }
        if self.closed.swap(true, Ordering::Relaxed) { Loss::Known } else { Loss::Repository }
    }

    /// Whether the registry answers, no matter what it has.
    fn answers(&self, docker: &Docker, context: &Context) -> bool {
        docker.registry_image(&format!("{}:any", self.repository), context.cancel).is_ok()
    }
}

/// Where results are taken from and put to during one run.
#[derive(Debug)]
pub struct Exchange {
    from: Option<Side>,
    to: Option<Side>,
    /// What was asked for already, and what came of it, by key.
    notes: Mutex<BTreeMap<String, Option<Record>>>,
    /// The steps whose results were not pushed.
    kept: Mutex<Vec<String>>,
}

impl Exchange {
    pub fn new(from: Option<Repository>, to: Option<Repository>) -> Exchange {
        Exchange { from: from.map(Side::new), to: to.map(Side::new), notes: Mutex::default(), kept: Mutex::default() }
    }

    /// The same for `--stage`: images with the names and labels of `repository` are made in the engine, and
    /// another machine pushes them.
    pub fn stage(mut self, repository: Repository) -> Exchange {
        self.to = Some(Side { staged: true, ..Side::new(repository) });
        self
    }

    /// Whether results are to be put anywhere.
    pub fn pushes(&self) -> bool {
        self.to.is_some()
    }

    /// What the registry has of a step's result. Each request is tried three times; a registry that
    /// does not answer then is reported and not asked again. The only error is an interruption.
    pub fn offer(&self, step: &Step, key: &str, context: &Context) -> Result<Option<RegistryImage>> {
        if !taken(&step.action) {
            return Ok(None);
        }
        self.ask(step, context, |from, docker| docker.registry_image(&from.name(&step.id, key), context.cancel))
    }

    /// Takes what was offered, if it is what it says.
    pub fn fetch(&self, step: &Step, offer: &RegistryImage, env: &Env) -> Result<Option<Record>> {
        self.ask(step, env.context, |from, docker| {
            let taken = match step.action.wheel().and_then(|wheel| wheel.built) {
                Some(wheel) => take_wheel(from, docker, wheel, offer, env),
                None => take_image(from, docker, step, offer, env),
            };
            taken.inspect_err(|error| env.task.line(&format!("{error:#}")))
        })
    }

    /// What Debian's archive gave a step elsewhere, without the image that came of it.
    pub fn note(&self, step: &Step, key: &str, context: &Context) -> Option<Record> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = notes.get(key) {
            return known.clone();
        }
        // An interruption is seen by whoever asks.
        let found = self.ask(step, context, |from, docker| take_note(from, docker, step, key, context)).ok().flatten();
        notes.insert(key.to_owned(), found.clone());
        found
    }

    fn ask<T>(
        &self,
        step: &Step,
        context: &Context,
        question: impl Fn(&Repository, &Docker) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let (Some(side), Some(docker)) = (self.from.as_ref().filter(|side| side.open()), context.docker) else {
            return Ok(None);
        };
        let work = || question(&side.repository, docker);
        match retry::repeat(&retry::PAUSES, context.cancel, docker::is_permanent, |_| {}, work) {
            Ok(found) => {
                side.succeed();
                Ok(found)
            }
            Err(error) => {
                context.cancel.check()?;
                let (id, repository) = (&step.id, &side.repository);
                match side.fail(side.answers(docker, context)) {
                    Loss::Object => context
                        .ui
                        .say(&format!("[{id}] is made here, since `{repository}` did not deliver it: {error:#}")),
                    Loss::Repository => context.ui.say(&format!(
                        "warning: [{id}] goes on without `{repository}`, which is not asked again in this run: {error:#}"
                    )),
                    Loss::Known => {}
                }
                Ok(None)
            }
        }
    }

    /// Puts a step's result into the registry, unless it is there. A failure is said now, and again by `end`.
    pub fn publish(&self, step: &Step, record: &Record, context: &Context) {
        let (Some(side), Some(docker)) = (&self.to, context.docker) else { return };
        // What is still in the queue then, the next run pushes.
        if context.cancel.is_set() || !(taken(&step.action) || record.output.image.is_some()) {
            return;
        }
        if side.open() {
            let what = format!("{} {}", if side.staged { "stage for" } else { "push to" }, side.repository);
            let log = context.cache.log(&format!("push-{}", log_name(&record.id, &record.key)));
            let task = context.ui.start(&record.id, &what, &log);
            let again = |error: &anyhow::Error| task.line(&format!("trying again: {error:#}"));
            let work = || give(side, record, docker, context, &task);
            let given = task
                .open_log()
                .and_then(|()| retry::repeat(&retry::PAUSES, context.cancel, docker::is_permanent, again, work));
            match given {
                Ok(new) => {
                    side.succeed();
                    return task.end(if new { "ok" } else { "cached" });
                }
                Err(_) if context.cancel.is_set() => return task.end("interrupted"),
                Err(error) => {
                    task.end("FAILED");
                    let rest = match side.fail(side.answers(docker, context)) {
                        Loss::Object => "",
                        Loss::Repository | Loss::Known => "; nothing more is pushed in this run",
                    };
                    context.ui.say(&format!("error: [{}] {error:#}{rest}", record.id));
                }
            }
        }
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(record.id.clone());
    }

    /// An error when something that was made could not be pushed.
    pub fn end(&self) -> Result<()> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.to, kept.is_empty()) {
            (Some(side), false) => Err(anyhow!(
                "not pushed to `{}`, as shown above: `{}`; all of it is made, and the same command tries to push it again",
                side.repository,
                kept.join("`, `")
            )),
            _ => Ok(()),
        }
    }
}

/// Whether what a step of this kind made elsewhere is used. A proof is not: it takes seconds, and
/// what somebody else says of the GIL is no proof. What the vendor publishes comes from the index.
fn taken(action: &Action) -> bool {
    match action {
        Action::Root(_)
        | Action::Apt(_)
        | Action::Python(_)
        | Action::Base(_)
        | Action::Maturin(_)
        | Action::Container(_)
        | Action::Image(_) => true,
        Action::Tools(_) | Action::Fetch(_) | Action::Published(_) | Action::Proof(_) => false,
    }
}

/// Why a root file system is not the pinned image.
fn unpinned(action: &Action, passport: &Passport) -> Option<String> {
    let Action::Root(Root { image: Some(image), .. }) = action else { return None };
    let output = Output { notes: passport.notes.clone(), ..Output::default() };
    root::fallback_note(image, &output)
}

/// Says why something is not taken.
fn refuse<T>(name: &str, id: &str, context: &Context, why: &str) -> Result<Option<T>> {
    context.ui.say(&format!("[{id}] `{name}` is refused, and made here instead: {why}"));
    Ok(None)
}

/// Pulls what is offered, unless that is for other machines.
fn pull(
    from: &Repository,
    offer: &RegistryImage,
    docker: &Docker,
    context: &Context,
    on: &(dyn Fn(&str) + Sync),
) -> Result<Result<(String, Image), String>> {
    // Before a gigabyte is on its way; not every registry's answer tells.
    let platform = context.facts.platform.oci();
    if !offer.platforms.is_empty() && !offer.platforms.iter().any(|offered| offered == platform) {
        return Ok(Err(format!("it is for {}, not {platform}", offer.platforms.join(", "))));
    }
    // By digest: the engine then makes sure of every byte, and nobody moves the tag meanwhile.
    let pinned = format!("{from}@{}", offer.digest);
    docker.pull_within(&pinned, STILL, on, context.cancel)?;
    let image = docker.image(&pinned)?.with_context(|| format!("`{pinned}` is missing right after its pull"))?;
    Ok(Ok((pinned, image)))
}

fn take_image(
    from: &Repository,
    docker: &Docker,
    step: &Step,
    offer: &RegistryImage,
    env: &Env,
) -> Result<Option<Record>> {
    let (name, reference) = (from.name(&step.id, env.key), env.reference());
    env.task.waiting(&format!("pulling {name}"));
    let pulled = pull(from, offer, docker, env.context, &|line| env.task.line(line))?;
    let examined = pulled.and_then(|(pinned, image)| {
        let passport = Passport::of_image(&image, env.key, env.context.facts.platform, &step.action)
            .map_err(|error| format!("{error:#}"))?;
        Ok((pinned, image, passport))
    });
    let (pinned, image, passport) = match examined {
        Ok(found) => found,
        Err(why) => return refuse(&name, env.id, env.context, &why),
    };
    if let Some(note) = unpinned(&step.action, &passport) {
        return refuse(&name, env.id, env.context, &note);
    }
    // The name will be given to the image here, and must not be taken from something else.
    let project = format!("{}/", env.context.repository);
    if let Some(wish) = passport.name.as_ref().filter(|wish| !wish.starts_with(&project)) {
        return refuse(&name, env.id, env.context, &format!("it wants to be called `{wish}`"));
    }
    for new in [&reference, &name] {
        tag(docker, &pinned, new)?;
    }
    let image = BuiltImage { reference, name: passport.name, id: image.id, size: image.size };
    let output = Output {
        image: Some(image),
        content: passport.content,
        notes: passport.notes,
        taken_from: Some(from.to_string()),
        ..Output::default()
    };
    Ok(Some(Record { id: env.id.to_owned(), key: env.key.to_owned(), seconds: passport.seconds, output }))
}

/// A wheel goes through the same checks as one that was just built.
fn take_wheel(
    from: &Repository,
    docker: &Docker,
    own: &Wheel,
    offer: &RegistryImage,
    env: &Env,
) -> Result<Option<Record>> {
    let name = from.name(env.id, env.key);
    env.task.waiting(&format!("pulling {name}"));
    let (pinned, image) = match pull(from, offer, docker, env.context, &|line| env.task.line(line))? {
        Ok(pulled) => pulled,
        Err(why) => return refuse(&name, env.id, env.context, &why),
    };
    let checked = Passport::of_files(&image, env.key, env.context.facts.platform).and_then(|passport| {
        let out = env.scratch.join("out");
        let pulled = env.scratch.join("pulled");
        let names = docker.copy_from_image(&pinned, FILES, &pulled, env.context.cancel)?;
        passport.accept(&names, &pulled, &out)?;
        let output = Output { taken_from: Some(from.to_string()), ..wheel::keep(own, &out, env)? };
        ensure!(output.files == passport.files, "its label `{}` speaks of other files", labels::PASSPORT);
        Ok((passport.seconds, output))
    });
    match checked {
        Ok((seconds, output)) => {
            tag(docker, &pinned, &name)?;
            Ok(Some(Record { id: env.id.to_owned(), key: env.key.to_owned(), seconds, output }))
        }
        Err(error) => {
            env.context.cancel.check()?;
            refuse(&name, env.id, env.context, &format!("{error:#}"))
        }
    }
}

fn take_note(from: &Repository, docker: &Docker, step: &Step, key: &str, context: &Context) -> Result<Option<Record>> {
    let name = note_name(&from.name(&step.id, key));
    let Some(offer) = docker.registry_image(&name, context.cancel)? else { return Ok(None) };
    let (pinned, image) = match pull(from, &offer, docker, context, &|_| {})? {
        Ok(pulled) => pulled,
        Err(why) => return refuse(&name, &step.id, context, &why),
    };
    let passport = match Passport::of_files(&image, key, context.facts.platform) {
        Ok(passport) if passport.content.is_some() => passport,
        Ok(_) => return refuse(&name, &step.id, context, "it is no note"),
        Err(error) => return refuse(&name, &step.id, context, &format!("{error:#}")),
    };
    if let Some(note) = unpinned(&step.action, &passport) {
        return refuse(&name, &step.id, context, &note);
    }
    tag(docker, &pinned, &name)?;
    // An image that is not here, so that the step counts as not done.
    let elsewhere = BuiltImage { reference: name, name: None, id: String::new(), size: 0 };
    let output =
        Output { image: Some(elsewhere), content: passport.content, notes: passport.notes, ..Output::default() };
    Ok(Some(Record { id: step.id.clone(), key: key.to_owned(), seconds: passport.seconds, output }))
}

fn note_name(name: &str) -> String {
    format!("{name}.note")
}

fn tag(docker: &Docker, image: &str, name: &str) -> Result<()> {
    let (repository, tag) = name.rsplit_once(':').context("a name without a tag: this is a bug")?;
    docker.tag(image, repository, tag)
}

/// Pushes or stages a result with its passport; returns whether any of it was not there.
fn give(to: &Side, record: &Record, docker: &Docker, context: &Context, task: &Task) -> Result<bool> {
    let name = to.repository.name(&record.id, &record.key);
    let sender = Sender { key: &record.key, staged: to.staged, docker, context, task };
    let general = Passport {
        // Written and read once more, a longer fraction may end in another digit.
        seconds: (record.seconds * 1000.0).round() / 1000.0,
        content: record.output.content.clone(),
        notes: record.output.notes.clone(),
        ..Passport::default()
    };
    let mut new = false;
    if let Some(image) = &record.output.image {
        let made = docker.image(&image.reference)?.with_context(|| format!("`{}` is gone", image.reference))?;
        let passport = Passport { image: Some(fingerprint(&made)), name: image.name.clone(), ..general.clone() };
        let build = Build {
            dockerfile: "ARG IMAGE\nFROM ${IMAGE}\n",
            args: BTreeMap::from([("IMAGE".to_owned(), image.reference.clone())]),
            ..Build::default()
        };
        new |= sender.send(&name, &passport, build)?;
    } else {
        let passport = Passport { files: record.output.files.clone(), ..general.clone() };
        let file = |file: &crate::cache::Artefact| (file.name.clone(), Content::File(context.cache.blob(&file.sha256)));
        let build = parcel(record.output.files.iter().map(file));
        new |= sender.send(&name, &passport, build)?;
    }
    if let Some(content) = &record.output.content {
        // Not every registry takes an image without a layer.
        let build = parcel([("content".to_owned(), Content::Bytes(content.clone().into_bytes()))]);
        new |= sender.send(&note_name(&name), &general, build)?;
    }
    Ok(new)
}

/// An image of nothing but these files.
fn parcel<'a>(files: impl IntoIterator<Item = (String, Content)>) -> Build<'a> {
    let file = |(name, source)| ContextFile { path: format!("files/{name}"), source, mode: 0o644 };
    let context = files.into_iter().map(file).collect();
    Build { dockerfile: "FROM scratch\nCOPY files /files\n", context, ..Build::default() }
}

/// What all images of one result are sent with.
struct Sender<'a> {
    key: &'a str,
    staged: bool,
    docker: &'a Docker,
    context: &'a Context<'a>,
    task: &'a Task,
}

impl Sender<'_> {
    /// Pushes or stages what `build` makes, with its labels, under `name`; returns whether it was not there.
    fn send(&self, name: &str, passport: &Passport, mut build: Build) -> Result<bool> {
        let Sender { key, staged, docker, context, task } = *self;
        build.labels = BTreeMap::from([
            (labels::KEY.to_owned(), key.to_owned()),
            (labels::PASSPORT.to_owned(), serde_json::to_string(passport)?),
        ]);
        build.tags = vec![name.to_owned()];
        build.network = Network::None;
        let labelled = |image: &Image| {
            build.labels.iter().all(|(name, value)| image.labels.get(name) == Some(value))
                && passport.image.as_ref().is_none_or(|made| fingerprint(image) == *made)
        };
        match docker.image(name)?.filter(labelled) {
            // The engine remembers what it pushed and pulled. What the registry has may be another's of
            // the same key, made of other Debian packages, with which what follows would not fit.
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
                    "this engine changes an image when it adds labels to it, so it cannot be pushed"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn side() -> Side {
        Side::new(Repository::parse("127.0.0.1:5000/cache").unwrap())
    }

    #[test]
    fn one_object_that_fails_does_not_switch_the_registry_off() {
        let side = side();
        assert_eq!((side.fail(true), side.fail(true), side.open()), (Loss::Object, Loss::Object, true));
        side.succeed();
        assert_eq!((side.fail(true), side.fail(true), side.open()), (Loss::Object, Loss::Object, true));
        assert_eq!((side.fail(true), side.open()), (Loss::Repository, false));
        assert_eq!(side.fail(true), Loss::Known);
    }

    #[test]
    fn a_registry_that_does_not_answer_is_given_up_once() {
        let side = side();
        assert_eq!((side.fail(false), side.open(), side.fail(false)), (Loss::Repository, false, Loss::Known));
    }
}
