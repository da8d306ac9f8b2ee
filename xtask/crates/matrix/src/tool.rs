//! Pinned inputs that are downloaded: wheels of tools and build requirements, crates, and source archives.

use serde::{Deserialize, Serialize};

use crate::words::{Digest, Location, Version, Word};

/// A pinned wheel on the package index, for the platform of the matrix.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Name of the distribution on the package index.
    pub name: Word,
    /// Version of the wheel.
    pub version: Version,
    /// SHA-256 of the wheel.
    pub sha256: Digest,
    /// Makes the tool available to builds in a container (`with: container`).
    #[serde(default)]
    pub container: bool,
    /// Makes the tool part of `cargo xtask test`, in the container with a package's own tests, instead of builds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tests: bool,
}

/// A source archive, downloaded from the first location that has it.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name of the archive, for example `cpython-3.14.7`.
    pub id: Word,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Locations that are tried in order: URLs, or `debian:<path>` for a path on the Debian mirror that apt is
    /// configured with.
    pub from: Vec<Location>,
}

/// A program that is built from a crate of the Rust package registry.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Crate {
    /// Name of the crate.
    pub name: Word,
    /// Version of the crate.
    pub version: Version,
    /// SHA-256 of the `.crate` file.
    pub sha256: Digest,
}
