//! Images of the engine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::pin;

use anyhow::{Context as _, Result, ensure};
use bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt};

use crate::activity::Activity;
use crate::client::{Docker, if_found, unsigned};
use crate::context;
use crate::reference::{check_reference, split_reference};
use crate::watch::{STUCK, Watch};
use base::cancel::Cancel;

/// Requests about images that run at the same time. Each has a connection of its own, perhaps through ssh.
const PARALLEL: usize = 8;

/// Description of an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:...`
    pub id: String,
    /// Labels of its configuration.
    pub labels: BTreeMap<String, String>,
    /// `NAME=value` entries of its configuration.
    pub env: Vec<String>,
    /// User that it runs as, empty for root.
    pub user: String,
    /// Bytes on the engine's disk.
    pub size: u64,
    /// For example `linux/amd64`.
    pub platform: String,
    /// Digests of its uncompressed layers.
    pub layers: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// Working directory.
    pub workdir: String,
    /// `repository@sha256:...` for each registry that it was pulled from or pushed to.
    pub digests: Vec<String>,
}

/// An image to be created from a root file system.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    /// The tar archive of the root file system; it becomes the only layer.
    pub tar: &'a Path,
    /// Name of the image.
    pub tag: &'a str,
    /// Dockerfile instructions for the image's configuration.
    pub instructions: &'a [String],
    pub labels: &'a BTreeMap<String, String>,
}

impl Docker {
    /// Describes an image; `None` if the engine does not have it.
    pub fn image(&self, reference: &str) -> Result<Option<Image>> {
        check_reference(reference)?;
        let inspected = self
            .request(if_found(self.client.inspect_image(reference)))
            .with_context(|| format!("cannot inspect image `{reference}`"))?;
        let Some(found) = inspected else { return Ok(None) };
        let config = found.config.unwrap_or_default();
        Ok(Some(Image {
            platform: format!("{}/{}", found.os.unwrap_or_default(), found.architecture.unwrap_or_default()),
            layers: found.root_fs.and_then(|root| root.layers).unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            workdir: config.working_dir.unwrap_or_default(),
            digests: found.repo_digests.unwrap_or_default(),
            id: found.id.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            env: config.env.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            size: unsigned(found.size),
        }))
    }

    /// Returns the ids of the images that the engine has, by reference.
    pub fn image_ids(&self, references: &[&str]) -> Result<BTreeMap<String, String>> {
        references.iter().try_for_each(|reference| check_reference(reference))?;
        let inspect = |reference: &str| {
            let reference = reference.to_owned();
            async move {
                let image = if_found(self.client.inspect_image(&reference)).await?;
                Ok(image.and_then(|image| image.id).map(|id| (reference, id)))
            }
        };
        let requests: Vec<_> = references.iter().map(|reference| inspect(reference)).collect();
        let all = futures_util::stream::iter(requests).buffer_unordered(PARALLEL).try_collect::<Vec<_>>();
        // The short limit of a first answer: the user waits for this result.
        let found = self.request_within(self.first_answer_limit(), all).context("cannot inspect images")?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Creates an image and returns its id.
    pub fn import(&self, import: &Import, cancel: &Cancel) -> Result<String> {
        let Import { tar, tag, instructions, labels } = *import;
        check_reference(tag)?;
        let mut changes = instructions.to_vec();
        for (key, value) in labels {
            ensure!(
                !key.contains(['\n', '\r']) && !value.contains(['\n', '\r']),
                "label `{key}` of image `{tag}` contains a line break; remove it"
            );
            changes.push(format!("LABEL \"{}\"=\"{}\"", escape(key), escape(value)));
        }
        let mut file = File::open(tar)
            .with_context(|| format!("cannot read `{}`; build the root file system first", tar.display()))?;
        let (repo, version) = split_reference(tag);
        let options =
            CreateImageOptionsBuilder::default().from_src("-").repo(repo).tag(version).changes(changes).build();
        let activity = Activity::new();
        let work = async {
            let body = context::stream(activity.clone(), move |out| io::copy(&mut file, out).map(|_| ()));
            let mut answers = pin!(self.client.create_image(Some(options), Some(bollard::body_try_stream(body)), None));
            let mut id = None;
            while let Some(answer) = self.next_message(&mut answers, &activity).await? {
                id = answer.status.filter(|s| s.starts_with("sha256:")).or(id);
            }
            id.ok_or_else(|| self.connection_closed("the answer ended before the image was complete"))
        };
        let watch = Watch { activity: &activity, cancel, idle_limit: Some(STUCK) };
        self.watched(watch, work, || {
            format!("cannot import `{}` as `{tag}`; check that it is the tar archive of a root file system, and the free space on the engine's disk", tar.display())
        })
    }

    /// Adds the name `repo:tag` to an image.
    pub fn tag(&self, reference: &str, repo: &str, tag: &str) -> Result<()> {
        check_reference(reference)?;
        let options = TagImageOptionsBuilder::default().repo(repo).tag(tag).build();
        self.request(self.client.tag_image(reference, Some(options)))
            .with_context(|| format!("cannot tag `{reference}` as `{repo}:{tag}`"))
    }
}

/// Quotes text for a Dockerfile, which would otherwise expand `$`.
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
