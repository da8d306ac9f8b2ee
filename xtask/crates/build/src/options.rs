//! Options that all commands have which build something.

use std::path::PathBuf;

use clap::Args;

use crate::exchange::Repository;

/// How to build.
#[derive(Debug, Clone, Args)]
pub struct BuildOptions {
    /// Install and start what is missing, with apt, as root or through sudo; join the group `docker` if needed
    #[arg(long)]
    pub yes: bool,
    /// Interpreters without PGO and LTO: minutes instead of a quarter of an hour
    #[arg(long)]
    pub quick: bool,
    /// After a failure, go on with all that does not depend on it, and list all failures at the end
    #[arg(long)]
    pub keep_going: bool,
    /// Put each image and wheel into this repository of a registry, tagged with its key
    #[arg(long, value_name = "REPO", value_parser = Repository::parse)]
    pub push: Option<Repository>,
    /// Fail if the root file system cannot be the image that matrix.yaml pins, instead of building a fallback with
    /// mmdebstrap; `--push` does so, too
    #[arg(long)]
    pub pinned_root: bool,
    /// Name each image and wheel for this repository as --push does, but only in the Docker engine
    #[arg(long, value_name = "REPO", value_parser = Repository::parse, conflicts_with = "push")]
    pub stage: Option<Repository>,
    /// Take images and wheels from there instead of building them
    #[arg(long, value_name = "REPO", value_parser = Repository::parse)]
    pub cache_from: Option<Repository>,
    /// Take the wheels of a folder like wheels/, or of folders that `export` wrote, if they have the planned keys
    #[arg(long, value_name = "FOLDER")]
    pub wheels_from: Option<PathBuf>,
}
