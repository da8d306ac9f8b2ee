//! A pinned wheel of a tool, in the lists of tools and of build requirements.

use serde::{Deserialize, Serialize};

use crate::words::{Digest, Version, Word};

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
