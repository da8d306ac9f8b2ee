//! Reads lock files: `pylock.toml` (PEP 751) and `uv.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr as _;

use anyhow::{Context as _, Result, anyhow, bail};
use build::lock::pylock::{self, LockedFile};
use build::markers;
use pep440_rs::{Version, VersionSpecifier, VersionSpecifiers};
use serde::Deserialize;
use toml::{Table, Value};

use super::target::CheckTarget;
use super::wanted::{self, Elsewhere, WantedDistribution, WantedDistributions};

/// Formats that are read, for errors.
const FORMATS: &str = "a requirements file, a pylock.toml (PEP 751) or a uv.lock";

/// Reads a lock file; its contents decide the format.
pub fn read(path: &Path, target: &CheckTarget, found: &mut WantedDistributions) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let wanted = parse(&text, target).with_context(|| format!("`{}`", path.display()))?;
    found.wanted.extend(wanted);
    Ok(())
}

pub fn parse(text: &str, target: &CheckTarget) -> Result<Vec<WantedDistribution>> {
    let table: Table = toml::from_str(text).map_err(|error| anyhow!("{}", error.to_string().trim()))?;
    if table.contains_key("project") || table.contains_key("build-system") {
        bail!("a pyproject.toml is no lock file: `uv lock` or `pip lock` makes one; this command reads {FORMATS}");
    }
    match table.get("version") {
        _ if table.contains_key("lock-version") => pylock(text, target),
        Some(Value::Integer(1)) => uv(table, target),
        Some(_) if table.contains_key("package") => {
            bail!("only version 1 of uv.lock is supported")
        }
        _ => bail!("this is not {FORMATS}; other tools can export one of them"),
    }
}

fn pylock(text: &str, target: &CheckTarget) -> Result<Vec<WantedDistribution>> {
    let lock = pylock::parse(text, "pylock.toml")?;
    let mut wanted = Vec::new();
    for package in lock.applicable(&target.markers)? {
        let elsewhere = match package.elsewhere() {
            Some(file) => {
                let place = file.url.as_deref().or(file.path.as_deref()).unwrap_or("an unknown place").to_owned();
                Some(Elsewhere { place, files: file_name(file).into_iter().collect() })
            }
            // Without a version, the files are not those of an index.
            None if package.version.is_none() => {
                let files = package.wheels.iter().chain(&package.sdist).filter_map(file_name).collect();
                Some(Elsewhere { place: "the files of the lock".to_owned(), files })
            }
            None => None,
        };
        wanted.push(WantedDistribution { elsewhere, ..pinned(&package.name, package.version.as_deref())? });
    }
    Ok(wanted)
}

/// Returns the name of a wheel or source distribution; `None` for a repository or a folder.
fn file_name(file: &LockedFile) -> Option<String> {
    file.file_name().ok().and_then(|name| wanted::file_name(&name))
}

#[derive(Deserialize)]
struct UvLock {
    #[serde(default)]
    package: Vec<UvPackage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvPackage {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: BTreeMap<String, String>,
    #[serde(default)]
    dependencies: Vec<UvDependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<UvDependency>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<UvDependency>>,
    #[serde(default)]
    wheels: Vec<UvFile>,
    sdist: Option<UvFile>,
}

#[derive(Deserialize)]
struct UvFile {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
}

#[derive(Deserialize)]
struct UvDependency {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    #[serde(default)]
    extra: Vec<String>,
}

impl UvPackage {
    /// Returns whether this is a project of the workspace, which the user writes.
    fn is_member(&self) -> bool {
        ["virtual", "editable"].iter().any(|kind| self.source.contains_key(*kind))
    }

    fn wanted(&self) -> Result<WantedDistribution> {
        let place = self.source.iter().find(|(kind, _)| *kind != "registry");
        let elsewhere = place.map(|(kind, place)| {
            let files = self.wheels.iter().chain(&self.sdist);
            let name = |file: &UvFile| {
                wanted::file_name(file.filename.as_deref().or(file.url.as_deref()).or(file.path.as_deref())?)
            };
            let place = if kind == "git" { format!("git+{place}") } else { place.clone() };
            Elsewhere { place, files: files.filter_map(name).collect() }
        });
        let version = self.version.as_deref().filter(|_| elsewhere.is_none());
        Ok(WantedDistribution { elsewhere, ..pinned(&self.name, version)? })
    }
}

/// Returns what the members of the workspace need on the target. uv writes markers at dependencies, not at packages.
fn uv(table: Table, target: &CheckTarget) -> Result<Vec<WantedDistribution>> {
    let lock: UvLock = table.try_into().map_err(|error: toml::de::Error| anyhow!("{}", error.message()))?;
    let mut reached: BTreeSet<usize> = BTreeSet::new();
    let mut extras: BTreeSet<(usize, String)> = BTreeSet::new();
    let members = lock.package.iter().enumerate().filter(|(_, package)| package.is_member());
    let mut open: Vec<&UvDependency> = Vec::new();
    for (_, member) in members {
        open.extend(&member.dependencies);
        open.extend(member.optional_dependencies.values().chain(member.dev_dependencies.values()).flatten());
    }
    if open.is_empty() {
        reached.extend(0..lock.package.len());
    }
    while let Some(dependency) = open.pop() {
        if !markers::applies(dependency.marker.as_deref(), &target.markers)
            .with_context(|| format!("`{}`", dependency.name))?
        {
            continue;
        }
        let version = |package: &UvPackage| dependency.version.is_none() || dependency.version == package.version;
        for (at, package) in lock.package.iter().enumerate().filter(|(_, package)| package.name == dependency.name) {
            if !version(package) {
                continue;
            }
            if reached.insert(at) {
                open.extend(&package.dependencies);
            }
            for extra in &dependency.extra {
                if extras.insert((at, extra.clone())) {
                    open.extend(package.optional_dependencies.get(extra).into_iter().flatten());
                }
            }
        }
    }
    let packages = lock.package.iter().enumerate().filter(|(at, package)| reached.contains(at) && !package.is_member());
    packages.map(|(_, package)| package.wanted()).collect()
}

fn pinned(name: &str, version: Option<&str>) -> Result<WantedDistribution> {
    let versions = match version {
        None => VersionSpecifiers::empty(),
        Some(text) => {
            let version =
                Version::from_str(text).map_err(|error| anyhow!("`{name}`: `{text}` is not a version: {error}"))?;
            VersionSpecifiers::from(VersionSpecifier::equals_version(version))
        }
    };
    Ok(WantedDistribution::new(name, versions))
}
