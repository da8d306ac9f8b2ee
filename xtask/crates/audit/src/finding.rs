//! Findings of the scanners, and fingerprints that identify them across changes.

use std::collections::BTreeMap;

use crate::rules::Rule;
use base::digest;

/// Function name of a finding outside of functions.
pub const FILE_LEVEL: &str = "(file)";

/// Finding of a scanner in one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub rule: &'static Rule,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Enclosing function, or [`FILE_LEVEL`].
    pub function: String,
    /// Code without comments and insignificant white space.
    pub snippet: String,
    /// Details in addition to the rule's title.
    pub note: String,
}

/// Finding with file and fingerprint.
#[derive(Debug, Clone)]
pub struct Finding {
    pub file: String,
    pub found: Found,
    /// Fingerprint of rule, file, function and code.
    pub print: String,
}

/// Computes the fingerprints of the findings of a file.
pub fn identified(file: &str, found: Vec<Found>) -> Vec<Finding> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let identify = |found: Found| {
        let equal = seen.entry(fingerprint(&found, file, 0)).or_default();
        let print = fingerprint(&found, file, *equal);
        *equal += 1;
        Finding { file: file.to_owned(), found, print }
    };
    found.into_iter().map(identify).collect()
}

/// Returns a fingerprint that survives moved lines: of rule, file, function, code, and the number of equal findings
/// before.
fn fingerprint(finding: &Found, file: &str, before: usize) -> String {
    let text = format!("{}\n{file}\n{}\n{}\n{before}", finding.rule.id, finding.function, finding.snippet);
    digest::of(text).chars().take(12).collect()
}
