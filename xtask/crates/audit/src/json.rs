//! The audit as JSON.

use serde_json::{Value, json};

use crate::choice::LeftOut;
use crate::declared::Declared;
use crate::report::Judged;

/// `{"schema": 1, "packages": [{package, version, baseline, files, left_out, findings, declared, problems}]}`.
pub fn document(judged: &[Judged]) -> Value {
    let packages = judged.iter().map(|judged| {
        let report = judged.report;
        let findings = judged.findings().map(|(finding, review)| {
            let found = &finding.found;
            json!({
                "rule": found.rule.id,
                "level": found.rule.level.word(),
                "file": finding.file,
                "line": found.line,
                "column": found.column,
                "function": found.function,
                "code": found.snippet,
                "note": found.note,
                "fingerprint": finding.print,
                "verdict": review.map_or("new", |review| review.verdict.word()),
                "reviewed": review.map(|review| review.reviewed),
                "reason": review.map(|review| &review.reason),
            })
        });
        json!({
            "package": &*report.package.id,
            "version": report.package.version(),
            "baseline": report.baseline_file,
            "files": {"rust": report.scanned.rust, "c": report.scanned.c, "unread": report.scanned.unread},
            "left_out": report.scanned.left_out.iter().map(LeftOut::json).collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
            "declared": report.declared.iter().map(Declared::json).collect::<Vec<_>>(),
            "problems": judged.problems,
        })
    });
    json!({"schema": 1, "packages": packages.collect::<Vec<_>>()})
}
