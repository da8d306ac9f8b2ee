//! The one place that talks to a Docker engine, so that the rest stays synchronous and knows no client library.

mod build;
mod connect;
mod context;
mod credentials;
mod heard;
mod job;
mod outputs;
pub mod owner;
mod plan;
mod proxies;
mod registry;
mod service;
mod tunnel;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, ensure};
use bollard::errors::Error;
use bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt};

use base::cancel::Cancel;
use base::lines::LineBuffer;
pub use build::Build;
pub use connect::default_socket;
pub use context::{Content, ContextFile};
pub use job::Job;
pub use proxies::proxies;
pub use registry::{Offer, is_final};
pub use service::{Health, Labelled, Service};
use watch::{Beat, STUCK};

/// Questions to the engine at once; each is a connection, through ssh perhaps.
const SIDE_BY_SIDE: usize = 8;

/// Receives each line of output or progress.
pub type Lines<'a> = &'a (dyn Fn(&str) + Sync);

/// Which network a build step or a job sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// No network except loopback.
    None,
    /// The engine's bridge.
    #[default]
    Default,
}

impl Network {
    fn mode(self) -> &'static str {
        match self {
            Network::None => "none",
            Network::Default => "default",
        }
    }
}

/// What is known about the engine at the other end.
#[derive(Clone, Debug)]
pub struct EngineInfo {
    /// Where it was reached, for example `unix:///var/run/docker.sock`.
    pub endpoint: String,
    /// Version of the engine.
    pub version: String,
    /// Newest API version it speaks.
    pub api: String,
    /// For example `linux/amd64`.
    pub os_arch: String,
    /// Processors it may use.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Directory of its data, on its own host.
    pub root_dir: String,
}

/// What is known about an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:...`
    pub id: String,
    /// Labels of its configuration.
    pub labels: BTreeMap<String, String>,
    /// `NAME=value` entries of its configuration.
    pub env: Vec<String>,
    /// User it runs as, empty for root.
    pub user: String,
    /// Bytes on the engine's disk.
    pub size: u64,
    /// For example `linux/amd64`.
    pub platform: String,
    /// Digests of its layers, unpacked.
    pub layers: Vec<String>,
    /// Entry point, command and folder that it starts with.
    pub start: (Vec<String>, Vec<String>, String),
    /// `repository@sha256:...` in each registry that it was pulled from or pushed to.
    pub digests: Vec<String>,
}

/// A connection to a Docker engine; its calls block, and must not be made from async code.
#[derive(Clone)]
pub struct Docker {
    client: bollard::Docker,
    endpoint: String,
    /// The relay of an `ssh://` endpoint, kept for as long as any clone lives.
    tunnel: Option<Arc<tunnel::Tunnel>>,
    /// Bytes of memory that the engine has, once it was asked.
    memory: Arc<OnceLock<u64>>,
}

impl Docker {
    /// Connects by the rules of the docker client: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, the local socket.
    pub fn connect() -> Result<Docker> {
        let endpoint = connect::resolve(&|name| std::env::var(name).ok())?;
        Docker::open(&endpoint)
    }

    /// The same for one look at what is there: what the engine is stays unknown.
    pub fn connect_to_look() -> Result<Docker> {
        Docker::reach(&connect::resolve(&|name| std::env::var(name).ok())?)
    }

    /// Describes the engine.
    pub fn info(&self) -> Result<EngineInfo> {
        let what = || "cannot read what the Docker engine is".to_owned();
        let version = self.quick(self.client.version()).with_context(what)?;
        let info = self.quick(self.client.info()).with_context(what)?;
        Ok(EngineInfo {
            endpoint: self.endpoint.clone(),
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            os_arch: format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default()),
            cpus: natural(info.ncpu),
            memory: natural(info.mem_total),
            root_dir: info.docker_root_dir.unwrap_or_default(),
        })
    }

    /// Describes an image of the engine, `None` when it has no such image.
    pub fn image(&self, reference: &str) -> Result<Option<Image>> {
        check_reference(reference)?;
        let found = match self.quick(found(self.client.inspect_image(reference))) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.context(format!("cannot inspect image `{reference}`"))),
        };
        let config = found.config.unwrap_or_default();
        Ok(Some(Image {
            platform: format!("{}/{}", found.os.unwrap_or_default(), found.architecture.unwrap_or_default()),
            layers: found.root_fs.and_then(|root| root.layers).unwrap_or_default(),
            start: (
                config.entrypoint.unwrap_or_default(),
                config.cmd.unwrap_or_default(),
                config.working_dir.unwrap_or_default(),
            ),
            digests: found.repo_digests.unwrap_or_default(),
            id: found.id.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            env: config.env.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            size: natural(found.size),
        }))
    }

    /// The ids of those of the images that the engine has, by reference; asked side by side.
    pub fn ids(&self, references: &[&str]) -> Result<BTreeMap<String, String>> {
        references.iter().try_for_each(|reference| check_reference(reference))?;
        let ask = |reference: &str| {
            let reference = reference.to_owned();
            async move {
                let image = found(self.client.inspect_image(&reference)).await?;
                Ok(image.and_then(|image| image.id).map(|id| (reference, id)))
            }
        };
        let asked: Vec<_> = references.iter().map(|reference| ask(reference)).collect();
        let all = futures_util::stream::iter(asked).buffer_unordered(SIDE_BY_SIDE).try_collect::<Vec<_>>();
        // Who looks waits for it.
        Ok(self.within(self.greeting(), all).context("cannot inspect images")?.into_iter().flatten().collect())
    }

    /// Makes an image of one layer from the tar of a root filesystem and returns its id; `changes` are Dockerfile instructions.
    pub fn import(
        &self,
        tar: &Path,
        tag: &str,
        changes: &[String],
        labels: &BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<String> {
        check_reference(tag)?;
        let mut changes = changes.to_vec();
        for (key, value) in labels {
            ensure!(
                !key.contains(['\n', '\r']) && !value.contains(['\n', '\r']),
                "label `{key}` of image `{tag}` contains a line break; remove it"
            );
            changes.push(format!("LABEL \"{}\"=\"{}\"", escape(key), escape(value)));
        }
        let mut file = File::open(tar)
            .with_context(|| format!("cannot read `{}`; make the root filesystem first", tar.display()))?;
        let (repo, version) = split_reference(tag);
        let options =
            CreateImageOptionsBuilder::default().from_src("-").repo(repo).tag(version).changes(changes).build();
        let beat = Beat::new();
        let work = async {
            let body = context::stream(beat.clone(), move |out| io::copy(&mut file, out).map(|_| ()));
            let mut answers = pin!(self.client.create_image(Some(options), Some(bollard::body_try_stream(body)), None));
            let mut id = None;
            while let Some(answer) = self.next(&mut answers, &beat).await? {
                id = answer.status.filter(|s| s.starts_with("sha256:")).or(id);
            }
            id.ok_or_else(|| self.broken("it ended the answer before the image was complete"))
        };
        self.watched(&beat, cancel, Some(STUCK), work, || {
            format!("cannot import `{}` as `{tag}`; check that it is the tar of a root filesystem, and the space on the engine's disk", tar.display())
        })
    }

    /// Gives an image a further name.
    pub fn tag(&self, reference: &str, repo: &str, tag: &str) -> Result<()> {
        check_reference(reference)?;
        let options = TagImageOptionsBuilder::default().repo(repo).tag(tag).build();
        self.quick(self.client.tag_image(reference, Some(options)))
            .with_context(|| format!("cannot tag `{reference}` as `{repo}:{tag}`"))
    }
}

async fn found<T>(call: impl Future<Output = Result<T, Error>>) -> Result<Option<T>, Error> {
    match call.await {
        Ok(value) => Ok(Some(value)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn natural(value: Option<i64>) -> u64 {
    value.and_then(|v| u64::try_from(v).ok()).unwrap_or_default()
}

/// References become part of a URL, where any other character would address something else.
fn check_reference(reference: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    ensure!(
        !reference.is_empty()
            && reference.chars().all(plain)
            && !reference.contains("..")
            && !reference.starts_with('/'),
        "`{reference}` is no image reference; write it as `registry/name:tag`"
    );
    Ok(())
}

/// Splits `name:tag` or `name@digest`; without either the tag is `latest`, as for the docker client.
fn split_reference(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (strip_tag(name).0, digest);
    }
    let (name, tag) = strip_tag(reference);
    (name, tag.unwrap_or("latest"))
}

fn strip_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    }
}

/// Quotes for a Dockerfile word, where `$` would be expanded.
fn escape(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '"' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests;
