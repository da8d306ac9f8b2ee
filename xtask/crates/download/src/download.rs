//! Downloads a file: tries its URLs in turn, with pauses, and checks the digest.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use reqwest::Url;

use crate::address::display_url;
use crate::client::Client;
use crate::request::{DownloadProgress, DownloadRequest};
use crate::transfer::{AttemptError, Partial, Source, Transfer};
use base::cancel::Cancel;
use base::{digest, retry, ui};

/// Error of a download whose servers all responded that they have nothing at its URL.
#[derive(Debug)]
pub struct NotFound(String);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotFound {}

impl Client {
    /// Downloads a file to `path` and returns its final URL after redirects.
    pub fn download(
        &self,
        wanted: &DownloadRequest,
        path: &Path,
        progress: &DownloadProgress,
        cancel: &Cancel,
    ) -> Result<Url> {
        let transfer = Transfer { client: self, wanted, progress };
        let mut urls: Vec<Source> =
            wanted.urls.iter().enumerate().map(|(at, url)| Source::new(url, at, path)).collect();
        let mut pauses = self.limits.pauses.iter();
        loop {
            let left = |source: &&mut Source| source.failure.as_ref().is_none_or(AttemptError::is_passing);
            for source in urls.iter_mut().filter(left) {
                (progress.line)(&format!("downloading {}", display_url(source.url)));
                match transfer.try_once(source, cancel)? {
                    Ok(from) => {
                        fs::rename(&source.path, path).with_context(|| format!("cannot write `{}`", path.display()))?;
                        return Ok(from);
                    }
                    Err(failure) => {
                        (progress.line)(&format!("{}: {failure}", display_url(source.url)));
                        source.failure = Some(failure);
                    }
                }
            }
            let waits = urls.iter().filter_map(|source| match source.failure {
                Some(AttemptError::Passing { pause, .. }) => Some(pause.unwrap_or_default()),
                _ => None,
            });
            let (Some(asked), Some(pause)) = (waits.max(), pauses.next()) else { break };
            let pause = asked.max(*pause).min(self.limits.longest_pause);
            (progress.line)(&format!("retrying in {:.0} s", pause.as_secs_f64()));
            retry::sleep(pause, cancel)?;
        }
        let tries = self.limits.pauses.len() + 1;
        let errors = urls.iter().filter_map(|source| match source.failure.as_ref()? {
            AttemptError::Final(why) | AttemptError::NotFound(why) => {
                Some(format!("{}: {why}", display_url(source.url)))
            }
            AttemptError::Passing { why, .. } => Some(format!(
                "{}: {why} ({tries} attempts; check the network and the proxy settings)",
                display_url(source.url)
            )),
        });
        let text = errors.collect::<Vec<_>>().join("; ");
        if urls.iter().all(|source| matches!(source.failure, Some(AttemptError::NotFound(_)))) {
            return Err(anyhow!(NotFound(text)));
        }
        bail!(text)
    }
}

impl Transfer<'_> {
    /// Makes one attempt at one URL. The outer error is a local one, for which other URLs cannot help.
    fn try_once(&self, source: &mut Source, cancel: &Cancel) -> Result<Result<Url, AttemptError>> {
        let wanted = self.wanted;
        if wanted.sha256.is_none() {
            source.partial = Partial::default();
        }
        let resumed = source.partial.bytes > 0;
        let from = match self.client.block(self.run(source), cancel)?? {
            Ok(from) => from,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some(sha256) = wanted.sha256 else { return Ok(Ok(from)) };
        let found = digest::of_file(&source.path)?;
        if found == sha256 {
            return Ok(Ok(from));
        }
        source.partial = Partial::default();
        let why = format!("the file has the SHA-256 `{found}`, not the pinned `{sha256}`; it was deleted");
        // A resumed download may consist of parts of two different files.
        Ok(Err(if resumed { AttemptError::passing(why) } else { AttemptError::Final(why) }))
    }
}

/// Copies a local file, up to a maximum size.
pub fn copy_local(url: &Url, path: &Path, largest: u64) -> Result<()> {
    let from = url.to_file_path().map_err(|()| anyhow!("`{url}` is not the URL of a local file"))?;
    let copy = || -> io::Result<u64> {
        let size = fs::metadata(&from)?.len();
        if size > largest {
            return Err(io::Error::other(format!("its size is {}, which is too large", ui::bytes(size))));
        }
        io::copy(&mut File::open(&from)?, &mut File::create(path)?)
    };
    copy().map(|_| ()).with_context(|| format!("cannot copy `{}`", from.display()))
}
