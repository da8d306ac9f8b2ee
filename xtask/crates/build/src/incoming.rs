//! Results that other machines made. A job may deliver the one row that it was started for, and a file is
//! taken only if it is what the manifest beside it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cache::{self, Output, Record};
use crate::manifest::{Entry, Manifest};
use crate::plan::Jobs;
use crate::step::root;
use crate::{Project, plan, report};
use base::digest;
use base::{UsageError, ui};
use wheelfile::ExpectedWheel;
use wheelfile::parse_glibc;

/// A folder with a manifest and the files that it lists.
struct Delivery {
    folder: PathBuf,
    /// The row of the job that made it, which is the name of the folder; none for a person's own `wheels/`.
    row: Option<String>,
    manifest: Manifest,
}

/// Puts the wheels of `folder` into the cache, under the keys that they were made for. The plan then finds
/// those whose keys it has, and no others. `folder` has a manifest itself, as `wheels/` has, or it has
/// folders as `cargo xtask export` writes them.
pub fn take(project: &Project, folder: &Path) -> Result<()> {
    let deliveries = deliveries(folder, "--wheels-from")?;
    check_rows(&deliveries)?;
    let mut taken = 0;
    for delivery in &deliveries {
        for entry in delivery.manifest.artefacts.iter().filter(|entry| entry.kind == "wheel") {
            accept_wheel(project, delivery, entry)?;
            taken += 1;
        }
    }
    project.ui.say(&format!("[wheels-from] wheels taken from `{}`: {taken}", folder.display()));
    Ok(())
}

/// Brings the rows that several jobs made together below `wheels/`, with one manifest. With the job matrix
/// in the file `plan`, all of its rows must be there, with the planned keys, and no others. The wheels that
/// a release puts on the package index are copied into `publish`.
pub fn collect(project: &Project, folder: &Path, plan: Option<&Path>, publish: Option<&Path>) -> Result<()> {
    let deliveries = deliveries(folder, "collect")?;
    if let Some(own) = deliveries.iter().find(|delivery| delivery.row.is_none()) {
        let folder = own.folder.display();
        bail!(
            "`{folder}` has a manifest itself: `collect` takes folders that are named after their rows, as \
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
            match entry.kind.as_str() {
                "wheel" => accept_wheel(project, delivery, entry)?,
                _ => check_image(project, entry).with_context(|| refused(delivery, entry))?,
            }
            all.artefacts.push(entry.clone());
        }
    }
    all.artefacts.sort_by(|a, b| (&a.kind, &a.id).cmp(&(&b.kind, &b.id)));
    all.publish(&project.wheels(), Some(&project.matrix), &project.cache)?;
    for delivery in &deliveries {
        for entry in &delivery.manifest.artefacts {
            take_sbom(delivery, entry, &project.wheels())?;
        }
    }
    if let Some(publish) = publish {
        let unpinned = all.artefacts.iter().find_map(|entry| Some((entry, entry.notes.get(root::NOTE)?)));
        if let Some((entry, note)) = unpinned {
            bail!("`{}` is not published: its root file system is {note}; build it with --pinned-root", entry.id);
        }
        std::fs::create_dir_all(publish).with_context(|| format!("cannot make `{}`", publish.display()))?;
        let wanted = |entry: &&Entry| project.matrix.ci.publish.iter().any(|id| *entry.name == **id);
        for entry in all.artefacts.iter().filter(|entry| entry.kind == "wheel").filter(wanted) {
            cache::copy(&project.cache.blob(&entry.sha256), &publish.join(&entry.file))?;
        }
    }
    report::publish(&all, &[])
}

/// The folder and those in it that have a manifest, in order.
fn deliveries(top: &Path, option: &str) -> Result<Vec<Delivery>> {
    let there = std::fs::read_dir(top).map_err(|error| {
        let top = top.display();
        anyhow!(UsageError(format!("{option} `{top}`: {error}: name a folder with wheels and their manifest")))
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

/// Refuses a row that is delivered twice, and a job's delivery of anything but the job's own row.
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
                "`{}` may deliver the row `{row}`, after which it is named, and nothing else, but its manifest \
                 lists {}: write it with `cargo xtask export`",
                delivery.folder.display(),
                if delivered.is_empty() { "nothing".to_owned() } else { ui::quoted(delivered) }
            );
        }
    }
    Ok(())
}

/// The rows of a job matrix, as `plan --format github` prints it, with their keys where these were known.
fn read_plan(path: &Path) -> Result<BTreeMap<String, Option<String>>> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| anyhow!(UsageError(format!("--plan `{shown}`: {error}"))))?;
    let jobs: Jobs = serde_json::from_slice(&text).map_err(|error| {
        anyhow!(UsageError(format!("--plan `{shown}` is not what `cargo xtask plan --format github` prints: {error}")))
    })?;
    Ok(jobs.keys())
}

fn check_keys(deliveries: &[Delivery], planned: &BTreeMap<String, Option<String>>) -> Result<()> {
    let mut missing: Vec<&str> = planned.keys().map(String::as_str).collect();
    for delivery in deliveries {
        for entry in &delivery.manifest.artefacts {
            let key = planned.get(&entry.id).with_context(|| {
                format!("`{}` delivers the row `{}`, which was not planned", delivery.folder.display(), entry.id)
            })?;
            if let Some(key) = key.as_ref().filter(|key| **key != entry.key) {
                bail!("{}: it was made for the key `{}`, but `{key}` was planned", refused(delivery, entry), entry.key);
            }
            missing.retain(|row| *row != entry.id);
        }
    }
    ensure!(missing.is_empty(), "nothing delivers {}: run the jobs of these rows again", ui::quoted(missing));
    Ok(())
}

/// Takes the bill of materials that the manifest has recorded, from beside it.
fn take_sbom(delivery: &Delivery, entry: &Entry, to: &Path) -> Result<()> {
    let (name, path) = (entry.sbom_file(), delivery.folder.join(entry.sbom_file()));
    let Some(recorded) = entry.sbom.as_ref().filter(|_| path.is_file()) else { return Ok(()) };
    let found = digest::of_file(&path)?;
    if found != *recorded {
        let path = path.display();
        bail!("`{path}` is refused: its SHA-256 is `{found}`, but the manifest beside it says `{recorded}`");
    }
    cache::copy(&path, &to.join(name))
}

fn refused(delivery: &Delivery, entry: &Entry) -> String {
    format!("`{}` of the row `{}` is refused", delivery.folder.join(&entry.file).display(), entry.id)
}

fn accept_wheel(project: &Project, delivery: &Delivery, entry: &Entry) -> Result<()> {
    store_wheel(project, delivery, entry).with_context(|| refused(delivery, entry))
}

/// Checks the wheel of a manifest's entry, and stores it.
fn store_wheel(project: &Project, delivery: &Delivery, entry: &Entry) -> Result<()> {
    let id = plan::wheel_id(&entry.name, &entry.tag);
    ensure!(entry.id == id, "its manifest calls `{id}` by the name `{}`", entry.id);
    let path = delivery.folder.join(&entry.file);
    let found = digest::of_file(&path)?;
    if found != entry.sha256 {
        bail!(
            "its SHA-256 is `{found}`, but the manifest beside it says `{}`: it was changed on its way; run the job \
             that made it again",
            entry.sha256
        );
    }
    let package = project.matrix.package(&entry.name);
    let package = package.with_context(|| format!("`{}` is not a package of the matrix", entry.name))?;
    let expect = ExpectedWheel {
        distribution: &package.id,
        version: package.version(),
        abi: &entry.tag,
        platform: None,
        max_glibc: parse_glibc(&project.matrix.root.glibc),
    };
    let report = wheelfile::check(&path, &expect)?;
    // Into the store as a copy: what was downloaded stays where it is.
    let scratch = project.cache.scratch("wheels-from")?;
    let copy = scratch.path().join(&report.file_name);
    std::fs::copy(&path, &copy).with_context(|| format!("cannot copy `{}`", path.display()))?;
    let file = project.cache.take(&copy, &report.file_name)?;
    ensure!(file.sha256 == entry.sha256, "it was changed while it was being read");
    if let Some(known) = project.cache.record(&entry.key)?.filter(|known| project.cache.holds(known)) {
        // What this machine made stays what the key stands for here.
        if known.output.files != [file] {
            project.ui.say(&format!("[{id}] `{}` is not the wheel that is cached here under its key", path.display()));
        }
        return Ok(());
    }
    let taken_from = Some(delivery.folder.display().to_string());
    let output = Output { files: vec![file], notes: entry.notes.clone(), taken_from, ..Output::default() };
    project.cache.remember(&Record { id: entry.id.clone(), key: entry.key.clone(), seconds: entry.seconds, output })
}

/// Checks that an entry speaks of an image of the matrix; the image itself goes another way.
fn check_image(project: &Project, entry: &Entry) -> Result<()> {
    let image = project.matrix.image(&entry.tag).filter(|image| entry.id == plan::proof_id(&image.tag));
    let image = image.with_context(|| format!("the matrix has no image with the row `{}`", entry.id))?;
    let name = &project.matrix.name;
    let right = entry.kind == "image" && *entry.name == **name;
    ensure!(right, "its manifest calls the image `{name}:{}` the {} `{}`", image.tag, entry.kind, entry.name);
    Ok(())
}
