//! Compiles CPython from source in the image in which wheels are built.

use std::collections::BTreeMap;

use anyhow::Result;

use super::env::StepEnv;
use crate::cache::Output;
use crate::plan::Python;
use docker::{Build, Network};

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 1;

pub fn run(python: &Python, env: &StepEnv) -> Result<Output> {
    let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
    let archive = env.file(&python.archive)?;
    let image = env.build(
        Build {
            dockerfile: env.container_file(match python.llvm {
                None => "docker/python.Dockerfile",
                Some(_) => "docker/tsan/python.Dockerfile",
            })?,
            context: vec![env.stored("python.tar.xz", archive)],
            args: BTreeMap::from([
                ("BUILDER".to_owned(), env.image(&python.builder)?.to_owned()),
                ("FREE_THREADED".to_owned(), flag(python.free_threaded)),
                match &python.llvm {
                    None => ("OPTIMIZE".to_owned(), flag(python.build.is_optimized())),
                    Some(llvm) => ("LLVM".to_owned(), llvm.clone()),
                },
                ("JOBS".to_owned(), env.context.engine_cores.to_string()),
            ]),
            network: Network::None,
            ..Build::default()
        },
        None,
    )?;
    Ok(Output { image: Some(image), ..Output::default() })
}
