//! Transfers one file: sends the request, checks the response, and writes the body.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::header::{
    ACCEPT, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use super::{Client, Place, Progress, Wanted, check_room, login};
use base::ui;

/// Failure of an attempt.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt may succeed, after the delay that the server requested.
    Passing { why: String, pause: Option<Duration> },
    /// Another attempt at this URL is useless.
    Final(String),
}

impl Failure {
    pub(super) fn passing(why: impl Into<String>) -> Failure {
        Failure::Passing { why: why.into(), pause: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Passing { why, .. } | Failure::Final(why) => f.write_str(why),
        }
    }
}

/// Data received by earlier attempts.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) bytes: u64,
    /// Validator that identifies the version of the file on the server.
    validator: Option<String>,
}

impl Client {
    /// Transfers a file, or the rest of it. The outer error is a local one.
    pub(super) async fn transfer(
        &self,
        place: &mut Place<'_>,
        wanted: &Wanted<'_>,
        progress: &Progress<'_>,
    ) -> Result<Result<Url, Failure>> {
        let answer = match self.ask(place, wanted).await {
            Ok(answer) => answer,
            Err(failure) => return Ok(Err(failure)),
        };
        let total = match begin(&answer, wanted, &mut place.partial) {
            Ok(total) => total,
            Err(failure) => return Ok(Err(failure)),
        };
        let folder = place.path.parent().unwrap_or(Path::new("."));
        check_room(folder, total.unwrap_or_default().saturating_sub(place.partial.bytes))?;
        let from = answer.url().clone();
        let received = self.receive(answer, total, place, wanted, progress).await;
        let received = received.with_context(|| format!("cannot write `{}`", place.path.display()))?;
        Ok(received.map(|()| from))
    }

    async fn ask(&self, place: &Place<'_>, wanted: &Wanted<'_>) -> Result<Response, Failure> {
        let (url, partial) = (place.url, &place.partial);
        let mut request = self.http.get(url.clone());
        if url.username().is_empty()
            && let Some(login) = url.host_str().and_then(|host| login::find(&self.logins, host))
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
        match timeout(self.limits.period, request.send()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_builder() || error.is_redirect() => Err(Failure::Final(innermost(&error))),
            Ok(Err(error)) => Err(Failure::passing(innermost(&error))),
            Err(_) => Err(Failure::passing(format!("no response within {:?}", self.limits.period))),
        }
    }

    /// Writes the response body to the file. The outer error is a local one.
    async fn receive(
        &self,
        mut answer: Response,
        total: Option<u64>,
        place: &mut Place<'_>,
        wanted: &Wanted<'_>,
        progress: &Progress<'_>,
    ) -> io::Result<Result<(), Failure>> {
        let largest = wanted.size.unwrap_or(wanted.largest).min(wanted.largest);
        let partial = &mut place.partial;
        let mut options = File::options();
        let mut file = match partial.bytes {
            0 => options.write(true).create(true).truncate(true).open(&place.path)?,
            _ => options.append(true).open(&place.path)?,
        };
        partial.validator = validator(answer.headers());
        let (started, mut period, mut arrived) = (Instant::now(), Instant::now(), 0_u64);
        loop {
            let chunk = match timeout(self.limits.period, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Ok(Err(Failure::passing(innermost(&error)))),
                Err(_) => return Ok(Err(Failure::passing(format!("no data for {:?}", self.limits.period)))),
            };
            if partial.bytes + chunk.len() as u64 > largest {
                *partial = Partial::default();
                return Ok(Err(Failure::Final(format!("the response is larger than {}", ui::bytes(largest)))));
            }
            file.write_all(&chunk)?;
            partial.bytes += chunk.len() as u64;
            (progress.bytes)(partial.bytes, total.or(wanted.size));
            arrived += chunk.len() as u64;
            if period.elapsed() > self.limits.period {
                if arrived < self.limits.least {
                    let why = format!("only {} received in {:?}", ui::bytes(arrived), self.limits.period);
                    return Ok(Err(Failure::passing(why)));
                }
                (period, arrived) = (Instant::now(), 0);
            }
            if started.elapsed() > self.limits.whole {
                return Ok(Err(Failure::passing(format!("incomplete after {:?}", self.limits.whole))));
            }
        }
        match wanted.size.or(total).filter(|size| *size != partial.bytes) {
            Some(size) => {
                Ok(Err(Failure::passing(format!("the connection was closed after {} of {}", ui::bytes(partial.bytes), ui::bytes(size)))))
            }
            None => Ok(Ok(())),
        }
    }
}

/// Checks the headers of a response and returns the total size of the file, if known.
fn begin(answer: &Response, wanted: &Wanted, partial: &mut Partial) -> Result<Option<u64>, Failure> {
    let status = answer.status();
    let text = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
    match status {
        StatusCode::OK => *partial = Partial::default(),
        StatusCode::PARTIAL_CONTENT => {
            let begins = format!("bytes {}-", partial.bytes);
            if partial.bytes == 0 || !text(CONTENT_RANGE).is_some_and(|range| range.starts_with(&begins)) {
                *partial = Partial::default();
                return Err(Failure::passing("the server sent a different range than requested"));
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE if partial.bytes > 0 => {
            *partial = Partial::default();
            return Err(Failure::passing("the server cannot resume the download"));
        }
        _ => {
            let why = format!("the server responded with {status}");
            let passing = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
                || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED);
            // The header may contain a date instead of seconds; dates are ignored.
            let pause = text(RETRY_AFTER).and_then(|wish| wish.parse().ok()).map(Duration::from_secs);
            return Err(if passing { Failure::Passing { why, pause } } else { Failure::Final(why) });
        }
    }
    let total = answer.content_length().map(|rest| rest.saturating_add(partial.bytes));
    match (total, wanted.size) {
        (Some(total), Some(size)) if total != size => Err(Failure::Final(format!(
            "the server announces {}, but the file has {}",
            ui::bytes(total),
            ui::bytes(size)
        ))),
        (Some(total), _) if total > wanted.largest => {
            let (total, largest) = (ui::bytes(total), ui::bytes(wanted.largest));
            Err(Failure::Final(format!("the server announces {total}, which is more than the maximum of {largest}")))
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

/// Returns the innermost cause of an error, without the URL, which may contain a password.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        // Of reqwest's own errors, only one without a source contains the URL in its text.
        Some(_) if error.is_timeout() => "the connection timed out".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => cause.to_string(),
    }
}
