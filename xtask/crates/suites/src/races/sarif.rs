//! Formats races as SARIF 2.1.0, with which code scanning services show them at their lines.

use serde_json::{Value, json};

use super::RaceFinding;
use super::report::{Frame, Stack};
use base::program;

/// Returns a log with one run. `tag` is that of the image.
pub fn document(tag: &str, findings: &[RaceFinding]) -> Value {
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": format!("{} test", program::command()),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": [{
                    "id": "race",
                    "shortDescription": {"text": "ThreadSanitizer reported a data race or a similar fault of threads"},
                }],
            }},
            "automationDetails": {"id": format!("races/{tag}/")},
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(finding: &RaceFinding) -> Value {
    let places = finding.first.tops().filter_map(location);
    let mut result = json!({
        "ruleId": "race",
        "level": "error",
        "message": {"text": format!("{} in {} ({})", finding.kind, finding.title(), finding.owner.describe())},
        "locations": places.take(1).collect::<Vec<_>>(),
        "codeFlows": [{"threadFlows": finding.first.stacks.iter().take(2).map(flow).collect::<Vec<_>>()}],
        "occurrenceCount": finding.count,
        "partialFingerprints": {"functions/v1": format!("{}: {}", finding.kind, finding.title())},
    });
    if let Some(reason) = &finding.reason {
        result["suppressions"] = json!([{"kind": "external", "status": "accepted", "justification": reason}]);
    }
    result
}

/// Returns the stack of a thread. SARIF orders calls from the outermost to the innermost.
fn flow(stack: &Stack) -> Value {
    let calls = stack.frames.iter().rev().filter_map(location).map(|location| json!({"location": location}));
    json!({"message": {"text": stack.title}, "locations": calls.collect::<Vec<_>>()})
}

fn location(frame: &Frame) -> Option<Value> {
    let (file, line) = frame.place.as_ref()?;
    Some(json!({
        // Without the folder in which it was compiled, which exists only there.
        "physicalLocation": {
            "artifactLocation": {"uri": file.trim_start_matches("/tmp/build/src/").trim_start_matches("./")},
            "region": {"startLine": line},
        },
        "logicalLocations": [{"fullyQualifiedName": frame.function, "kind": "function"}],
    }))
}
