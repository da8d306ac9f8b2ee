//! Tests of all output formats with the same findings.

use crate::baseline::{Baseline, ReviewVerdict, Reviewed};
use crate::finding::identified;
use crate::json::document;
use crate::report::{Judged, Report, judge, refuse};
use crate::{rust, sarif, source, table};
use matrix::Matrix;

const CODE: &str = "fn first() { unsafe { a() } }\nfn second() { unsafe { b() } }\nfn third() { unsafe { c() } }";

/// Calls `check` with a sound finding, a risk, and a new finding.
fn with_one_of_each(check: impl FnOnce(&[Judged])) {
    let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
    let package = &matrix.packages[0];
    let findings = identified("src/a file.rs", rust::scan(CODE).unwrap().found);
    let mut baseline = Baseline::default();
    for (finding, verdict) in findings.iter().zip([ReviewVerdict::Sound, ReviewVerdict::Risk]) {
        let mut one = Baseline::default().renewed(std::slice::from_ref(finding), &package.id, package.version());
        (one.reviews[0].verdict, one.reviews[0].reason) = (verdict, format!("it is {}", verdict.word()));
        one.reviews.extend(baseline.reviews);
        baseline = one;
    }
    let scanned = source::Scanned { findings, rust: 1, ..source::Scanned::default() };
    let file = Some("docs/audit/x.yaml".to_owned());
    let report = Report { package, scanned, baseline, baseline_file: file, declared: Vec::new() };
    check(&[judge(&report)]);
}

#[test]
fn the_table_shows_what_is_not_sound() {
    with_one_of_each(|judged| {
        let text = table::text(judged, false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("2 risk rust-unsafe-block in second") && text.contains("it is risk"), "{text}");
        assert!(text.contains("3 new rust-unsafe-block in third"), "{text}");
        assert!(!text.contains("in first"), "{text}");
        assert!(table::text(judged, true).contains("1 sound rust-unsafe-block in first"));
    });
}

#[test]
fn risks_of_a_group_are_shown_as_one() {
    with_one_of_each(|judged| {
        let mut baseline = judged[0].report.baseline.clone();
        baseline.reviews.iter_mut().for_each(|review| review.reviewed = Reviewed::Group);
        let (package, file) = (judged[0].report.package, None);
        let findings = judged[0].report.scanned.findings.clone();
        let scanned = source::Scanned { findings, ..source::Scanned::default() };
        let report = Report { package, scanned, baseline, baseline_file: file, declared: Vec::new() };
        let judged = [judge(&report)];
        let text = table::text(&judged, false);
        assert!(text.contains("1 risk rust-unsafe-block in 1 files, reviewed as a group"), "{text}");
        assert!(!text.contains("in second") && text.contains("in third"), "{text}");
        assert!(table::text(&judged, true).contains("in second"));
    });
}

#[test]
fn json_has_all_of_it() {
    with_one_of_each(|judged| {
        let json = document(judged);
        let findings = json["packages"][0]["findings"].as_array().unwrap();
        let verdicts: Vec<&str> = findings.iter().map(|finding| finding["verdict"].as_str().unwrap()).collect();
        assert_eq!(verdicts, ["sound", "risk", "new"]);
        assert_eq!(findings[1]["line"], 2);
        assert_eq!(findings[1]["function"], "second");
        assert_eq!(findings[1]["reason"], "it is risk");
    });
}

#[test]
fn sarif_suppresses_what_is_sound_and_nothing_else() {
    with_one_of_each(|judged| {
        let log = sarif::document(judged);
        let results = log["runs"][0]["results"].as_array().unwrap();
        let suppression = &results[0]["suppressions"][0];
        assert_eq!(
            (suppression["kind"].as_str(), suppression["justification"].as_str()),
            (Some("external"), Some("it is sound"))
        );
        assert!(results[1].get("suppressions").is_none() && results[2].get("suppressions").is_none());
        assert_eq!(results[1]["level"], "error");
        assert_eq!(results[2]["baselineState"], "new");
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "src/a%20file.rs");
        assert_eq!(place["region"]["startLine"], 1);
        let prints: Vec<&str> =
            results.iter().map(|result| result["partialFingerprints"]["reviewed/v1"].as_str().unwrap()).collect();
        assert!(prints[0] != prints[1] && prints.iter().all(|print| print.len() == 12), "{prints:?}");
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
    });
}

#[test]
fn what_is_new_fails_and_says_what_to_do() {
    with_one_of_each(|judged| {
        let error = refuse(judged.iter()).unwrap_err().to_string();
        assert!(error.contains("1 findings that nobody has reviewed") && error.contains("--write"), "{error}");
    });
}

#[test]
fn the_baselines_that_the_projects_own_matrix_names_are_judged_to_the_end() {
    let matrix = Matrix::parse(&fixture::own_matrix(), "matrix.yaml").unwrap();
    let top = fixture::project();
    for package in &matrix.packages {
        let Some(audit) = &package.audit else { continue };
        let text = std::fs::read_to_string(top.join(&*audit.baseline)).unwrap();
        let baseline = Baseline::parse(&text, &audit.baseline).unwrap();
        assert_eq!(baseline.package, *package.id);
        assert_eq!(baseline.write(), text, "`cargo xtask audit --write` would lay it out otherwise");
        for review in &baseline.reviews {
            assert!(review.verdict != ReviewVerdict::Open && !review.reason.is_empty(), "{review:?}");
        }
    }
}

#[test]
fn each_rule_is_documented() {
    let text = include_str!("../../../../docs/audit.md");
    for rule in crate::rules::ALL {
        let row = format!("| `{}` | {} | {} |", rule.id, rule.title, rule.level.word());
        assert!(text.contains(&row), "docs/audit.md lacks: {row}");
    }
}
