//! `cargo xtask image`: builds and checks images.

use anyhow::Result;
use build::{BuildOptions, Project, make};
use clap::Args;
use matrix::select;

/// Selects the images and options of the build.
#[derive(Debug, Args)]
pub struct Options {
    /// Tags of images in the matrix
    #[arg(required = true, value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    build: BuildOptions,
}

/// Builds and checks the selected images with the wheels they need.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let selection = select::images(&project.matrix, &options.tags)?;
    make::make(project, &selection, &options.build, &project.wheels()).map(|_| ())
}
