//! Images to and from registries, with the credentials that the docker client has.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bollard::query_parameters::{CreateImageOptionsBuilder, PushImageOptionsBuilder};

use super::{Beat, Docker, Lines, STUCK, check_reference, credentials, found, split_reference};
use base::cancel::Cancel;

/// Time for a question to a registry: the engine itself tries each of its addresses for 15 s.
const ANSWER: Duration = Duration::from_secs(60);

/// Whether another try at a registry is useless: it answered that it has no such image or does not let
/// this user in, or it was silent for so long that nobody would wait again.
pub fn is_final(error: &anyhow::Error) -> bool {
    let answers = [
        "unauthorized",
        "denied",
        "authentication required",
        "no basic auth",
        "manifest unknown",
        "name unknown",
        "not found",
        "no answer within",
        "nothing happened for",
    ];
    let text = format!("{error:#}").to_lowercase();
    answers.iter().any(|answer| text.contains(answer))
}

/// What a registry has under a name.
#[derive(Clone, Debug)]
pub struct Offer {
    /// `sha256:...` of the manifest.
    pub digest: String,
    /// For example `linux/amd64`.
    pub platforms: Vec<String>,
}

impl Docker {
    /// Pulls an image, with the credentials of the docker client if it has any for that registry, and returns its id.
    pub fn pull(&self, reference: &str, on: Lines, cancel: &Cancel) -> Result<String> {
        self.pull_within(reference, STUCK, on, cancel)
    }

    /// The same; `limit` is how long it may make no progress.
    pub fn pull_within(&self, reference: &str, limit: Duration, on: Lines, cancel: &Cancel) -> Result<String> {
        check_reference(reference)?;
        let (repo, version) = split_reference(reference);
        let credentials = credentials::find(reference, on);
        let options = CreateImageOptionsBuilder::default().from_image(repo).tag(version).build();
        let beat = Beat::new();
        let work = async {
            let mut answers = pin!(self.client.create_image(Some(options), None, credentials));
            let mut shown = HashMap::new();
            while let Some(answer) = self.next(&mut answers, &beat).await? {
                let (id, status) = (answer.id.unwrap_or_default(), answer.status.unwrap_or_default());
                // A layer repeats its state with every few kilobytes.
                if shown.get(&id) != Some(&status) {
                    match id.as_str() {
                        "" => on(&status),
                        id => on(&format!("{id}: {status}")),
                    }
                    shown.insert(id, status);
                }
            }
            Ok(())
        };
        self.watched(&beat, cancel, Some(limit), work, || {
            format!("cannot pull `{reference}`; check the name, the network and `docker login`")
        })?;
        match self.image(reference)? {
            Some(image) => Ok(image.id),
            None => bail!("image `{reference}` is missing right after its pull; pull it again"),
        }
    }

    /// Pushes an image by a name that it has; `limit` is how long that may make no progress.
    pub fn push(&self, reference: &str, limit: Duration, on: Lines, cancel: &Cancel) -> Result<()> {
        check_reference(reference)?;
        let (repo, version) = split_reference(reference);
        let credentials = credentials::find(reference, on);
        let options = PushImageOptionsBuilder::default().tag(version).build();
        let beat = Beat::new();
        let work = async {
            let mut answers = pin!(self.client.push_image(repo, Some(options), credentials));
            let mut last = String::new();
            while let Some(answer) = self.next(&mut answers, &beat).await? {
                // The answers do not say which layer they speak of, so only a change is news.
                if let Some(status) = answer.status.filter(|status| *status != last) {
                    on(&status);
                    last = status;
                }
            }
            Ok(())
        };
        self.watched(&beat, cancel, Some(limit), work, || {
            format!("cannot push `{reference}`; check the name, the network and `docker login`")
        })
    }

    /// Whether the engine reaches the registry of an image within a time, and finds the image there.
    pub fn offered_within(&self, reference: &str, limit: Duration) -> Result<()> {
        check_reference(reference)?;
        let credentials = credentials::find(reference, &|_| {});
        self.within(limit, self.client.inspect_registry_image(reference, credentials)).map(|_| ())
    }

    /// Whether the engine reaches the registry of an image, and finds the image there.
    pub fn offered(&self, reference: &str) -> Result<()> {
        self.offered_within(reference, ANSWER)
    }

    /// What the registry of an image has under its name, `None` when it has nothing; an error when
    /// the engine cannot reach it, or is not let in.
    pub fn offer(&self, reference: &str, cancel: &Cancel) -> Result<Option<Offer>> {
        check_reference(reference)?;
        let credentials = credentials::find(reference, &|_| {});
        let work = async {
            let call = found(self.client.inspect_registry_image(reference, credentials));
            match tokio::time::timeout(ANSWER, call).await {
                Ok(answer) => answer.map_err(|error| self.explain(error)),
                Err(_) => bail!("no answer within {} s", ANSWER.as_secs()),
            }
        };
        let found = self.watched(&Beat::new(), cancel, None, work, || {
            format!("cannot ask the registry for `{reference}`; check the name, the network and `docker login`")
        })?;
        let Some(found) = found else { return Ok(None) };
        let platform = |of: bollard::models::OciPlatform| {
            format!("{}/{}", of.os.unwrap_or_default(), of.architecture.unwrap_or_default())
        };
        let digest = found.descriptor.digest.context("the registry told no digest; its proxy or itself is broken")?;
        Ok(Some(Offer { digest, platforms: found.platforms.into_iter().map(platform).collect() }))
    }
}
