//! Images to and from a registry, tagged with their keys, so that what one machine made another need not make.
//!
//! What a step knows of its image beside the image itself (what it stands for in the keys of others,
//! its notes, its name) is known only when the image is there, so it cannot be in the image's own
//! labels. What is pushed is therefore the image with two labels more, of the same layers: the key,
//! and a `Passport`. That goes for every kind of step alike, and none of them has to know of it.
//!
//! Whoever may write to the repository decides what comes out of it: a passport tells a mistake from
//! what was meant, not an attacker from a friend.

mod repository;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::cache::{BuiltImage, Output, Record};
use crate::digest;
use crate::docker::{Build, Docker, Image, Network};
use crate::plan::Action;
use crate::step::{Context, Env, KEY_LABEL};
use crate::ui::Task;
pub use repository::Repository;

/// The label with the passport.
const PASSPORT_LABEL: &str = "dev.wheel-matrix.passport";
/// What all images here are made for.
const PLATFORM: &str = "linux/amd64";
/// How long a transfer may stand still: waiting longer than building takes would help nobody.
const STILL: Duration = Duration::from_secs(180);
/// Set in an image without one by BuildKit, and assumed by the engine: it makes no difference.
const USUAL_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is to be known of an image besides its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Passport {
    /// The digest of what the image was when it was made. Labels are inherited: an image that
    /// somebody built on this one has the same.
    image: String,
    /// Wall time that it took.
    seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    notes: BTreeMap<String, String>,
}

/// A repository and whether it is still spoken to.
#[derive(Debug)]
struct Side {
    repository: Repository,
    closed: AtomicBool,
}

impl Side {
    fn new(repository: Repository) -> Side {
        Side { repository, closed: AtomicBool::new(false) }
    }

    fn open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Whether this was the first to close it.
    fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::Relaxed)
    }
}

/// Where images are taken from and put to during one run.
#[derive(Debug)]
pub struct Exchange {
    from: Option<Side>,
    to: Option<Side>,
    /// The steps whose images were not pushed.
    kept: Mutex<Vec<String>>,
}

impl Exchange {
    pub fn new(from: Option<Repository>, to: Option<Repository>) -> Exchange {
        Exchange { from: from.map(Side::new), to: to.map(Side::new), kept: Mutex::default() }
    }

    /// What the step of this environment made elsewhere, if it is there and is what it says.
    /// A registry that fails is said once and not asked again; the only error is an interruption.
    pub fn fetch(&self, action: &Action, env: &Env) -> Result<Option<Record>> {
        let (Some(side), Some(docker)) = (self.from.as_ref().filter(|side| side.open()), env.context.docker) else {
            return Ok(None);
        };
        if !taken(action) {
            return Ok(None);
        }
        match take(&side.repository, docker, action, env) {
            Ok(found) => Ok(found),
            Err(error) => {
                env.context.cancel.check()?;
                env.task.line(&format!("{error:#}"));
                if side.close() {
                    env.context.ui.say(&format!(
                        "[{}] goes on without `{}`, which is not asked again in this run: {error:#}",
                        env.id, side.repository
                    ));
                }
                Ok(None)
            }
        }
    }

    /// Puts a step's image into the registry, unless it is there. A failure is said now, and again by `end`.
    pub fn publish(&self, record: &Record, context: &Context) {
        let (Some(side), Some(docker), Some(image)) = (&self.to, context.docker, &record.output.image) else { return };
        // What is still in the queue then, the next run pushes.
        if context.cancel.is_set() {
            return;
        }
        if side.open() {
            let what = format!("push to {}", side.repository);
            let task = context.ui.start(&record.id, &what, &context.cache.log(&format!("push-{}", record.id)));
            let given = task.open_log().and_then(|()| give(&side.repository, record, image, docker, context, &task));
            match given {
                Ok(true) => return task.end("ok"),
                Ok(false) => return task.end("cached"),
                Err(_) if context.cancel.is_set() => return task.end("interrupted"),
                Err(error) => {
                    task.end("FAILED");
                    side.close();
                    context.ui.say(&format!("error: [{}] {error:#}", record.id));
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
/// what somebody else says of the GIL is no proof.
fn taken(action: &Action) -> bool {
    match action {
        Action::Root(_) | Action::Apt(_) | Action::Python(_) | Action::Base(_) | Action::Image(_) => true,
        Action::Tools(_)
        | Action::Fetch(_)
        | Action::Maturin(_)
        | Action::Container(_)
        | Action::Published(_)
        | Action::Proof(_) => false,
    }
}

fn take(from: &Repository, docker: &Docker, action: &Action, env: &Env) -> Result<Option<Record>> {
    let cancel = env.context.cancel;
    let reference = env.reference();
    let name = from.name(&reference)?;
    let Some(offer) = docker.offer(&name, cancel)? else {
        env.task.line(&format!("`{name}` is not there"));
        return Ok(None);
    };
    let refuse = |why: String| {
        env.context.ui.say(&format!("[{}] `{name}` is refused, and made here instead: {why}", env.id));
        Ok(None)
    };
    // Before a gigabyte is on its way; not every registry's answer tells.
    if !offer.platforms.is_empty() && !offer.platforms.iter().any(|platform| platform == PLATFORM) {
        return refuse(format!("it is for {}, not {PLATFORM}", offer.platforms.join(", ")));
    }
    // By digest: the engine then makes sure of every byte, and nobody moves the tag meanwhile.
    let pinned = format!("{from}@{}", offer.digest);
    env.task.waiting(&format!("pulling {name}"));
    docker.pull_within(&pinned, STILL, &|line| env.task.line(line), cancel)?;
    let image = docker.image(&pinned)?.with_context(|| format!("`{pinned}` is missing right after its pull"))?;
    let passport = match examine(&image, env.key, action) {
        Ok(passport) => passport,
        Err(error) => return refuse(format!("{error:#}")),
    };
    // The name will be given to the image here, and must not be taken from something else.
    let project = format!("{}/", env.context.repository);
    if let Some(name) = passport.name.as_ref().filter(|name| !name.starts_with(&project)) {
        return refuse(format!("it wants to be called `{name}`"));
    }
    for new in [&reference, &name] {
        let (repository, tag) = new.rsplit_once(':').context("a reference without a tag: this is a bug")?;
        docker.tag(&pinned, repository, tag)?;
    }
    let image = BuiltImage { reference, name: passport.name, id: image.id, size: image.size };
    let output = Output { files: Vec::new(), image: Some(image), content: passport.content, notes: passport.notes };
    Ok(Some(Record { id: env.id.to_owned(), key: env.key.to_owned(), seconds: passport.seconds, output }))
}

/// The passport of an image, if the image is what the step of `key` made.
fn examine(image: &Image, key: &str, action: &Action) -> Result<Passport> {
    ensure!(image.platform == PLATFORM, "it is for {}, not {PLATFORM}", image.platform);
    match image.labels.get(KEY_LABEL) {
        Some(label) if label == key => {}
        Some(label) => return Err(anyhow!("its label `{KEY_LABEL}` is `{label}`, not `{key}`")),
        None => return Err(anyhow!("it has no label `{KEY_LABEL}`")),
    }
    let label = image.labels.get(PASSPORT_LABEL).with_context(|| format!("it has no label `{PASSPORT_LABEL}`"))?;
    let passport: Passport =
        serde_json::from_str(label).with_context(|| format!("its label `{PASSPORT_LABEL}` cannot be read"))?;
    let found = fingerprint(image);
    ensure!(
        passport.image == found,
        "it was changed after it was made: its layers and settings have the SHA-256 `{found}`, not `{}`",
        passport.image
    );
    let recorded = matches!(action, Action::Root(_) | Action::Apt(_));
    ensure!(recorded == passport.content.is_some(), "its label `{PASSPORT_LABEL}` is that of another kind of step");
    Ok(passport)
}

/// The digest of all that a program in the image can tell: further labels change its id, but not this.
fn fingerprint(image: &Image) -> String {
    let env: Vec<&String> = image.env.iter().filter(|entry| *entry != USUAL_PATH).collect();
    let (entrypoint, command, folder) = &image.start;
    // What an engine writes where no folder was set.
    let folder = if folder.is_empty() { "/" } else { folder };
    // Text and lists of it: serialisation cannot fail.
    digest::of(serde_json::to_vec(&(&image.layers, env, &image.user, entrypoint, command, folder)).unwrap_or_default())
}

/// Pushes an image with its passport; whether it was not there.
fn give(
    to: &Repository,
    record: &Record,
    image: &BuiltImage,
    docker: &Docker,
    context: &Context,
    task: &Task,
) -> Result<bool> {
    let name = to.name(&image.reference)?;
    let made = docker.image(&image.reference)?.with_context(|| format!("`{}` is gone", image.reference))?;
    let passport = Passport {
        image: fingerprint(&made),
        // Written and read once more, a longer fraction may end in another digit.
        seconds: (record.seconds * 1000.0).round() / 1000.0,
        name: image.name.clone(),
        content: record.output.content.clone(),
        notes: record.output.notes.clone(),
    };
    let labels = BTreeMap::from([
        (KEY_LABEL.to_owned(), record.key.clone()),
        (PASSPORT_LABEL.to_owned(), serde_json::to_string(&passport)?),
    ]);
    let labelled = |image: &Image| {
        labels.iter().all(|(name, value)| image.labels.get(name) == Some(value)) && fingerprint(image) == passport.image
    };
    let ready = docker.image(&name)?.filter(labelled);
    match &ready {
        // The engine remembers what it pushed and pulled. What the registry has may be another's of
        // the same key, made of other Debian packages, with which what follows would not fit.
        Some(ready) => {
            let offer = docker.offer(&name, context.cancel)?;
            if offer.is_some_and(|offer| ready.digests.iter().any(|known| known.ends_with(&offer.digest))) {
                return Ok(false);
            }
        }
        None => {
            let build = Build {
                dockerfile: "ARG IMAGE\nFROM ${IMAGE}\n",
                args: BTreeMap::from([("IMAGE".to_owned(), image.reference.clone())]),
                labels: labels.clone(),
                tags: vec![name.clone()],
                network: Network::None,
                ..Build::default()
            };
            docker.build(&build, &|line| task.line(line), context.cancel)?;
            let built = docker.image(&name)?.with_context(|| format!("`{name}` is gone"))?;
            ensure!(labelled(&built), "this engine changes an image when it adds labels to it, so it cannot be pushed");
        }
    }
    docker.push(&name, STILL, &|line| task.line(line), context.cancel)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
