//! Schema of `matrix.yaml`, which describes all packages, images and pinned inputs.
//!
//! Single values (digests, names of apt packages, versions) are checked during parsing, so the parser reports the
//! line. `validate.rs` checks relations between rows.

mod abi;
mod bench;
mod ci;
mod debian;
mod defaults;
mod edit;
pub mod gil;
mod insert;
mod interpreter;
mod locks;
mod package;
mod parse;
mod replace;
mod schema;
pub mod select;
mod suites;
mod tool;
mod tsan;
mod validate;
mod words;
mod workflow;

pub use abi::{Abi, Distribution, FromSource, Interpreter};
pub use bench::{
    Bench, BenchApplication, BenchBuild, BenchContainer, BenchMaturin, BenchRow, BenchServe, Measure, ReferenceFigures,
    ServeConfig, ServerSide, Stages,
};
pub use ci::Ci;
pub use debian::{AptSet, Root};
pub use edit::variant;
pub use gil::GilState;
pub use insert::inserted;
pub use interpreter::InterpreterBuild;
pub use locks::LockPurpose;
pub use package::{
    AUTO, Audit, Build, Builder, ConfigSetting, Package, PackageSource, Patches, Published, Pypi, Serve, ServeEnv,
};
pub use parse::place;
pub use replace::{Edit, replaced};
pub use schema::{Image, Matrix, SCHEMA, Server};
pub use suites::{Folders, Known, Tests, Upstream, UpstreamEnv};
pub use tool::{Crate, Source, Tool};
pub use tsan::Tsan;
pub use words::{AptName, Digest, Location, Module, Requirement, Version, Word, document, is_embedded};
pub use workflow::workflow;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
