//! Downloads files over HTTP and HTTPS from untrusted servers.
//!
//! Proxies are read from `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower or upper case; trusted
//! certificates from `PIP_CERT`, `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`, else `SSL_CERT_FILE` and `SSL_CERT_DIR`,
//! else the system; logins from the URL, else `.netrc`. The configuration of curl is not read.

mod address;
mod login;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transfer;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures_util::future::{Either, select};
pub use reqwest::Url;
use reqwest::redirect::Policy;

pub use address::{display_url, join_url, parse_url};
use base::cancel::Cancel;
use base::{digest, retry, ui};
use login::Login;
use transfer::{AttemptError, Partial};

/// Maximum size of a downloaded file, in bytes.
pub const LARGEST_FILE: u64 = 8 << 30;
/// Maximum size of a page of a package index, in bytes.
pub const LARGEST_PAGE: u64 = 32 << 20;
/// Maximum number of redirects per request.
const REDIRECTS: usize = 10;

/// Time limits and retries of a download.
#[derive(Debug, Clone)]
pub struct DownloadLimits {
    /// Delays before the second and each further attempt.
    pub pauses: Vec<Duration>,
    /// Maximum delay, also if the server requests a longer one.
    pub longest_pause: Duration,
    /// Timeout for establishing a connection.
    pub connect: Duration,
    /// Timeout for the start of the response, and the interval in which at least `least` bytes must arrive.
    pub period: Duration,
    pub least: u64,
    /// Timeout of a whole attempt.
    pub whole: Duration,
}

impl Default for DownloadLimits {
    fn default() -> DownloadLimits {
        DownloadLimits {
            pauses: retry::PAUSES.to_vec(),
            longest_pause: Duration::from_secs(60),
            connect: Duration::from_secs(20),
            period: Duration::from_secs(60),
            least: 16 << 10,
            whole: Duration::from_secs(2 * 3600),
        }
    }
}

/// File to download.
#[derive(Debug)]
pub struct DownloadRequest<'a> {
    /// URLs of the file, tried in order. All must have the same content.
    pub urls: &'a [Url],
    /// Expected SHA-256, if known. It is checked before the file is kept; only a download with a known digest is
    /// resumed.
    pub sha256: Option<&'a str>,
    /// Size in bytes, if known.
    pub size: Option<u64>,
    /// Maximum size in bytes.
    pub largest: u64,
    pub accept: Option<&'static str>,
}

/// Callbacks for the progress of a download.
pub struct DownloadProgress<'a> {
    /// Called with lines for the log.
    pub line: &'a dyn Fn(&str),
    /// Called with the bytes received so far and the total, if known.
    pub bytes: &'a dyn Fn(u64, Option<u64>),
}

/// URL with the state of its attempts.
struct Source<'a> {
    url: &'a Url,
    /// Each URL has its own partial file, so that one server cannot corrupt the data of another.
    path: PathBuf,
    partial: Partial,
    failure: Option<AttemptError>,
}

impl<'a> Source<'a> {
    fn new(url: &'a Url, at: usize, path: &Path) -> Source<'a> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{at}"));
        Source { url, path: name.into(), partial: Partial::default(), failure: None }
    }
}

/// HTTP client with a connection pool.
pub struct Client {
    http: reqwest::Client,
    /// `None` only while the client is dropped.
    runtime: Option<tokio::runtime::Runtime>,
    limits: DownloadLimits,
    logins: Vec<Login>,
}

impl Drop for Client {
    fn drop(&mut self) {
        // The lookup of a host name cannot be interrupted; do not wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// Returns a client with the proxy, certificate and login settings of the environment.
    pub fn from_environment() -> Result<Client> {
        let mut builder = reqwest::Client::builder();
        for name in ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            let Some(file) = std::env::var_os(name).map(PathBuf::from).filter(|file| file.is_file()) else { continue };
            let read = || -> Result<Vec<reqwest::Certificate>> {
                Ok(reqwest::Certificate::from_pem_bundle(&fs::read(&file)?)?)
            };
            let bundle = read().with_context(|| format!("cannot read the certificates in `{}`", file.display()));
            builder = builder.tls_certs_only(bundle.with_context(|| format!("`{name}`"))?);
            break;
        }
        Client::new(builder, DownloadLimits::default(), login::read())
    }

    fn new(builder: reqwest::ClientBuilder, limits: DownloadLimits, logins: Vec<Login>) -> Result<Client> {
        // Fails if a provider is already installed, which is not a problem.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = builder
            .user_agent(concat!("wheel-matrix/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .redirect(Policy::custom(|attempt| match check_redirect(attempt.url(), attempt.previous()) {
                Ok(()) => attempt.follow(),
                Err(why) => attempt.error(why),
            }))
            .connect_timeout(limits.connect)
            .build()
            .context("cannot set up HTTPS")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("cannot start the event loop for downloads; raise `ulimit -n`")?;
        Ok(Client { http, runtime: Some(runtime), limits, logins })
    }

    /// Downloads a file to `path` and returns its final URL after redirects.
    pub fn download(
        &self,
        wanted: &DownloadRequest,
        path: &Path,
        progress: &DownloadProgress,
        cancel: &Cancel,
    ) -> Result<Url> {
        let mut urls: Vec<Source> =
            wanted.urls.iter().enumerate().map(|(at, url)| Source::new(url, at, path)).collect();
        let mut pauses = self.limits.pauses.iter();
        loop {
            for source in urls.iter_mut().filter(|source| !matches!(source.failure, Some(AttemptError::Final(_)))) {
                (progress.line)(&format!("downloading {}", display_url(source.url)));
                match self.try_once(source, wanted, progress, cancel)? {
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
            AttemptError::Final(why) => Some(format!("{}: {why}", display_url(source.url))),
            AttemptError::Passing { why, .. } => Some(format!(
                "{}: {why} ({tries} attempts; check the network and the proxy settings)",
                display_url(source.url)
            )),
        });
        bail!("{}", errors.collect::<Vec<_>>().join("; "))
    }

    /// Checks that a server responds with success to a request for a URL within a few seconds.
    pub fn probe(&self, url: &Url) -> Result<()> {
        let limit = Duration::from_secs(10);
        let request = self.http.head(url.clone()).timeout(limit).send();
        let response =
            self.block(request, &Cancel::default())?.map_err(|error| anyhow!(transfer::innermost(&error)))?;
        ensure!(response.status().is_success(), "the server responded with {}", response.status());
        Ok(())
    }

    /// Makes one attempt at one URL. The outer error is a local one, for which other URLs cannot help.
    fn try_once(
        &self,
        source: &mut Source,
        wanted: &DownloadRequest,
        progress: &DownloadProgress,
        cancel: &Cancel,
    ) -> Result<Result<Url, AttemptError>> {
        if wanted.sha256.is_none() {
            source.partial = Partial::default();
        }
        let resumed = source.partial.bytes > 0;
        let from = match self.block(self.transfer(source, wanted, progress), cancel)?? {
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

    fn block<T>(&self, work: impl Future<Output = T>, cancel: &Cancel) -> Result<T> {
        let cancelled = async {
            while !cancel.is_set() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let runtime = self.runtime.as_ref().context("downloads have no event loop: this is a bug")?;
        runtime.block_on(async {
            match select(pin!(work), pin!(cancelled)).await {
                Either::Left((result, _)) => Ok(result),
                Either::Right(_) => Err(anyhow!("interrupted")),
            }
        })
    }
}

fn check_redirect(url: &Url, before: &[Url]) -> Result<(), String> {
    if before.len() > REDIRECTS {
        return Err(format!("it redirects more than {REDIRECTS} times"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it redirects to something that is neither `https:` nor `http:`".to_owned());
    }
    match before.last() {
        Some(last) if last.scheme() == "https" && url.scheme() == "http" => {
            Err("it redirects from https to http".to_owned())
        }
        _ => Ok(()),
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

/// Checks that the disk of `folder` has room for `size` bytes.
fn check_room(folder: &Path, size: u64) -> Result<()> {
    let free = base::disk::free(folder).unwrap_or(u64::MAX);
    ensure!(
        free > size,
        "the disk is full: {} are needed and {} left at `{}`; free some space there, then run the same command again",
        ui::bytes(size),
        ui::bytes(free),
        folder.display()
    );
    Ok(())
}
