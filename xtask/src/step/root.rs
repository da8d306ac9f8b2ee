//! The Debian file system under everything: pulled by digest where a registry is in reach, else bootstrapped.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use super::{Env, KEY_LABEL, apt};
use crate::cache::{BuiltImage, Output};
use crate::digest;
use crate::docker::{Job, Network};
use crate::plan::Root;
use crate::proc;

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

pub fn run(root: &Root, env: &Env) -> Result<Output> {
    let docker = env.docker()?;
    let reference = env.reference();
    let (made_by, content) = match pull(root, &reference, env) {
        Ok(image) => (format!("pulled {image}"), digest::of(&image)),
        Err(why) => {
            env.context.cancel.check()?;
            env.task.line(&format!("not pulled: {why:#}"));
            env.task.waiting("no registry in reach: bootstrapping with mmdebstrap");
            let content = bootstrap(root, &reference, env)?;
            (format!("bootstrapped with mmdebstrap, suite {}", root.suite), content)
        }
    };
    let image = docker.image(&reference)?.context("the engine lost the root image right after it was made")?;
    // For the log: what the archive gave that day.
    packages(&reference, env)?;
    let notes = BTreeMap::from([("made by".to_owned(), made_by)]);
    Ok(Output {
        image: Some(BuiltImage { reference, name: None, id: image.id, size: image.size }),
        content: Some(content),
        notes,
        ..Output::default()
    })
}

fn pull(root: &Root, reference: &str, env: &Env) -> Result<String> {
    let image = root.image.as_deref().context("matrix.yaml names no `root.image`")?;
    let docker = env.docker()?;
    docker.pull(image, &|line| env.task.line(line), env.context.cancel)?;
    let (repository, tag) = reference.rsplit_once(':').context("a reference without a tag: this is a bug")?;
    // Named without its tag: with a digest, only `name@sha256:…` is sure to be what was pulled.
    docker.tag(image, repository, tag)?;
    Ok(image.to_owned())
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
    let command = cmd!(shell, "mmdebstrap --variant=minbase {slim...} {suite} {archive} {mirrors...}")
        .env("SOURCE_DATE_EPOCH", "315532800");
    proc::run(command, env.task, env.context.cancel).context(
        "cannot bootstrap Debian: the log says which file could not be had; check the network and apt's mirror",
    )?;
    let labels = BTreeMap::from([(KEY_LABEL.to_owned(), env.key.to_owned())]);
    let content = digest::of_file(&archive)?;
    env.docker()?.import(&archive, reference, &["CMD [\"bash\"]".to_owned()], &labels, env.context.cancel)?;
    Ok(content)
}

/// The mirrors of this suite that apt on this machine takes packages from, as lines of sources.list;
/// none on another system, where mmdebstrap knows Debian's own.
fn mirrors(suite: &str) -> Vec<String> {
    let lines: Vec<String> = apt::index_targets("deb $(SITE) $(RELEASE) $(COMPONENT)")
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
