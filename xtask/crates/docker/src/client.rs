//! The connection to an engine: requests with a time limit, and errors that say what to do.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bollard::errors::Error;

use crate::tunnel::Tunnel;

/// Time limit of a request that only reads or changes metadata.
const REQUEST: Duration = Duration::from_secs(120);
/// Time limit of the first answer; through ssh it includes the login.
const FIRST_ANSWER: Duration = Duration::from_secs(15);
const FIRST_ANSWER_SSH: Duration = Duration::from_secs(60);

/// Receives each line of output or progress.
pub type OnLine<'a> = &'a (dyn Fn(&str) + Sync);

/// A connection to a Docker engine. Its methods block and must not be called from async code.
#[derive(Clone)]
pub struct Docker {
    pub(crate) client: bollard::Docker,
    /// Address of the engine without a password, for messages.
    pub(crate) endpoint: String,
    /// The tunnel of an `ssh://` endpoint; it is closed when the last clone is dropped.
    pub(crate) tunnel: Option<Arc<Tunnel>>,
    /// Bytes of memory that the engine has, read once.
    pub(crate) memory: Arc<OnceLock<u64>>,
}

impl Docker {
    pub(crate) fn new(client: bollard::Docker, endpoint: String, tunnel: Option<Tunnel>) -> Docker {
        Docker { client, endpoint, tunnel: tunnel.map(Arc::new), memory: Arc::default() }
    }

    /// Time limit of the first answer of the engine.
    pub(crate) fn first_answer_limit(&self) -> Duration {
        if self.tunnel.is_some() { FIRST_ANSWER_SSH } else { FIRST_ANSWER }
    }

    /// Runs a future on a runtime of its own. When the future ends or is dropped, all its connections are closed; this
    /// tells the engine to cancel a build.
    pub(crate) fn block<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("cannot start the event loop for the Docker client; raise `ulimit -n`")?;
        let result = runtime.block_on(future);
        // Does not wait for a name lookup that hangs.
        runtime.shutdown_background();
        result
    }

    /// Makes a request that only reads or changes metadata.
    pub(crate) fn request<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T> {
        self.request_within(REQUEST, call)
    }

    /// Makes a request with a time limit.
    pub(crate) fn request_within<T>(&self, limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T> {
        self.block(async {
            match tokio::time::timeout(limit, call).await {
                Ok(answer) => answer.map_err(|error| self.explain(error)),
                Err(_) => Err(self.no_answer()),
            }
        })
    }

    /// The error for an engine that does not answer.
    pub(crate) fn no_answer(&self) -> anyhow::Error {
        anyhow!(
            "the Docker engine stopped answering at `{}`; look at its log (`journalctl -u docker`), restart it (`sudo systemctl restart docker`) and try again",
            self.endpoint
        )
    }

    /// The error for a connection that the engine has closed.
    pub(crate) fn connection_closed(&self, why: &str) -> anyhow::Error {
        anyhow!(
            "the Docker engine at `{}` closed the connection ({why}); check that it runs (`docker info`, `journalctl -u docker`) and try again",
            self.endpoint
        )
    }

    /// Turns an error of the client library into one that says what to do.
    pub(crate) fn explain(&self, error: Error) -> anyhow::Error {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                let message = message.trim();
                anyhow!("the Docker engine refused the request with status {status_code}: {message}")
            }
            Error::DockerStreamError { error } => anyhow!("{}", error.trim()),
            Error::RequestTimeoutError => self.no_answer(),
            // The texts of these errors repeat their sources.
            Error::HyperLegacyError { err } => self.connection_closed(&with_causes(err)),
            Error::HyperResponseError { err } => self.connection_closed(&with_causes(err)),
            Error::IOError { err } => self.connection_closed(&with_causes(err)),
            other => anyhow::Error::new(other)
                .context("cannot understand the answer of the Docker engine; update the engine or this tool"),
        }
    }
}

/// Replaces the engine's answer 404 by `None`.
pub async fn if_found<T>(call: impl Future<Output = Result<T, Error>>) -> Result<Option<T>, Error> {
    match call.await {
        Ok(value) => Ok(Some(value)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a number that the API has as signed; 0 if it is absent or negative.
pub fn unsigned(value: Option<i64>) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default()
}

/// Formats an error and all its causes as one line.
pub fn with_causes(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
