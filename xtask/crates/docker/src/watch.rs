//! Runs requests to the engine so that none can hang: a time limit, Ctrl-C, or the watchdog ends each of them.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bollard::errors::Error;
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt};

use super::Docker;
use base::cancel::Cancel;

/// Time a request that only reads or changes metadata may take.
const QUICK: Duration = Duration::from_secs(120);
/// Silence after which the engine is asked whether it still lives.
const QUIET: Duration = Duration::from_secs(30);
/// Time such a question may take, and how many in a row may fail.
const PING: Duration = Duration::from_secs(10);
const PINGS: u32 = 3;
/// Silence after which an operation counts as stuck although the engine lives.
pub(super) const STUCK: Duration = Duration::from_secs(45 * 60);
/// Poll interval of the Ctrl-C flag.
const TICK: Duration = Duration::from_millis(100);

impl Docker {
    /// Runs a future on a runtime of its own: when it ends or is given up, every connection of it is closed, which is how the engine learns that a build is no longer wanted.
    pub(super) fn block<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("cannot start the event loop for the Docker client; raise `ulimit -n`")?;
        let result = runtime.block_on(future);
        // A name lookup that hangs would otherwise hold the caller.
        runtime.shutdown_background();
        result
    }

    pub(super) fn quick<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T> {
        self.within(QUICK, call)
    }

    pub(super) fn within<T>(&self, limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T> {
        self.block(async {
            match tokio::time::timeout(limit, call).await {
                Ok(answer) => answer.map_err(|error| self.explain(error)),
                Err(_) => Err(self.stopped()),
            }
        })
    }

    /// Runs a long operation under the Ctrl-C flag and the watchdog; `limit` is how long it may make no progress.
    pub(super) fn watched<T>(
        &self,
        beat: &Beat,
        cancel: &Cancel,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T>>,
        what: impl FnOnce() -> String,
    ) -> Result<T> {
        let cancelled = async {
            while !cancel.is_set() {
                tokio::time::sleep(TICK).await;
            }
            None
        };
        let guard = async { select(pin!(cancelled), pin!(self.unhealthy(beat, limit))).await.factor_first().0 };
        self.block(async {
            match select(pin!(work), pin!(guard)).await {
                Either::Left((result, _)) => result.with_context(what),
                Either::Right((Some(error), _)) => Err(error.context(what())),
                Either::Right((None, _)) => bail!("interrupted"),
            }
        })
    }

    /// Ends when the engine or the operation is found dead.
    async fn unhealthy(&self, beat: &Beat, limit: Option<Duration>) -> Option<anyhow::Error> {
        let (mut failed, mut asked) = (0, Instant::now());
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let quiet = beat.quiet();
            if limit.is_some_and(|limit| quiet > limit) {
                return Some(anyhow!(
                    "nothing happened for {} minutes; look at the last lines of output and at the engine's log, then try again",
                    quiet.as_secs() / 60
                ));
            }
            if quiet < QUIET || (failed == 0 && asked.elapsed() < QUIET) {
                failed = 0;
                continue;
            }
            let answer = tokio::time::timeout(PING, self.client.ping()).await;
            failed = if matches!(answer, Ok(Ok(_))) { 0 } else { failed + 1 };
            asked = Instant::now();
            if failed >= PINGS {
                return Some(self.stopped());
            }
        }
    }

    /// The next answer of a stream, its error explained, and noted as a sign of life.
    pub(super) async fn next<T>(
        &self,
        answers: &mut (impl Stream<Item = Result<T, Error>> + Unpin),
        beat: &Beat,
    ) -> Result<Option<T>> {
        let answer = answers.next().await.transpose();
        beat.note();
        answer.map_err(|error| self.explain(error))
    }

    pub(super) fn stopped(&self) -> anyhow::Error {
        anyhow!(
            "the Docker engine stopped answering at `{}`; look at its log (`journalctl -u docker`), restart it (`sudo systemctl restart docker`) and try again",
            self.endpoint
        )
    }

    pub(super) fn broken(&self, why: &str) -> anyhow::Error {
        anyhow!(
            "the Docker engine at `{}` closed the connection ({why}); check that it runs (`docker info`, `journalctl -u docker`) and try again",
            self.endpoint
        )
    }

    pub(super) fn explain(&self, error: Error) -> anyhow::Error {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                let message = message.trim();
                anyhow!("the Docker engine refused with status {status_code}: {message}")
            }
            Error::DockerStreamError { error } => anyhow!("{}", error.trim()),
            Error::RequestTimeoutError => self.stopped(),
            // These repeat their source in their own text.
            Error::HyperLegacyError { err } => self.broken(&chain(err)),
            Error::HyperResponseError { err } => self.broken(&chain(err)),
            Error::IOError { err } => self.broken(&chain(err)),
            other => anyhow::Error::new(other)
                .context("the Docker engine gave an answer that cannot be used; update it or this tool"),
        }
    }
}

/// An error with all its causes on one line.
pub(super) fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

/// When the engine or an upload to it last showed life.
#[derive(Clone)]
pub(super) struct Beat(Arc<Mutex<Instant>>);

impl Beat {
    pub(super) fn new() -> Beat {
        Beat(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn quiet(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
