//! Lock files of packages and the wheels in them.

pub mod pylock;
mod requirements;
mod write;

pub use pylock::{NoFittingWheel, Pylock};
pub use requirements::{SourceMetadata, required_names};
pub use write::Header;

use crate::origin::Origin;
use matrix::Tool;

/// Pinned wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub name: String,
    pub version: String,
    pub sha256: String,
    /// URL of the wheel if it is not on the package index.
    pub url: Option<String>,
    /// File name of a wheel with a URL.
    pub file: Option<String>,
    /// Position of the digest.
    pub origin: Origin,
}

impl Pin {
    /// Returns the pin of a tool in the matrix.
    pub fn of_tool(tool: &Tool) -> Pin {
        Pin {
            name: tool.name.to_string(),
            version: tool.version.to_string(),
            sha256: tool.sha256.to_string(),
            url: None,
            file: None,
            origin: Origin::Matrix(tool.sha256.ordinal),
        }
    }
}
