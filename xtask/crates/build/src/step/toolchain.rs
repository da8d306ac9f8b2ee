//! Chooses the Rust toolchain of a package's build.

use std::path::Path;

use anyhow::Result;
use xshell::{Cmd, Shell};

use base::environment::{self, Purpose};

/// Variable by which rustup chooses the toolchain of `cargo` and `rustc`.
pub const VARIABLE: &str = "RUSTUP_TOOLCHAIN";

/// Returns a shell in a folder. Its `cargo` and `rustc` are those of the toolchain that `build.toolchain` of the package
/// names, else those of this tool.
pub fn shell(folder: &Path, toolchain: Option<&str>) -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(folder);
    if let Some(name) = toolchain {
        shell.set_var(VARIABLE, name);
    }
    Ok(shell)
}

/// Chooses the toolchain for a command whose environment was emptied.
pub fn choose<'s>(command: Cmd<'s>, toolchain: Option<&str>) -> Cmd<'s> {
    match toolchain {
        Some(name) => command.env(VARIABLE, name),
        None => command,
    }
}

/// Prepares a command by which Cargo fetches the crates of a package. It runs no code of the package, so it may use the
/// credentials of the user: tokens of registries, and the ssh agent.
pub fn fetching<'s>(command: Cmd<'s>, toolchain: Option<&str>) -> Cmd<'s> {
    let command = choose(environment::apply(command, Purpose::Cargo), toolchain);
    match std::env::var_os("SSH_AUTH_SOCK") {
        Some(agent) => command.env("SSH_AUTH_SOCK", agent),
        None => command,
    }
}
