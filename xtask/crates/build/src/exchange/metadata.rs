//! Metadata of a shared result, stored in a label of the image that transports it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::cache::Artefact;
use crate::plan::Action;
use base::digest;
use base::labels;
use base::platform::Platform;
use docker::Image;

/// Set by BuildKit in an image without a PATH and assumed by the engine, so its presence makes no difference.
const USUAL_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Metadata of a result. It is known only after the result was built, so it cannot be part of the image's own labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultMetadata {
    /// Fingerprint of the image. Labels are inherited: an image built on top of this one has the same label, but
    /// another fingerprint. `None` for an image that only transports files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Artefact>,
    /// Wall time of the step in seconds.
    pub seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

impl ResultMetadata {
    /// Returns the metadata of an image if the step of `key` built this image.
    pub fn of_image(image: &Image, key: &str, platform: Platform, action: &Action) -> Result<ResultMetadata> {
        let metadata = read(image, key, platform)?;
        let found = fingerprint(image);
        match &metadata.image {
            Some(made) if *made == found => {}
            Some(made) => bail!(
                "it was changed after it was built: its layers and settings have the SHA-256 `{found}`, not `{made}`"
            ),
            None => bail!("its label `{}` describes files, not an image", labels::RESULT_METADATA),
        }
        let same = action.is_recorded() == metadata.content.is_some();
        ensure!(same, "its label `{}` describes another kind of step", labels::RESULT_METADATA);
        Ok(metadata)
    }

    /// Returns the metadata of an image that only transports files, if the step of `key` created them; check them
    /// with `accept`.
    pub fn of_files(image: &Image, key: &str, platform: Platform) -> Result<ResultMetadata> {
        let metadata = read(image, key, platform)?;
        ensure!(metadata.image.is_none(), "its label `{}` describes an image, not files", labels::RESULT_METADATA);
        Ok(metadata)
    }

    /// Moves the files `names` from `from` to `out` after checking their digests.
    pub fn accept(&self, names: &[String], from: &Path, out: &Path) -> Result<()> {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create `{}`", out.display()))?;
        for name in names {
            let known = self.files.iter().find(|file| file.name == *name && !name.contains('/'));
            let known = known.with_context(|| format!("its file `{name}` is not listed in its label"))?;
            let found = digest::of_file(&from.join(name))?;
            ensure!(found == known.sha256, "`{name}` has the SHA-256 `{found}`, not `{}`", known.sha256);
            std::fs::rename(from.join(name), out.join(name)).with_context(|| format!("cannot write `{name}`"))?;
        }
        Ok(())
    }
}

fn read(image: &Image, key: &str, platform: Platform) -> Result<ResultMetadata> {
    ensure!(image.platform == platform.oci(), "it is for {}, not {}", image.platform, platform.oci());
    match image.labels.get(labels::KEY) {
        Some(label) if label == key => {}
        Some(label) => bail!("its label `{}` is `{label}`, not `{key}`", labels::KEY),
        None => bail!("it has no label `{}`", labels::KEY),
    }
    let label = image
        .labels
        .get(labels::RESULT_METADATA)
        .with_context(|| format!("it has no label `{}`", labels::RESULT_METADATA))?;
    serde_json::from_str(label).with_context(|| format!("its label `{}` is invalid", labels::RESULT_METADATA))
}

/// Returns the digest of everything in the image that programs can observe. Further labels change the image id, but
/// not the fingerprint.
pub fn fingerprint(image: &Image) -> String {
    let env: Vec<&String> = image.env.iter().filter(|entry| *entry != USUAL_PATH).collect();
    // Value that engines write if no folder was set.
    let workdir = if image.workdir.is_empty() { "/" } else { &image.workdir };
    let identity = (&image.layers, env, &image.user, &image.entrypoint, &image.command, workdir);
    // Serialising text and lists of text cannot fail.
    digest::of(serde_json::to_vec(&identity).unwrap_or_default())
}

#[cfg(test)]
mod tests;
