//! Installs the pinned tools into an environment of our own, never into the user's Python.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

use super::Env;
use crate::cache::{self, Cache, Output};
use crate::plan::Tools;
use base::environment::{self, Purpose};
use base::{disk, proc};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

/// The folder of the environment with this key.
pub fn folder(cache: &Cache, key: &str) -> PathBuf {
    cache.dir().join("state").join(format!("tools-{}", &key[..16]))
}

/// Whether the environment was installed to the end.
pub fn complete(cache: &Cache, key: &str) -> bool {
    let folder = folder(cache, key);
    // `bin/python` leads to the user's own, which may be gone after an upgrade.
    ["complete", "bin/python"].iter().all(|name| folder.join(name).exists())
}

pub fn run(tools: &Tools, env: &Env) -> Result<Output> {
    let folder = folder(env.context.cache, env.key);
    // The scripts in it name its path, so it is made where it stays, and taken away if that fails.
    let _ = std::fs::remove_dir_all(&folder);
    install(tools, &folder, env).inspect_err(|_| {
        let _ = std::fs::remove_dir_all(&folder);
    })
}

fn install(tools: &Tools, folder: &Path, env: &Env) -> Result<Output> {
    let requirements = env.scratch.join("requirements.txt");
    let lines: String = tools
        .tools
        .iter()
        .map(|tool| format!("{}=={} --hash=sha256:{}\n", tool.name, tool.version, tool.sha256))
        .collect();
    std::fs::write(&requirements, lines)?;

    let shell = Shell::new()?;
    let run = |command: Cmd| proc::run(environment::apply(command, Purpose::Download), env.task, env.context.cancel);
    run(cmd!(shell, "python3 -m venv {folder}"))
        .context("cannot make a virtual environment: python3 needs its venv module (`apt-get install python3-venv`)")?;
    let python = folder.join("bin/python");
    run(cmd!(
        shell,
        "{python} -m pip --disable-pip-version-check --no-input install --no-deps --only-binary :all: --require-hashes -r {requirements}"
    ))
    .map_err(|error| {
        let folders = [env.context.cache.dir(), &std::env::temp_dir()];
        let network = "check the network, the proxy and pip's index (`pip config list`), then run the same command again";
        let hint = disk::explain_full("", &env.task.tail(), &folders);
        let hint = hint.unwrap_or_else(|| network.to_owned());
        error.context(format!("cannot install the tools pinned in matrix.yaml: {hint}"))
    })?;
    mark_complete(folder)?;
    let mut output = Output::default();
    output.notes.insert("folder".to_owned(), format!("tools-{}", &env.key[..16]));
    for tool in &tools.tools {
        output.notes.insert(tool.name.to_string(), tool.version.to_string());
    }
    Ok(output)
}

/// Marks the environment as installed to its end. After a power loss, the mark must not be there
/// without the files, so the file system writes these first.
fn mark_complete(folder: &Path) -> Result<()> {
    let cannot = || format!("cannot mark the tools in `{}` as complete", folder.display());
    let opened = File::open(folder).with_context(cannot)?;
    rustix::fs::syncfs(&opened).with_context(cannot)?;
    cache::write(&folder.join("complete"), b"").with_context(cannot)?;
    opened.sync_all().with_context(cannot)
}

/// The environment that the step `tools` of this plan installed.
pub fn installed(env: &Env) -> Result<PathBuf> {
    let output = env.need("tools")?;
    let name = output.notes.get("folder").context("the tools left no folder: this is a bug")?;
    Ok(env.context.cache.dir().join("state").join(name))
}
