//! Bills of materials of wheels and images, in CycloneDX: from what is really in them, the same bytes every time.

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

use crate::manifest::Manifest;
use crate::proc::{self, Talk};
use crate::subject::{self, Listed, Subject};
use crate::{Project, Wrong, cache, digest, ui};

/// The schema itself is in one of the pinned checks.
const VALIDATE: &str = include_str!("sbom/validate.py");

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Tags of images, wheel files, or ids of wheels
    #[arg(required = true, value_name = "TAG|WHEEL")]
    what: Vec<String>,
    /// Hold them against the schema and write each into this folder; its digest goes into wheels/manifest.json
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// One document, with the row of the manifest that it tells of.
struct Made {
    id: Option<String>,
    file: String,
    text: String,
}

pub fn run(project: &Project, options: &Options) -> Result<()> {
    match (&options.out, options.what.as_slice()) {
        (Some(folder), what) => write(project, what, folder),
        (None, [one]) => ui::out(&make(project, &Listed::read(project, None)?, one)?.text),
        (None, _) => Err(anyhow!(Wrong("only one fits on standard output: name a folder with --out".to_owned()))),
    }
}

/// Writes valid documents into `folder`, and prints their digests as `sha256sum` does.
pub fn write(project: &Project, what: &[String], folder: &Path) -> Result<()> {
    let listed = Listed::read(project, None)?;
    let mut made = Vec::new();
    for item in what {
        made.push(make(project, &listed, item).with_context(|| format!("`{item}`"))?);
        project.cancel.check()?;
    }
    validate(project, &made)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let mut digests = BTreeMap::new();
    for document in &made {
        cache::write(&folder.join(&document.file), document.text.as_bytes())?;
        let sha256 = digest::of(&document.text);
        ui::out(&format!("{sha256}  {}\n", document.file))?;
        digests.extend(document.id.clone().map(|id| (id, sha256)));
    }
    Manifest::record(&project.wheels(), &digests, &project.cache)
}

fn make(project: &Project, listed: &Listed, item: &str) -> Result<Made> {
    let (entry, file, document) = match subject::find(project, listed, item)? {
        Subject::Wheel(path) => {
            let report = subject::checked(project, &path, listed)?;
            // One of another digest is another wheel.
            let entry = listed.wheel(&report.file_name).filter(|entry| entry.sha256 == report.sha256);
            (entry, format!("{}.cdx.json", report.file_name), wheel::describe(&path, &report)?)
        }
        Subject::Image { reference, image } => {
            let contents = image::look(project, &reference, image, listed)?;
            let entry = listed.image(&image.tag).filter(|entry| entry.sha256 == contents.id);
            (entry, format!("image-{}.cdx.json", image.tag), image::describe(&reference, image, &contents)?)
        }
    };
    Ok(Made { id: entry.map(|entry| entry.id.clone()), file, text: document.text()? })
}

/// Holds the documents against CycloneDX's own schema.
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
    let task = project.ui.start("sbom", "hold against the schema", &project.cache.log("sbom"));
    task.open_log()?;
    let command = cmd!(shell, "{python} -c {VALIDATE} {spec}").quiet();
    let done = proc::talk(command, &task, &project.cancel, &Talk { input: &input, ..Talk::default() });
    let (said, log) = (task.tail(), task.log().to_owned());
    task.end(if done.is_ok() { "ok" } else { "FAILED" });
    done.map(|_| ()).map_err(|_| {
        let said: Vec<String> = said.into_iter().filter(|line| !line.starts_with("$ ")).collect();
        anyhow!("not valid CycloneDX {spec}:\n{}\nwhole log: {}", said.join("\n"), log.display())
    })
}
