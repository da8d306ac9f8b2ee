//! Errors of an execution.

use std::collections::BTreeMap;
use std::fmt;

use crate::missing::Missing;
use base::ui::quoted;

/// Some steps of an execution failed, whose errors were printed.
#[derive(Debug)]
pub struct StepsFailed {
    /// Ids of the failed steps in the order of their failures.
    pub failed: Vec<String>,
    /// What the failed builds miss, as far as it is known.
    pub missing: Vec<Missing>,
    /// First line of the error of each failed step, by id.
    pub causes: BTreeMap<String, String>,
}

/// The error of one step, with the end of its log.
#[derive(Debug)]
pub(super) struct StepFailure {
    pub text: String,
    pub missing: Option<Missing>,
}

impl fmt::Display for StepsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed (see above); run the same command again to continue", quoted(&self.failed))
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StepsFailed {}
impl std::error::Error for StepFailure {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::StepsFailed;
    use crate::missing::{Missing, MissingDebianPackages};
    use crate::run::Attempt;

    #[test]
    fn the_error_of_an_execution_says_which_debian_packages_are_missing() {
        let missing = Missing::DebianPackages(MissingDebianPackages {
            package: "acme".to_owned(),
            file: "yaml.h".to_owned(),
            candidates: Some(vec!["libyaml-dev".to_owned()]),
        });
        let attempt = Attempt {
            done: BTreeMap::new(),
            failed: vec!["wheel-acme-cp314t".to_owned()],
            missing: vec![missing.clone()],
            causes: BTreeMap::new(),
            not_built: BTreeMap::new(),
            keys: BTreeMap::new(),
            interrupted: false,
        };
        let error = attempt.complete().unwrap_err().context("building");
        assert_eq!(error.downcast_ref::<StepsFailed>().unwrap().missing, [missing]);
    }
}
