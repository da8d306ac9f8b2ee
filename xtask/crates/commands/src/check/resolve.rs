//! Finds with the pinned uv what distributions depend on.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use base::environment::{self, Purpose};
use build::{Project, cache};
use xshell::{Shell, cmd};

use super::locked;
use super::target::Target;
use super::wanted::Wanted;

/// Returns the distributions with everything that they depend on, each with its version.
pub fn resolve(project: &Project, wanted: &[Wanted], target: &Target) -> Result<Vec<Wanted>> {
    let uv = project.tools()?.join("bin/uv");
    let scratch = project.cache.scratch("check")?;
    let (input, output) = (scratch.path().join("requirements.in"), scratch.path().join("pylock.toml"));
    let mut requirements = String::new();
    for wanted in wanted {
        match &wanted.elsewhere {
            None => writeln!(requirements, "{}{}", wanted.name, wanted.versions)?,
            Some(elsewhere) => writeln!(requirements, "{} @ {}", wanted.name, elsewhere.place)?,
        }
    }
    cache::write(&input, requirements.as_bytes())?;
    let python = target.python.to_string();
    let shell = Shell::new()?;
    // Without builds, because they would run code of the packages on this machine. For all platforms, because the wheels
    // of another platform tell the requirements, too.
    let command = cmd!(
        shell,
        "{uv} pip compile --quiet --no-config --no-header --no-annotate --no-build --universal --system-certs
         --python-version {python} --format pylock.toml --output-file {output} {input}"
    );
    let mut command = environment::apply(command, Purpose::Download);
    // uv uses another variable than pip for the package index.
    if let (Ok(index), Err(_)) = (std::env::var("PIP_INDEX_URL"), std::env::var("UV_DEFAULT_INDEX")) {
        command = command.env("UV_DEFAULT_INDEX", index);
    }
    project.call("check", "find what they depend on", command, "").context(
        "cannot find what the distributions depend on; `--prove` of a uv.lock or pylock.toml needs no search",
    )?;
    let text = fs::read_to_string(&output).with_context(|| format!("uv did not write `{}`", output.display()))?;
    let all = locked::parse(&text, target).context("the answer of uv")?;
    ensure!(!all.is_empty(), "the answer of uv is empty");
    Ok(all)
}
