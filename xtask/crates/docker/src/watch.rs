//! Runs long operations of the engine. Ctrl-C or a watchdog ends an operation that would otherwise hang.

use std::future::{Future, ready};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bollard::errors::Error;
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt};

use crate::activity::Activity;
use crate::client::Docker;
use base::cancel::Cancel;

/// Time without progress after which the engine is pinged.
const PING_AFTER: Duration = Duration::from_secs(30);
/// Time limit of a ping.
const PING_LIMIT: Duration = Duration::from_secs(10);
/// Number of failed pings in a row after which the engine counts as stopped.
const MAX_FAILED_PINGS: u32 = 3;
/// Usual time without progress after which an operation counts as stuck, even if the engine answers pings.
pub const STUCK: Duration = Duration::from_secs(45 * 60);
/// Begin of the error of a stuck operation.
pub const NO_PROGRESS: &str = "no progress for";
/// Poll interval of the Ctrl-C flag.
const POLL: Duration = Duration::from_millis(100);

/// What ends an operation early.
pub struct Watch<'a> {
    /// Where the operation records its progress.
    pub activity: &'a Activity,
    pub cancel: &'a Cancel,
    /// How long the operation may make no progress; no limit if `None`.
    pub idle_limit: Option<Duration>,
}

impl Docker {
    /// Runs a long operation; `what` describes it in an error.
    pub(crate) fn watched<T>(
        &self,
        watch: Watch,
        work: impl Future<Output = Result<T>>,
        what: impl FnOnce() -> String,
    ) -> Result<T> {
        let Watch { activity, cancel, idle_limit } = watch;
        let cancelled = async {
            while !cancel.is_set() {
                tokio::time::sleep(POLL).await;
            }
            None
        };
        let stuck = self.wait_until_stuck(activity, idle_limit);
        let early_end = async { select(pin!(cancelled), pin!(stuck)).await.factor_first().0 };
        self.block(async {
            match select(pin!(work), pin!(early_end)).await {
                Either::Left((result, _)) => result.with_context(what),
                Either::Right((Some(error), _)) => Err(error.context(what())),
                Either::Right((None, _)) => bail!("interrupted"),
            }
        })
    }

    /// Waits until the operation has been idle for too long or the engine does not answer, and returns the error.
    async fn wait_until_stuck(&self, activity: &Activity, idle_limit: Option<Duration>) -> Option<anyhow::Error> {
        let (mut failed, mut pinged) = (0, Instant::now());
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let idle = activity.idle();
            if idle_limit.is_some_and(|limit| idle > limit) {
                return Some(anyhow!(
                    "{NO_PROGRESS} {} minutes; look at the last lines of output and at the engine's log, then try again",
                    idle.as_secs() / 60
                ));
            }
            if idle < PING_AFTER || (failed == 0 && pinged.elapsed() < PING_AFTER) {
                failed = 0;
                continue;
            }
            let answer = tokio::time::timeout(PING_LIMIT, self.client.ping()).await;
            failed = if matches!(answer, Ok(Ok(_))) { 0 } else { failed + 1 };
            pinged = Instant::now();
            if failed >= MAX_FAILED_PINGS {
                return Some(self.no_answer());
            }
        }
    }

    /// Waits for the next answer of a stream, records it as progress and explains an error.
    pub(crate) async fn next_answer<T>(
        &self,
        answers: &mut (impl Stream<Item = Result<T, Error>> + Unpin),
        activity: &Activity,
    ) -> Result<Option<T>> {
        let answer = answers.next().await.transpose();
        activity.record();
        answer.map_err(|error| self.explain(error))
    }

    /// Like `next_answer`, for answers in JSON. The engine ends each with a line break; if the last one arrives apart from
    /// its answer, the library reports it as an error. Callers check that they have received what they wait for.
    pub(crate) async fn next_message<T>(
        &self,
        answers: &mut (impl Stream<Item = Result<T, Error>> + Unpin),
        activity: &Activity,
    ) -> Result<Option<T>> {
        let line_break = |answer: &Result<T, Error>| match answer {
            Err(Error::IOError { err }) => err.to_string() == "bytes remaining on stream",
            _ => false,
        };
        let mut answers = pin!(answers.take_while(|answer| ready(!line_break(answer))));
        self.next_answer(&mut answers, activity).await
    }
}
