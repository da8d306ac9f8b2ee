//! Calls git in checkouts that may be hostile: nothing that a checkout's own configuration names is run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

/// Settings of a repository that name programs or hooks which git would run, with harmless values.
const SETTINGS: [&str; 5] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "submodule.recurse=false",
    // A folder that only looks like a repository is none.
    "safe.bareRepository=explicit",
];

/// Returns a call of git in `folder`, to which the caller adds the arguments. It runs no hooks, no file
/// system monitor, no filters of the repository, no pager, and no transport, and it reads no `GIT_…`
/// variable of the caller. Repositories of other users stay refused, as `safe.directory` has it.
///
/// A caller of `git diff` must add `--no-ext-diff --no-textconv`.
pub fn git(folder: &Path) -> Command {
    let mut command = bare(folder);
    let mut count = 0;
    for filter in filters(folder) {
        for (name, value) in [("clean", ""), ("smudge", ""), ("process", ""), ("required", "false")] {
            let mut key = b"filter.".to_vec();
            key.extend_from_slice(&filter);
            key.extend_from_slice(format!(".{name}").as_bytes());
            // Not by `-c`, which ends the key at the first `=`.
            command.env(format!("GIT_CONFIG_KEY_{count}"), OsStr::from_bytes(&key));
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
    }
    command.env("GIT_CONFIG_COUNT", count.to_string());
    command
}

/// Runs `git` with `arguments` in `folder` and returns its output; an exit code other than 0 is an error
/// with the last line of what git said.
pub fn output(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
    let Output { status, stdout, stderr } = git(folder).args(arguments).output().context("cannot start `git`")?;
    if !status.success() {
        let name = arguments.first().map(|name| name.as_ref().to_string_lossy()).unwrap_or_default();
        bail!("`git {name}` failed in `{}`: {}", folder.display(), String::from_utf8_lossy(&stderr).trim());
    }
    Ok(stdout)
}

/// Returns whether a file that git tracks in `folder`, outside of `except`, differs from the commit.
pub fn changed(folder: &Path, except: &[&str]) -> Result<bool> {
    // In a submodule git would run the filters of the submodule's own configuration.
    let mut arguments = vec!["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty", "--", "."];
    let except: Vec<String> = except.iter().map(|path| format!(":!{path}")).collect();
    arguments.extend(except.iter().map(String::as_str));
    Ok(!output(folder, &arguments)?.is_empty())
}

/// A call of git without the settings that depend on the repository.
fn bare(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        // Inside a hook they speak of another repository; others name programs.
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command.envs([
        // An object that is missing in a partial clone would be fetched, by a program that the clone names.
        ("GIT_ALLOW_PROTOCOL", "none"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
    ]);
    command.arg("--no-pager").arg("-C").arg(folder);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command
}

/// The names of the filters (`filter.<name>.clean` and others) in the repository's own configuration. Those
/// in the configuration of the user, git-lfs for instance, are trusted.
fn filters(folder: &Path) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    // `--worktree` is the same as `--local` where worktrees have no configuration of their own.
    for scope in ["--local", "--worktree"] {
        let mut command = bare(folder);
        command.args(["config", scope, "--includes", "--null", "--name-only", "--get-regexp", r"^filter\."]);
        // Where this fails there is no repository, or one that git refuses; then the call itself fails, too.
        let Ok(output) = command.output() else { continue };
        for key in output.stdout.split(|byte| *byte == 0) {
            let Some(rest) = key.strip_prefix(b"filter.") else { continue };
            names.extend(rest.iter().rposition(|byte| *byte == b'.').map(|end| rest[..end].to_vec()));
        }
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
