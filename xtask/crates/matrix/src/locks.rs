//! Where the lock files of packages are.

use crate::schema::Matrix;

/// Folder of the lock files if the matrix names none.
pub const DEFAULT_LOCKS: &str = "locks";

/// What the files in a lock file are installed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockPurpose {
    /// In the images, to run the package.
    Runtime,
    /// In the container in which the wheel is built.
    Build,
    /// In the container in which the package's own tests run.
    Tests,
}

impl LockPurpose {
    pub const ALL: [LockPurpose; 3] = [LockPurpose::Runtime, LockPurpose::Build, LockPurpose::Tests];

    /// Returns the purpose as users name it.
    pub fn as_str(self) -> &'static str {
        match self {
            LockPurpose::Runtime => "runtime",
            LockPurpose::Build => "build",
            LockPurpose::Tests => "tests",
        }
    }

    /// Returns the name of the file (PEP 751).
    fn file_name(self) -> &'static str {
        match self {
            LockPurpose::Runtime => "pylock.toml",
            LockPurpose::Build => "pylock.build.toml",
            LockPurpose::Tests => "pylock.tests.toml",
        }
    }
}

impl Matrix {
    /// Returns the path of a lock file, relative to `matrix.yaml`. The file need not exist.
    pub fn lock_file(&self, package: &str, purpose: LockPurpose) -> String {
        let folder = self.locks.as_deref().unwrap_or(DEFAULT_LOCKS).trim_end_matches('/');
        format!("{folder}/{package}/{}", purpose.file_name())
    }
}
