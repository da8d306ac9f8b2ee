//! The Python packages of the matrix: where their source comes from and how they are built, started, tested and audited.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::suites::Tests;
use crate::words::{Digest, Location, Module, Requirement, Version, Word};
use base::platform::Platform;

/// Platform of a wheel whose tag is determined after the build, from the libraries that it needs.
pub const AUTO: &str = "auto";

/// Version of glibc for which maturin builds wheels by default.
const MATURIN_GLIBC: (u32, u32) = (2, 28);

/// A Python package whose wheels are built or downloaded.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name of the row. It is also the name of the distribution on the package index, unless `distribution` is set.
    pub id: Word,
    /// Name of the distribution on the package index, where it is not the `id`: a patched build of `demo` has the
    /// row `demo-patched` and `distribution: demo`.
    pub distribution: Option<Word>,
    /// Modules that every image with this package must be able to import: `[demo, demo_helpers]`. A package of an image
    /// needs at least one.
    #[serde(default)]
    pub import: Vec<Module>,
    /// Where the source comes from.
    pub source: PackageSource,
    /// How the wheel is built.
    pub build: Build,
    /// Wheels of this version that the vendor publishes. They are downloaded instead of built.
    #[serde(default)]
    pub published: Vec<Published>,
    /// Run-time requirements besides those that the package declares, as in PEP 508: `[numpy<2.5]`. They are locked
    /// by `cargo xtask lock`.
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// Id of the set in `apt` that images with this package need besides the set of the interpreter: libraries of the
    /// system that the wheel expects, and programs that the package starts.
    pub runtime_apt: Option<Word>,
    /// Extras of the package whose requirements are locked too: `[postgres]`.
    #[serde(default)]
    pub extras: Vec<Word>,
    /// Package indexes besides the one that pip is configured for, for the requirements. A wheel of such an index is
    /// downloaded from the URL in the lock file.
    #[serde(default)]
    pub indexes: Vec<Location>,
    /// How an image with this package starts its service. An image without a service starts Python. At most one
    /// package of an image may have one.
    pub serve: Option<Serve>,
    /// How `cargo xtask test` tests the package. Without it, only the imports are tested.
    pub tests: Option<Tests>,
    /// What `cargo xtask audit` scans, and the findings that were reviewed.
    pub audit: Option<Audit>,
}

impl Package {
    /// Returns the name of the distribution on the package index.
    pub fn distribution(&self) -> &str {
        self.distribution.as_ref().unwrap_or(&self.id)
    }

    /// Returns the version that a wheel of the package has: the pinned version, with the local version label of the
    /// patches; `None` for a working copy.
    pub fn wheel_version(&self) -> Option<String> {
        let version = self.version()?;
        Some(match &self.build.patches {
            Some(patches) => format!("{version}+{}", patches.local_version),
            None => version.to_owned(),
        })
    }

    /// Returns the pinned version; `None` for a working copy, which determines its version when it is built.
    pub fn version(&self) -> Option<&str> {
        self.source.pypi.as_ref().map(|pypi| &*pypi.version)
    }

    /// Returns the platform tag that the wheel must have; [`AUTO`] if it is determined after the build.
    pub fn platform_tag(&self, platform: Platform) -> String {
        match (&self.build.platform, self.build.with) {
            (Some(tag), _) => tag.to_string(),
            (None, Builder::Container) => AUTO.to_owned(),
            (None, Builder::Maturin) => platform.manylinux(MATURIN_GLIBC),
        }
    }

    /// Returns the digest of the published wheel for `abi`.
    pub fn published_for(&self, abi: &str) -> Option<&Digest> {
        self.published.iter().find(|wheel| wheel.abi == *abi).map(|wheel| &wheel.sha256)
    }

    /// Returns the folder of the working copy as an absolute path.
    pub fn working_copy(&self, matrix_dir: &Path) -> Option<PathBuf> {
        self.source.path.as_ref().map(|path| matrix_dir.join(&**path))
    }
}

/// The audit of a package's native code.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// File with the reviewed findings, relative to `matrix.yaml`. `cargo xtask audit --write` creates it.
    pub baseline: Location,
    /// Folders to scan, relative to the top of the source. If the list is empty, all native code is scanned
    /// except vendored code (docs/audit.md).
    #[serde(default)]
    pub sources: Vec<Location>,
}

/// The service of a package.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// Program and arguments that start the service: `[python, -m, app]`.
    pub command: Vec<String>,
    /// TCP port that the service listens on.
    pub port: u16,
    /// Program and arguments of the health check. The service is healthy if the exit code is 0.
    pub health: Vec<String>,
    /// URL path that answers with status 200 once the service accepts requests: `/ready`.
    pub ready: Location,
    /// Program and arguments that write test data into the server. `--records N` is appended. An empty list means
    /// that there is no data to write.
    #[serde(default)]
    pub load: Vec<String>,
    /// Names of the environment variables that configure the service.
    pub env: ServeEnv,
}

/// Names of the environment variables that configure a service.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServeEnv {
    /// Variable for the address `HOST:PORT` of the server that the service talks to. Without this field no server
    /// is started for it.
    pub server: Option<Word>,
    /// Variable for the address to bind.
    pub host: Word,
    /// Variable for the TCP port to bind.
    pub port: Word,
    /// Variable for the labels of the image, as a JSON object. A container cannot read them otherwise.
    pub labels: Word,
}

/// Where the source of a package comes from: exactly one of the two fields is set.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [{"required": ["pypi"]}, {"required": ["path"]}])))]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    /// An sdist on the package index.
    pub pypi: Option<Pypi>,
    /// Folder with a working copy, relative to `matrix.yaml`: `../mypackage`. In a git checkout, ignored files are
    /// left out.
    pub path: Option<Location>,
    /// Folder in the sdist or the working copy that contains pyproject.toml or setup.py, if it is not the top folder:
    /// `bindings/python`.
    pub subdirectory: Option<Location>,
}

/// A pinned source distribution (sdist) on the package index.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pypi {
    /// Version of the sdist.
    pub version: Version,
    /// SHA-256 of the sdist.
    pub sha256: Digest,
}

/// How a wheel is built from source.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The build tool.
    pub with: Builder,
    /// Platform tag that the wheel must have: `manylinux_<major>_<minor>_x86_64` (PEP 600), or `any` for a wheel
    /// without native code. Without this field it is `manylinux_2_28_x86_64` for `with: maturin`. For
    /// `with: container` it is `any` or the lowest tag that the libraries of the image allow, at most the glibc of
    /// `root`.
    pub platform: Option<Word>,
    /// Id of the set in `apt` that the build needs. Required for `with: container`, not allowed otherwise.
    pub apt: Option<Word>,
    /// Build requirements besides those in the package's `pyproject.toml`, as in PEP 508: `[setuptools<82]`. They are
    /// locked by `cargo xtask lock`. For `with: container` only.
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// Maximum number of compilers that run at the same time, at least 1. Without it, that of the step (`--jobs`).
    /// Use 1 for a package that does not build in parallel.
    pub jobs: Option<NonZeroUsize>,
    /// Keeps debug information in the wheel. For `with: container` only; maturin follows the Cargo profile.
    #[serde(default)]
    pub debug_info: bool,
    /// ABI whose wheel serves all later ABIs with a GIL too: `cp311`, for a package that builds modules of the stable ABI
    /// (`abi3`) from CPython 3.11 on. Free-threaded interpreters have wheels of their own.
    pub abi3: Option<Word>,
    /// Environment variables for the build: `{SETUPTOOLS_SCM_PRETEND_VERSION: 1.2.3}`. They are part of the key and are
    /// recorded in plain text, so they must not contain secrets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Settings for the build backend (PEP 517), with a text or a list of texts as value:
    /// `{setup-args: [-Dopenmp=disabled]}`. For `with: container` only.
    #[serde(default, rename = "config-settings")]
    pub config_settings: BTreeMap<String, ConfigSetting>,
    /// Makes the Rust compiler of this machine and the crates of the package's Cargo.lock files available to the build,
    /// as setuptools-rust needs it. For `with: container` only; maturin always has them.
    #[serde(default)]
    pub rust: bool,
    /// Name of the rustup toolchain that compiles the package, if it is not that of this tool: `1.85.0`,
    /// `nightly-2026-05-20`. Install it with `rustup toolchain install`. For `with: maturin` and `rust: true`.
    pub toolchain: Option<Word>,
    /// Patches that are applied to the sdist before the wheel is built. Only for `source.pypi`.
    pub patches: Option<Patches>,
}

/// Value of a setting for a build backend.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ConfigSetting {
    /// One text.
    One(String),
    /// Several texts for the same name.
    Several(Vec<String>),
}

impl ConfigSetting {
    /// Returns all texts.
    pub fn values(&self) -> &[String] {
        match self {
            ConfigSetting::One(value) => std::slice::from_ref(value),
            ConfigSetting::Several(values) => values,
        }
    }
}

/// Patches of a package.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Patches {
    /// Folder with the files `*.patch`, relative to `matrix.yaml`. They are applied in the order of their names with
    /// `patch -p1 --fuzz=0`. Each begins with a text that says what the patch does and why.
    pub folder: Location,
    /// Local version label (PEP 440) of the patched wheel: `ft1` for the version `19.3.0+ft1`. One of the patches
    /// must set that version in the source.
    pub local_version: Word,
}

/// The build tool of a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "builder"))]
#[serde(rename_all = "kebab-case")]
pub enum Builder {
    /// Builds on the host with maturin, and with zig as the linker. Needs no interpreter of the ABI.
    Maturin,
    /// Builds in a container that has the interpreter and headers of the ABI, then runs auditwheel on the wheel.
    Container,
}

/// A wheel that the vendor publishes on the package index.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// ABI of the wheel, an id of `abis`.
    pub abi: Word,
    /// SHA-256 of the wheel.
    pub sha256: Digest,
}
