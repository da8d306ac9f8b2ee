//! The Debian file system below all images, and sets of Debian packages.

use serde::Deserialize;

use crate::words::{AptName, Location, Version, Word};

/// The Debian file system that every image is based on.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Code name of the Debian release, for example `bookworm`.
    pub suite: Word,
    /// glibc version of that release as `major.minor`, for example `"2.36"`. Wheels that need a newer one are refused.
    pub glibc: Version,
    /// Debian's slim image of the same release, with its digest. If no registry can be reached, or without this
    /// field, mmdebstrap builds the file system from Debian's packages.
    pub image: Option<Location>,
}

/// A set of Debian packages.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AptSet {
    /// Name of the set, for example `cpython-build`.
    pub id: Word,
    /// Ids of other sets whose packages belong to this set too.
    #[serde(default)]
    pub include: Vec<Word>,
    /// Names of Debian packages, each with an optional version: `libssl-dev`, `libssl-dev=3.0.17-1`.
    #[serde(default)]
    pub packages: Vec<AptName>,
}
