//! SBOM of an image. The inventory runs in the image, without network.

use base::labels;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::document::{Component, Document, escaped, hash};
use crate::subject::{self, Listed};
use build::Project;
use docker::{Job, Network};

/// Script that runs in the image and needs only its interpreter.
const INVENTORY: &str = include_str!("inventory.py");

/// Contents of an image.
pub struct Contents {
    /// Image id without prefix.
    pub id: String,
    pub labels: BTreeMap<String, String>,
    pub inventory: Inventory,
}

/// Output of `inventory.py`.
#[derive(Debug, Default, Deserialize)]
pub struct Inventory {
    release: Release,
    python: String,
    free_threaded: bool,
    debian: Vec<DebianPackage>,
    distributions: Vec<Distribution>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Release {
    id: String,
    version_id: String,
    version_codename: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DebianPackage {
    package: String,
    version: String,
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Distribution {
    name: String,
    version: String,
    /// SPDX expression, and the older metadata fields.
    expression: Option<String>,
    licence: Option<String>,
    /// SHA-256 of bundled libraries, by path.
    libraries: BTreeMap<String, String>,
    /// Texts of the embedded SBOMs, by path.
    sboms: BTreeMap<String, String>,
}

/// Returns the contents of the image; for a fake image, those in the manifest.
pub fn look(project: &Project, reference: &str, image: &matrix::Image, listed: &Listed) -> Result<Contents> {
    if project.fake {
        let entry = listed.image(&image.tag).with_context(|| format!("no stand-in of `{}` was made", image.tag))?;
        let (labels, inventory) = (BTreeMap::new(), Inventory::default());
        return Ok(Contents { id: entry.sha256.clone(), labels, inventory });
    }
    let (docker, found) = subject::built_image(project, reference, image)?;
    let command = ["python", "-I", "-c", INVENTORY].map(str::to_owned).to_vec();
    let job = Job { image: &found.id, command, network: Network::None, ..Job::default() };
    let result = docker.run(&job, &|_| {}, &project.cancel)?;
    if result.exit != 0 {
        bail!("cannot list the contents of `{reference}`: exit code {}: {}", result.exit, result.stderr.trim());
    }
    let inventory = serde_json::from_str(&result.stdout).context("the inventory of the image is not valid")?;
    Ok(Contents { id: found.id.trim_start_matches("sha256:").to_owned(), labels: found.labels, inventory })
}

pub fn describe(reference: &str, image: &matrix::Image, contents: &Contents) -> Result<Document> {
    let Contents { id, labels, inventory } = contents;
    let name = reference.rsplit_once(':').map_or(reference, |(name, _)| name);
    let mut subject = Component::new("container", name, &image.tag);
    subject.hashes.push(hash(id));
    for (label, value) in labels.iter().filter(|(label, _)| label.starts_with(labels::PREFIX)) {
        subject.property(label, value);
    }
    let release = &inventory.release;
    let mut parts = vec![Component::new("operating-system", &release.id, &release.version_id), interpreter(inventory)];
    parts.extend(inventory.debian.iter().map(|package| debian(package, release)));
    for distribution in &inventory.distributions {
        parts.push(python(distribution).with_context(|| format!("`{}` in the image", distribution.name))?);
    }
    Ok(Document::new(subject, parts))
}

fn interpreter(inventory: &Inventory) -> Component {
    let purl = format!("pkg:generic/cpython@{}", escaped(&inventory.python));
    let mut python = Component { purl, ..Component::new("platform", "cpython", &inventory.python) };
    python.property(labels::FREE_THREADED, if inventory.free_threaded { "yes" } else { "no" });
    python
}

fn debian(package: &DebianPackage, release: &Release) -> Component {
    let (name, version) = (escaped(&package.package), escaped(&package.version));
    let qualifiers = format!("arch={}&distro={}", package.architecture, escaped(&release.version_codename));
    let purl = format!("pkg:deb/{}/{name}@{version}?{qualifiers}", release.id);
    Component { reference: purl.clone(), purl, ..Component::new("library", &package.package, &package.version) }
}

/// Returns the component of a distribution with its nested components.
fn python(distribution: &Distribution) -> Result<Component> {
    let mut part = Component::distribution(&distribution.name, &distribution.version, "");
    part.licence(distribution.expression.as_deref(), distribution.licence.as_deref());
    for (path, sha256) in &distribution.libraries {
        let file = Component::file(path, sha256);
        part.components.push(Component { reference: format!("{}#{}", part.reference, file.reference), ..file });
    }
    for (path, sbom) in &distribution.sboms {
        part.adopt(sbom).with_context(|| format!("`{path}`"))?;
    }
    Ok(part)
}
