//! Parses file names of wheels and sdists, and compares names and versions.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use pep440_rs::Version;

use crate::local::LocalBuild;

/// Parts of a wheel's file name, `{distribution}-{version}(-{build})?-{python}-{abi}-{platform}.whl` (PEP 427).
/// Compressed tag sets (PEP 425) are split at `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    pub distribution: String,
    pub version: String,
    pub build: Option<String>,
    pub python: Vec<String>,
    pub abi: Vec<String>,
    pub platform: Vec<String>,
}

impl WheelName {
    /// Parses a file name (PEP 427). Fails for a path.
    pub fn parse(file_name: &str) -> Result<Self> {
        let parts: Option<Vec<&str>> = file_name.strip_suffix(".whl").map(|s| s.split('-').collect());
        let (distribution, version, build, tags) = match parts.as_deref() {
            Some(&[d, v, p, a, t]) => (d, v, None, [p, a, t]),
            Some(&[d, v, b, p, a, t]) => (d, v, Some(b), [p, a, t]),
            _ => bail!("`{file_name}` is not a wheel file name"),
        };
        let plain =
            |s: &str, extra: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c));
        ensure!(plain(distribution, "._"), "`{file_name}` has an invalid distribution part");
        ensure!(plain(version, "._!+"), "`{file_name}` has an invalid version part");
        ensure!(
            build.is_none_or(|b| plain(b, "._") && b.starts_with(|c: char| c.is_ascii_digit())),
            "`{file_name}` has a build part that does not start with a digit"
        );
        ensure!(
            tags.iter().flat_map(|set| set.split('.')).all(|tag| plain(tag, "_")),
            "`{file_name}` has an invalid compatibility tag"
        );
        let [python, abi, platform] = tags.map(|set| set.split('.').map(str::to_owned).collect());
        Ok(Self {
            distribution: distribution.to_owned(),
            version: version.to_owned(),
            build: build.map(str::to_owned),
            python,
            abi,
            platform,
        })
    }

    /// Returns how the wheel was built, if it is not for others.
    pub fn local_build(&self) -> Option<LocalBuild> {
        LocalBuild::ALL.into_iter().find(|build| self.build.as_deref() == Some(build.tag()))
    }

    /// Returns whether a platform tag is `any` or Linux with glibc on this architecture.
    pub fn suits_machine(&self, arch: &str) -> bool {
        self.platform.iter().any(|tag| tag == "any" || platform_glibc(tag).is_some_and(|(wanted, _)| wanted == arch))
    }

    /// Returns the `Tag:` lines that the WHEEL file must contain for this name (PEP 427).
    pub(super) fn expanded(&self) -> BTreeSet<String> {
        let mut tags = BTreeSet::new();
        for python in &self.python {
            for abi in &self.abi {
                tags.extend(self.platform.iter().map(|p| format!("{python}-{abi}-{p}")));
            }
        }
        tags
    }
}

/// Returns whether two versions are equal by PEP 440, such as `2026.08.1` and `2026.8.1`. Other texts are compared
/// literally, except for the `-` to `_` escaping of PEP 427.
pub fn same_version(one: &str, other: &str) -> bool {
    match (Version::from_str(one), Version::from_str(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.replace('-', "_") == other.replace('-', "_"),
    }
}

/// Returns whether two distribution names are equal by PEP 503, such as `Demo.Pkg` and `demo-pkg`.
pub fn same_name(one: &str, other: &str) -> bool {
    normalise(one) == normalise(other)
}

/// Returns whether `stem` is `<name>-<version>` for this name and version, as in the file name of an sdist (PEP 625)
/// or a `.dist-info` folder. Names of older sdists may contain further hyphens.
pub fn is_release(stem: &str, name: &str, version: &str) -> bool {
    stem.match_indices('-').any(|(at, _)| same_name(&stem[..at], name) && same_version(&stem[at + 1..], version))
}

/// Returns the install scheme and the path below it for a member of a wheel's `.data` folder (PEP 427).
pub(super) fn data_scheme<'a>(member: &'a str, name: &str, version: &str) -> Option<(&'a str, &'a str)> {
    let (top, rest) = member.split_once('/')?;
    is_release(top.strip_suffix(".data")?, name, version).then(|| rest.split_once('/'))?
}

/// Returns whether a file name belongs to this name and version (PEP 427 and PEP 625).
pub fn is_file_of_release(file_name: &str, name: &str, version: &str) -> bool {
    if let Ok(wheel) = WheelName::parse(file_name) {
        return same_name(&wheel.distribution, name) && same_version(&wheel.version, version);
    }
    let stem = [".tar.gz", ".zip"].iter().find_map(|suffix| file_name.strip_suffix(suffix));
    stem.is_some_and(|stem| is_release(stem, name, version))
}

/// Normalises a distribution name (PEP 503).
pub fn normalise(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        let c = if matches!(c, '_' | '.') { '-' } else { c.to_ascii_lowercase() };
        if c != '-' || !out.ends_with('-') {
            out.push(c);
        }
    }
    out
}

/// Returns the architecture of a platform tag and the glibc version that it states (PEP 600 and its legacy aliases).
/// A plain `linux_*` tag states no version.
pub fn platform_glibc(tag: &str) -> Option<(&str, Option<(u32, u32)>)> {
    for (alias, glibc) in [("manylinux1_", (2, 5)), ("manylinux2010_", (2, 12)), ("manylinux2014_", (2, 17))] {
        if let Some(arch) = tag.strip_prefix(alias) {
            return Some((arch, Some(glibc)));
        }
    }
    if let Some(arch) = tag.strip_prefix("linux_") {
        return Some((arch, None));
    }
    let mut parts = tag.strip_prefix("manylinux_")?.splitn(3, '_');
    let glibc = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((parts.next()?, Some(glibc)))
}
