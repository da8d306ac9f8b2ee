//! Downloads pinned files; nothing is used or kept before its digest was checked.

mod index;

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use xshell::{Shell, cmd};

use super::{Env, tools};
use crate::cache::{Artefact, Output, Record};
use crate::host;
use crate::plan::{Download, Fetch};
use base::digest;
use download::{Client, DownloadProgress, DownloadRequest, LARGEST_FILE, LARGEST_PAGE, Url};
use wheelfile::{is_file_of_release, normalise};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

/// JSON (PEP 691) is preferred to HTML (PEP 503).
const INDEX_PAGE: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1";

pub fn run(fetch: &Fetch, env: &Env) -> Result<Output> {
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

/// Takes a file from the cache, else downloads it; it is kept even if another file of the step fails.
fn keep(file: &Download, net: &Net) -> Result<Artefact> {
    let (env, cache) = (net.env, net.env.context.cache);
    // Files of several steps, and of several processes, may be the same.
    let key = digest::of(format!("file {} {}", file.name, file.sha256));
    let waiting = || env.task.waiting(&format!("waiting for another step that downloads `{}`", file.name));
    let _lock = cache.lock(&format!("{key}.lock"), env.context.cancel, waiting)?;
    // What cannot be read, or has changed, is downloaded again.
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
    cache.remember(&Record { id: format!("file {}", file.name), key, seconds, output })?;
    Ok(kept)
}

fn download(file: &Download, net: &Net) -> Result<Artefact> {
    let env = net.env;
    let place = if file.from.is_empty() {
        look_up(file, net)?
    } else {
        FileLocation { urls: urls(&file.from, env)?, name: file.name.clone(), size: None }
    };
    // An earlier step may have fetched it by another name.
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
    ensure!(!remote.is_empty(), "no place to download it from: apt on this machine names no Debian mirror");
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

/// Where a file is.
struct FileLocation {
    urls: Vec<Url>,
    name: String,
    size: Option<u64>,
}

/// The network, as far as a step needs it; each part is made when it is first needed.
struct Net<'a> {
    env: &'a Env<'a>,
    client: OnceCell<Client>,
    /// The URL of the package index.
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

/// What a cell holds, made now if it is empty.
fn made<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// The places of a pinned file, as URLs.
fn urls(places: &[String], env: &Env) -> Result<Vec<Url>> {
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

/// Asks the package index for the file with a digest, which must be of the pinned name and version.
fn look_up(file: &Download, net: &Net) -> Result<FileLocation> {
    let (project, version) = file.name.split_once("==").context("a pin without `==`: this is a bug")?;
    let index = made(&net.index, || index_url(net.env))?;
    // PEP 503: the normalised name must be asked for.
    let page = download::parse_url(&format!("{}/{}/", index.trim_end_matches('/'), normalise(project)))
        .context("the URL of the package index (PIP_INDEX_URL or pip's configuration) cannot be used")?;
    let path = net.env.scratch.join("index");
    let pages = [page];
    let wanted =
        DownloadRequest { urls: &pages, sha256: None, size: None, largest: LARGEST_PAGE, accept: Some(INDEX_PAGE) };
    let mut from = net.download(&wanted, &path, "index")?;
    let [page] = pages;
    // After a redirect to another host the name and password are not sent on.
    if same_origin(&page, &from) {
        log_in(&mut from, &page);
    }
    let text = std::fs::read_to_string(&path).context("the package index answered with something that is not text")?;
    let refused = || format!("the package index's entry for `{project}` is refused");
    let entries = index::entries(&text).with_context(refused)?;
    let Some(place) = find_in_index(&entries, &from, &file.sha256).with_context(refused)? else {
        bail!(
            "the index has no file with the pinned SHA-256 `{}`; {}",
            file.sha256,
            index::describe(&entries, project, version, net.env.context.facts.platform)
        );
    };
    if !is_file_of_release(&place.name, project, version) {
        bail!(
            "the pinned SHA-256 is that of `{}`: correct the version or the digest; {}",
            place.name,
            index::describe(&entries, project, version, net.env.context.facts.platform)
        );
    }
    Ok(place)
}

/// The file with a digest, with its URL and a name that are checked.
fn find_in_index(entries: &[index::Entry], page: &Url, sha256: &str) -> Result<Option<FileLocation>> {
    let Some(entry) = entries.iter().find(|entry| entry.sha256 == sha256) else { return Ok(None) };
    let name =
        file_name(&entry.name).context("its file name contains characters that no file name of a package has")?;
    let mut url = download::join_url(page, &entry.link)?;
    if same_origin(page, &url) && url.username().is_empty() {
        log_in(&mut url, page);
    }
    Ok(Some(FileLocation { urls: vec![url], name, size: entry.size }))
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Copies name and password from one URL to another.
fn log_in(url: &mut Url, from: &Url) {
    // Fails for URLs without a host only, which were refused before.
    let _ = url.set_username(from.username());
    let _ = url.set_password(from.password());
}

/// What an index calls a file becomes a path here: letters, digits and what PEP 427 and 625 need.
fn file_name(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(plain)).then(|| name.to_owned())
}

/// The index that this user's pip is set up with: its own default where nobody changed it.
fn index_url(env: &Env) -> Result<String> {
    if let Ok(url) = std::env::var("PIP_INDEX_URL")
        && !url.is_empty()
    {
        return Ok(url);
    }
    let python = tools::installed(env)?.join("bin/python");
    let shell = Shell::new()?;
    let script = "from pip._internal.configuration import Configuration as C\n\
                  from pip._internal.models.index import PyPI\n\
                  c = C(isolated=False); c.load()\n\
                  d = dict(c.items())\n\
                  flat = {k: v for s in d.values() for k, v in s.items()} if all(isinstance(v, dict) for v in d.values()) else d\n\
                  print(flat.get('install.index-url') or flat.get('global.index-url') or PyPI.simple_url)";
    let output = cmd!(shell, "{python} -c {script}").quiet().ignore_stderr().read();
    output.context("cannot ask pip for its package index: set PIP_INDEX_URL")
}

/// The mirrors that apt takes packages from; none on a system without apt.
fn debian_mirrors(env: &Env) -> Vec<String> {
    let sites = host::index_targets("$(SITE)");
    let shown = |site: &String| download::parse_url(site).map(|url| download::display_url(&url)).unwrap_or_default();
    env.task.line(&format!("apt's mirrors: {}", sites.iter().map(shown).collect::<Vec<_>>().join(" ")));
    sites.into_iter().filter(|site| site.starts_with("http")).collect()
}

#[cfg(test)]
mod tests;
