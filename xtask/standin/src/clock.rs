//! Clock in the protocol's seconds, which tests can advance.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2010-01-01T00:00:00Z, the epoch of expiry times.
const EPOCH: u64 = 1_262_304_000;

#[derive(Debug, Default)]
pub struct Clock {
    ahead: AtomicU32,
}

impl Clock {
    pub fn now(&self) -> u32 {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = u32::try_from(unix.saturating_sub(EPOCH)).unwrap_or(u32::MAX);
        seconds.saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    /// Advances the clock, so that tests need not wait for an expiry.
    pub fn advance(&self, seconds: u32) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}
