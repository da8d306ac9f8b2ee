//! One flag that Ctrl-C sets and every waiting loop looks at, so that nothing is left half done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

/// Set once, by a signal; cheap to clone and to ask.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicUsize>);

impl Cancel {
    /// A flag that SIGINT, SIGTERM and SIGHUP set; the third signal ends the process at once, after `last`.
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

    /// The error of an interrupted step.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!("interrupted");
        }
        Ok(())
    }
}
