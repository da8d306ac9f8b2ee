//! Takes over results built on other machines. A job may deliver only the row it was started for, and a file is
//! accepted only if it matches the manifest beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cache::{self, Output, StepRecord};
use crate::manifest::{ArtefactKind, Entry, Manifest};
use crate::plan::Jobs;
use crate::step::root;
use crate::{Project, plan, report};
use base::digest;
use base::{UsageError, ui};
use wheelfile::ExpectedWheel;
use wheelfile::parse_glibc;

/// Folder with a manifest and the files it lists.
struct Delivery {
    folder: PathBuf,
    /// Row of the job, which is the name of the folder; `None` for a user's own `wheels/`.
    row: Option<String>,
    manifest: Manifest,
}

/// Imports the wheels of `folder` into the cache under the keys in their manifests; a plan uses those with its keys.
/// `folder` is either a folder with a manifest, like `wheels/`, or contains folders written by `cargo xtask export`.
pub fn take(project: &Project, folder: &Path) -> Result<()> {
    let deliveries = deliveries(folder, "--wheels-from")?;
    check_rows(&deliveries)?;
    let mut taken = 0;
    for delivery in &deliveries {
        for entry in delivery.manifest.artefacts.iter().filter(|entry| entry.kind == ArtefactKind::Wheel) {
            accept_wheel(project, delivery, entry)?;
            taken += 1;
        }
    }
    project.ui.say(&format!("[wheels-from] wheels taken from `{}`: {taken}", folder.display()));
    Ok(())
}

/// Merges the rows of several jobs into `wheels/` with one manifest. If `plan` is a job matrix, exactly its rows must
/// be present, with the planned keys. Wheels that a release uploads are copied to `publish`.
pub fn collect(project: &Project, folder: &Path, plan: Option<&Path>, publish: Option<&Path>) -> Result<()> {
    let deliveries = deliveries(folder, "collect")?;
    if let Some(own) = deliveries.iter().find(|delivery| delivery.row.is_none()) {
        let folder = own.folder.display();
        bail!(
            "`{folder}` contains a manifest: `collect` needs a folder that contains folders named after rows, as \
             `cargo xtask export` writes them"
        );
    }
    check_rows(&deliveries)?;
    if let Some(plan) = plan {
        check_keys(&deliveries, &read_plan(plan)?)?;
    }
    let mut all = Manifest { schema: 1, ..Manifest::default() };
    for delivery in &deliveries {
        for entry in &delivery.manifest.artefacts {
            match entry.kind {
                ArtefactKind::Wheel => accept_wheel(project, delivery, entry)?,
                ArtefactKind::Base | ArtefactKind::Image => {
                    check_image(project, entry).with_context(|| refused(delivery, entry))?
                }
            }
            all.artefacts.push(entry.clone());
        }
    }
    all.artefacts.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    all.publish(&project.wheels(), Some(&project.matrix), &project.cache)?;
    for delivery in &deliveries {
        for entry in &delivery.manifest.artefacts {
            take_sbom(delivery, entry, &project.wheels())?;
        }
    }
    if let Some(publish) = publish {
        let unpinned = all.artefacts.iter().find_map(|entry| Some((entry, entry.notes.get(root::NOTE)?)));
        if let Some((entry, note)) = unpinned {
            bail!("`{}` cannot be published: its root file system is {note}; build it with --pinned-root", entry.id);
        }
        let local = all.artefacts.iter().find_map(|entry| Some((entry, entry.local_build()?)));
        if let Some((entry, build)) = local {
            bail!("`{}` cannot be published: it was {}", entry.id, build.description());
        }
        std::fs::create_dir_all(publish).with_context(|| format!("cannot create `{}`", publish.display()))?;
        let wanted = |entry: &&Entry| project.matrix.ci.publish.iter().any(|id| *entry.name == **id);
        for entry in all.artefacts.iter().filter(|entry| entry.kind == ArtefactKind::Wheel).filter(wanted) {
            cache::copy(&project.cache.blob(&entry.sha256), &publish.join(&entry.file))?;
        }
    }
    report::publish(&all, &[])
}

/// Returns the folder and its subfolders that contain a manifest, sorted.
fn deliveries(top: &Path, option: &str) -> Result<Vec<Delivery>> {
    let there = std::fs::read_dir(top).map_err(|error| {
        let top = top.display();
        anyhow!(UsageError(format!("{option} `{top}`: {error}: specify a folder with wheels and their manifest")))
    })?;
    let mut folders = vec![(top.to_owned(), None)];
    for entry in there {
        let entry = entry?;
        folders.push((entry.path(), Some(entry.file_name().to_string_lossy().into_owned())));
    }
    folders.retain(|(folder, _)| folder.join("manifest.json").is_file());
    folders.sort();
    let read = |(folder, row): (PathBuf, _)| Ok(Delivery { manifest: Manifest::read(&folder)?, folder, row });
    folders.into_iter().map(read).collect()
}

/// Checks that no row is delivered twice, and that a job delivers only its own row.
fn check_rows(deliveries: &[Delivery]) -> Result<()> {
    let mut seen: BTreeMap<&str, &Delivery> = BTreeMap::new();
    for delivery in deliveries {
        for entry in &delivery.manifest.artefacts {
            if let Some(other) = seen.insert(&entry.id, delivery) {
                let (one, two) = (other.folder.display(), delivery.folder.display());
                bail!("the row `{}` is delivered twice, by `{one}` and by `{two}`", entry.id);
            }
        }
    }
    for delivery in deliveries {
        let Some(row) = &delivery.row else { continue };
        let delivered: Vec<&str> = delivery.manifest.artefacts.iter().map(|entry| entry.id.as_str()).collect();
        if delivered != [row.as_str()] {
            bail!(
                "`{}` may contain only the row `{row}`, after which it is named, but its manifest \
                 lists {}: create it with `cargo xtask export`",
                delivery.folder.display(),
                if delivered.is_empty() { "nothing".to_owned() } else { ui::quoted(delivered) }
            );
        }
    }
    Ok(())
}

/// Reads the rows of a job matrix printed by `plan --format github`, with their keys if known.
fn read_plan(path: &Path) -> Result<BTreeMap<String, Option<String>>> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| anyhow!(UsageError(format!("--plan `{shown}`: {error}"))))?;
    let jobs: Jobs = serde_json::from_slice(&text).map_err(|error| {
        anyhow!(UsageError(format!(
            "--plan `{shown}` is not the output of `cargo xtask plan --format github`: {error}"
        )))
    })?;
    Ok(jobs.keys())
}

fn check_keys(deliveries: &[Delivery], planned: &BTreeMap<String, Option<String>>) -> Result<()> {
    let mut missing: Vec<&str> = planned.keys().map(String::as_str).collect();
    for delivery in deliveries {
        for entry in &delivery.manifest.artefacts {
            let key = planned.get(&entry.id).with_context(|| {
                format!("`{}` contains the row `{}`, which was not planned", delivery.folder.display(), entry.id)
            })?;
            if let Some(key) = key.as_ref().filter(|key| **key != entry.key) {
                bail!(
                    "{}: it was built for the key `{}`, but `{key}` was planned",
                    refused(delivery, entry),
                    entry.key
                );
            }
            missing.retain(|row| *row != entry.id);
        }
    }
    ensure!(missing.is_empty(), "the rows {} are missing: run the jobs of these rows again", ui::quoted(missing));
    Ok(())
}

/// Copies the SBOM that the manifest records.
fn take_sbom(delivery: &Delivery, entry: &Entry, to: &Path) -> Result<()> {
    let (name, path) = (entry.sbom_file(), delivery.folder.join(entry.sbom_file()));
    let Some(recorded) = entry.sbom.as_ref().filter(|_| path.is_file()) else { return Ok(()) };
    let found = digest::of_file(&path)?;
    if found != *recorded {
        let path = path.display();
        bail!("`{path}` is rejected: its SHA-256 is `{found}`, but the manifest beside it says `{recorded}`");
    }
    cache::copy(&path, &to.join(name))
}

fn refused(delivery: &Delivery, entry: &Entry) -> String {
    format!("`{}` of the row `{}` is rejected", delivery.folder.join(&entry.file).display(), entry.id)
}

fn accept_wheel(project: &Project, delivery: &Delivery, entry: &Entry) -> Result<()> {
    store_wheel(project, delivery, entry).with_context(|| refused(delivery, entry))
}

/// Checks the wheel of a manifest entry and stores it.
fn store_wheel(project: &Project, delivery: &Delivery, entry: &Entry) -> Result<()> {
    let id = plan::wheel_id(&entry.name, &entry.tag);
    ensure!(entry.id == id, "its manifest has the id `{}` instead of `{id}`", entry.id);
    let path = delivery.folder.join(&entry.file);
    let found = digest::of_file(&path)?;
    if found != entry.sha256 {
        bail!(
            "its SHA-256 is `{found}`, but the manifest beside it says `{}`: it was changed during transfer; run the job \
             that built it again",
            entry.sha256
        );
    }
    let package = project.matrix.package(&entry.name);
    let package = package.with_context(|| format!("`{}` is not a package of the matrix", entry.name))?;
    let version = package.wheel_version();
    let expect = ExpectedWheel {
        distribution: package.distribution(),
        version: version.as_deref(),
        abi: &entry.tag,
        platform: None,
        max_glibc: parse_glibc(&project.matrix.root.glibc),
    };
    let report = wheelfile::check(&path, &expect)?;
    // Copy the file, so that the original remains.
    let scratch = project.cache.scratch("wheels-from")?;
    let copy = scratch.path().join(&report.file_name);
    std::fs::copy(&path, &copy).with_context(|| format!("cannot copy `{}`", path.display()))?;
    let file = project.cache.take(&copy, &report.file_name)?;
    ensure!(file.sha256 == entry.sha256, "it was changed while it was being read");
    if let Some(known) = project.cache.record(&entry.key)?.filter(|known| project.cache.holds(known)) {
        // A result built on this machine takes precedence.
        if known.output.files != [file] {
            project.ui.say(&format!("[{id}] `{}` is not the wheel that is cached here under its key", path.display()));
        }
        return Ok(());
    }
    let taken_from = Some(delivery.folder.display().to_string());
    let output = Output { files: vec![file], notes: entry.notes.clone(), taken_from, ..Output::default() };
    project.cache.remember(&StepRecord { id: entry.id.clone(), key: entry.key.clone(), seconds: entry.seconds, output })
}

/// Checks that an entry describes an image of the matrix. The image itself is transferred through a registry.
fn check_image(project: &Project, entry: &Entry) -> Result<()> {
    let image = project.matrix.image(&entry.tag).filter(|image| entry.id == plan::proof_id(&image.tag));
    let image = image.with_context(|| format!("the matrix has no image for the row `{}`", entry.id))?;
    let name = &project.matrix.name;
    let right = entry.kind == ArtefactKind::Image && *entry.name == **name;
    ensure!(right, "its manifest lists the image `{name}:{}` as {} `{}`", image.tag, entry.kind.name(), entry.name);
    Ok(())
}
