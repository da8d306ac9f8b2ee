//! The commands of the program that need no crate of their own: one file a command.

pub mod ci;
pub mod deny;
pub mod export;
pub mod image;
pub mod lock;
pub mod outdated;
pub mod plan;
pub mod prune;
pub mod reproducible;
pub mod sbom;
mod subject;
pub mod verify;
pub mod wheels;
pub mod workflow;
