//! The build tags of wheels that are not for others: those that `--quick` compiles for trying out, and those that are
//! compiled with ThreadSanitizer.

/// A way to compile wheels that are neither pushed nor released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalBuild {
    /// Faster to compile than a wheel for release, and slower at run time.
    Quick,
    /// With ThreadSanitizer. Such a wheel works only in an interpreter with it.
    Tsan,
}

impl LocalBuild {
    pub const ALL: [LocalBuild; 2] = [LocalBuild::Quick, LocalBuild::Tsan];

    /// The build tag (PEP 427), in the file name and in the WHEEL file. A build tag begins with a digit. Unlike a local
    /// version it changes neither the version that Python sees nor what requirements the wheel satisfies.
    pub fn tag(self) -> &'static str {
        match self {
            LocalBuild::Quick => "0quick",
            LocalBuild::Tsan => "0tsan",
        }
    }

    /// How the wheel is built, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            LocalBuild::Quick => "built with --quick, for trying out and not for release",
            LocalBuild::Tsan => "built with ThreadSanitizer, for tests and not for release",
        }
    }
}
