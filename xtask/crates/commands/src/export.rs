//! `cargo xtask export`: copies one row to a separate folder, for a job on another machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};

use base::{UsageError, digest, ui};
use build::manifest::{ArtefactKind, Manifest};
use build::{Project, cache};

/// Options of `cargo xtask export`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Id of a wheel or image row
    #[arg(value_name = "ROW")]
    row: String,
    /// Folder in which a folder named after the row is created
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes the row `id` of `wheels/manifest.json` with its files to `to/<id>`. Images are transferred through a
/// registry instead. [`build::incoming`] reads such folders.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let Options { row: id, folder: to } = options;
    let wheels = project.wheels();
    let manifest = Manifest::read(&wheels)?;
    let entry = manifest.artefacts.iter().find(|entry| entry.id == *id && entry.kind != ArtefactKind::Base);
    let entry = entry.ok_or_else(|| {
        let rows = manifest.artefacts.iter().filter(|entry| entry.kind != ArtefactKind::Base).map(|entry| &entry.id);
        anyhow!(UsageError(format!("`{}` has no row `{id}`, only {}", wheels.display(), ui::quoted(rows))))
    })?;
    let folder = to.join(&entry.id);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    if entry.kind == ArtefactKind::Wheel {
        copy(&wheels, &entry.file, &entry.sha256, &folder)?;
    }
    let mut entry = entry.clone();
    match &entry.sbom {
        Some(sbom) if wheels.join(entry.sbom_file()).is_file() => copy(&wheels, &entry.sbom_file(), sbom, &folder)?,
        _ => entry.sbom = None,
    }
    Manifest { schema: 1, artefacts: vec![entry], ..Manifest::default() }.write(&folder)?;
    ui::print_result(&format!("{}\n", folder.display()))
}

/// Copies a file after checking its digest against the manifest.
fn copy(from: &Path, file: &str, sha256: &str, to: &Path) -> Result<()> {
    let copied = to.join(file);
    cache::copy(&from.join(file), &copied)?;
    ensure!(
        digest::of_file(&copied)? == sha256,
        "`{}` is not what the manifest beside it says: make it again",
        from.join(file).display()
    );
    Ok(())
}
