//! The schema of `matrix.yaml`: the one file that says what exists; everything else follows from it.
//!
//! Values are checked where they are read (a digest, an apt package name, a version), so the parser
//! itself reports the line; what spans several rows is checked in [`validate`].

mod ci;
mod edit;
pub mod gil;
mod replace;
pub mod select;
mod serve;
mod suites;
mod validate;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use ci::{Ci, Crate};
pub use edit::variant;
pub use replace::{Edit, replaced};
pub use serve::{BenchServe, Original, ServeConfig, ServerSide};
pub use suites::{Known, Tests, Upstream};
pub use words::{AptName, Digest, Location, Module, Version, Word, document, place};

/// All of `matrix.yaml`, validated.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Repository that the images are named after: `<name>:<tag>`.
    pub name: Word,
    pub root: Root,
    pub apt: Vec<AptSet>,
    pub sources: Vec<Source>,
    pub tools: Vec<Tool>,
    pub abis: Vec<Abi>,
    pub packages: Vec<Package>,
    pub images: Vec<Image>,
    /// What the workflows run on, check with and publish.
    pub ci: Ci,
    /// What `cargo xtask bench` measures.
    pub bench: Option<Bench>,
    /// What the services of the images talk to when somebody tries them.
    pub server: Option<Server>,
}

/// A database server's own image, for `up`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// With its digest.
    pub image: Location,
    /// The TCP port that it listens on.
    pub port: u16,
}

/// The Debian file system under every image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Debian's code name, as mmdebstrap takes it.
    pub suite: Word,
    /// glibc of that suite, `major.minor`: no wheel may ask for more.
    pub glibc: Version,
    /// A slim image of the same suite, with its digest, preferred where a registry is in reach.
    pub image: Option<Location>,
}

/// Debian packages under one name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AptSet {
    pub id: Word,
    #[serde(default)]
    pub include: Vec<Word>,
    #[serde(default)]
    pub packages: Vec<AptName>,
}

/// A file that is downloaded, from the first place that has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub id: Word,
    pub sha256: Digest,
    /// URLs, or `debian:<path>` for a path on the Debian mirror that apt is set up with.
    pub from: Vec<Location>,
}

/// A wheel of a tool, pinned for Linux on x86-64.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    pub name: Word,
    pub version: Version,
    pub sha256: Digest,
    /// Also put beside the source when a wheel is built in a container.
    #[serde(default)]
    pub container: bool,
}

/// A CPython ABI.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// The ABI tag of PEP 425, `cp314t` for instance; compared for equality only.
    pub id: Word,
    /// CPython's version; its first two numbers must be those of the tag.
    pub python: Version,
    pub interpreter: Interpreter,
}

/// Where the interpreter of an ABI comes from: exactly one of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpreter {
    pub distribution: Option<Distribution>,
    pub source: Option<FromSource>,
}

/// Debian's own interpreter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    pub runtime_apt: Word,
    pub devel_apt: Word,
}

/// CPython compiled here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromSource {
    pub archive: Word,
    pub build_apt: Word,
    pub runtime_apt: Word,
    /// PGO and LTO; `--quick` turns it off for one invocation.
    pub optimize: bool,
}

/// A Python distribution that wheels are built or fetched of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The distribution's name on the index.
    pub id: Word,
    /// Import names that every image with this package must be able to import.
    pub import: Vec<Module>,
    pub source: PackageSource,
    pub build: Build,
    /// Wheels of this version that the vendor publishes: taken instead of built.
    #[serde(default)]
    pub published: Vec<Published>,
    /// A folder with one lock file for each ABI, `<abi>.txt`: what the package needs at run time.
    pub locks: Option<Location>,
    /// How an image with this package is started; without it an image starts Python.
    pub serve: Option<Serve>,
    /// How `cargo xtask test` tests it.
    pub tests: Option<Tests>,
    /// What `cargo xtask audit` reads and holds its findings against.
    pub audit: Option<Audit>,
}

/// The audit of a package's native code.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The file with the findings that were reviewed, relative to `matrix.yaml`.
    pub baseline: Location,
    /// Folders of the source to audit; by default all native code that is not vendored (docs/audit.md).
    #[serde(default)]
    pub sources: Vec<Location>,
}

/// A service that a package brings.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// Program and arguments.
    pub command: Vec<String>,
    /// The TCP port that it listens on.
    pub port: u16,
    /// Program and arguments; its exit code tells whether the service is healthy.
    pub health: Vec<String>,
    /// The path that answers 200 when requests can be served.
    pub ready: Location,
    /// Program and arguments that write data into the server; `--records N` is added. Empty if there is no data.
    #[serde(default)]
    pub load: Vec<String>,
    pub env: ServeEnv,
}

/// The names of the variables by which a service is told where it is.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServeEnv {
    /// `HOST:PORT` of the server that it talks to. Without this field no server is started for it.
    pub server: Option<Word>,
    /// The address that it binds.
    pub host: Word,
    /// The port that it binds.
    pub port: Word,
    /// The labels of its image, as JSON: they cannot be seen from inside.
    pub labels: Word,
}

/// Where a package's source comes from: exactly one of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    pub pypi: Option<Pypi>,
    /// A working copy, relative to `matrix.yaml`; keyed by content, as git lists it where it is a checkout.
    pub path: Option<Location>,
}

/// A pinned sdist on the package index.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pypi {
    pub version: Version,
    pub sha256: Digest,
}

/// How a wheel is built from source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    pub with: Builder,
    /// The platform tag that the wheel must carry; `any` for one of Python only.
    pub platform: Word,
    /// `container` only: the Debian packages that the build needs.
    pub apt: Option<Word>,
    /// `container` only: the build requirements of the sdist, pinned, dependencies included.
    #[serde(default)]
    pub requires: Vec<Tool>,
    /// The most compilers that may run at a time; 1 for a package that cannot be built in parallel.
    pub jobs: Option<NonZeroUsize>,
    /// `container` only: keeps debug information in the wheel, for modules that read their own.
    #[serde(default)]
    pub debug_info: bool,
    /// `container` only: the build requirements as a `pylock.toml` (PEP 751), in place of `requires`. The wheels
    /// are chosen for each ABI.
    pub lock: Option<Location>,
}

/// What runs a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builder {
    /// On the host: maturin with zig as the linker; needs no interpreter of the ABI.
    Maturin,
    /// In a container with the ABI's interpreter and headers, then repaired by auditwheel.
    Container,
}

/// A wheel on the package index.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    pub abi: Word,
    pub sha256: Digest,
}

/// A runtime image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub tag: Word,
    pub abi: Word,
    pub packages: Vec<Word>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub gil: GilState,
}

/// The rows of the matrix that stand for all others where something is measured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    pub build: BenchBuild,
    pub serve: Option<BenchServe>,
}

/// What `cargo xtask bench build` measures.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchBuild {
    /// A package that maturin builds, for these ABIs.
    pub maturin: BenchMaturin,
    /// A package that is built in a container, for one ABI.
    pub container: BenchContainer,
    /// The image with just these two.
    pub image: Word,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchMaturin {
    pub package: Word,
    pub abis: Vec<Word>,
    /// The source file, relative to the package's top, that "one line changed" appends a line to.
    pub touch: Location,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchContainer {
    pub package: Word,
    pub abi: Word,
}

/// The GIL's effective state in a running image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum GilState {
    #[serde(rename = "on")]
    On,
    #[serde(rename = "off")]
    Off,
    /// Only `PYTHON_GIL=0` keeps it off.
    #[serde(rename = "forced off")]
    ForcedOff,
}

impl std::fmt::Display for GilState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            GilState::On => "on",
            GilState::Off => "off",
            GilState::ForcedOff => "forced off",
        })
    }
}

impl Matrix {
    /// Reads and validates the matrix at `path`, which errors call `file`.
    pub fn load(path: &Path, file: &str) -> Result<Matrix> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read `{}`: run the command inside a clone of the project, or name the file with --matrix",
                path.display()
            )
        })?;
        Matrix::parse(&text, file)
    }

    /// Parses and validates `text`; `file` is what errors call it.
    pub fn parse(text: &str, file: &str) -> Result<Matrix> {
        let matrix: Matrix = words::read(text).map_err(|e| words::located(file, &e))?;
        validate::validate(&matrix).map_err(|problem| problem.locate(text, file))?;
        Ok(matrix)
    }

    /// Another YAML file of the project; `file` is what errors call it.
    pub fn read_beside<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
        words::read(text).map_err(|e| words::located(file, &e))
    }

    pub fn abi(&self, id: &str) -> Option<&Abi> {
        self.abis.iter().find(|abi| abi.id == *id)
    }

    pub fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.id == *id)
    }

    pub fn image(&self, tag: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.tag == *tag)
    }

    pub fn source(&self, id: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == *id)
    }

    /// The Debian packages of a set, those of the sets it includes first, each once.
    pub fn apt_packages(&self, id: &str) -> Vec<String> {
        let names = self.apt_sets(id).into_iter().flat_map(|set| set.packages.iter().map(|name| name.to_string()));
        let mut packages: Vec<String> = names.collect();
        let mut seen = BTreeSet::new();
        packages.retain(|name| seen.insert(name.clone()));
        packages
    }

    /// A set and the sets that it includes, each once and after those that it includes itself.
    pub fn apt_sets(&self, id: &str) -> Vec<&AptSet> {
        let mut sets = Vec::new();
        self.add_apt_sets(id, &mut BTreeSet::new(), &mut sets);
        sets
    }

    fn add_apt_sets<'m>(&'m self, id: &str, seen: &mut BTreeSet<&'m str>, sets: &mut Vec<&'m AptSet>) {
        let Some(set) = self.apt.iter().find(|set| set.id == *id).filter(|set| seen.insert(&set.id)) else { return };
        for included in &set.include {
            self.add_apt_sets(included, seen, sets);
        }
        sets.push(set);
    }
}

impl Abi {
    /// Whether this ABI is that of a free-threaded build (PEP 703): its tag ends in `t`.
    pub fn free_threaded(&self) -> bool {
        self.id.ends_with('t')
    }

    /// `3.14t`: what the interpreter's own command is called after `python`.
    pub fn interpreter_name(&self) -> String {
        let mut parts = self.python.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let suffix = if self.free_threaded() { "t" } else { "" };
        format!("{major}.{minor}{suffix}")
    }

    /// `3.14.5t-slim`: the tag of the base image.
    pub fn base_tag(&self) -> String {
        let suffix = if self.free_threaded() { "t" } else { "" };
        format!("{}{suffix}-slim", self.python)
    }
}

impl Package {
    /// The version that the matrix pins; a working copy says its own when it is built.
    pub fn version(&self) -> Option<&str> {
        self.source.pypi.as_ref().map(|pypi| &*pypi.version)
    }

    /// The digest of the wheel that the vendor publishes for `abi`.
    pub fn published_for(&self, abi: &str) -> Option<&Digest> {
        self.published.iter().find(|wheel| wheel.abi == *abi).map(|wheel| &wheel.sha256)
    }

    /// The working copy's folder, made absolute from the folder of `matrix.yaml`.
    pub fn working_copy(&self, matrix_dir: &Path) -> Option<PathBuf> {
        self.source.path.as_ref().map(|path| matrix_dir.join(&**path))
    }
}

#[cfg(test)]
mod tests;
