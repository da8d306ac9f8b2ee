//! SBOM of a wheel: bundled libraries and the components in its embedded SBOMs.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result};
use zip::ZipArchive;

use super::document::{Component, Document, hash};
use base::digest;
use wheelfile::WheelReport;

/// Returns the SBOM of a wheel that passed the checks with this `report`.
pub fn describe(path: &Path, report: &WheelReport) -> Result<Document> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut names: Vec<String> = archive.file_names().map(|name| Ok(name?.into_owned())).collect::<Result<_>>()?;
    names.sort();
    let (name, version) = (&report.name.distribution, &report.name.version);
    let mut wheel = Component::distribution(name, version, &format!("?file_name={}", report.file_name));
    wheel.hashes.push(hash(&report.sha256));
    let mut parts = Vec::new();
    for name in &names {
        let mut member = || -> Result<Vec<u8>> {
            let mut data = Vec::new();
            archive.by_name(name)?.read_to_end(&mut data)?;
            Ok(data)
        };
        let text = |data: Vec<u8>| String::from_utf8(data).with_context(|| format!("`{name}` is not text"));
        if report.bundled.contains(name) {
            parts.push(Component::file(name, &digest::of(member()?)));
        } else if is_sbom(name) {
            let said = text(member()?)?;
            wheel.adopt(&said).with_context(|| format!("`{name}` in the wheel"))?;
        } else if name.split_once(".dist-info/").is_some_and(|(_, file)| file == "METADATA") {
            let metadata = text(member()?)?;
            wheel.licence(field(&metadata, "License-Expression"), field(&metadata, "License"));
        }
    }
    // CycloneDX lists the components of the subject next to it.
    parts.append(&mut wheel.components);
    Ok(Document::new(wheel, parts))
}

/// Returns whether a path is an embedded SBOM of a wheel (PEP 770).
pub fn is_sbom(path: &str) -> bool {
    path.split_once(".dist-info/sboms/").is_some_and(|(_, file)| file.ends_with(".json"))
}

/// Returns a field in the header of METADATA.
fn field<'a>(metadata: &'a str, name: &str) -> Option<&'a str> {
    let header = metadata.lines().take_while(|line| !line.is_empty());
    header.filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}
