//! Tests of all differences between findings and reviews.

use super::{Baseline, ReviewVerdict};
use crate::finding::{Finding, identified};
use crate::rust;

fn findings(text: &str) -> Vec<Finding> {
    identified("src/lib.rs", rust::scan(text).unwrap().found)
}

const CODE: &str = "fn f() { unsafe { a() } }\nfn g() { unsafe { b() } unsafe { b() } }";

/// Returns a completely reviewed baseline for [`CODE`].
fn reviewed() -> Baseline {
    let mut baseline = Baseline::default().renewed(&findings(CODE), "p", Some("1"));
    for review in &mut baseline.reviews {
        (review.verdict, review.reason) =
            (ReviewVerdict::Sound, "nobody else has it: so it is sound, \"really\"".to_owned());
    }
    baseline
}

fn problems(baseline: &Baseline, code: &str) -> (usize, Vec<String>) {
    let findings = findings(code);
    let compared = baseline.compare(&findings, "p", Some("1"));
    (compared.reviews.iter().filter(|review| review.is_none()).count(), compared.problems)
}

#[test]
fn what_was_reviewed_passes_also_where_lines_moved() {
    assert_eq!(problems(&reviewed(), CODE), (0, vec![]));
    assert_eq!(problems(&reviewed(), &format!("// a comment\n\nuse x;\n{CODE}")), (0, vec![]));
}

#[test]
fn added_unsafe_code_is_new() {
    assert_eq!(problems(&reviewed(), &format!("{CODE}\nfn h() {{ unsafe {{ c() }} }}")), (1, vec![]));
    // Also a third equal finding is new.
    assert_eq!(problems(&reviewed(), &CODE.replace("{ b() } }", "{ b() } unsafe { b() } }")).0, 1);
}

#[test]
fn removed_unsafe_code_is_stale() {
    let (new, problems) = problems(&reviewed(), "fn g() { unsafe { b() } unsafe { b() } }");
    assert_eq!(new, 0);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("src/lib.rs, f (") && problems[0].contains("no longer found"), "{problems:?}");
}

#[test]
fn changed_unsafe_code_is_both() {
    let (new, problems) = problems(&reviewed(), &CODE.replace("a()", "a(1)"));
    assert_eq!((new, problems.len()), (1, 1));
}

#[test]
fn a_reason_and_a_verdict_are_demanded() {
    let mut baseline = reviewed();
    baseline.reviews[0].reason = " ".to_owned();
    let (_, said) = problems(&baseline, CODE);
    assert!(said.len() == 3 && said[0].contains("no reason is given"), "{said:?}");
    let mut baseline = reviewed();
    baseline.reviews[0].verdict = ReviewVerdict::Open;
    assert!(problems(&baseline, CODE).1[0].contains("the verdict is open"));
}

#[test]
fn a_baseline_of_something_else_is_refused() {
    let findings = findings(CODE);
    let baseline = reviewed();
    let said = |package, version| baseline.compare(&findings, package, version).problems.join("; ");
    assert!(said("q", Some("1")).contains("it is for `p`, not for `q`"));
    assert!(said("p", Some("2")).contains("version 1 was reviewed, but the matrix pins 2"));
    assert_eq!(said("p", None), "", "a working copy has no version");
    let mut unknown = reviewed();
    unknown.reviews[0].rule = "rust-nothing".to_owned();
    assert!(problems(&unknown, CODE).1.iter().any(|problem| problem.contains("no rule `rust-nothing`")));
    let mut twice = reviewed();
    twice.reviews.push(twice.reviews[0].clone());
    assert!(problems(&twice, CODE).1[0].contains("occurs twice"));
}

#[test]
fn what_is_written_is_read_again() {
    let baseline = reviewed();
    assert_eq!(Baseline::parse(&baseline.write(), "b.yaml").unwrap(), baseline);
    let mut long = baseline;
    long.reviews[0].reason = "words: ".repeat(60).trim().to_owned();
    let text = long.write();
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    assert_eq!(Baseline::parse(&text, "b.yaml").unwrap(), long);
    let empty = Baseline::default().renewed(&[], "p", None);
    assert_eq!(Baseline::parse(&empty.write(), "b.yaml").unwrap(), empty);
}

#[test]
fn writing_keeps_reasons_and_takes_out_what_is_gone() {
    let code = "fn g() { unsafe { b() } unsafe { b() } }\nfn h() { unsafe { c() } }";
    let renewed = reviewed().renewed(&findings(code), "p", Some("1"));
    let (new, said) = problems(&renewed, code);
    assert_eq!(new, 0);
    assert!(said.len() == 1 && said[0].contains(", h (") && said[0].contains("no reason"), "{said:?}");
    assert_eq!(renewed.reviews[0].reason, reviewed().reviews[0].reason);
}

#[test]
fn wrong_yaml_is_reported_with_its_line() {
    for (from, to, said) in [
        ("    verdict: sound", "    verdict: fine", "unknown variant `fine`"),
        ("    reviewed: each", "    reviewed: each\n    because: so", "unknown field `because`"),
        ("\npackage: p", "\npackages: p", "unknown field `packages`"),
        ("\nreviews:", "\nreviews: [", "b.yaml:"),
    ] {
        let text = reviewed().write().replacen(from, to, 1);
        let error = format!("{:#}", Baseline::parse(&text, "b.yaml").unwrap_err());
        assert!(error.starts_with("b.yaml:") && error.contains(said), "{error}");
    }
}
