//! Baseline of reviewed findings with their verdicts and reasons. The audit fails for findings that are missing in
//! it, and for entries that no longer exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::rules;
use matrix::Matrix;

/// Contents of a baseline file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub package: String,
    /// Reviewed version; `None` for a working copy.
    pub version: Option<String>,
    pub reviews: Vec<Review>,
}

/// Findings of one rule with a common reason.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    pub rule: String,
    pub verdict: ReviewVerdict,
    pub reviewed: Reviewed,
    /// Sentence by the reviewer.
    pub reason: String,
    /// Fingerprints by file and function.
    pub findings: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewVerdict {
    Sound,
    /// Known problem.
    Risk,
    /// Not reviewed yet.
    Open,
}

/// Thoroughness of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reviewed {
    /// Each finding was read where it stands.
    Each,
    /// One reason for all findings of the group: only some of them were read where they stand.
    Group,
}

impl ReviewVerdict {
    pub fn word(self) -> &'static str {
        match self {
            ReviewVerdict::Sound => "sound",
            ReviewVerdict::Risk => "risk",
            ReviewVerdict::Open => "open",
        }
    }
}

impl Reviewed {
    fn word(self) -> &'static str {
        match self {
            Reviewed::Each => "each",
            Reviewed::Group => "group",
        }
    }
}

/// Comparison of a baseline with the findings of a package.
#[derive(Debug, Default)]
pub struct Compared<'b> {
    /// Review of each finding in order; `None` for a new finding.
    pub reviews: Vec<Option<&'b Review>>,
    /// Problems of the baseline itself, as sentences.
    pub problems: Vec<String>,
}

impl Baseline {
    pub fn parse(text: &str, file: &str) -> Result<Baseline> {
        Matrix::read_beside(text, file)
    }

    /// Compares findings with the reviews. `version` is the pinned version.
    pub fn compare(&self, findings: &[Finding], package: &str, version: Option<&str>) -> Compared<'_> {
        let mut problems = Vec::new();
        if self.package != package {
            problems.push(format!("it says that it is for `{}`, not for `{package}`", self.package));
        }
        if version.is_some() && self.version.as_deref() != version {
            let (own, pinned) = (self.version.as_deref().unwrap_or("none"), version.unwrap_or_default());
            problems.push(format!("version {own} was reviewed, but the matrix pins {pinned}"));
        }
        let mut by_print: BTreeMap<(&str, &str), &Review> = BTreeMap::new();
        for review in &self.reviews {
            if rules::by_id(&review.rule).is_none() {
                problems.push(format!("there is no rule `{}`", review.rule));
            }
            let places = review.findings.iter().flat_map(|(file, functions)| {
                functions
                    .iter()
                    .flat_map(move |(function, prints)| prints.iter().map(move |print| (file, function, print)))
            });
            for (file, function, print) in places {
                let place = format!("`{}` in {file}, {function} ({print})", review.rule);
                if review.reason.trim().is_empty() {
                    problems.push(format!("{place}: no reason is given"));
                } else if review.verdict == ReviewVerdict::Open {
                    problems.push(format!("{place}: the verdict is open: it is `sound` or a `risk`"));
                }
                if by_print.insert((review.rule.as_str(), print.as_str()), review).is_some() {
                    problems.push(format!("{place}: occurs twice"));
                }
                let here = |finding: &&Finding| {
                    finding.print == *print && finding.found.rule.id == review.rule && finding.file == *file
                };
                if !findings.iter().any(|finding| here(&finding) && finding.found.function == *function) {
                    problems.push(format!("{place}: is no longer found: take it out"));
                }
            }
        }
        let reviews =
            findings.iter().map(|finding| by_print.get(&(finding.found.rule.id, finding.print.as_str())).copied());
        Compared { reviews: reviews.collect(), problems }
    }

    /// Returns an updated baseline: entries without findings are removed, and new findings are added as open.
    pub fn renewed(&self, findings: &[Finding], package: &str, version: Option<&str>) -> Baseline {
        let known: BTreeSet<(&str, &str)> =
            findings.iter().map(|finding| (finding.found.rule.id, finding.print.as_str())).collect();
        let mut reviews = self.reviews.clone();
        let mut reviewed = BTreeSet::new();
        for review in &mut reviews {
            for functions in review.findings.values_mut() {
                for prints in functions.values_mut() {
                    prints.retain(|print| known.contains(&(review.rule.as_str(), print.as_str())));
                    reviewed.extend(prints.iter().map(|print| (review.rule.clone(), print.clone())));
                }
                functions.retain(|_, prints| !prints.is_empty());
            }
            review.findings.retain(|_, functions| !functions.is_empty());
        }
        reviews.retain(|review| !review.findings.is_empty());
        for finding in findings {
            let rule = finding.found.rule.id;
            if reviewed.contains(&(rule.to_owned(), finding.print.clone())) {
                continue;
            }
            let waiting = |review: &Review| review.rule == rule && review.verdict == ReviewVerdict::Open;
            let at = reviews.iter().position(waiting).unwrap_or_else(|| {
                reviews.push(Review {
                    rule: rule.to_owned(),
                    verdict: ReviewVerdict::Open,
                    reviewed: Reviewed::Each,
                    reason: String::new(),
                    findings: BTreeMap::new(),
                });
                reviews.len() - 1
            });
            let functions = reviews[at].findings.entry(finding.file.clone()).or_default();
            functions.entry(finding.found.function.clone()).or_default().push(finding.print.clone());
        }
        Baseline { package: package.to_owned(), version: version.map(str::to_owned), reviews }
    }

    /// Formats as YAML in a canonical form, so that diffs show only real changes.
    pub fn write(&self) -> String {
        let mut out = format!(
            "# What the command `audit` finds in {0}, reviewed. `audit --package {0} --write`\n\
             # adds what is new as `verdict: open`, to be judged, and takes out what is gone.\n\
             # verdict: sound | risk. reviewed: each (every finding was read) | group (as a kind).\n\
             # A fingerprint is that of rule, file, function and code: lines may move.\n\
             package: {0}\n",
            self.package
        );
        if let Some(version) = &self.version {
            let _ = writeln!(out, "version: {}", quoted(version));
        }
        let _ = writeln!(out, "reviews:{}", if self.reviews.is_empty() { " []" } else { "" });
        for review in &self.reviews {
            let (verdict, reviewed) = (review.verdict.word(), review.reviewed.word());
            let _ = writeln!(out, "  - rule: {}\n    verdict: {verdict}\n    reviewed: {reviewed}", review.rule);
            match review.reason.trim() {
                "" => out.push_str("    reason: \"\"\n"),
                reason => {
                    let _ = writeln!(out, "    reason: >-\n{}", folded(reason, "      "));
                }
            }
            out.push_str("    findings:\n");
            for (file, functions) in &review.findings {
                let _ = writeln!(out, "      {}:", quoted(file));
                for (function, prints) in functions {
                    let prints: Vec<String> = prints.iter().map(|print| quoted(print)).collect();
                    let _ = writeln!(out, "        {}: [{}]", quoted(function), prints.join(", "));
                }
            }
        }
        out
    }
}

/// JSON string quoting is valid in YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Wraps text at 100 columns.
fn folded(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && (line.is_empty() || indent.len() + line.len() + word.len() < 100)
        {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
