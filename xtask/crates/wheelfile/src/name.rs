//! File names of wheels and sdists, and the comparison of names and versions.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use pep440_rs::Version;

/// The parts of a wheel's file name, `{distribution}-{version}(-{build})?-{python}-{abi}-{platform}.whl`
/// (PEP 427), with each compressed tag set (PEP 425) split on `.`.
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
    /// Parses a bare file name (PEP 427); a path is refused.
    pub fn parse(file_name: &str) -> Result<Self> {
        let parts: Option<Vec<&str>> = file_name.strip_suffix(".whl").map(|s| s.split('-').collect());
        let (distribution, version, build, tags) = match parts.as_deref() {
            Some(&[d, v, p, a, t]) => (d, v, None, [p, a, t]),
            Some(&[d, v, b, p, a, t]) => (d, v, Some(b), [p, a, t]),
            _ => bail!("`{file_name}` is not a wheel file name"),
        };
        let plain =
            |s: &str, extra: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c));
        ensure!(plain(distribution, "._"), "`{file_name}` has a bad distribution part");
        ensure!(plain(version, "._!+"), "`{file_name}` has a bad version part");
        ensure!(
            build.is_none_or(|b| plain(b, "._") && b.starts_with(|c: char| c.is_ascii_digit())),
            "`{file_name}` has a build part that does not start with a digit"
        );
        ensure!(
            tags.iter().flat_map(|set| set.split('.')).all(|tag| plain(tag, "_")),
            "`{file_name}` has a bad compatibility tag"
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

    /// Whether one of the platform tags is that of any machine, or of Linux with glibc on machines of this kind.
    pub fn suits_machine(&self, arch: &str) -> bool {
        self.platform.iter().any(|tag| tag == "any" || promise(tag).is_some_and(|(wanted, _)| wanted == arch))
    }

    /// The `Tag:` lines PEP 427 asks the WHEEL file to carry for this name.
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

/// Whether two versions are equal by PEP 440, as `2026.08.1` and `2026.8.1` are. Texts that are no
/// versions by PEP 440 are compared as they are, apart from PEP 427's `-` to `_` escape.
pub fn same_version(one: &str, other: &str) -> bool {
    match (Version::from_str(one), Version::from_str(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.replace('-', "_") == other.replace('-', "_"),
    }
}

/// Whether two distribution names are equal by PEP 503, as `Demo.Pkg` and `demo-pkg` are.
pub fn same_name(one: &str, other: &str) -> bool {
    normalise(one) == normalise(other)
}

/// Whether a text is of the form `<name>-<version>` with this name and version, as the stem of an sdist's file
/// name (PEP 625) or of a `.dist-info` folder. Older sdists have further hyphens in their names.
pub fn is_release(stem: &str, name: &str, version: &str) -> bool {
    stem.match_indices('-').any(|(at, _)| same_name(&stem[..at], name) && same_version(&stem[at + 1..], version))
}

/// The install scheme, and the path below it, of a member of the `.data` folder of a wheel (PEP 427).
pub(super) fn data_scheme<'a>(member: &'a str, name: &str, version: &str) -> Option<(&'a str, &'a str)> {
    let (top, rest) = member.split_once('/')?;
    is_release(top.strip_suffix(".data")?, name, version).then(|| rest.split_once('/'))?
}

/// Whether a file of a package index is one of this name and version, by its own file name (PEP 427 and PEP 625).
pub fn belongs(file_name: &str, name: &str, version: &str) -> bool {
    if let Ok(wheel) = WheelName::parse(file_name) {
        return same_name(&wheel.distribution, name) && same_version(&wheel.version, version);
    }
    let stem = [".tar.gz", ".zip"].iter().find_map(|suffix| file_name.strip_suffix(suffix));
    stem.is_some_and(|stem| is_release(stem, name, version))
}

/// The comparable form of a distribution name (PEP 503).
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

/// The machine a platform tag names and the glibc it promises to run on (PEP 600 and the legacy
/// aliases it defines); the bare `linux_*` tag promises nothing.
pub(super) fn promise(tag: &str) -> Option<(&str, Option<(u32, u32)>)> {
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
