//! Applies the patches of a package to its sdist, and packs the result as a new sdist.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base::environment::{self, Purpose};
use base::{digest, proc, working_copy};
use flate2::Compression;
use flate2::write::GzEncoder;
use xshell::{Cmd, Shell, cmd};

use super::env::{EPOCH, StepEnv};
use super::sdist;
use crate::cache::Output;
use crate::plan::{Patch, PatchFile};

/// The note with `NAME SHA256` for each patch, separated by commas, of a patched sdist and of the wheels that are built from it.
pub const NOTE: &str = "patches";

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 2;

pub fn run(step: &Patch, env: &StepEnv) -> Result<Output> {
    let top = env.scratch.join("source");
    sdist::unpack(env.file(&step.sdist)?, &top, env)?;
    for patch in &step.patches {
        apply(patch, &top, env)?;
    }
    let name = format!("{}-{}.tar.gz", step.package, step.version);
    let archive = env.scratch.join(&name);
    pack(&top, &format!("{}-{}", step.package, step.version), &archive)?;
    let names: Vec<String> = step.patches.iter().map(|patch| format!("{} {}", patch.name, patch.sha256)).collect();
    let file = env.context.cache.take(&archive, &name)?;
    Ok(Output { files: vec![file], notes: [(NOTE.to_owned(), names.join(", "))].into(), ..Output::default() })
}

/// Applies one patch to the source in `top`. Every line of context must match.
fn apply(patch: &PatchFile, top: &Path, env: &StepEnv) -> Result<()> {
    if digest::of(&patch.text) != patch.sha256 {
        bail!("`{}` is not the file that the plan was made with: this is a bug", patch.name);
    }
    let file = env.scratch.join("patch");
    fs::write(&file, &patch.text)?;
    let shell = Shell::new()?;
    let command = command(&shell, top, &file, &["--forward"]);
    proc::run(command, env.task, env.context.cancel).with_context(|| {
        format!("`{}` does not apply: change it for this version of the source, or remove it", patch.name)
    })
}

/// Returns the command that applies the patch `file` to the source in `top`. Every line of context must match.
pub fn command<'a>(shell: &'a Shell, top: &Path, file: &Path, options: &[&str]) -> Cmd<'a> {
    let command =
        cmd!(shell, "patch --directory={top} --strip=1 --fuzz=0 --batch --no-backup-if-mismatch {options...}");
    environment::apply(command.arg("--input").arg(file), Purpose::Local)
}

/// Packs the files below `top` into an archive whose bytes depend on their names, contents and rights only.
fn pack(top: &Path, folder: &str, archive: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    working_copy::walk(top, Path::new(""), &mut files)?;
    files.sort();
    let out = GzEncoder::new(File::create(archive)?, Compression::fast());
    let mut tar = tar::Builder::new(out);
    for name in files {
        let (path, to) = (top.join(&name), Path::new(folder).join(&name));
        let meta = path.symlink_metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_mtime(EPOCH);
        if meta.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            tar.append_link(&mut header, &to, fs::read_link(&path)?)?;
        } else {
            header.set_size(meta.len());
            header.set_mode(if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 });
            tar.append_data(&mut header, &to, File::open(&path)?)
                .with_context(|| format!("cannot pack `{}`", path.display()))?;
        }
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests;
