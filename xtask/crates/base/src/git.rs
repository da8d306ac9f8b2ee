//! Calls git in untrusted checkouts, without running programs that the checkout's configuration names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

/// Harmless values for git settings that name programs or hooks.
const SETTINGS: [&str; 5] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "submodule.recurse=false",
    // Refuse folders that are laid out like a bare repository.
    "safe.bareRepository=explicit",
];

/// Returns a git command for `folder`, to which the caller adds the arguments. It runs no hooks, file system monitor,
/// filters of the repository, pager or transport, and ignores the caller's `GIT_…` variables. Git still refuses
/// repositories of other users, as `safe.directory` defines.
///
/// For `git diff`, the caller must add `--no-ext-diff --no-textconv`.
pub fn git(folder: &Path) -> Command {
    let mut command = bare(folder);
    let mut count = 0;
    for filter in filters(folder) {
        for (name, value) in [("clean", ""), ("smudge", ""), ("process", ""), ("required", "false")] {
            let mut key = b"filter.".to_vec();
            key.extend_from_slice(&filter);
            key.extend_from_slice(format!(".{name}").as_bytes());
            // `-c` cannot be used: it splits at the first `=`, and a key may contain one.
            command.env(format!("GIT_CONFIG_KEY_{count}"), OsStr::from_bytes(&key));
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
    }
    command.env("GIT_CONFIG_COUNT", count.to_string());
    command
}

/// Runs `git` with `arguments` in `folder` and returns its standard output. Fails if the exit code is not 0.
pub fn output(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
    run(git(folder), folder, arguments)
}

/// Returns the output of `git ls-files` with these options. This command does not read the content of files, so the
/// repository's filters are not run, and git need not be asked for their names first.
pub fn list(folder: &Path, options: &[&str]) -> Result<Vec<u8>> {
    run(bare(folder), folder, &[&["ls-files", "-z"], options, &["--", "."]].concat())
}

fn run(mut command: Command, folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
    let Output { status, stdout, stderr } = command.args(arguments).output().context("cannot start `git`")?;
    if !status.success() {
        let name = arguments.first().map(|name| name.as_ref().to_string_lossy()).unwrap_or_default();
        bail!("`git {name}` failed in `{}`: {}", folder.display(), String::from_utf8_lossy(&stderr).trim());
    }
    Ok(stdout)
}

/// Returns whether a tracked file in `folder`, outside `except`, differs from the commit.
pub fn changed(folder: &Path, except: &[&str]) -> Result<bool> {
    // In a submodule, git would run the filters that the submodule's own configuration names.
    let mut arguments = vec!["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty", "--", "."];
    let except: Vec<String> = except.iter().map(|path| format!(":!{path}")).collect();
    arguments.extend(except.iter().map(String::as_str));
    Ok(!output(folder, &arguments)?.is_empty())
}

/// Returns a git command without the settings that depend on the repository.
fn bare(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        // Inside a hook, these variables point to another repository; some name programs.
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command.envs([
        // Do not fetch missing objects of a partial clone: the clone's configuration names the transport program.
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

/// Returns the names of the filters (`filter.<name>.clean` and so on) in the repository's own configuration. Filters
/// in the user's configuration, such as git-lfs, are trusted.
fn filters(folder: &Path) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    // `--worktree` equals `--local` if worktrees have no configuration of their own.
    for scope in ["--local", "--worktree"] {
        let mut command = bare(folder);
        command.args(["config", scope, "--includes", "--null", "--name-only", "--get-regexp", r"^filter\."]);
        // This fails if there is no repository or git refuses it; the actual call then fails as well.
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
