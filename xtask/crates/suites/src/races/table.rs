//! Formats races for people.

use std::fmt::Write as _;

use super::RaceFinding;
use crate::result::Libraries;

/// Formats the races, new ones first, and the libraries in which ThreadSanitizer sees nothing.
pub fn table(findings: &[RaceFinding], libraries: &Libraries) -> String {
    let mut out = String::new();
    let (new, accepted): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.reason.is_none());
    for finding in new {
        let _ = writeln!(out, "RACE    {}: {}, {}", finding.owner.describe(), finding.kind, finding.reports());
        for stack in finding.first.stacks.iter().take(2) {
            let _ = writeln!(out, "        {}", stack.title);
            let known = stack.frames.iter().filter(|frame| frame.place.is_some());
            for frame in known.take(3) {
                let _ = writeln!(out, "          {}", frame.describe());
            }
        }
    }
    for finding in accepted {
        let reason = finding.reason.as_deref().unwrap_or_default();
        let _ = writeln!(out, "known   {} ({}): {reason}", finding.title(), finding.reports());
    }
    let blind = libraries.libraries.iter().filter(|library| !library.instrumented);
    let blind: Vec<&str> =
        blind.filter_map(|library| library.path.split_once("/site-packages/")).map(|(_, path)| path).collect();
    if !blind.is_empty() {
        let _ = writeln!(out, "not instrumented, so races inside are not seen:");
        blind.iter().for_each(|path| {
            let _ = writeln!(out, "        {path}");
        });
    }
    let new = findings.iter().filter(|finding| finding.reason.is_none()).count();
    let state = if new > 0 { "FAILED" } else { "ok" };
    let _ = writeln!(out, "{state:<7} races: {new} new, {} known; the controls were reported", findings.len() - new);
    out
}
