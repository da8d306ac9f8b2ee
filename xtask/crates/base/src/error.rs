//! Errors that have their own exit code. Every other error ends the program with exit code 1.

use std::fmt;

/// Wrong command line or configuration (exit code 2).
#[derive(Debug)]
pub struct UsageError(pub String);

/// The command line selects nothing (exit code 3).
#[derive(Debug)]
pub struct NothingSelected;

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NothingSelected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is selected: matrix.yaml has no such packages or images")
    }
}

impl std::error::Error for UsageError {}
impl std::error::Error for NothingSelected {}
