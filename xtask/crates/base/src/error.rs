//! Classes of errors. Each class has its own exit code.

use std::fmt;

use anyhow::Error;

/// The kind of error that ended the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// A step, a check or a measurement failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// The command line selects nothing.
    NothingSelected,
    /// SIGINT, SIGTERM or SIGHUP ended the program.
    Interrupted,
}

impl ErrorClass {
    /// Returns the class of an error that was not caused by an interruption.
    pub fn of(error: &Error) -> ErrorClass {
        if error.is::<NothingSelected>() {
            ErrorClass::NothingSelected
        } else if error.is::<UsageError>() {
            ErrorClass::Usage
        } else {
            ErrorClass::Failed
        }
    }

    /// The exit code of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorClass::Failed => 1,
            ErrorClass::Usage => 2,
            ErrorClass::NothingSelected => 3,
            // 128 + SIGINT, as a shell reports it.
            ErrorClass::Interrupted => 130,
        }
    }
}

/// Wrong command line or configuration ([`ErrorClass::Usage`]).
#[derive(Debug)]
pub struct UsageError(pub String);

/// The command line selects nothing ([`ErrorClass::NothingSelected`]).
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

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn context_does_not_change_the_class() {
        let class = |error: Error| ErrorClass::of(&error.context("one").context("two"));
        assert_eq!(class(anyhow!(UsageError("wrong".to_owned()))), ErrorClass::Usage);
        assert_eq!(class(anyhow!(NothingSelected)), ErrorClass::NothingSelected);
        assert_eq!(class(anyhow!("failed")), ErrorClass::Failed);
    }
}
