//! Findings of the scanners, and the fingerprints by which they are recognised again.

use std::collections::BTreeMap;

use crate::rules::Rule;
use base::digest;

/// Name of the function of a finding that is in no function.
pub const FILE_LEVEL: &str = "(file)";

/// What a scanner has found, in the file that it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub rule: &'static Rule,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// The function around it, or [`FILE_LEVEL`].
    pub function: String,
    /// The code itself, without comments and white space that does not matter.
    pub snippet: String,
    /// What the rule's title does not say.
    pub note: String,
}

/// A finding that can be recognised.
#[derive(Debug, Clone)]
pub struct Finding {
    pub file: String,
    pub found: Found,
    /// Of rule, file, function and code.
    pub print: String,
}

/// Gives what was found in a file its fingerprints.
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

/// A fingerprint that survives moved lines: of rule, file, function and code, and of how many equal ones came before.
fn fingerprint(finding: &Found, file: &str, before: usize) -> String {
    let text = format!("{}\n{file}\n{}\n{}\n{before}", finding.rule.id, finding.function, finding.snippet);
    digest::of(text).chars().take(12).collect()
}
