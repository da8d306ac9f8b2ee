//! Transfers one file: sends the request, checks the response, and writes the body.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::header::{
    ACCEPT, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use crate::client::{Client, innermost};
use crate::login;
use crate::request::{DownloadProgress, DownloadRequest};
use base::ui;

/// Failure of one attempt.
#[derive(Debug)]
pub enum AttemptError {
    /// Another attempt may succeed, after the delay that the server requested.
    Passing { why: String, pause: Option<Duration> },
    /// Another attempt at this URL is useless.
    Final(String),
    /// The server has nothing at this URL.
    NotFound(String),
}

impl AttemptError {
    pub fn passing(why: impl Into<String>) -> AttemptError {
        AttemptError::Passing { why: why.into(), pause: None }
    }

    pub fn is_passing(&self) -> bool {
        matches!(self, AttemptError::Passing { .. })
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptError::Passing { why, .. } | AttemptError::Final(why) | AttemptError::NotFound(why) => {
                f.write_str(why)
            }
        }
    }
}

/// Data received by earlier attempts.
#[derive(Debug, Default)]
pub struct Partial {
    pub bytes: u64,
    /// Validator that identifies the version of the file on the server.
    validator: Option<String>,
}

/// URL with the state of its attempts.
pub struct Source<'a> {
    pub url: &'a Url,
    /// Each URL has its own partial file, so that one server cannot corrupt the data of another.
    pub path: PathBuf,
    pub partial: Partial,
    pub failure: Option<AttemptError>,
}

impl<'a> Source<'a> {
    pub fn new(url: &'a Url, at: usize, path: &Path) -> Source<'a> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{at}"));
        Source { url, path: name.into(), partial: Partial::default(), failure: None }
    }
}

/// Transfer of a file that several URLs may have.
pub struct Transfer<'t> {
    pub client: &'t Client,
    pub wanted: &'t DownloadRequest<'t>,
    pub progress: &'t DownloadProgress<'t>,
}

impl Transfer<'_> {
    /// Transfers the file, or the rest of it, from one URL. The outer error is a local one.
    pub async fn run(&self, source: &mut Source<'_>) -> Result<Result<Url, AttemptError>> {
        let wanted = self.wanted;
        let response = match self.send_request(source).await {
            Ok(response) => response,
            Err(failure) => return Ok(Err(failure)),
        };
        let total = match check_response(&response, wanted, &mut source.partial) {
            Ok(total) => total,
            Err(failure) => return Ok(Err(failure)),
        };
        let folder = source.path.parent().unwrap_or(Path::new("."));
        check_room(folder, total.unwrap_or_default().saturating_sub(source.partial.bytes))?;
        let from = response.url().clone();
        let received = self.receive(response, total, source).await;
        let received = received.with_context(|| format!("cannot write `{}`", source.path.display()))?;
        Ok(received.map(|()| from))
    }

    async fn send_request(&self, source: &Source<'_>) -> Result<Response, AttemptError> {
        let (client, wanted) = (self.client, self.wanted);
        let (url, partial) = (source.url, &source.partial);
        let mut request = client.http.get(url.clone());
        if url.username().is_empty()
            && let Some(login) = url.host_str().and_then(|host| login::find(&client.logins, host))
        {
            request = request.basic_auth(&login.name, Some(&login.password));
        }
        if let Some(accept) = wanted.accept {
            request = request.header(ACCEPT, accept);
        }
        if partial.bytes > 0 {
            request = request.header(RANGE, format!("bytes={}-", partial.bytes));
            if let Some(validator) = &partial.validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        match timeout(client.limits.period, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_builder() || error.is_redirect() => Err(AttemptError::Final(innermost(&error))),
            Ok(Err(error)) => Err(AttemptError::passing(innermost(&error))),
            Err(_) => Err(AttemptError::passing(format!("no response within {:?}", client.limits.period))),
        }
    }

    /// Writes the response body to the file. The outer error is a local one.
    async fn receive(
        &self,
        mut response: Response,
        total: Option<u64>,
        source: &mut Source<'_>,
    ) -> io::Result<Result<(), AttemptError>> {
        let Transfer { client, wanted, progress } = *self;
        let limits = &client.limits;
        let largest = wanted.size.unwrap_or(wanted.largest).min(wanted.largest);
        let partial = &mut source.partial;
        let mut options = File::options();
        let mut file = match partial.bytes {
            0 => options.write(true).create(true).truncate(true).open(&source.path)?,
            _ => options.append(true).open(&source.path)?,
        };
        partial.validator = validator(response.headers());
        let (started, mut period, mut arrived) = (Instant::now(), Instant::now(), 0_u64);
        loop {
            let chunk = match timeout(limits.period, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Ok(Err(AttemptError::passing(innermost(&error)))),
                Err(_) => return Ok(Err(AttemptError::passing(format!("no data for {:?}", limits.period)))),
            };
            if partial.bytes + chunk.len() as u64 > largest {
                *partial = Partial::default();
                return Ok(Err(AttemptError::Final(format!("the response is larger than {}", ui::bytes(largest)))));
            }
            file.write_all(&chunk)?;
            partial.bytes += chunk.len() as u64;
            (progress.bytes)(partial.bytes, total.or(wanted.size));
            arrived += chunk.len() as u64;
            if period.elapsed() > limits.period {
                if arrived < limits.least {
                    let why = format!("only {} received in {:?}", ui::bytes(arrived), limits.period);
                    return Ok(Err(AttemptError::passing(why)));
                }
                (period, arrived) = (Instant::now(), 0);
            }
            if started.elapsed() > limits.whole {
                return Ok(Err(AttemptError::passing(format!("incomplete after {:?}", limits.whole))));
            }
        }
        match wanted.size.or(total).filter(|size| *size != partial.bytes) {
            Some(size) => Ok(Err(AttemptError::passing(format!(
                "the connection was closed after {} of {}",
                ui::bytes(partial.bytes),
                ui::bytes(size)
            )))),
            None => Ok(Ok(())),
        }
    }
}

/// Checks the headers of a response and returns the total size of the file, if known.
fn check_response(
    response: &Response,
    wanted: &DownloadRequest,
    partial: &mut Partial,
) -> Result<Option<u64>, AttemptError> {
    let status = response.status();
    let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    match status {
        StatusCode::OK => *partial = Partial::default(),
        StatusCode::PARTIAL_CONTENT => {
            let begins = format!("bytes {}-", partial.bytes);
            if partial.bytes == 0 || !text(CONTENT_RANGE).is_some_and(|range| range.starts_with(&begins)) {
                *partial = Partial::default();
                return Err(AttemptError::passing("the server sent a different range than requested"));
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE if partial.bytes > 0 => {
            *partial = Partial::default();
            return Err(AttemptError::passing("the server cannot resume the download"));
        }
        _ => {
            let hint = match status {
                StatusCode::UNAUTHORIZED => {
                    "; it expects a user name and a password in ~/.netrc or in the URL of the index"
                }
                _ => "",
            };
            let why = format!("the server responded with {status}{hint}");
            let passing = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
                || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED);
            // The header may contain a date instead of seconds; dates are ignored.
            let pause = text(RETRY_AFTER).and_then(|wish| wish.parse().ok()).map(Duration::from_secs);
            return Err(match status {
                _ if passing => AttemptError::Passing { why, pause },
                StatusCode::NOT_FOUND | StatusCode::GONE => AttemptError::NotFound(why),
                _ => AttemptError::Final(why),
            });
        }
    }
    let total = response.content_length().map(|rest| rest.saturating_add(partial.bytes));
    match (total, wanted.size) {
        (Some(total), Some(size)) if total != size => Err(AttemptError::Final(format!(
            "the server announces {}, but the file has {}",
            ui::bytes(total),
            ui::bytes(size)
        ))),
        (Some(total), _) if total > wanted.largest => {
            let (total, largest) = (ui::bytes(total), ui::bytes(wanted.largest));
            Err(AttemptError::Final(format!(
                "the server announces {total}, which is more than the maximum of {largest}"
            )))
        }
        _ => Ok(total),
    }
}

/// Returns the value for `If-Range`: a strong ETag, else a date.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let strong = text(ETAG).filter(|tag| tag.starts_with('"'));
    strong.or_else(|| text(LAST_MODIFIED)).map(str::to_owned)
}

/// Checks that the disk of `folder` has room for `size` bytes.
pub fn check_room(folder: &Path, size: u64) -> Result<()> {
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
