//! The Debian file system under everything: the pinned image, or one that mmdebstrap builds.
//!
//! Where the matrix pins an image and no registry is in reach, mmdebstrap builds a fallback. It has the
//! packages of the day, so it is never a final result: the manifest names it, a run that reaches the
//! registry replaces it, and `--push` and `--pinned-root` refuse it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use super::Env;
use crate::cache::{BuiltImage, Cache, Output};
use crate::host;
use crate::plan::{Action, Plan, Root};
use base::digest;
use base::environment::{self, Purpose};
use base::{labels, proc, retry};
use docker::{Docker, Import, Job, Network};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

/// The note in a manifest that names a fallback.
pub const NOTE: &str = "root file system";
/// The note of this step that says how it was made, and how it begins for a pulled image.
const MADE_BY: &str = "made by";
const PULLED: &str = "pulled ";
/// Time in which a registry must answer before a fallback is used again.
const ANSWER: Duration = Duration::from_secs(5);

pub fn run(root: &Root, env: &Env) -> Result<Output> {
    let docker = env.docker()?;
    let reference = env.reference();
    let pulled = match &root.image {
        Some(image) => pull(image, &reference, env)?,
        None => None,
    };
    let (made_by, content) = match pulled {
        Some(image) => (format!("{PULLED}{image}"), digest::of(&image)),
        None => {
            let content = bootstrap(root, &reference, env)?;
            (format!("bootstrapped with mmdebstrap, suite {}", root.suite), content)
        }
    };
    let image = docker.image(&reference)?.context("the engine lost the root image right after it was made")?;
    // For the log: what the archive gave that day.
    packages(&reference, env)?;
    let notes = BTreeMap::from([(MADE_BY.to_owned(), made_by)]);
    Ok(Output {
        image: Some(BuiltImage { reference, name: None, id: image.id, size: image.size }),
        content: Some(content),
        notes,
        ..Output::default()
    })
}

/// Pulls the pinned image; none if no registry is in reach, and a fallback may be used.
fn pull(image: &str, reference: &str, env: &Env) -> Result<Option<String>> {
    let (docker, cancel) = (env.docker()?, env.context.cancel);
    let (repository, tag) = reference.rsplit_once(':').context("a reference without a tag: this is a bug")?;
    let again = |error: &anyhow::Error| env.task.line(&format!("trying again: {error:#}"));
    let work = || docker.pull(image, &|line| env.task.line(line), cancel);
    let error = match retry::repeat(&retry::PAUSES, cancel, docker::is_permanent, again, work) {
        Ok(_) => {
            // Named without its tag: with a digest, only `name@sha256:…` is sure to be what was pulled.
            docker.tag(image, repository, tag)?;
            return Ok(Some(image.to_owned()));
        }
        Err(error) => error,
    };
    cancel.check()?;
    env.task.line(&format!("not pulled: {error:#}"));
    match docker.registry_image(image, cancel) {
        Ok(Some(_)) => Err(error.context("the registry answers, but the pinned image cannot be pulled; try again")),
        Ok(None) => bail!("the registry has no image `{image}`: correct `root.image` in matrix.yaml"),
        Err(_) if env.context.pinned_root => Err(error.context(
            "with --push and --pinned-root the root file system must be the pinned image: use a machine that reaches \
             its registry, or pin an image of a registry that this one reaches in `root.image` of matrix.yaml",
        )),
        Err(_) => {
            cancel.check()?;
            env.task.waiting(&format!("no registry in reach: mmdebstrap builds a fallback for the pinned `{image}`"));
            Ok(None)
        }
    }
}

/// A root file system on record that is not the image that the matrix pins.
#[derive(Debug)]
pub struct Fallback {
    key: String,
    image: String,
    pub note: String,
}

/// The fallback that a plan's steps are built on, if they are.
pub fn fallback(plan: &Plan, cache: &Cache) -> Result<Option<Fallback>> {
    let keys = plan.keys(|_, _| None);
    for step in &plan.steps {
        let Action::Root(Root { image: Some(image), .. }) = &step.action else { continue };
        let Some(key) = keys.get(&step.id).cloned().flatten() else { continue };
        if let Some(record) = cache.record(&key)?
            && let Some(note) = fallback_note(image, &record.output)
        {
            return Ok(Some(Fallback { key, image: image.clone(), note }));
        }
    }
    Ok(None)
}

/// How a root file system was made, if not from the pinned image.
pub fn fallback_note(image: &str, output: &Output) -> Option<String> {
    let made_by = output.notes.get(MADE_BY).filter(|made_by| !made_by.starts_with(PULLED))?;
    Some(format!("{made_by}, instead of the pinned `{image}`"))
}

/// What this step records of a fallback, for the tool's own tests.
pub fn fake_fallback(output: Output) -> Output {
    let notes = BTreeMap::from([(MADE_BY.to_owned(), "bootstrapped by a test".to_owned())]);
    Output { content: Some("bootstrapped".to_owned()), notes, ..output }
}

impl Fallback {
    /// Removes the record, so that the pinned image is pulled, if it `must` be or its registry is in reach again.
    pub fn give_up(&self, cache: &Cache, docker: &Docker, must: bool) -> Result<bool> {
        let outdated = must || docker.check_registry_within(&self.image, ANSWER).is_ok();
        if outdated {
            cache.forget(&self.key)?;
        }
        Ok(outdated)
    }
}

/// Makes the root file system and returns its digest, which is the same for the same packages.
fn bootstrap(root: &Root, reference: &str, env: &Env) -> Result<String> {
    let archive = env.scratch.join("root.tar");
    let suite = &root.suite;
    let shell = Shell::new()?;
    // A container needs no documentation, translations or package lists; the licences stay. The
    // package usr-is-merged in place of usrmerge, which would bring all of perl: 75 MB, not 122.
    let slim = [
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/info/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/groff/*",
        "--dpkgopt=path-exclude=/usr/share/lintian/*",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Languages \"none\"",
        "--include=usr-is-merged",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        // mmdebstrap copies two of them from this machine. Where one is not there, an engine makes it
        // before each command of a build and removes it afterwards, and the layer says when.
        "--customize-hook=for file in hostname hosts resolv.conf; do \
            : > \"$1/etc/$file\"; chmod 644 \"$1/etc/$file\"; done",
    ];
    let mirrors = mirrors(suite);
    let command = cmd!(shell, "mmdebstrap --variant=minbase {slim...} {suite} {archive} {mirrors...}");
    let command = environment::apply(command, Purpose::Download).env("SOURCE_DATE_EPOCH", "315532800");
    proc::run(command, env.task, env.context.cancel).context(
        "cannot bootstrap Debian: the log says which file could not be had; check the network and apt's mirror",
    )?;
    let labels = BTreeMap::from([(labels::KEY.to_owned(), env.key.to_owned())]);
    let content = digest::of_file(&archive)?;
    let import =
        Import { tar: &archive, tag: reference, instructions: &["CMD [\"bash\"]".to_owned()], labels: &labels };
    env.docker()?.import(&import, env.context.cancel)?;
    Ok(content)
}

/// The mirrors of this suite that apt on this machine takes packages from, as lines of sources.list;
/// none on another system, where mmdebstrap knows Debian's own.
fn mirrors(suite: &str) -> Vec<String> {
    let lines: Vec<String> = host::index_targets("deb $(SITE) $(RELEASE) $(COMPONENT)")
        .into_iter()
        .filter(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["deb", _, release, "main"] => *release == suite || release.starts_with(&format!("{suite}-")),
            _ => false,
        })
        .collect();
    // Updates alone would not do.
    if lines.iter().any(|line| line.ends_with(&format!(" {suite} main"))) { lines } else { Vec::new() }
}

/// Every Debian package of an image with its version, one per line: what the archive gave that day.
pub fn packages(image: &str, env: &Env) -> Result<String> {
    let job = Job {
        image,
        command: ["dpkg-query", "-W", "-f", "${binary:Package}=${Version}\\n"].map(str::to_owned).to_vec(),
        network: Network::None,
        ..Job::default()
    };
    let result = env.docker()?.run(&job, &|line| env.task.line(line), env.context.cancel)?;
    anyhow::ensure!(result.exit == 0, "`dpkg-query` failed in `{image}` with exit code {}", result.exit);
    Ok(result.stdout)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cache::Record;
    use crate::plan::Step;

    fn plan(image: Option<&str>) -> Plan {
        let root = Root { suite: "bookworm".to_owned(), image: image.map(str::to_owned) };
        let step =
            Step { id: "root".to_owned(), action: Action::Root(root), needs: Vec::new(), inputs: BTreeMap::new() };
        Plan { steps: vec![step], whole: false }
    }

    #[test]
    fn a_root_that_is_not_the_pinned_image_is_a_fallback() {
        let folder = std::env::temp_dir().join(format!("xtask-root-{}", std::process::id()));
        let cache = Cache::at(&folder).unwrap();
        let (pinned, free) = (plan(Some("debian:x@sha256:1")), plan(None));
        let made = |plan: &Plan, made_by: &str| {
            let key = plan.keys(|_, _| None)["root"].clone().unwrap();
            let notes = BTreeMap::from([(MADE_BY.to_owned(), made_by.to_owned())]);
            let output = Output { notes, ..Output::default() };
            cache.remember(&Record { id: "root".to_owned(), key, seconds: 1.0, output }).unwrap();
            fallback(plan, &cache).unwrap().map(|found| (found.note.clone(), found))
        };
        assert!(fallback(&pinned, &cache).unwrap().is_none(), "nothing was made yet");
        // As every run so far has recorded it.
        let bootstrapped = "bootstrapped with mmdebstrap, suite bookworm";
        assert!(made(&free, bootstrapped).is_none(), "nothing is pinned");
        assert!(made(&pinned, "pulled debian:x@sha256:1").is_none());
        let (note, found) = made(&pinned, bootstrapped).unwrap();
        assert_eq!(note, format!("{bootstrapped}, instead of the pinned `debian:x@sha256:1`"));
        cache.forget(&found.key).unwrap();
        cache.forget(&found.key).unwrap();
        assert!(fallback(&pinned, &cache).unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
    }
}
