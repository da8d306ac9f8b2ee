//! `cargo xtask sbom`: creates reproducible CycloneDX SBOMs from the contents of wheels and images.

mod document;
mod image;
#[cfg(test)]
mod tests;
mod wheel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::subject::{self, Listed, Subject};
use base::environment::{self, Purpose};
use base::{UsageError, digest, labels, ui};
use build::manifest::{Manifest, Sbom};
use build::step::patch;
use build::{Project, cache};

/// Script that validates SBOMs; the schema is part of a pinned tool.
const VALIDATE: &str = include_str!("sbom/validate.py");

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Image tags, wheel files or wheel ids
    #[arg(required = true, value_name = "TAG|WHEEL")]
    what: Vec<String>,
    /// Validate each SBOM against the schema, write it to this folder, and record its digest in wheels/manifest.json
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// SBOM with the SHA-256 of the artefact that it describes.
struct Made {
    subject: String,
    file: String,
    text: String,
}

pub fn run(project: &Project, options: &Options) -> Result<()> {
    match (&options.out, options.what.as_slice()) {
        (Some(folder), what) => write(project, what, folder),
        (None, [one]) => ui::print_result(&make(project, &Listed::read(project, None)?, one)?.text),
        (None, _) => Err(anyhow!(UsageError("only one SBOM can be printed: specify a folder with --out".to_owned()))),
    }
}

/// Validates the SBOMs, writes them to `folder`, and prints their digests like `sha256sum`.
pub fn write(project: &Project, what: &[String], folder: &Path) -> Result<()> {
    let listed = Listed::read(project, None)?;
    let mut made = Vec::new();
    for item in what {
        made.push(make(project, &listed, item).with_context(|| format!("`{item}`"))?);
        project.cancel.check()?;
    }
    validate(project, &made)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let mut written = Vec::new();
    for document in made {
        cache::write(&folder.join(&document.file), document.text.as_bytes())?;
        let sha256 = digest::of(&document.text);
        ui::print_result(&format!("{sha256}  {}\n", document.file))?;
        written.push(Sbom { file: document.file, subject: document.subject, sha256 });
    }
    Manifest::record(&project.wheels(), &written, &project.cache)
}

fn make(project: &Project, listed: &Listed, item: &str) -> Result<Made> {
    let (subject, file, document) = match subject::find(project, listed, item)? {
        Subject::Wheel(path) => {
            let report = subject::checked(project, &path, listed)?;
            let mut document = wheel::describe(&path, &report)?;
            let patches = listed.wheel(&report.file_name).and_then(|entry| entry.notes.get(patch::NOTE));
            for patch in patches.iter().flat_map(|patches| patches.split(", ")) {
                document.describe_subject(labels::PATCH, patch);
            }
            (report.sha256, format!("{}.cdx.json", report.file_name), document)
        }
        Subject::Image { reference, image } => {
            let contents = image::look(project, &reference, image, listed)?;
            let document = image::describe(&reference, image, &contents)?;
            (contents.id, format!("image-{}.cdx.json", image.tag), document)
        }
    };
    Ok(Made { subject, file, text: document.text()? })
}

/// Validates SBOMs against the CycloneDX schema.
fn validate(project: &Project, made: &[Made]) -> Result<()> {
    if project.fake {
        return Ok(());
    }
    let documents: BTreeMap<&str, Value> = made
        .iter()
        .map(|document| Ok((document.file.as_str(), serde_json::from_str(&document.text)?)))
        .collect::<Result<_>>()?;
    let input = serde_json::to_string(&documents)?;
    let (shell, python, spec) = (Shell::new()?, project.checks()?.join("bin/python"), document::SPEC);
    let command = environment::apply(cmd!(shell, "{python} -c {VALIDATE} {spec}").quiet(), Purpose::Local);
    project.call("sbom", "hold against the schema", command, &input)
}
