//! Client of the package index that the user's pip is configured for.
//!
//! What an index sends is untrusted: sizes are limited, names and URLs are checked, no link of an https page leads to
//! plain http, and a file is used only after its digest was checked.

mod files;
pub mod page;
mod pip;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

pub use files::{File, FileKind, Place, ProjectFiles, Release, place};
pub use pip::index_url;

use base::cancel::Cancel;
use base::ui::Task;
use download::{Client, DownloadProgress, DownloadRequest, LARGEST_FILE, LARGEST_PAGE, NotFound, Url};
use files::{log_in, same_origin};
use page::Entry;
use wheelfile::normalise;

/// JSON (PEP 691) is preferred to HTML (PEP 503).
const INDEX_PAGE: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1";

/// A package index.
pub struct Index<'a> {
    pub client: &'a Client,
    /// URL without the name of a project.
    pub url: &'a str,
    /// Folder for temporary files.
    pub scratch: &'a Path,
    pub progress: DownloadProgress<'a>,
    pub cancel: &'a Cancel,
}

/// Unchecked page of a project.
pub struct Page {
    /// URL after redirects.
    pub url: Url,
    pub entries: Vec<Entry>,
}

/// Calls `work` with the index at `url`, see [`index_url`]. Progress is shown in `task`.
pub fn with_index<T>(
    url: &str,
    scratch: &Path,
    task: &Task,
    cancel: &Cancel,
    work: impl FnOnce(&Index) -> Result<T>,
) -> Result<T> {
    let client = Client::from_environment()?;
    let line = |line: &str| task.line(line);
    let bytes = |done, total| task.bytes("download", done, total);
    let progress = DownloadProgress { line: &line, bytes: &bytes };
    work(&Index { client: &client, url, scratch, progress, cancel })
}

impl Index<'_> {
    /// Returns the files of a project by release. `None` means that the index has no project of this name; an index
    /// that cannot be reached, or whose page is invalid, is an error.
    pub fn project(&self, name: &str) -> Result<Option<ProjectFiles>> {
        let Some(page) = self.page(name)? else { return Ok(None) };
        Ok(Some(ProjectFiles::new(name, &page.url, page.entries)))
    }

    /// Returns the page of a project, `None` if there is no such project.
    pub fn page(&self, project: &str) -> Result<Option<Page>> {
        ensure!(is_project_name(project), "`{}` is not the name of a project", project.escape_default());
        // PEP 503 requires the normalised name.
        let page = download::parse_url(&format!("{}/{}/", self.url.trim_end_matches('/'), normalise(project)))
            .context("the URL of the package index (PIP_INDEX_URL or pip's configuration) cannot be used")?;
        let path = self.scratch.join("index");
        let pages = [page];
        let mut from = match self.fetch(&pages, None, LARGEST_PAGE, &path) {
            Err(error) if error.is::<NotFound>() => return Ok(None),
            other => other?,
        };
        let [page] = pages;
        // After a redirect to another host, name and password are not sent.
        if same_origin(&page, &from) {
            log_in(&mut from, &page);
        }
        let text = std::fs::read_to_string(&path).context("the response of the package index is not text")?;
        let entries =
            page::entries(&text).with_context(|| format!("the package index's entry for `{project}` is invalid"))?;
        Ok(Some(Page { url: from, entries }))
    }

    /// Downloads a file to `path` and checks its digest.
    pub fn download(&self, file: &File, path: &Path) -> Result<()> {
        if file.size.is_some_and(|size| size > LARGEST_FILE) {
            bail!("`{}` is too large", file.name);
        }
        let urls = [file.url.clone()];
        self.fetch(&urls, Some(&file.sha256), file.size.unwrap_or(LARGEST_FILE), path)
            .with_context(|| format!("cannot download `{}`", file.name))?;
        Ok(())
    }

    fn fetch(&self, urls: &[Url], sha256: Option<&str>, largest: u64, path: &Path) -> Result<Url> {
        let accept = sha256.is_none().then_some(INDEX_PAGE);
        let wanted = DownloadRequest { urls, sha256, size: None, largest, accept };
        self.client.download(&wanted, path, &self.progress, self.cancel)
    }
}

/// Returns whether a text is the name of a project (PEP 508), which becomes part of a URL.
pub fn is_project_name(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 256
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.chars().all(|c| alphanumeric(c) || "._-".contains(c))
}

#[cfg(test)]
mod tests;
