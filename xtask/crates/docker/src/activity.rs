//! When a running operation last made progress.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time of the last answer from the engine, or of the last part of an upload to it. Clones share the time.
#[derive(Clone)]
pub struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    pub fn new() -> Activity {
        Activity(Arc::new(Mutex::new(Instant::now())))
    }

    /// Records that the operation has made progress now.
    pub fn record(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns the time since the last progress.
    pub fn idle(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
