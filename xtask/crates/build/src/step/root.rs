//! Debian root file system: the pinned image, or a fallback built by mmdebstrap.
//!
//! If the matrix pins an image and no registry is reachable, mmdebstrap builds a fallback from the current packages.
//! A fallback is temporary: the manifest records it, the next run that reaches the registry replaces it, and `--push`
//! and `--pinned-root` reject it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use super::env::{EPOCH, StepEnv};
use crate::cache::{BuiltImage, Cache, Output};
use crate::host;
use crate::plan::{Action, Plan, Root};
use base::digest;
use base::environment::{self, Purpose};
use base::{labels, proc, retry};
use docker::{Docker, Import, Job, Network};

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 1;

/// Name of the note about a fallback in a manifest.
pub const NOTE: &str = "root file system";
/// What users are told about a fallback.
pub const FALLBACK_WARNING: &str = "warning: the root file system is a fallback that mmdebstrap built, because no registry with \
    the pinned image was reachable";
/// Name of the note about the origin, and its prefix for a pulled image.
const MADE_BY: &str = "made by";
const PULLED: &str = "pulled ";
/// Time limit for the registry to respond before a fallback is used again.
const ANSWER: Duration = Duration::from_secs(5);

pub fn run(root: &Root, env: &StepEnv) -> Result<Output> {
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
    let image = docker.image(&reference)?.context("the root image is missing in the engine after it was built")?;
    // Write the package versions to the log.
    packages(&reference, env)?;
    let notes = BTreeMap::from([(MADE_BY.to_owned(), made_by)]);
    Ok(Output {
        image: Some(BuiltImage { reference, name: None, id: image.id, size: image.size }),
        content: Some(content),
        notes,
        ..Output::default()
    })
}

/// Pulls the pinned image; returns `None` if no registry is reachable and a fallback is allowed.
fn pull(image: &str, reference: &str, env: &StepEnv) -> Result<Option<String>> {
    let (docker, cancel) = (env.docker()?, env.context.cancel);
    let (repository, tag) = reference.rsplit_once(':').context("a reference without a tag: this is a bug")?;
    let again = |error: &anyhow::Error| env.task.line(&format!("retrying: {error:#}"));
    let work = || docker.pull(image, &|line| env.task.line(line), cancel);
    let error = match retry::repeat(&retry::PAUSES, cancel, docker::is_permanent, again, work) {
        Ok(_) => {
            // Refer to it without tag: with a digest, only `name@sha256:…` is guaranteed to be the pulled image.
            docker.tag(image, repository, tag)?;
            return Ok(Some(image.to_owned()));
        }
        Err(error) => error,
    };
    cancel.check()?;
    env.task.line(&format!("not pulled: {error:#}"));
    match docker.registry_image(image, cancel) {
        Ok(Some(_)) => {
            Err(error.context("the registry responds, but the pinned image cannot be pulled: run the command again"))
        }
        Ok(None) => bail!("the registry has no image `{image}`: correct `root.image` in matrix.yaml"),
        Err(_) if env.context.pinned_root => Err(error.context(
            "with --push and --pinned-root the root file system must be the pinned image: use a machine that can reach \
             its registry, or pin an image of a registry that this machine can reach in `root.image` of matrix.yaml",
        )),
        Err(_) => {
            cancel.check()?;
            env.task
                .waiting(&format!("no registry is reachable: mmdebstrap builds a fallback for the pinned `{image}`"));
            Ok(None)
        }
    }
}

/// Recorded root file system that is not the pinned image.
#[derive(Debug)]
pub struct Fallback {
    key: String,
    image: String,
    pub note: String,
}

/// Returns the fallback that a plan's steps depend on, if any.
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

/// Returns how a root file system was built, unless it is the pinned image.
pub fn fallback_note(image: &str, output: &Output) -> Option<String> {
    let made_by = output.notes.get(MADE_BY).filter(|made_by| !made_by.starts_with(PULLED))?;
    Some(format!("{made_by}, instead of the pinned `{image}`"))
}

/// Returns the output of a fallback, for tests.
pub fn fake_fallback(output: Output) -> Output {
    let notes = BTreeMap::from([(MADE_BY.to_owned(), "bootstrapped by a test".to_owned())]);
    Output { content: Some("bootstrapped".to_owned()), notes, ..output }
}

impl Fallback {
    /// Removes the record if `must` is set or the registry is reachable again, so that the pinned image is pulled.
    pub fn give_up(&self, cache: &Cache, docker: &Docker, must: bool) -> Result<bool> {
        let outdated = must || docker.check_registry_within(&self.image, ANSWER).is_ok();
        if outdated {
            cache.forget(&self.key)?;
        }
        Ok(outdated)
    }
}

/// Builds the root file system and returns its digest, which is equal for equal packages.
fn bootstrap(root: &Root, reference: &str, env: &StepEnv) -> Result<String> {
    let archive = env.scratch.join("root.tar");
    let suite = &root.suite;
    let shell = Shell::new()?;
    // Containers need no documentation, translations or package lists; licences are kept. The package usr-is-merged
    // replaces usrmerge, which would install perl: 75 MB instead of 122 MB.
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
        // mmdebstrap copies two of these files from the host. The engine creates a missing one before each build
        // command and removes it afterwards, which would leave timestamps in the layer.
        "--customize-hook=for file in hostname hosts resolv.conf; do \
            : > \"$1/etc/$file\"; chmod 644 \"$1/etc/$file\"; done",
    ];
    let mirrors = mirrors(suite);
    let command = cmd!(shell, "mmdebstrap --variant=minbase {slim...} {suite} {archive} {mirrors...}");
    let command = environment::apply(command, Purpose::Download).env("SOURCE_DATE_EPOCH", EPOCH.to_string());
    proc::run(command, env.task, env.context.cancel)
        .context("cannot bootstrap Debian: see the log for the file that failed; check the network and apt's mirror")?;
    let labels = BTreeMap::from([(labels::KEY.to_owned(), env.key.to_owned())]);
    let content = digest::of_file(&archive)?;
    let import =
        Import { tar: &archive, tag: reference, instructions: &["CMD [\"bash\"]".to_owned()], labels: &labels };
    env.docker()?.import(&import, env.context.cancel)?;
    Ok(content)
}

/// Returns the mirrors that apt on this machine uses for this suite, as lines of sources.list. Empty on other systems
/// than Debian, where mmdebstrap uses Debian's default.
fn mirrors(suite: &str) -> Vec<String> {
    let lines: Vec<String> = host::index_targets("deb $(SITE) $(RELEASE) $(COMPONENT)")
        .into_iter()
        .filter(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["deb", _, release, "main"] => *release == suite || release.starts_with(&format!("{suite}-")),
            _ => false,
        })
        .collect();
    // Mirrors of updates alone are not sufficient.
    if lines.iter().any(|line| line.ends_with(&format!(" {suite} main"))) { lines } else { Vec::new() }
}

/// Returns all Debian packages of an image with their versions, one per line.
pub fn packages(image: &str, env: &StepEnv) -> Result<String> {
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
    use crate::cache::StepRecord;
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
            cache.remember(&StepRecord { id: "root".to_owned(), key, seconds: 1.0, output }).unwrap();
            fallback(plan, &cache).unwrap().map(|found| (found.note.clone(), found))
        };
        assert!(fallback(&pinned, &cache).unwrap().is_none(), "nothing was built yet");
        // The note as earlier versions recorded it.
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
