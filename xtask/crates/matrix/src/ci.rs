//! Settings of the workflows, and the tools that check this project itself.

use serde::Deserialize;

use crate::tool::Tool;
use crate::words::{Digest, Version, Word};

/// Settings of the GitHub Actions workflows, and the tools that check this project itself.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ci {
    /// Label of the machines that run the jobs (`runs-on`): `ubuntu-24.04`.
    pub runner: Word,
    /// Packages whose wheels a release uploads to the package index, ids of `packages`.
    pub publish: Vec<Word>,
    /// Tools that `cargo xtask workflow --check` runs.
    pub checks: Vec<Tool>,
    /// The tool that `cargo xtask deny` runs: cargo-deny.
    pub deny: Crate,
}

/// A program that is built from a crate on crates.io.
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
