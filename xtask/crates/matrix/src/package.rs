//! The Python packages of the matrix: where their source comes from and how they are built, started, tested and audited.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::suites::Tests;
use crate::tool::Tool;
use crate::words::{Digest, Location, Module, Version, Word};

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
