//! The HTTP client: settings of the environment, redirects, and requests that Ctrl-C interrupts.

use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use futures_util::future::{Either, select};
use reqwest::Url;
use reqwest::redirect::Policy;

use crate::login::{self, Login};
use crate::request::DownloadLimits;
use base::cancel::Cancel;

/// Maximum number of redirects per request.
const REDIRECTS: usize = 10;

/// HTTP client with a connection pool.
pub struct Client {
    pub(crate) http: reqwest::Client,
    /// `None` only while the client is dropped.
    runtime: Option<tokio::runtime::Runtime>,
    pub(crate) limits: DownloadLimits,
    pub(crate) logins: Vec<Login>,
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

    pub(crate) fn new(builder: reqwest::ClientBuilder, limits: DownloadLimits, logins: Vec<Login>) -> Result<Client> {
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

    /// Checks that a server responds with success to a request for a URL within a few seconds.
    pub fn probe(&self, url: &Url) -> Result<()> {
        let limit = Duration::from_secs(10);
        // Sent by the event loop, because a time limit is set when a request is sent.
        let request = async { self.http.head(url.clone()).timeout(limit).send().await };
        let response = self.block(request, &Cancel::default())?.map_err(|error| anyhow!(innermost(&error)))?;
        ensure!(response.status().is_success(), "the server responded with {}", response.status());
        Ok(())
    }

    /// Runs a request until it ends or is interrupted.
    pub(crate) fn block<T>(&self, work: impl Future<Output = T>, cancel: &Cancel) -> Result<T> {
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

pub fn check_redirect(url: &Url, before: &[Url]) -> Result<(), String> {
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

/// Returns the innermost cause of an error, without the URL, which may contain a password.
pub fn innermost(error: &reqwest::Error) -> String {
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
