//! `wheels/manifest.json`: the built artefacts, for reports, `verify` and other machines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cache::{self, Cache};
use crate::plan::{self, Action, Plan};
use crate::run::{Attempt, Outcome};
use crate::step::quick;
use base::digest;
use matrix::Matrix;
use wheelfile::{LocalBuild, WheelName};

/// Contents of a manifest. Increase `schema` when older readers could misinterpret the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    pub artefacts: Vec<Entry>,
    /// Ids of requested rows that the last run could not build. An image of such a row in the engine is out of date.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub not_built: BTreeSet<String>,
}

/// Kind of an artefact. The order is that of the entries in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtefactKind {
    /// Base image with an interpreter.
    Base,
    Image,
    Wheel,
}

impl ArtefactKind {
    /// Returns the name in manifests and file names.
    pub fn name(self) -> &'static str {
        match self {
            ArtefactKind::Base => "base",
            ArtefactKind::Image => "image",
            ArtefactKind::Wheel => "wheel",
        }
    }
}

/// Wheel, base image or image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the step that built it.
    pub id: String,
    pub kind: ArtefactKind,
    /// Name of the package or repository of the image.
    pub name: String,
    /// ABI of the wheel or tag of the image.
    pub tag: String,
    /// File name of the wheel below `wheels/`, or reference of the image.
    pub file: String,
    /// SHA-256 of the file, or id of the image without its prefix.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
    pub key: String,
    /// Wall time of the build in seconds.
    pub seconds: f64,
    /// Whether this run found it in the cache.
    pub cached: bool,
    /// Keys of the steps it was built from, by id.
    pub inputs: BTreeMap<String, String>,
    /// Versions, how it was built, and for images the GIL state.
    pub notes: BTreeMap<String, String>,
    /// Repository or folder that it was taken from; `None` if it was built on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
    /// SHA-256 of its SBOM, once `cargo xtask sbom` has written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<String>,
}

/// Written SBOM.
pub struct Sbom {
    pub file: String,
    /// SHA-256 of the artefact that it describes.
    pub subject: String,
    pub sha256: String,
}

impl Entry {
    /// Returns how a wheel, or a wheel in an image, was built, if it is not for others.
    pub fn local_build(&self) -> Option<LocalBuild> {
        // The name of a wheel is checked against its contents; the note could be lost.
        let by_name = WheelName::parse(&self.file).ok().and_then(|name| name.local_build());
        by_name.or(self.notes.contains_key(quick::NOTE).then_some(LocalBuild::Quick))
    }

    /// Returns the file name of its SBOM.
    pub fn sbom_file(&self) -> String {
        match self.kind {
            ArtefactKind::Wheel => format!("{}.cdx.json", self.file),
            ArtefactKind::Base | ArtefactKind::Image => format!("{}-{}.cdx.json", self.kind.name(), self.tag),
        }
    }

    /// Checks what readers rely on, because a manifest may come from an untrusted source: file names without folders,
    /// valid digests, and text without control characters.
    fn check(&self) -> Result<()> {
        for (field, name) in [("file", &self.file), ("tag", &self.tag)] {
            // The name of an image may contain slashes; it is never used as a path.
            let path = self.kind == ArtefactKind::Wheel || field == "tag";
            ensure!(!path || is_file_name(name), "its `{field}` {name:?} is not a plain file name");
        }
        for (field, text) in [("sha256", Some(&self.sha256)), ("key", Some(&self.key)), ("sbom", self.sbom.as_ref())] {
            let wrong = text.filter(|text| !digest::is_digest(text));
            ensure!(wrong.is_none(), "its `{field}` {:?} is not a SHA-256", text.map_or("", |text| text));
        }
        let notes = self.notes.iter().chain(&self.inputs).flat_map(|(name, value)| [name, value]);
        let texts = notes.chain([&self.id, &self.name, &self.tag, &self.file]).chain(&self.taken_from);
        for text in texts {
            ensure!(!text.chars().any(char::is_control), "the text {text:?} contains a control character");
        }
        Ok(())
    }
}

/// Returns whether a name from a manifest is a plain file name without folders.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

impl Manifest {
    /// Returns the manifest of an execution.
    pub fn of(plan: &Plan, outcomes: &BTreeMap<String, Outcome>, repository: &str) -> Manifest {
        let mut artefacts = Vec::new();
        for step in &plan.steps {
            let Some(outcome) = outcomes.get(&step.id) else { continue };
            let (kind, name, tag) = match &step.action {
                Action::Maturin(_) | Action::Container(_) | Action::Published(_) | Action::Stable(_) => {
                    match step.action.row_name() {
                        Some((package, abi)) => (ArtefactKind::Wheel, package.to_owned(), abi.to_owned()),
                        None => continue,
                    }
                }
                Action::Base(base) => (ArtefactKind::Base, format!("{repository}/python"), base.tag.clone()),
                Action::Proof(proof) => (ArtefactKind::Image, repository.to_owned(), proof.tag.clone()),
                Action::Tools(_)
                | Action::Fetch(_)
                | Action::Patch(_)
                | Action::Root(_)
                | Action::Apt(_)
                | Action::Python(_)
                | Action::Controls(_)
                | Action::Image(_) => continue,
            };
            let output = &outcome.record.output;
            let (file, sha256, size) = match (&output.image, output.files.first()) {
                (Some(image), _) => {
                    (image.name.as_ref().unwrap_or(&image.reference).clone(), image.id.clone(), image.size)
                }
                (None, Some(file)) => (file.name.clone(), file.sha256.clone(), file.size),
                (None, None) => continue,
            };
            artefacts.push(Entry {
                id: step.id.clone(),
                kind,
                name,
                tag,
                file,
                sha256: sha256.trim_start_matches("sha256:").to_owned(),
                size,
                key: outcome.record.key.clone(),
                seconds: outcome.record.seconds,
                cached: outcome.cached,
                inputs: outcome.inputs.clone(),
                notes: output.notes.clone(),
                taken_from: output.taken_from.clone(),
                sbom: None,
            });
        }
        Manifest { schema: 1, artefacts, not_built: BTreeSet::new() }
    }

    /// Returns the manifest of a run that may have failed. A requested row that could not be built is in `not_built`,
    /// unless `folder` contains it with the key of this run.
    pub fn of_attempt(plan: &Plan, attempt: &Attempt, repository: &str, folder: &Path) -> Manifest {
        let mut manifest = Manifest::of(plan, &attempt.done, repository);
        // After an interruption, rows that were not reached do not count as requested.
        if !attempt.interrupted {
            let listed = Manifest::read(folder).unwrap_or_default();
            let kept = |id: &str| {
                let key = attempt.keys.get(id).and_then(Option::as_ref);
                listed.artefacts.iter().any(|entry| entry.id == *id && Some(&entry.key) == key)
            };
            let rows = plan.steps.iter().filter(|step| step.action.is_row()).map(|step| &step.id);
            let open = rows.filter(|id| !attempt.done.contains_key(*id));
            let open = open.filter(|id| attempt.failed.contains(id) || !kept(id));
            manifest.not_built = open.cloned().collect();
        }
        manifest
    }

    /// Adds a note about the root file system to each artefact that depends on it.
    pub fn add_note(&mut self, plan: &Plan, name: &str, note: &str) {
        let mut based: BTreeSet<&str> = BTreeSet::new();
        for step in &plan.steps {
            if matches!(step.action, Action::Root(_)) || step.needs.iter().any(|need| based.contains(need.as_str())) {
                based.insert(&step.id);
            }
        }
        for entry in self.artefacts.iter_mut().filter(|entry| based.contains(entry.id.as_str())) {
            entry.notes.insert(name.to_owned(), note.to_owned());
        }
    }

    /// Parses a manifest and checks each entry.
    pub fn parse(text: &[u8]) -> Result<Manifest> {
        let manifest: Manifest = serde_json::from_slice(text)?;
        for entry in &manifest.artefacts {
            entry.check().with_context(|| format!("the entry {:?} is invalid", entry.id))?;
        }
        let id = manifest.not_built.iter().find(|id| id.chars().any(char::is_control));
        ensure!(id.is_none(), "the id {:?} in `not_built` contains a control character", id.map_or("", |id| id));
        Ok(manifest)
    }

    /// Reads the manifest in `folder`; returns an empty one if the file does not exist.
    pub fn read(folder: &Path) -> Result<Manifest> {
        let path = folder.join("manifest.json");
        match std::fs::read(&path) {
            Ok(text) => Manifest::parse(&text).with_context(|| {
                format!("`{}` is not a manifest: remove it, then run `cargo xtask wheels`", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Manifest { schema: 1, ..Manifest::default() })
            }
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    /// Copies the wheels to `folder` and replaces entries of the same id in its manifest. Removes the entries and
    /// files of rows that could not be built, and of rows that are not in `matrix`. Without a matrix, other rows are
    /// kept, because other projects may use the folder.
    pub fn publish(&self, folder: &Path, matrix: Option<&Matrix>, cache: &Cache) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let _lock = lock(cache)?;
        // An unreadable manifest is replaced; the cache contains the same information.
        let mut merged = Manifest::read(folder).unwrap_or_default();
        merged.schema = 1;
        let mut stale: Vec<Entry> = Vec::new();
        let mut fresh = self.artefacts.clone();
        for entry in &mut fresh {
            // Keep what was recorded for the identical file or image.
            let same = merged.artefacts.iter().find(|old| old.id == entry.id && old.sha256 == entry.sha256);
            entry.sbom = entry.sbom.take().or_else(|| same?.sbom.clone());
        }
        let known = matrix.map(rows);
        let is_known = |id: &String| known.as_ref().is_none_or(|known| known.contains(id));
        merged.artefacts.retain(|entry| {
            let replaced = self.artefacts.iter().any(|new| new.id == entry.id) || self.not_built.contains(&entry.id);
            let keep = is_known(&entry.id) && !replaced;
            if !keep {
                stale.push(entry.clone());
            }
            keep
        });
        merged.artefacts.extend(fresh);
        merged.not_built.extend(self.not_built.iter().cloned());
        merged.not_built.retain(|id| is_known(id) && !self.artefacts.iter().any(|new| new.id == *id));
        merged.artefacts.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        for entry in self.artefacts.iter().filter(|entry| entry.kind == ArtefactKind::Wheel) {
            cache::copy(&cache.blob(&entry.sha256), &folder.join(&entry.file))?;
        }
        for entry in &stale {
            if entry.kind == ArtefactKind::Wheel && !merged.artefacts.iter().any(|kept| kept.file == entry.file) {
                remove(&folder.join(&entry.file), &entry.sha256)?;
            }
            let described = |kept: &Entry| kept.sbom.is_some() && kept.sbom_file() == entry.sbom_file();
            if let Some(sbom) = entry.sbom.as_ref().filter(|_| !merged.artefacts.iter().any(described)) {
                remove(&folder.join(entry.sbom_file()), sbom)?;
            }
        }
        merged.write(folder)
    }

    /// Records the SHA-256 of SBOMs in the manifest in `folder`, in all rows that they describe.
    pub fn record(folder: &Path, sboms: &[Sbom], cache: &Cache) -> Result<()> {
        let _lock = lock(cache)?;
        let mut manifest = Manifest::read(folder)?;
        for entry in &mut manifest.artefacts {
            let of = sboms.iter().find(|sbom| sbom.file == entry.sbom_file() && sbom.subject == entry.sha256);
            entry.sbom = of.map(|sbom| sbom.sha256.clone()).or_else(|| entry.sbom.take());
        }
        manifest.write(folder)
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        cache::write(&folder.join("manifest.json"), &text)
    }
}

/// Removes a file if it still has the recorded digest.
fn remove(path: &Path, sha256: &str) -> Result<()> {
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    if is_file && digest::of_file(path)? == sha256 {
        std::fs::remove_file(path).with_context(|| format!("cannot remove `{}`", path.display()))?;
    }
    Ok(())
}

/// Returns a lock that prevents other processes from changing a manifest.
fn lock(cache: &Cache) -> Result<std::fs::File> {
    let lock = std::fs::File::create(cache.dir().join("locks/manifest.lock"))?;
    lock.lock().context("cannot lock the manifest")?;
    Ok(lock)
}

fn rows(matrix: &Matrix) -> Vec<String> {
    let abis = || matrix.abis.iter().map(|abi| &*abi.id);
    let wheels = matrix.packages.iter().flat_map(|package| abis().map(|abi| plan::wheel_id(&package.id, abi)));
    let images = matrix.images.iter().map(|image| plan::proof_id(&image.tag));
    let bases = abis().map(|abi| plan::base_id(abi, None, &BTreeSet::new()));
    let own = matrix.images.iter().flat_map(|image| {
        let base = plan::base_id(&image.abi, image.interpreter, &matrix.runtime_sets(image));
        [base].into_iter().chain(image.packages.iter().map(|package| plan::instrumented_id(package, &image.abi)))
    });
    wheels.chain(bases).chain(images).chain(own).collect()
}

#[cfg(test)]
mod tests;
