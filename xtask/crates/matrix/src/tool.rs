//! A pinned wheel of a tool, in the lists of tools and of build requirements.

use serde::{Deserialize, Serialize};

use crate::words::{Digest, Version, Word};

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
}
