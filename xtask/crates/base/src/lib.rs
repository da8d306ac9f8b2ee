//! Foundations used by all other crates: digests, errors, cancellation, terminal output and child processes.

pub mod cancel;
pub mod cause;
pub mod digest;
pub mod disk;
pub mod environment;
mod error;
pub mod failure;
pub mod git;
pub mod labels;
pub mod limits;
pub mod lines;
pub mod platform;
pub mod proc;
pub mod program;
pub mod retry;
pub mod size;
pub mod summary;
mod text;
pub mod ui;
pub mod working_copy;

pub use error::{ErrorClass, NothingSelected, UsageError};
