//! Unpacks the source of a package.

use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

use super::env::Env;
use crate::cache::Artefact;
use base::environment::{self, Purpose};
use base::proc;

/// Unpacks an sdist into `folder`, without its top folder.
pub fn unpack(sdist: &Artefact, folder: &Path, env: &Env) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let archive = env.context.cache.blob(&sdist.sha256);
    let shell = Shell::new()?;
    // Files get the present time and not that of the archive, because Cargo compares it with that of its last build.
    let command = cmd!(shell, "tar -xzmf {archive} -C {folder} --strip-components=1 --no-same-owner");
    proc::run(environment::apply(command, Purpose::Local), env.task, env.context.cancel)
}
