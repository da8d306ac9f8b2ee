//! What the matrix says of the workflows, and of what this project itself is checked with.

use serde::Deserialize;

use crate::tool::Tool;
use crate::words::{Digest, Version, Word};

/// What is particular to the workflows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ci {
    /// The label of the machines, as `runs-on` takes it.
    pub runner: Word,
    /// The packages whose wheels a release puts on the package index.
    pub publish: Vec<Word>,
    /// What the workflows themselves are checked with, as wheels for Linux on x86-64.
    pub checks: Vec<Tool>,
    /// What the tool's own crates are checked with.
    pub deny: Crate,
}

/// A program that is built from a crate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crate {
    pub name: Word,
    pub version: Version,
    /// Of the crate as the registry has it.
    pub sha256: Digest,
}
