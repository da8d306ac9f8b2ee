//! Files of a project on the package index, checked and grouped by release.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use pep440_rs::{Version, VersionSpecifiers};

use super::page::{self, Entry};
use download::Url;
use wheelfile::{WheelName, same_name};

/// Files of a project by release. Files that are neither a wheel nor an sdist, or whose names or URLs are invalid,
/// are omitted.
#[derive(Debug, Clone)]
pub struct ProjectFiles {
    /// Name as the caller wrote it.
    pub name: String,
    /// Oldest first, in the order of PEP 440.
    pub releases: Vec<Release>,
}

/// Files of one version.
#[derive(Debug, Clone)]
pub struct Release {
    pub version: Version,
    /// Never empty.
    pub files: Vec<File>,
}

/// File with checked name and URL.
#[derive(Debug, Clone)]
pub struct File {
    pub name: String,
    pub kind: FileKind,
    /// Includes the login of the index, if the file is on the same server: do not print it.
    pub url: Url,
    pub sha256: String,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Withdrawn by its publisher (PEP 592).
    pub yanked: bool,
    pub requires_python: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    Wheel(WheelName),
    Sdist,
}

impl ProjectFiles {
    /// Parses the page of a project, which has this URL.
    pub fn parse(name: &str, url: &str, text: &str) -> Result<ProjectFiles> {
        Ok(ProjectFiles::new(name, &download::parse_url(url)?, page::entries(text)?))
    }

    pub(super) fn new(name: &str, page: &Url, entries: Vec<Entry>) -> ProjectFiles {
        let mut releases: BTreeMap<Version, Vec<File>> = BTreeMap::new();
        for entry in entries {
            let Some((kind, version)) = parse_name(&entry.name, name) else { continue };
            let Ok(Place { name, url }) = place(&entry, page) else { continue };
            let Entry { sha256, size, yanked, requires_python, .. } = entry;
            if !base::digest::is_digest(&sha256) {
                continue;
            }
            let file = File { name, kind, url, sha256, size, yanked, requires_python };
            releases.entry(version).or_default().push(file);
        }
        let releases = releases.into_iter().map(|(version, files)| Release { version, files }).collect();
        ProjectFiles { name: name.to_owned(), releases }
    }

    pub fn release(&self, version: &Version) -> Option<&Release> {
        self.releases.iter().find(|release| release.version == *version)
    }

    /// Returns the newest release that is neither a pre-release nor withdrawn; without such a release, the newest that
    /// is not withdrawn.
    pub fn newest(&self) -> Option<&Release> {
        self.newest_of(|_| true)
    }

    /// Returns the newest release whose version is admitted and that is not yanked; a pre-release only if there is no other.
    pub fn newest_of(&self, admitted: impl Fn(&Version) -> bool) -> Option<&Release> {
        let usable = self.releases.iter().rev().filter(|release| !release.is_yanked());
        let mut usable = usable.filter(|release| admitted(&release.version));
        let first = usable.clone().next();
        usable.find(|release| !release.is_prerelease()).or(first)
    }
}

impl Release {
    /// Returns whether the version is a pre-release or a development release.
    pub fn is_prerelease(&self) -> bool {
        self.version.any_prerelease()
    }

    /// Returns whether all files are withdrawn.
    pub fn is_yanked(&self) -> bool {
        self.files.iter().all(|file| file.yanked)
    }

    pub fn wheels(&self) -> impl Iterator<Item = (&File, &WheelName)> {
        self.files.iter().filter_map(|file| match &file.kind {
            FileKind::Wheel(name) => Some((file, name)),
            FileKind::Sdist => None,
        })
    }

    /// Returns the source distribution; a `.tar.gz` is preferred.
    pub fn sdist(&self) -> Option<&File> {
        let sdists = self.files.iter().filter(|file| file.kind == FileKind::Sdist);
        sdists.max_by_key(|file| file.name.ends_with(".tar.gz"))
    }
}

impl File {
    /// Returns whether `requires-python` admits this version. Like in pip, an invalid requirement admits all.
    pub fn supports(&self, python: &Version) -> bool {
        let required = self.requires_python.as_deref().map(VersionSpecifiers::from_str);
        required.and_then(Result::ok).is_none_or(|required| required.contains(python))
    }
}

/// Returns the kind and version of a project's file; `None` for other files.
fn parse_name(file: &str, project: &str) -> Option<(FileKind, Version)> {
    if let Ok(wheel) = WheelName::parse(file) {
        let version = Version::from_str(&wheel.version.replace('_', "-")).ok()?;
        return same_name(&wheel.distribution, project).then_some((FileKind::Wheel(wheel), version));
    }
    let stem = [".tar.gz", ".zip"].iter().find_map(|suffix| file.strip_suffix(suffix))?;
    // Names of older sdists may contain further hyphens.
    let mut splits = stem.match_indices('-').filter(|(at, _)| same_name(&stem[..*at], project));
    let version = splits.find_map(|(at, _)| Version::from_str(&stem[at + 1..]).ok())?;
    Some((FileKind::Sdist, version))
}

/// Checked name and URL of a file.
pub struct Place {
    pub name: String,
    pub url: Url,
}

/// Checks the name and URL of an entry on `page`.
pub fn place(entry: &Entry, page: &Url) -> Result<Place> {
    let name = file_name(&entry.name).context("its file name contains invalid characters")?;
    let mut url = download::join_url(page, &entry.link)?;
    if same_origin(page, &url) && url.username().is_empty() {
        log_in(&mut url, page);
    }
    Ok(Place { name, url })
}

pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Copies user name and password from one URL to another.
pub fn log_in(url: &mut Url, from: &Url) {
    // Fails only for URLs without host, which were rejected before.
    let _ = url.set_username(from.username());
    let _ = url.set_password(from.password());
}

/// Returns the file name if it contains only letters, digits and characters allowed by PEP 427 and PEP 625, because
/// it is used as a path.
fn file_name(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(plain)).then(|| name.to_owned())
}
