//! Wheels that another machine made: taken if they are what its manifest says, else refused.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cache::{self, Output, Record};
use crate::digest;
use crate::manifest::{Entry, Manifest};
use crate::step::root;
use crate::step::wheel::glibc;
use crate::wheelfile::{self, Expect};
use crate::{Project, Wrong, plan, report};

/// Puts each wheel that a manifest in `folder`, or in a folder below it, lists into the cache under
/// the key that it was made for. The plan then finds those whose keys it has, and no others.
pub fn take(project: &Project, folder: &Path) -> Result<Manifest> {
    let mut all = Manifest { schema: 1, ..Manifest::default() };
    for folder in folders(folder)? {
        let manifest = Manifest::read(&folder)?;
        // Of an image only the manifest travels, and it speaks of wheels that lie elsewhere.
        let of_image = manifest.artefacts.iter().any(|entry| entry.kind == "image");
        for entry in manifest.artefacts {
            let file = folder.join(&entry.file);
            if entry.kind == "wheel" {
                if of_image && !file.exists() {
                    continue;
                }
                let refused = || format!("`{}` of the row `{}` is refused", file.display(), entry.id);
                wheel(project, &folder, &entry).with_context(refused)?;
            }
            all.artefacts.retain(|other| other.id != entry.id);
            all.artefacts.push(entry);
        }
    }
    all.artefacts.sort_by(|a, b| (&a.kind, &a.id).cmp(&(&b.kind, &b.id)));
    project.ui.say(&format!("[wheels-from] {} artefacts of `{}` taken", all.artefacts.len(), folder.display()));
    Ok(all)
}

/// Brings what several machines made together below `wheels/`, with one manifest; and into `publish`
/// the wheels that a release puts on the package index.
pub fn collect(project: &Project, folder: &Path, publish: Option<&Path>) -> Result<()> {
    let manifest = take(project, folder)?;
    manifest.publish(&project.wheels(), &project.matrix, &project.cache)?;
    for folder in folders(folder)? {
        sboms(&folder, &project.wheels())?;
    }
    if let Some(publish) = publish {
        let unpinned = manifest.artefacts.iter().find_map(|entry| Some((entry, entry.notes.get(root::NOTE)?)));
        if let Some((entry, note)) = unpinned {
            bail!("`{}` is not published: its root file system is {note}; build it with --pinned-root", entry.id);
        }
        std::fs::create_dir_all(publish).with_context(|| format!("cannot make `{}`", publish.display()))?;
        let wanted = |entry: &&Entry| project.matrix.ci.publish.iter().any(|id| *entry.name == **id);
        for entry in manifest.artefacts.iter().filter(|entry| entry.kind == "wheel").filter(wanted) {
            cache::copy(&project.cache.blob(&entry.sha256), &publish.join(&entry.file))?;
        }
    }
    report::publish(&manifest, &[])
}

/// Takes the bills of materials that the manifest in `folder` has recorded, from beside it.
fn sboms(folder: &Path, to: &Path) -> Result<()> {
    for entry in Manifest::read(folder)?.artefacts {
        let (name, path) = (entry.sbom_file(), folder.join(entry.sbom_file()));
        let Some(recorded) = entry.sbom.filter(|_| plain(&name) && path.is_file()) else { continue };
        let found = digest::of_file(&path)?;
        if found != recorded {
            bail!(
                "`{}` is refused: its SHA-256 is `{found}`, but the manifest beside it says `{recorded}`",
                path.display()
            );
        }
        cache::copy(&path, &to.join(name))?;
    }
    Ok(())
}

/// Whether a name from a manifest of another's stays in its folder.
fn plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// The folder and those in it that have a manifest, in order.
fn folders(top: &Path) -> Result<Vec<PathBuf>> {
    let there = std::fs::read_dir(top).map_err(|error| {
        let top = top.display();
        anyhow!(Wrong(format!("--wheels-from `{top}`: {error}: name a folder with wheels and their manifest")))
    })?;
    let mut folders = vec![top.to_owned()];
    for entry in there {
        folders.push(entry?.path());
    }
    folders.retain(|folder| folder.join("manifest.json").is_file());
    folders.sort();
    Ok(folders)
}

fn wheel(project: &Project, folder: &Path, entry: &Entry) -> Result<()> {
    ensure!(plain(&entry.file), "its manifest names the file `{}`", entry.file);
    ensure!(
        entry.key.len() == 64 && entry.key.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')),
        "its manifest says `{}` where a key belongs",
        entry.key
    );
    let id = plan::wheel_id(&entry.name, &entry.tag);
    ensure!(entry.id == id, "its manifest calls `{id}` by the name `{}`", entry.id);
    let path = folder.join(&entry.file);
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
    let expect = Expect {
        distribution: &package.id,
        version: package.version(),
        abi: &entry.tag,
        platform: None,
        max_glibc: glibc(&project.matrix.root.glibc),
    };
    let report = wheelfile::check(&path, &expect)?;
    // What was made here stays what it is.
    if project.cache.record(&entry.key)?.is_some_and(|known| project.cache.holds(&known)) {
        return Ok(());
    }
    // Into the store as a copy: what was downloaded stays where it is.
    let scratch = project.cache.scratch("wheels-from")?;
    let copy = scratch.path().join(&report.file_name);
    std::fs::copy(&path, &copy).with_context(|| format!("cannot copy `{}`", path.display()))?;
    let file = project.cache.take(&copy, &report.file_name)?;
    ensure!(file.sha256 == entry.sha256, "it was changed while it was being read");
    let output = Output { files: vec![file], notes: entry.notes.clone(), ..Output::default() };
    project.cache.remember(&Record { id: entry.id.clone(), key: entry.key.clone(), seconds: entry.seconds, output })
}
