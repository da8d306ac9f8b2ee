//! Repeats work that depends on the network after transient failures.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cancel::Cancel;

/// Delays before the second and the third attempt.
pub const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Calls `work` until it succeeds, with one retry per delay. Returns an error at once if `is_final` holds for it;
/// calls `note` with each error that is followed by a retry.
pub fn repeat<T>(
    pauses: &[Duration],
    cancel: &Cancel,
    is_final: impl Fn(&anyhow::Error) -> bool,
    note: impl Fn(&anyhow::Error),
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    for pause in pauses {
        match work() {
            Ok(done) => return Ok(done),
            Err(error) => {
                cancel.check()?;
                if is_final(&error) {
                    return Err(error);
                }
                note(&error);
            }
        }
        sleep(*pause, cancel)?;
    }
    work()
}

/// Sleeps for `time`. Fails if the run is interrupted meanwhile.
pub fn sleep(time: Duration, cancel: &Cancel) -> Result<()> {
    let started = Instant::now();
    loop {
        cancel.check()?;
        let left = time.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::{anyhow, bail};

    use super::*;

    const NONE: [Duration; 2] = [Duration::ZERO; 2];

    fn fail_first(failures: u32, is_final: bool) -> (Result<u32>, u32) {
        let (calls, noted) = (Cell::new(0), Cell::new(0));
        let result = repeat(
            &NONE,
            &Cancel::default(),
            |_| is_final,
            |_| noted.set(noted.get() + 1),
            || {
                calls.set(calls.get() + 1);
                if calls.get() <= failures { Err(anyhow!("fault {}", calls.get())) } else { Ok(calls.get()) }
            },
        );
        (result, noted.get())
    }

    #[test]
    fn work_is_attempted_up_to_three_times() {
        assert_eq!(fail_first(0, false).0.unwrap(), 1);
        let (done, noted) = fail_first(2, false);
        assert_eq!((done.unwrap(), noted), (3, 2));
        assert_eq!(fail_first(3, false).0.unwrap_err().to_string(), "fault 3");
        let (refused, noted) = fail_first(1, true);
        assert_eq!((refused.unwrap_err().to_string(), noted), ("fault 1".to_owned(), 0));
    }

    #[test]
    fn an_interruption_stops_the_retries() {
        let cancel = Cancel::default();
        let calls = Cell::new(0);
        let result: Result<()> = repeat(
            &[Duration::from_secs(3600)],
            &cancel,
            |_| false,
            |_| cancel.set(),
            || {
                calls.set(calls.get() + 1);
                bail!("fault")
            },
        );
        assert_eq!((result.unwrap_err().to_string(), calls.get()), ("interrupted".to_owned(), 1));
    }
}
