//! The schema of `matrix.yaml`: the one file that says what exists; everything else follows from it.
//!
//! Values are checked where they are read (a digest, an apt package name, a version), so the parser
//! itself reports the line; what spans several rows is checked in `validate.rs`.

mod bench;
mod ci;
mod edit;
pub mod gil;
mod interpreter;
mod package;
mod parse;
mod replace;
mod schema;
pub mod select;
mod suites;
mod tool;
mod validate;
mod words;

pub use bench::{Bench, BenchBuild, BenchContainer, BenchMaturin, BenchServe, Original, ServeConfig, ServerSide};
pub use ci::{Ci, Crate};
pub use edit::variant;
pub use gil::GilState;
pub use interpreter::InterpreterBuild;
pub use package::{Audit, Build, Builder, Package, PackageSource, Published, Pypi, Serve, ServeEnv};
pub use parse::place;
pub use replace::{Edit, replaced};
pub use schema::{Abi, AptSet, Distribution, FromSource, Image, Interpreter, Matrix, Root, Server, Source};
pub use suites::{Known, Tests, Upstream};
pub use tool::Tool;
pub use words::{AptName, Digest, Location, Module, Version, Word, document};

#[cfg(test)]
mod tests;
