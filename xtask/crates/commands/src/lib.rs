//! Commands that do not need a crate of their own, one file per command.

pub mod ci;
pub mod deny;
pub mod export;
pub mod image;
pub mod init;
pub mod outdated;
pub mod plan;
pub mod prune;
pub mod reproducible;
pub mod sbom;
mod subject;
pub mod verify;
pub mod wheels;
pub mod workflow;
