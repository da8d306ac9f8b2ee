//! Downloads pinned files. No file is used or stored before its digest was checked.

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::env::StepEnv;
use super::tools;
use crate::cache::{Artefact, Output, StepRecord};
use crate::host;
use crate::index::{self, Index, Page, Place, page};
use crate::plan::{Download, Fetch};
use base::digest;
use download::{Client, DownloadProgress, DownloadRequest, LARGEST_FILE, Url};
use wheelfile::is_file_of_release;

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 1;

pub fn run(fetch: &Fetch, env: &StepEnv) -> Result<Output> {
    fetch_all(fetch, &Net { env, client: OnceCell::new(), index: OnceCell::new() })
}

fn fetch_all(fetch: &Fetch, net: &Net) -> Result<Output> {
    let mut output = Output::default();
    for file in &fetch.files {
        let place = || net.env.context.facts.place(&file.origin);
        output.files.push(keep(file, net).with_context(|| format!("{}: cannot download `{}`", place(), file.name))?);
    }
    Ok(output)
}

/// Returns a file from the cache, or downloads and stores it, even if other files of the step fail.
fn keep(file: &Download, net: &Net) -> Result<Artefact> {
    let (env, cache) = (net.env, net.env.context.cache);
    // Several steps or processes may need the same file.
    let key = digest::of(format!("file {} {}", file.name, file.sha256));
    let waiting = || env.task.waiting(&format!("waiting for another step that downloads `{}`", file.name));
    let _lock = cache.lock(&format!("{key}.lock"), env.context.cancel, waiting)?;
    // An unreadable or changed file is downloaded again.
    let known = cache.record(&key).ok().flatten().filter(|record| cache.check(record).is_ok());
    if let Some(kept) = known.and_then(|record| record.output.files.into_iter().next()) {
        env.task.line(&format!("{} is in the cache", kept.name));
        cache.touch(&key);
        return Ok(kept);
    }
    let started = env.task.seconds();
    let kept = download(file, net)?;
    let output = Output { files: vec![kept.clone()], ..Output::default() };
    let seconds = env.task.seconds() - started;
    cache.remember(&StepRecord { id: format!("file {}", file.name), key, seconds, output })?;
    Ok(kept)
}

fn download(file: &Download, net: &Net) -> Result<Artefact> {
    let env = net.env;
    let place = if file.from.is_empty() {
        look_up(file, net)?
    } else {
        FileLocation { urls: urls(&file.from, env)?, name: file.name.clone(), size: None }
    };
    // Another step may have stored the file under another name.
    let blob = env.context.cache.blob(&file.sha256);
    if digest::of_file(&blob).is_ok_and(|found| found == file.sha256) {
        env.task.line(&format!("{} is in the cache", place.name));
        return Ok(Artefact { name: place.name, sha256: file.sha256.clone(), size: blob.metadata()?.len() });
    }
    let path = env.scratch.join("download");
    let local = |url: &&Url| url.scheme() == "file";
    let mut errors = Vec::new();
    for url in place.urls.iter().filter(local) {
        download::copy_local(url, &path, LARGEST_FILE)?;
        let found = digest::of_file(&path)?;
        if found == file.sha256 {
            return env.context.cache.take(&path, &place.name);
        }
        errors.push(format!("`{url}` has the SHA-256 `{found}`, not the pinned `{}`", file.sha256));
    }
    let remote: Vec<Url> = place.urls.iter().filter(|url| !local(url)).cloned().collect();
    if remote.is_empty() && !errors.is_empty() {
        bail!(errors.join("; "));
    }
    ensure!(!remote.is_empty(), "no URL to download it from: apt on this machine has no Debian mirror configured");
    let wanted = DownloadRequest {
        urls: &remote,
        sha256: Some(&file.sha256),
        size: place.size,
        largest: LARGEST_FILE,
        accept: None,
    };
    net.download(&wanted, &path, &place.name)?;
    env.context.cache.take(&path, &place.name)
}

/// URLs, name and size of a file.
struct FileLocation {
    urls: Vec<Url>,
    name: String,
    size: Option<u64>,
}

/// Network access of a step; each part is initialised on first use.
struct Net<'a> {
    env: &'a StepEnv<'a>,
    client: OnceCell<Client>,
    /// URL of the package index.
    index: OnceCell<String>,
}

impl Net<'_> {
    fn download(&self, wanted: &DownloadRequest, path: &Path, name: &str) -> Result<Url> {
        let client = made(&self.client, Client::from_environment)?;
        let task = self.env.task;
        let line = |line: &str| task.line(line);
        let bytes = |done, total| task.bytes(name, done, total);
        client.download(wanted, path, &DownloadProgress { line: &line, bytes: &bytes }, self.env.context.cancel)
    }
}

/// Returns the value of a cell, which is initialised on first use.
fn made<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// Returns the URLs of a pinned file.
fn urls(places: &[String], env: &StepEnv) -> Result<Vec<Url>> {
    let mut urls = Vec::new();
    for place in places {
        match place.strip_prefix("debian:") {
            Some(path) => {
                let at = |mirror: String| download::parse_url(&format!("{}/{path}", mirror.trim_end_matches('/')));
                urls.extend(debian_mirrors(env).into_iter().filter_map(|mirror| at(mirror).ok()));
            }
            None if place.starts_with("file:") => urls.push(Url::parse(place).with_context(|| format!("`{place}`"))?),
            None => urls.push(download::parse_url(place).with_context(|| format!("`{place}`"))?),
        }
    }
    Ok(urls)
}

/// Finds the file with a digest in the package index and checks its name and version.
fn look_up(file: &Download, net: &Net) -> Result<FileLocation> {
    let (project, version) = file.name.split_once("==").context("a pin without `==`: this is a bug")?;
    let url = made(&net.index, || index::index_url(&tools::installed(net.env)?.join("bin/python")))?;
    let task = net.env.task;
    let line = |line: &str| task.line(line);
    let bytes = |done, total| task.bytes("index", done, total);
    let progress = DownloadProgress { line: &line, bytes: &bytes };
    let (client, cancel) = (made(&net.client, Client::from_environment)?, net.env.context.cancel);
    let index = Index { client, url, scratch: net.env.scratch, progress, cancel };
    let page = index.page(project)?.with_context(|| format!("the index has no project `{project}`"))?;
    let described = || page::describe(&page.entries, project, version, net.env.context.facts.platform);
    let refused = || format!("the package index's entry for `{project}` is invalid");
    let Some(place) = find_in_index(&page, &file.sha256).with_context(refused)? else {
        bail!("the index has no file with the pinned SHA-256 `{}`; {}", file.sha256, described());
    };
    if !is_file_of_release(&place.name, project, version) {
        bail!("the pinned SHA-256 belongs to `{}`: correct the version or the digest; {}", place.name, described());
    }
    Ok(place)
}

/// Returns the file with a digest, with a checked URL and name.
fn find_in_index(page: &Page, sha256: &str) -> Result<Option<FileLocation>> {
    let Some(entry) = page.entries.iter().find(|entry| entry.sha256 == sha256) else { return Ok(None) };
    let Place { name, url } = index::place(entry, &page.url)?;
    Ok(Some(FileLocation { urls: vec![url], name, size: entry.size }))
}

/// Returns the mirrors that apt uses; empty on a system without apt.
fn debian_mirrors(env: &StepEnv) -> Vec<String> {
    let sites = host::index_targets("$(SITE)");
    let shown = |site: &String| download::parse_url(site).map(|url| download::display_url(&url)).unwrap_or_default();
    env.task.line(&format!("apt's mirrors: {}", sites.iter().map(shown).collect::<Vec<_>>().join(" ")));
    sites.into_iter().filter(|site| site.starts_with("http")).collect()
}

#[cfg(test)]
mod tests;
