//! The version of a working copy whose build would ask git for it. The build sees no git repository, so it gets the
//! version in a variable.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use base::git;
use pep440_rs::{Prerelease, Version};
use serde::Deserialize;

/// Variable with the version for setuptools-scm, and for hatch-vcs, which calls it.
pub const VARIABLE: &str = "SETUPTOOLS_SCM_PRETEND_VERSION";

/// Relevant part of `pyproject.toml`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct PyProject {
    tool: Tools,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tools {
    setuptools_scm: Option<toml::Value>,
    hatch: Hatch,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hatch {
    version: HatchVersion,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HatchVersion {
    source: Option<String>,
}

/// Returns the version of the working copy `folder` by the default rules of setuptools-scm, without the date. `None` if
/// the pyproject.toml in `project` does not take the version from git, or if there is no tag of a version.
pub fn read(folder: &Path, project: &Path) -> Result<Option<String>> {
    // An unreadable pyproject.toml is reported by the build.
    let text = std::fs::read_to_string(project.join("pyproject.toml")).unwrap_or_default();
    let Ok(PyProject { tool }) = toml::from_str::<PyProject>(&text) else { return Ok(None) };
    if tool.setuptools_scm.is_none() && tool.hatch.version.source.as_deref() != Some("vcs") {
        return Ok(None);
    }
    if !folder.canonicalize()?.ancestors().any(|above| above.join(".git").exists()) {
        return Ok(None);
    }
    let describe = ["describe", "--tags", "--long", "--abbrev=9", "--match", "*[0-9]*"];
    // git fails if no tag leads to the commit.
    let Ok(described) = git::output(folder, &describe) else { return Ok(None) };
    let changed = git::changed(folder, &[]).context("cannot compare the working copy with its commit")?;
    Ok(version(String::from_utf8_lossy(&described).trim(), changed))
}

/// Returns the version for the output of `git describe --long`: `v1.2.3-4-gabcdef`.
fn version(described: &str, changed: bool) -> Option<String> {
    let (rest, commit) = described.rsplit_once('-')?;
    let (tag, distance) = rest.rsplit_once('-')?;
    let tag = parse_tag(tag)?;
    if distance == "0" && !changed {
        return Some(tag.to_string());
    }
    let dirty = if changed { ".dirty" } else { "" };
    Some(format!("{}.dev{distance}+{commit}{dirty}", next(&tag)))
}

/// Reads `1.2.3`, `v1.2.3` and `name-1.2.3`.
fn parse_tag(tag: &str) -> Option<Version> {
    let starts = [0].into_iter().chain(tag.match_indices('-').map(|(at, _)| at + 1));
    starts.map(|at| &tag[at..]).find_map(|text| Version::from_str(text.trim_start_matches(['v', 'V'])).ok())
}

/// Returns the version that is likely to follow.
fn next(version: &Version) -> Version {
    if let Some(Prerelease { kind, number }) = version.pre() {
        let release = Version::new(version.release().iter().copied());
        return release.with_pre(Some(Prerelease { kind, number: number + 1 }));
    }
    let mut release = version.release().to_vec();
    if let Some(last) = release.last_mut() {
        *last += 1;
    }
    Version::new(release)
}

#[cfg(test)]
mod tests {
    use super::{read, version};
    use fixture::Folder;

    #[test]
    fn versions_follow_the_default_rules_of_setuptools_scm() {
        let version = |described, changed| version(described, changed).unwrap();
        assert_eq!(version("v1.2.3-0-gabc", false), "1.2.3");
        assert_eq!(version("demo-core-1.2.3-0-gabc", false), "1.2.3");
        assert_eq!(version("1.2-4-gabc", false), "1.3.dev4+gabc");
        assert_eq!(version("1.2-0-gabc", true), "1.3.dev0+gabc.dirty");
        assert_eq!(version("2.0rc1-1-gabc", false), "2.0rc2.dev1+gabc");
        assert_eq!(super::version("release-4-gabc", false), None);
    }

    #[test]
    fn only_a_package_that_asks_git_gets_a_version() {
        let copy = Folder::new("scm");
        let found = || read(&copy.0, &copy.0).unwrap();
        copy.write("pyproject.toml", "[tool.setuptools_scm]\n");
        assert_eq!(found(), None, "not a checkout");
        copy.git(&["init", "-q"]).git(&["add", "."]).git(&["commit", "-qm", "x"]);
        assert_eq!(found(), None, "no tag");
        copy.git(&["tag", "v0.3"]);
        assert_eq!(found().as_deref(), Some("0.3"));
        copy.write("pyproject.toml", "[tool.hatch.version]\nsource = 'vcs'\n");
        assert!(found().unwrap().starts_with("0.4.dev0+g") && found().unwrap().ends_with(".dirty"), "{:?}", found());
        copy.write("pyproject.toml", "[project]\nversion = '1'\n");
        assert_eq!(found(), None);
    }
}
