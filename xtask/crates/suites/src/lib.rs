//! `cargo xtask test`: whether what is in an image works, passes its own tests, and survives without the GIL.

mod bound;
mod junit;
mod options;
mod plan;
mod published;
mod result;
mod run;
mod table;

pub use options::{Options, Suite};
pub use run::run;

#[cfg(test)]
mod tests;
