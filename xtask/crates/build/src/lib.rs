//! Builds artefacts from the matrix: plan, keys, cache, executor and steps.

pub mod build_system;
pub mod cache;
pub mod debian;
pub mod doctor;
pub mod embedded;
pub mod exchange;
pub mod facts;
pub mod golang;
pub mod host;
pub mod incoming;
pub mod index;
pub mod lock;
pub mod make;
pub mod manifest;
pub mod markers;
mod missing;
mod options;
pub mod origin;
pub mod patches;
pub mod plan;
pub mod planner;
mod project;
pub mod provision;
pub mod report;
pub mod run;
pub mod source;
pub mod step;

pub use missing::{Missing, MissingDebianPackages, MissingRequirements, NeedsContainer};
pub use options::BuildOptions;
pub use project::{OpenOptions, Project};
