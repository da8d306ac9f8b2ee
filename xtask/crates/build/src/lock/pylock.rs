//! Lock files in the format of PEP 751 (`pylock.toml`): one file for all ABIs, from which the wheels for one ABI are
//! selected.
//!
//! Format: <https://packaging.python.org/en/latest/specifications/pylock-toml/>. No environment marker distinguishes
//! free-threaded interpreters, so wheels are selected by their tags.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, ensure};
use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::MarkerEnvironment;
use serde::Deserialize;

use super::Pin;
use crate::markers;
use crate::origin::Origin;
use base::platform::Platform;
use matrix::Abi;
use wheelfile::{Fit, TargetInterpreter, WheelName, same_name};

/// Parts of a `pylock.toml` that determine which wheels are installed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pylock {
    lock_version: String,
    pub(super) requires_python: Option<String>,
    #[serde(default)]
    pub(super) packages: Vec<LockedPackage>,
    /// Path of the file, for errors.
    #[serde(skip)]
    file: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LockedPackage {
    pub name: String,
    pub version: Option<String>,
    pub marker: Option<String>,
    pub requires_python: Option<String>,
    /// URL of the package index that it is on, if it is not the default.
    pub index: Option<String>,
    #[serde(default)]
    pub wheels: Vec<LockedFile>,
    pub sdist: Option<LockedFile>,
    archive: Option<LockedFile>,
    vcs: Option<LockedFile>,
    directory: Option<LockedFile>,
}

/// File, or another place that a package is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LockedFile {
    name: Option<String>,
    pub url: Option<String>,
    pub path: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// No wheel of a distribution in a lock file fits an ABI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFittingWheel {
    pub name: String,
    pub version: Option<String>,
    abi: String,
    /// File names of the wheels in the lock file.
    wheels: Vec<String>,
}

impl fmt::Display for NoFittingWheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoFittingWheel { name, version: _, abi, wheels } = self;
        let wheels = if wheels.is_empty() { "no wheels".to_owned() } else { base::ui::quoted(wheels) };
        write!(f, "no wheel of `{name}` in the lock file matches `{abi}`; its wheels: {wheels}")
    }
}

impl std::error::Error for NoFittingWheel {}

impl LockedFile {
    /// Returns the file name, which the format allows to omit if the URL ends with it.
    pub fn file_name(&self) -> Result<String> {
        let place = self.name.as_deref().or(self.path.as_deref()).or(self.url.as_deref());
        let place = place.context("a file has neither `name`, `path` nor `url`")?;
        let name = place.split(['#', '?']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        // A URL encodes the `+` of a local version.
        Ok(name.replace("%2B", "+").replace("%2b", "+"))
    }

    pub fn sha256(&self) -> Result<String> {
        let sha256 = self.hashes.get("sha256").map(|hash| hash.to_ascii_lowercase());
        let sha256 = sha256.filter(|hash| base::digest::is_digest(hash));
        sha256.with_context(|| format!("`{}` has no valid SHA-256", self.file_name().unwrap_or_default()))
    }
}

/// Reads `file`, a path relative to `top`.
pub fn read(top: &Path, file: &str) -> Result<Pylock> {
    let text = std::fs::read_to_string(top.join(file)).map_err(anyhow::Error::from);
    text.and_then(|text| parse(&text, file)).with_context(|| format!("`{file}`"))
}

/// Parses the text of `file`.
pub fn parse(text: &str, file: &str) -> Result<Pylock> {
    let mut lock: Pylock = toml::from_str(text).map_err(|error| anyhow!("{}", error.to_string().trim()))?;
    ensure!(
        lock.lock_version.split('.').next() == Some("1"),
        "`lock-version` is `{}`; only version 1 (PEP 751) is supported",
        lock.lock_version
    );
    lock.file = file.to_owned();
    Ok(lock)
}

impl Pylock {
    /// Returns the packages whose markers apply.
    pub fn applicable(&self, environment: &MarkerEnvironment) -> Result<Vec<&LockedPackage>> {
        let mut found = Vec::new();
        for package in &self.packages {
            let marker = package.marker.as_deref();
            if markers::applies(marker, environment).with_context(|| format!("`{}`", package.name))? {
                found.push(package);
            }
        }
        Ok(found)
    }

    /// Selects one wheel of each package that `abi` needs. Wheels must not require a glibc newer than `glibc`.
    pub fn select(&self, abi: &Abi, platform: Platform, glibc: (u32, u32)) -> Result<Vec<Pin>> {
        let python = python_version(abi)?;
        let environment = markers::environment(&python, platform)?;
        check_python(self.requires_python.as_deref(), &python).context("the lock file cannot be used")?;
        let interpreter = TargetInterpreter { abi: &abi.id, machine: platform.machine(), glibc };
        let mut pins: Vec<Pin> = Vec::new();
        for package in self.applicable(&environment)? {
            let name = &package.name;
            check_python(package.requires_python.as_deref(), &python).with_context(|| format!("`{name}`"))?;
            ensure!(
                !pins.iter().any(|pin| same_name(&pin.name, name)),
                "`{name}` has several entries that apply to `{}`: their markers overlap",
                abi.id
            );
            let mut pin = package.choose(&interpreter)?;
            pin.origin = Origin::Lock { file: self.file.clone(), sha256: pin.sha256.clone() };
            pins.push(pin);
        }
        Ok(pins)
    }
}

impl LockedPackage {
    /// Returns the place of a package that is not taken from an index: an archive, a repository or a folder.
    pub fn elsewhere(&self) -> Option<&LockedFile> {
        self.archive.as_ref().or(self.vcs.as_ref()).or(self.directory.as_ref())
    }

    /// Returns the best matching wheel.
    fn choose(&self, interpreter: &TargetInterpreter) -> Result<Pin> {
        let mut best: Option<(Fit, String, WheelName, &LockedFile)> = None;
        let mut choices = Vec::new();
        for wheel in &self.wheels {
            let file = wheel.file_name().with_context(|| format!("`{}`", self.name))?;
            let name = WheelName::parse(&file).with_context(|| format!("`{}`", self.name))?;
            choices.push(file.clone());
            let Some(fit) = interpreter.fit(&name) else { continue };
            if best.as_ref().is_none_or(|(other, ..)| fit > *other) {
                best = Some((fit, file, name, wheel));
            }
        }
        let Some((_, file, name, wheel)) = best else {
            let (name, version) = (self.name.clone(), self.version.clone());
            return Err(anyhow!(NoFittingWheel { name, version, abi: interpreter.abi.to_owned(), wheels: choices }));
        };
        if let Some(version) = &self.version {
            ensure!(
                wheelfile::same_version(version, &name.version),
                "`{file}` is listed as version `{version}` of `{}`",
                self.name
            );
        }
        let sha256 = wheel.sha256()?;
        let url = wheel.url.clone();
        ensure!(
            url.as_ref().is_none_or(|url| url.starts_with("https://")),
            "the `url` of `{file}` is not an https URL"
        );
        let file = url.is_some().then_some(file);
        Ok(Pin { name: self.name.clone(), version: name.version, sha256, url, file, origin: Origin::Unknown })
    }
}

/// Returns the version of Python of an ABI. `3.11` in the matrix is Debian's interpreter, whose patch version does not
/// affect markers.
pub fn python_version(abi: &Abi) -> Result<Version> {
    let full = if abi.python.matches('.').count() < 2 { format!("{}.0", abi.python) } else { abi.python.to_string() };
    Version::from_str(&full).map_err(|error| anyhow!("`{full}` is not a version: {error}"))
}

/// Fails if the Python version of `abi` is not one of `required`, such as `>=3.12`.
pub(super) fn check_abi(abi: &Abi, required: &str) -> Result<()> {
    check_python(Some(required), &python_version(abi)?)
}

fn check_python(required: Option<&str>, python: &Version) -> Result<()> {
    let Some(text) = required else { return Ok(()) };
    let required = VersionSpecifiers::from_str(text).map_err(|error| anyhow!("`requires-python`: {error}"))?;
    ensure!(required.contains(python), "`requires-python` is `{text}`, but the interpreter is Python {python}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix::Matrix;

    const DIGEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn select(packages: &str, abi: &str) -> Result<Vec<Pin>> {
        let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        parse(&format!("lock-version = '1.0'\n{packages}"), "lock.toml")?.select(
            matrix.abi(abi).unwrap(),
            Platform::LinuxAmd64,
            (2, 36),
        )
    }

    fn package(name: &str, more: &str, wheels: &[&str]) -> String {
        let wheel = |file: &&str| format!("{{ name = '{file}', path = '{file}', hashes = {{ sha256 = '{DIGEST}' }} }}");
        let wheels: Vec<String> = wheels.iter().map(wheel).collect();
        format!("[[packages]]\nname = '{name}'\n{more}\nwheels = [{}]\n", wheels.join(", "))
    }

    #[test]
    fn markers_select_the_entry() {
        let old = package("demo", "marker = \"python_version < '3.14'\"", &["demo-1-py3-none-any.whl"]);
        let new = package("demo", "marker = \"python_version >= '3.14'\"", &["demo-2-py3-none-any.whl"]);
        let lock = format!("{old}{new}");
        let pin = select(&lock, "cp311").unwrap().remove(0);
        assert_eq!(
            (&*pin.version, pin.origin),
            ("1", Origin::Lock { file: "lock.toml".into(), sha256: DIGEST.into() })
        );
        assert_eq!(select(&lock, "cp314t").unwrap()[0].version, "2");
        let windows = package("demo", "marker = \"sys_platform == 'win32'\"", &["demo-1-py3-none-any.whl"]);
        assert_eq!(select(&windows, "cp314").unwrap(), []);
        let both = format!("{old}{}", package("Demo", "", &["demo-2-py3-none-any.whl"]));
        let error = select(&both, "cp311").unwrap_err().to_string();
        assert!(error.contains("several entries that apply to `cp311`"), "{error}");
    }

    #[test]
    fn the_error_lists_the_wheels_of_a_package_without_a_match() {
        let lock = package("demo", "", &["demo-1-cp311-cp311-manylinux_2_28_x86_64.whl"]);
        let error = select(&lock, "cp314t").unwrap_err().to_string();
        assert!(error.contains("`demo`") && error.contains("`cp314t`") && error.contains("cp311-cp311"), "{error}");
        let none = select("[[packages]]\nname = 'demo'\n", "cp314").unwrap_err().to_string();
        assert!(none.contains("no wheels"), "{none}");
    }

    #[test]
    fn invalid_entries_are_errors() {
        let lock = package("demo", "version = '2'", &["demo-1-py3-none-any.whl"]);
        assert!(select(&lock, "cp314").unwrap_err().to_string().contains("listed as version `2`"));
        let lock = package("demo", "", &["demo-1-py3-none-any.whl"]).replace(DIGEST, "abc");
        assert!(select(&lock, "cp314").unwrap_err().to_string().contains("SHA-256"));
        let lock = package("demo", "requires-python = '>=3.12'", &["demo-1-py3-none-any.whl"]);
        assert!(format!("{:#}", select(&lock, "cp311").unwrap_err()).contains("requires-python"));
        assert!(parse("lock-version = '2.0'", "lock.toml").unwrap_err().to_string().contains("lock-version"));
        let lock = "[[packages]]\nname = 'demo'\nwheels = [{ url = 'http://host.example/demo-1-py3-none-any.whl', \
                    hashes = { sha256 = 'x' } }]"
            .replace("'x'", &format!("'{DIGEST}'"));
        assert!(select(&lock, "cp314").unwrap_err().to_string().contains("not an https URL"));
    }
}
