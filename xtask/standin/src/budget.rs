//! Memory budget: memory must be reserved here before it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicUsize::new(0) })
    }

    /// Reserves `bytes`, or fails without reserving anything.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let grown = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// Memory of one message while it is processed, released on drop.
#[derive(Debug)]
pub struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl<'a> Share<'a> {
    pub fn of(budget: &'a Budget) -> Share<'a> {
        Share { budget, bytes: 0 }
    }

    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let granted = self.budget.take(bytes);
        self.bytes += if granted { bytes } else { 0 };
        granted
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let budget = Budget::new(10);
        let mut share = Share::of(&budget);
        assert!(share.grow(8));
        assert!(!share.grow(3));
        assert!(!budget.take(usize::MAX));
        assert_eq!(budget.used(), 8);
        drop(share);
        assert_eq!(budget.used(), 0);
    }
}
