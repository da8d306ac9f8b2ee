//! The compilers with which interpreters and packages are compiled for ThreadSanitizer.

use serde::Deserialize;

use crate::words::{Version, Word};

/// The compilers for ThreadSanitizer. C and Rust must be compiled by the same major version of LLVM.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tsan {
    /// Major version of LLVM, which Debian's commands and packages have in their names: `"22"` for `clang-22`.
    pub llvm: Version,
    /// Id of the set in `apt` with clang, the runtime library of ThreadSanitizer and LLVM's tools.
    pub build_apt: Word,
    /// Id of the set in `apt` with the libraries of the program that names functions and lines in reports.
    pub runtime_apt: Word,
    /// Id of the set in `apt` with Rust and the sources of its standard library, for packages in Rust.
    pub rust_apt: Word,
}
