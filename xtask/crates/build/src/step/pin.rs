//! Compares the name and version of a pin with those in the metadata of the file with its digest.
//!
//! Keys of download steps contain only digests, so cached files are found whatever name and version a pin has.
//! Without this check, a wrong pin would fail only on a machine with an empty cache.

use anyhow::{Result, bail};

use super::env::RunContext;
use crate::cache::Cache;
use crate::plan::{Download, Fetch};
use wheelfile::{DeclaredRelease, WheelName};

/// Fails if a cached file of `fetch` belongs to another release than its pin.
pub fn check(fetch: &Fetch, context: &RunContext) -> Result<()> {
    let wrong: Vec<String> = contradictions(fetch, context.cache)
        .map(|(file, found)| {
            let (place, pin) = (context.facts.place(&file.origin), &file.name);
            format!("{place}: the SHA-256 pinned for `{pin}` belongs to `{found}`: correct the version or the digest")
        })
        .collect();
    if !wrong.is_empty() {
        bail!(wrong.join("\n"));
    }
    Ok(())
}

/// Returns whether [`check`] would fail.
pub fn is_contradicted(fetch: &Fetch, cache: &Cache) -> bool {
    contradictions(fetch, cache).next().is_some()
}

/// Returns the pins whose files belong to another release according to their metadata. Files that are not cached or
/// unreadable are skipped; they will be downloaded and checked then.
fn contradictions<'f>(fetch: &'f Fetch, cache: &'f Cache) -> impl Iterator<Item = (&'f Download, DeclaredRelease)> {
    fetch.files.iter().filter_map(|file| {
        let (name, version) = pinned(file)?;
        let found = wheelfile::read_release(&cache.blob(&file.sha256), &name, &version).ok()??;
        (!found.matches(&name, &version)).then_some((file, found))
    })
}

/// Returns the name and version of a pin; `None` if it is not a Python distribution.
fn pinned(file: &Download) -> Option<(String, String)> {
    if let Some((name, version)) = file.name.split_once("==") {
        return Some((name.to_owned(), version.to_owned()));
    }
    let wheel = WheelName::parse(&file.name).ok()?;
    Some((wheel.distribution, wheel.version))
}
