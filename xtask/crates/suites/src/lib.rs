//! `cargo xtask test`: runs test suites in an image: imports, the packages' own tests, and stress tests without the
//! GIL.

mod bound;
mod junit;
mod options;
mod plan;
mod published;
mod races;
mod result;
mod run;
mod table;

pub use options::{Options, Suite};
pub use run::run;

#[cfg(test)]
mod tests;
