//! `cargo xtask audit`: scans the native code of packages for thread-safety problems, and fails for findings that
//! were not reviewed.
//!
//! `docs/audit.md` and `rules.rs` describe the rules; `docs/audit/` contains the reviewed findings with their
//! verdicts.

mod baseline;
mod c;
mod choice;
mod declared;
mod finding;
mod json;
mod language;
mod report;
mod rules;
mod run;
mod rust;
mod sarif;
mod source;
mod table;
#[cfg(test)]
mod tests;

pub use run::{Options, run};
