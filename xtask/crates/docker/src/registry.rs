//! Pulls, pushes and looks up images in registries, with the credentials of the docker client.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bollard::query_parameters::{CreateImageOptionsBuilder, PushImageOptionsBuilder};

use crate::activity::Activity;
use crate::client::{Docker, OnLine, if_found};
use crate::credentials;
use crate::reference::{check_reference, split_reference};
use crate::watch::{NO_PROGRESS, STUCK, Watch};
use base::cancel::Cancel;

/// Time limit of a request to a registry. The engine itself tries each address of the registry for 15 s.
const ANSWER: Duration = Duration::from_secs(60);
/// Begin of the error of a registry that does not answer.
const NO_ANSWER: &str = "no answer within";

/// Whether an error of a registry will not go away by trying again: the registry does not have the image or refuses
/// the user, or the request has already reached a long time limit.
pub fn is_permanent(error: &anyhow::Error) -> bool {
    let permanent = [
        "unauthorized",
        "denied",
        "authentication required",
        "no basic auth",
        "manifest unknown",
        "name unknown",
        "not found",
        NO_ANSWER,
        NO_PROGRESS,
    ];
    let text = format!("{error:#}").to_lowercase();
    permanent.iter().any(|message| text.contains(message))
}

/// An image in a registry.
#[derive(Clone, Debug)]
pub struct RegistryImage {
    /// `sha256:...` of the manifest.
    pub digest: String,
    /// Platforms that it has, for example `linux/amd64`.
    pub platforms: Vec<String>,
}

impl Docker {
    /// Pulls an image and returns its id.
    pub fn pull(&self, reference: &str, on_line: OnLine, cancel: &Cancel) -> Result<String> {
        self.pull_within(reference, STUCK, on_line, cancel)
    }

    /// Returns the id of an image. Pulls it if the engine does not have it.
    pub fn image_or_pull(&self, reference: &str, on_line: OnLine, cancel: &Cancel) -> Result<String> {
        match self.image(reference)? {
            Some(image) => Ok(image.id),
            None => self.pull(reference, on_line, cancel),
        }
    }

    /// Pulls an image like [`Docker::pull`], with a limit of the time without progress.
    pub fn pull_within(
        &self,
        reference: &str,
        idle_limit: Duration,
        on_line: OnLine,
        cancel: &Cancel,
    ) -> Result<String> {
        check_reference(reference)?;
        let (repo, version) = split_reference(reference);
        let credentials = credentials::find(reference, on_line);
        let options = CreateImageOptionsBuilder::default().from_image(repo).tag(version).build();
        let activity = Activity::new();
        let work = async {
            let mut answers = pin!(self.client.create_image(Some(options), None, credentials));
            let mut shown = HashMap::new();
            while let Some(answer) = self.next_message(&mut answers, &activity).await? {
                let (id, status) = (answer.id.unwrap_or_default(), answer.status.unwrap_or_default());
                // A layer repeats its status after every few kilobytes.
                if shown.get(&id) != Some(&status) {
                    match id.as_str() {
                        "" => on_line(&status),
                        id => on_line(&format!("{id}: {status}")),
                    }
                    shown.insert(id, status);
                }
            }
            Ok(())
        };
        self.watched(Watch { activity: &activity, cancel, idle_limit: Some(idle_limit) }, work, || {
            format!("cannot pull `{reference}`; check the name, the network and `docker login`")
        })?;
        match self.image(reference)? {
            Some(image) => Ok(image.id),
            None => bail!("image `{reference}` is missing right after its pull; pull it again"),
        }
    }

    /// Pushes an image by one of its names, with a limit of the time without progress.
    pub fn push(&self, reference: &str, idle_limit: Duration, on_line: OnLine, cancel: &Cancel) -> Result<()> {
        check_reference(reference)?;
        let (repo, version) = split_reference(reference);
        let credentials = credentials::find(reference, on_line);
        let options = PushImageOptionsBuilder::default().tag(version).build();
        let activity = Activity::new();
        let work = async {
            let mut answers = pin!(self.client.push_image(repo, Some(options), credentials));
            let mut last = String::new();
            while let Some(answer) = self.next_message(&mut answers, &activity).await? {
                // The answers do not name their layer, so only a change of the status is shown.
                if let Some(status) = answer.status.filter(|status| *status != last) {
                    on_line(&status);
                    last = status;
                }
            }
            Ok(())
        };
        self.watched(Watch { activity: &activity, cancel, idle_limit: Some(idle_limit) }, work, || {
            format!("cannot push `{reference}`; check the name, the network and `docker login`")
        })
    }

    /// Checks that the engine reaches the registry of an image within a time limit and finds the image there.
    pub fn check_registry_within(&self, reference: &str, limit: Duration) -> Result<()> {
        check_reference(reference)?;
        let credentials = credentials::find(reference, &|_| {});
        self.request_within(limit, self.client.inspect_registry_image(reference, credentials)).map(|_| ())
    }

    /// Checks that the engine reaches the registry of an image and finds the image there.
    pub fn check_registry(&self, reference: &str) -> Result<()> {
        self.check_registry_within(reference, ANSWER)
    }

    /// Looks up an image in its registry; `None` if the registry does not have it. Fails if the engine cannot reach the
    /// registry or is refused.
    pub fn registry_image(&self, reference: &str, cancel: &Cancel) -> Result<Option<RegistryImage>> {
        check_reference(reference)?;
        let credentials = credentials::find(reference, &|_| {});
        let work = async {
            let call = if_found(self.client.inspect_registry_image(reference, credentials));
            match tokio::time::timeout(ANSWER, call).await {
                Ok(answer) => answer.map_err(|error| self.explain(error)),
                Err(_) => bail!("{NO_ANSWER} {} s", ANSWER.as_secs()),
            }
        };
        let found = self.watched(Watch { activity: &Activity::new(), cancel, idle_limit: None }, work, || {
            format!("cannot look up `{reference}` in its registry; check the name, the network and `docker login`")
        })?;
        let Some(found) = found else { return Ok(None) };
        let platform = |platform: bollard::models::OciPlatform| {
            format!("{}/{}", platform.os.unwrap_or_default(), platform.architecture.unwrap_or_default())
        };
        let digest = found.descriptor.digest.context("the registry returned no digest (registry or proxy fault)")?;
        Ok(Some(RegistryImage { digest, platforms: found.platforms.into_iter().map(platform).collect() }))
    }
}
