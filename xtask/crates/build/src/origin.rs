//! Positions of values in the project's files.

/// Position of a value in the project's files, for errors. Not part of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    #[default]
    Unknown,
    /// Ordinal of a scalar in the matrix.
    Matrix(usize),
    /// A SHA-256 in a lock file. `file` is the path of the lock file, relative to the project's folder.
    Lock { file: String, sha256: String },
}
