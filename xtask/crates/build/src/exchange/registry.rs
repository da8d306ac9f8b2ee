//! Whether a registry answers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::repository::Repository;
use crate::step::RunContext;
use docker::Docker;

/// Number of consecutive objects that may fail before a repository is disabled although its registry responds.
const FAILURES: u32 = 3;

/// Repository and its state during this run.
#[derive(Debug)]
pub(super) struct RegistryState {
    pub(super) repository: Repository,
    closed: AtomicBool,
    /// Number of failed objects since the last success.
    failures: AtomicU32,
    /// Whether images are only tagged for the repository and not pushed.
    pub(super) staged: bool,
}

/// Consequence of the failure of one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FailureEffect {
    /// The repository stays in use for other objects.
    Object,
    /// The repository is disabled by this failure.
    Repository,
    /// The repository was already disabled.
    Known,
}

impl RegistryState {
    pub(super) fn new(repository: Repository) -> RegistryState {
        RegistryState { repository, closed: AtomicBool::new(false), failures: AtomicU32::new(0), staged: false }
    }

    pub(super) fn open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn succeed(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Records that an object failed after all retries, and whether the registry still responds.
    pub(super) fn fail(&self, answers: bool) -> FailureEffect {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if answers && failures < FAILURES {
            return FailureEffect::Object;
        }
        if self.closed.swap(true, Ordering::Relaxed) { FailureEffect::Known } else { FailureEffect::Repository }
    }

    /// Returns whether the registry responds at all.
    pub(super) fn answers(&self, docker: &Docker, context: &RunContext) -> bool {
        docker.registry_image(&format!("{}:any", self.repository), context.cancel).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> RegistryState {
        RegistryState::new(Repository::parse("127.0.0.1:5000/cache").unwrap())
    }

    #[test]
    fn one_failed_object_does_not_disable_the_registry() {
        let state = state();
        assert_eq!(
            (state.fail(true), state.fail(true), state.open()),
            (FailureEffect::Object, FailureEffect::Object, true)
        );
        state.succeed();
        assert_eq!(
            (state.fail(true), state.fail(true), state.open()),
            (FailureEffect::Object, FailureEffect::Object, true)
        );
        assert_eq!((state.fail(true), state.open()), (FailureEffect::Repository, false));
        assert_eq!(state.fail(true), FailureEffect::Known);
    }

    #[test]
    fn a_registry_that_does_not_respond_is_disabled_once() {
        let state = state();
        assert_eq!(
            (state.fail(false), state.open(), state.fail(false)),
            (FailureEffect::Repository, false, FailureEffect::Known)
        );
    }
}
