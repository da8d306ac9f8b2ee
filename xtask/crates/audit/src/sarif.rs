//! Formats findings as SARIF 2.1.0, the format of code scanning services.
//!
//! Section 3 of <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html> describes each property.

use serde_json::{Value, json};

use crate::baseline::{Review, ReviewVerdict};
use crate::declared::Declared;
use crate::finding::Finding;
use crate::report::Judged;
use crate::rules;
use base::program;

/// Base of the URIs, which are relative to a package's source.
const BASE: &str = "SOURCE";

/// Returns a log with one run per package.
pub fn document(judged: &[Judged]) -> Value {
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": judged.iter().map(run).collect::<Vec<_>>(),
    })
}

fn run(judged: &Judged) -> Value {
    let report = judged.report;
    let version = report.package.version();
    let name = format!("{} {}", report.package.id, version.unwrap_or("(working copy)"));
    json!({
        "tool": {"driver": {
            "name": format!("{} audit", program::command()),
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "rules": rules::ALL.iter().map(|rule| json!({
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": rule.help},
                "help": {"text": rule.help},
                "defaultConfiguration": {"level": rule.level.word()},
            })).collect::<Vec<_>>(),
        }},
        // Distinguishes the packages when their logs are uploaded together.
        "automationDetails": {"id": format!("audit/{}/", report.package.id)},
        "originalUriBaseIds": {BASE: {"description": {"text": format!("the top of the source of {name}")}}},
        "columnKind": "unicodeCodePoints",
        "results": judged.findings().map(|(finding, review)| result(finding, review)).collect::<Vec<_>>(),
        "properties": {
            "package": &*report.package.id,
            "version": version,
            "declared": report.declared.iter().map(Declared::json).collect::<Vec<_>>(),
            "problems": judged.problems,
        },
    })
}

fn result(finding: &Finding, review: Option<&Review>) -> Value {
    let found = &finding.found;
    let place = rules::ALL.iter().position(|rule| rule.id == found.rule.id);
    let note = if found.note.is_empty() { String::new() } else { format!(" ({})", found.note) };
    let reason = match review {
        Some(Review { verdict: ReviewVerdict::Risk, reason, .. }) => format!(" Known, and not sound: {reason}"),
        _ => String::new(),
    };
    let (level, baseline) = match review.map(|review| review.verdict) {
        Some(ReviewVerdict::Risk) => ("error", "unchanged"),
        Some(ReviewVerdict::Sound | ReviewVerdict::Open) => (found.rule.level.word(), "unchanged"),
        None => (found.rule.level.word(), "new"),
    };
    let mut result = json!({
        "ruleId": found.rule.id,
        "ruleIndex": place,
        "level": level,
        "baselineState": baseline,
        "message": {"text": format!("{}{note} in {}.{reason}", found.rule.title, found.function)},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(&finding.file), "uriBaseId": BASE},
                "region": {"startLine": found.line, "startColumn": found.column},
            },
            "logicalLocations": [{"fullyQualifiedName": found.function, "kind": "function"}],
        }],
        "partialFingerprints": {"reviewed/v1": finding.print},
    });
    // Known risks are not suppressed.
    if let Some(Review { verdict: ReviewVerdict::Sound, reason, .. }) = review {
        result["suppressions"] = json!([{"kind": "external", "status": "accepted", "justification": reason}]);
    }
    result
}

/// Encodes a path as a relative reference (RFC 3986).
fn uri(path: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-~+@".contains(byte);
    path.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
