//! Looks through a package's native code for what the GIL used to hide, and refuses what nobody has reviewed.
//!
//! `docs/audit.md` and `rules.rs` say what is looked for; `docs/audit/` has what was found, and why it is sound or not.

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
