//! Settings of the workflows, and the tools that check them.

use serde::Deserialize;

use crate::defaults;
use crate::tool::{Crate, Tool};
use crate::words::Word;

/// Settings of the GitHub Actions workflows, and the tools that check this project itself.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ci {
    /// Label of the machines that run the jobs (`runs-on`): `ubuntu-24.04`.
    #[serde(default = "defaults::runner")]
    pub runner: Word,
    /// Packages whose wheels a release uploads to the package index, ids of `packages`.
    #[serde(default)]
    pub publish: Vec<Word>,
    /// Tools that `cargo xtask workflow --check` runs. By default, the versions that this tool was tested with.
    #[serde(default)]
    pub checks: Vec<Tool>,
    /// The tool that `cargo xtask deny` runs: cargo-deny.
    #[serde(default = "defaults::deny")]
    pub deny: Crate,
}

impl Default for Ci {
    fn default() -> Ci {
        Ci { runner: defaults::runner(), publish: Vec::new(), checks: Vec::new(), deny: defaults::deny() }
    }
}
