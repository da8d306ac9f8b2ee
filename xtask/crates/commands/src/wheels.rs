//! `cargo xtask wheels`: builds or fetches wheels.

use std::path::PathBuf;

use anyhow::Result;
use build::{BuildOptions, Project, make};
use clap::Args;
use matrix::select;

use crate::plan::WheelRows;
use crate::reproducible;

/// Selects the wheels and options of the build.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    rows: WheelRows,
    #[command(flatten)]
    build: BuildOptions,
    /// Build each wheel twice without the cache, under different conditions, and compare the bytes
    #[arg(long)]
    check_reproducible: bool,
    /// Output folder; default: wheels/
    #[arg(long, value_name = "FOLDER", conflicts_with = "check_reproducible")]
    out: Option<PathBuf>,
}

/// Builds the selected wheels.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let Options { rows, build, check_reproducible, out } = options;
    let selection = select::wheels(&project.matrix, &rows.abis, &rows.packages)?;
    if *check_reproducible {
        return reproducible::run(project, &selection, build);
    }
    let wheels = out.clone().unwrap_or_else(|| project.wheels());
    make::make(project, &selection, build, &wheels).map(|_| ())
}
