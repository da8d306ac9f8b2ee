//! What is to be known of a result besides its bytes, as a label of the image that it travels in.

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

/// Set in an image without one by BuildKit, and assumed by the engine: it makes no difference.
const USUAL_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a step knows of its result (what it stands for in the keys of others, its notes, its name) is
/// known only when that is there, so it cannot be in the image's own labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Passport {
    /// The digest of what the image was when it was made. Labels are inherited: an image that
    /// somebody built on this one has the same. None where only files travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Artefact>,
    /// Wall time that it took.
    pub seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

impl Passport {
    /// That of an image, if the image is what the step of `key` made.
    pub fn of_image(image: &Image, key: &str, platform: Platform, action: &Action) -> Result<Passport> {
        let passport = read(image, key, platform)?;
        let found = fingerprint(image);
        match &passport.image {
            Some(made) if *made == found => {}
            Some(made) => bail!(
                "it was changed after it was made: its layers and settings have the SHA-256 `{found}`, not `{made}`"
            ),
            None => bail!("its label `{}` is that of files", labels::PASSPORT),
        }
        let same = action.is_recorded() == passport.content.is_some();
        ensure!(same, "its label `{}` is that of another kind of step", labels::PASSPORT);
        Ok(passport)
    }

    /// That of an image of nothing but files, if the step of `key` made them; `accept` checks them.
    pub fn of_files(image: &Image, key: &str, platform: Platform) -> Result<Passport> {
        let passport = read(image, key, platform)?;
        ensure!(passport.image.is_none(), "its label `{}` is that of an image", labels::PASSPORT);
        Ok(passport)
    }

    /// Moves the files with these names from the folder `from` into `out`, if they are those that were made.
    pub fn accept(&self, names: &[String], from: &Path, out: &Path) -> Result<()> {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
        for name in names {
            let known = self.files.iter().find(|file| file.name == *name && !name.contains('/'));
            let known = known.with_context(|| format!("its file `{name}` is not one of those that were made"))?;
            let found = digest::of_file(&from.join(name))?;
            ensure!(found == known.sha256, "`{name}` has the SHA-256 `{found}`, not `{}`", known.sha256);
            std::fs::rename(from.join(name), out.join(name)).with_context(|| format!("cannot write `{name}`"))?;
        }
        Ok(())
    }
}

fn read(image: &Image, key: &str, platform: Platform) -> Result<Passport> {
    ensure!(image.platform == platform.oci(), "it is for {}, not {}", image.platform, platform.oci());
    match image.labels.get(labels::KEY) {
        Some(label) if label == key => {}
        Some(label) => bail!("its label `{}` is `{label}`, not `{key}`", labels::KEY),
        None => bail!("it has no label `{}`", labels::KEY),
    }
    let label =
        image.labels.get(labels::PASSPORT).with_context(|| format!("it has no label `{}`", labels::PASSPORT))?;
    serde_json::from_str(label).with_context(|| format!("its label `{}` cannot be read", labels::PASSPORT))
}

/// The digest of all that a program in the image can tell: further labels change its id, but not this.
pub fn fingerprint(image: &Image) -> String {
    let env: Vec<&String> = image.env.iter().filter(|entry| *entry != USUAL_PATH).collect();
    // What an engine writes where no folder was set.
    let workdir = if image.workdir.is_empty() { "/" } else { &image.workdir };
    let identity = (&image.layers, env, &image.user, &image.entrypoint, &image.command, workdir);
    // Text and lists of it: serialisation cannot fail.
    digest::of(serde_json::to_vec(&identity).unwrap_or_default())
}

#[cfg(test)]
mod tests;
