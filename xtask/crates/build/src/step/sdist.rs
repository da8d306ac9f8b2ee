//! Unpacks the source of a package.

use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

use super::env::StepEnv;
use crate::cache::Artefact;
use base::cancel::Cancel;
use base::environment::{self, Purpose};
use base::proc;
use base::ui::Task;

/// Unpacks an sdist into `folder`, without its top folder.
pub fn unpack(sdist: &Artefact, folder: &Path, env: &StepEnv) -> Result<()> {
    unpack_archive(&env.context.cache.blob(&sdist.sha256), folder, env.task, env.context.cancel)
}

/// Unpacks an archive with one top folder into `folder`, without the top folder.
pub fn unpack_archive(archive: &Path, folder: &Path, task: &Task, cancel: &Cancel) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let shell = Shell::new()?;
    // Files get the present time and not that of the archive, because Cargo compares it with that of its last build.
    let command = cmd!(shell, "tar -xzmf {archive} -C {folder} --strip-components=1 --no-same-owner");
    proc::run(environment::apply(command, Purpose::Local), task, cancel)
}
