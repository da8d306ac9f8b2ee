//! Cancellation: a flag that signals set and that every waiting loop checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

/// Cancellation flag, shared between threads. Clones refer to the same flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicUsize>);

impl Cancel {
    /// Returns a flag that SIGINT, SIGTERM and SIGHUP set. The third signal calls `last` and exits with code 130.
    pub fn on_signals(last: fn()) -> Result<Cancel> {
        let cancel = Cancel::default();
        let count = cancel.0.clone();
        ctrlc::set_handler(move || {
            if count.fetch_add(1, Ordering::SeqCst) >= 2 {
                last();
                std::process::exit(130);
            }
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(cancel)
    }

    pub fn set(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Returns the error `interrupted` if the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!("interrupted");
        }
        Ok(())
    }
}
