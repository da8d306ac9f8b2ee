//! Reads the arguments of the command line: names and files.

use std::path::Path;

use anyhow::{Result, anyhow};
use base::UsageError;

use super::target::CheckTarget;
use super::wanted::{WantedDistribution, WantedDistributions, requirement};
use super::{locked, requirements};

/// Suffixes of arguments that are files even if they do not exist.
const SUFFIXES: [&str; 4] = [".in", ".lock", ".toml", ".txt"];

/// Reads all arguments. An invalid one is a [`UsageError`].
pub fn read(arguments: &[String], target: &CheckTarget) -> Result<WantedDistributions> {
    let mut found = WantedDistributions::default();
    for argument in arguments {
        add(argument, target, &mut found).map_err(|error| anyhow!(UsageError(format!("{error:#}"))))?;
    }
    let mut unique: Vec<WantedDistribution> = Vec::new();
    for wanted in found.wanted {
        if !unique.contains(&wanted) {
            unique.push(wanted);
        }
    }
    Ok(WantedDistributions { wanted: unique, ..found })
}

fn add(argument: &str, target: &CheckTarget, found: &mut WantedDistributions) -> Result<()> {
    let path = Path::new(argument);
    let is_file = path.is_file() || argument.contains('/') || SUFFIXES.iter().any(|suffix| argument.ends_with(suffix));
    if !is_file {
        let wanted = requirement(argument, target).map_err(|error| {
            anyhow!("`{}` is neither a file nor `NAME` or `NAME==VERSION`: {error}", argument.escape_debug())
        })?;
        found.wanted.extend(wanted);
        found.partial = true;
        return Ok(());
    }
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("toml" | "lock") => locked::read(path, target, found),
        _ => {
            found.partial = true;
            requirements::read(path, target, found)
        }
    }
}
