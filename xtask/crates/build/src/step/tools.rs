//! Installs the pinned tools into a private virtual environment.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

use super::env::StepEnv;
use crate::cache::{self, Cache, Output};
use crate::plan::Tools;
use base::environment::{self, Purpose};
use base::{disk, proc};

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 1;

/// Returns the folder of the environment with this key.
pub fn folder(cache: &Cache, key: &str) -> PathBuf {
    cache.dir().join("state").join(format!("tools-{}", &key[..16]))
}

/// Returns whether the environment was installed completely.
pub fn complete(cache: &Cache, key: &str) -> bool {
    let folder = folder(cache, key);
    // `bin/python` is a link to the user's Python, which may be gone after an upgrade.
    ["complete", "bin/python"].iter().all(|name| folder.join(name).exists())
}

pub fn run(tools: &Tools, env: &StepEnv) -> Result<Output> {
    let folder = folder(env.context.cache, env.key);
    // Scripts contain the path of the environment, so it is created at its final path and removed on failure.
    let _ = std::fs::remove_dir_all(&folder);
    install(tools, &folder, env).inspect_err(|_| {
        let _ = std::fs::remove_dir_all(&folder);
    })
}

fn install(tools: &Tools, folder: &Path, env: &StepEnv) -> Result<Output> {
    let requirements = env.scratch.join("requirements.txt");
    let lines: String = tools
        .tools
        .iter()
        .map(|tool| format!("{}=={} --hash=sha256:{}\n", tool.name, tool.version, tool.sha256))
        .collect();
    std::fs::write(&requirements, lines)?;

    let shell = Shell::new()?;
    let run = |command: Cmd| proc::run(environment::apply(command, Purpose::Download), env.task, env.context.cancel);
    run(cmd!(shell, "python3 -m venv {folder}")).context(
        "cannot create a virtual environment: python3 needs its venv module (`apt-get install python3-venv`)",
    )?;
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

/// Marks the environment as complete. The files are synchronised to disk first, so that the mark cannot exist without
/// them after a power loss.
fn mark_complete(folder: &Path) -> Result<()> {
    let cannot = || format!("cannot mark the tools in `{}` as complete", folder.display());
    let opened = File::open(folder).with_context(cannot)?;
    rustix::fs::syncfs(&opened).with_context(cannot)?;
    cache::write(&folder.join("complete"), b"").with_context(cannot)?;
    opened.sync_all().with_context(cannot)
}

/// Returns the environment installed by the step `tools` of this plan.
pub fn installed(env: &StepEnv) -> Result<PathBuf> {
    let output = env.need("tools")?;
    let name = output.notes.get("folder").context("the step `tools` recorded no folder: this is a bug")?;
    Ok(env.context.cache.dir().join("state").join(name))
}
