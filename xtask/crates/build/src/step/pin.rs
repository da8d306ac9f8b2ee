//! Compares the name and version that stand beside a pinned digest with those of the file that has the digest.
//!
//! The keys of steps that use a download contain its digest only, so that they are found in the cache whatever
//! name and version stand beside it. Without this comparison a wrong pin fails on an empty machine only.

use anyhow::{Result, bail};

use super::Context;
use crate::cache::Cache;
use crate::plan::{Download, Fetch};
use wheelfile::{DeclaredRelease, WheelName};

/// An error where a file of `fetch` that is in the cache is another release than its pin says.
pub fn check(fetch: &Fetch, context: &Context) -> Result<()> {
    let wrong: Vec<String> = contradictions(fetch, context.cache)
        .map(|(file, found)| {
            let (place, pin) = (context.facts.place(&file.origin), &file.name);
            format!("{place}: the SHA-256 that is pinned for `{pin}` is that of `{found}`: correct the version or the digest")
        })
        .collect();
    if !wrong.is_empty() {
        bail!(wrong.join("\n"));
    }
    Ok(())
}

/// Whether [`check`] would fail.
pub fn is_contradicted(fetch: &Fetch, cache: &Cache) -> bool {
    contradictions(fetch, cache).next().is_some()
}

/// The pins whose files say in their own metadata that they are another release. A file that is not in the cache,
/// or cannot be read, contradicts nothing: it is downloaded, and compared then.
fn contradictions<'f>(fetch: &'f Fetch, cache: &'f Cache) -> impl Iterator<Item = (&'f Download, DeclaredRelease)> {
    fetch.files.iter().filter_map(|file| {
        let (name, version) = pinned(file)?;
        let found = wheelfile::read_release(&cache.blob(&file.sha256), &name, &version).ok()??;
        (!found.matches(&name, &version)).then_some((file, found))
    })
}

/// The name and version of a pin; none for what is not a Python distribution.
fn pinned(file: &Download) -> Option<(String, String)> {
    if let Some((name, version)) = file.name.split_once("==") {
        return Some((name.to_owned(), version.to_owned()));
    }
    let wheel = WheelName::parse(&file.name).ok()?;
    Some((wheel.distribution, wheel.version))
}
