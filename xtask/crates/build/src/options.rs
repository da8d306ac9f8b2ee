//! Options of all commands that build.

use std::path::PathBuf;

use clap::Args;

use crate::exchange::Repository;

/// Options for a build.
#[derive(Debug, Clone, Args)]
pub struct BuildOptions {
    /// Install and start what is missing with apt, as root or with sudo; join the group `docker` if needed
    #[arg(long)]
    pub yes: bool,
    /// For trying out: build interpreters without PGO and LTO, and wheels that maturin builds without LTO and debug
    /// information. Such wheels are marked and cannot be released
    #[arg(long)]
    pub quick: bool,
    /// Continue after a failure with all steps that do not depend on it, and list all failures at the end
    #[arg(long)]
    pub keep_going: bool,
    /// Push each image and wheel to this registry repository, tagged with its key
    #[arg(long, value_name = "REPO", value_parser = Repository::parse)]
    pub push: Option<Repository>,
    /// Fail if the root file system cannot be the image pinned in matrix.yaml, instead of building a fallback with
    /// mmdebstrap; implied by --push
    #[arg(long)]
    pub pinned_root: bool,
    /// Tag each image and wheel for this repository as --push does, but only in the local Docker engine
    #[arg(long, value_name = "REPO", value_parser = Repository::parse, conflicts_with = "push")]
    pub stage: Option<Repository>,
    /// Take images and wheels from this registry repository instead of building them
    #[arg(long, value_name = "REPO", value_parser = Repository::parse)]
    pub cache_from: Option<Repository>,
    /// Take wheels from a folder like wheels/, or from folders written by `export`, if they have the planned keys
    #[arg(long, value_name = "FOLDER")]
    pub wheels_from: Option<PathBuf>,
}
