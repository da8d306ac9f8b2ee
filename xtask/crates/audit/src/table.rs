//! Formats findings as text, at most 80 columns wide.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::baseline::{Review, ReviewVerdict, Reviewed};
use crate::finding::Finding;
use crate::report::Judged;
use crate::source;
use base::ui;

/// Formats a block for each package. `all` includes sound findings, and lists grouped findings individually.
pub fn text(judged: &[Judged], all: bool) -> String {
    let blocks: Vec<String> = judged.iter().map(|judged| package(judged, all)).collect();
    blocks.join("\n")
}

fn package(judged: &Judged, all: bool) -> String {
    let report = judged.report;
    let mut out = String::new();
    let version = report.package.version().unwrap_or("(working copy)");
    let scanned = &report.scanned;
    let _ = writeln!(out, "{} {version}: {} files of Rust, {} of C", report.package.id, scanned.rust, scanned.c);
    if !scanned.unread.is_empty() {
        ui::wrap(&mut out, "  ", &source::unread(&scanned.unread));
    }
    for left in &scanned.left_out {
        ui::wrap(&mut out, "  ", &format!("left out: {}, {} files: {}", left.folder, left.files, left.why));
    }
    for declared in &report.declared {
        ui::wrap(&mut out, "  ", &declared.line());
    }
    if scanned.findings.is_empty() {
        let read = scanned.rust + scanned.c > 0;
        out.push_str(if read { "  nothing found\n" } else { "  nothing was read\n" });
    } else {
        counts(&mut out, judged);
        if !all {
            groups(&mut out, judged);
        }
        places(&mut out, judged, all);
    }
    for problem in &judged.problems {
        ui::wrap(&mut out, "  baseline: ", problem);
    }
    out
}

fn counts(out: &mut String, judged: &Judged) {
    let mut rules: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (finding, review) in judged.findings() {
        let column = match review.map(|review| review.verdict) {
            Some(ReviewVerdict::Sound) => 0,
            Some(ReviewVerdict::Risk) => 1,
            Some(ReviewVerdict::Open) => 2,
            None => 3,
        };
        rules.entry(finding.found.rule.id).or_default()[column] += 1;
    }
    let _ = writeln!(out, "  {:24} {:>6} {:>6} {:>6} {:>6}", "RULE", "SOUND", "RISK", "OPEN", "NEW");
    let total = rules.values().fold([0; 4], |sum, row| std::array::from_fn(|column| sum[column] + row[column]));
    for (rule, [sound, risk, open, new]) in rules.into_iter().chain([("all", total)]) {
        let _ = writeln!(out, "  {rule:24} {sound:>6} {risk:>6} {open:>6} {new:>6}");
    }
}

/// Risks that were reviewed as a group are shown as one line, because there may be hundreds.
fn groups(out: &mut String, judged: &Judged) {
    for review in judged.report.baseline.reviews.iter().filter(|review| is_group(review)) {
        let count = judged.findings().filter(|(_, own)| *own == Some(review)).count();
        let files = review.findings.len();
        ui::wrap(out, "  ", &format!("{count} risk {} in {files} files, reviewed as a group", review.rule));
        ui::wrap(out, "      ", &review.reason);
    }
}

fn is_group(review: &Review) -> bool {
    review.verdict == ReviewVerdict::Risk && review.reviewed == Reviewed::Group
}

fn places(out: &mut String, judged: &Judged, all: bool) {
    let shown =
        |review: Option<&Review>| all || review.is_none_or(|own| own.verdict != ReviewVerdict::Sound && !is_group(own));
    let mut file = "";
    let mut reason = "";
    for (finding, review) in judged.findings() {
        let verdict = review.map(|review| review.verdict);
        if !shown(review) {
            continue;
        }
        if finding.file != file {
            file = &finding.file;
            reason = "";
            let _ = writeln!(out, "  {file}");
        }
        line(out, finding, verdict.map_or("new", ReviewVerdict::word));
        // The reason is printed once for consecutive findings with the same review.
        if let Some(review) = review
            && review.reason != reason
        {
            reason = &review.reason;
            ui::wrap(out, "        ", reason);
        }
    }
}

fn line(out: &mut String, finding: &Finding, verdict: &str) {
    let found = &finding.found;
    let note = if found.note.is_empty() { String::new() } else { format!(": {}", found.note) };
    let text = format!("{:>5} {verdict} {} in {}{note}", found.line, found.rule.id, found.function);
    ui::wrap(out, "    ", &text);
}
