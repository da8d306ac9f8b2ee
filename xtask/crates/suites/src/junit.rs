//! The results as JUnit's XML, which is what continuous integration shows.

use std::fmt::Write as _;

use super::result::{Case, Outcome, Results, UPSTREAM};

/// One element of a suite.
struct Item<'a> {
    suite: &'a str,
    client: &'a str,
    case: &'a str,
    name: String,
    outcome: Outcome,
    seconds: f64,
    message: &'a str,
    /// The message with all that belongs to it.
    text: &'a str,
    stderr: &'a str,
}

/// A document with a suite for each suite and client, and an element for each process and test.
pub fn document(tag: &str, results: &Results, cases: &[Case]) -> String {
    let processes =
        results.processes.iter().filter(|process| process.suite != UPSTREAM || process.outcome != Outcome::Passed);
    let processes = processes.map(|process| Item {
        suite: &process.suite,
        client: &process.client,
        case: &process.case,
        name: format!("{} #{}", process.case, process.number),
        outcome: process.outcome,
        seconds: process.seconds,
        message: &process.message,
        text: &process.message,
        stderr: &process.stderr,
    });
    let tests = results.tests.iter().map(|test| Item {
        suite: &test.suite,
        client: &test.client,
        case: &test.case,
        name: test.name.clone(),
        outcome: test.outcome,
        seconds: test.seconds,
        message: &test.message,
        text: if test.text.is_empty() { &test.message } else { &test.text },
        stderr: "",
    });
    let items: Vec<Item> = processes.chain(tests).collect();
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for item in &items {
        if !groups.contains(&(item.suite, item.client)) {
            groups.push((item.suite, item.client));
        }
    }
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for (suite, client) in groups {
        let of: Vec<&Item> = items.iter().filter(|item| (item.suite, item.client) == (suite, client)).collect();
        let fix = |item: &Item| {
            let case = |case: &&Case| (&*case.suite, &*case.client, &*case.name) == (suite, client, item.case);
            cases.iter().find(case).and_then(|case| case.fix.as_deref())
        };
        let bad = |item: &&&Item| !matches!(item.outcome, Outcome::Passed | Outcome::Skipped);
        let known = |item: &&&Item| bad(item) && fix(item).is_some();
        let failures = of.iter().filter(|item| bad(item) && !known(item)).count();
        let skipped = of.iter().filter(|item| item.outcome == Outcome::Skipped || known(item)).count();
        let seconds: f64 = of.iter().map(|item| item.seconds).sum();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" \
             time=\"{seconds:.3}\">",
            escape(&format!("{tag} {suite} {client}")),
            of.len()
        );
        for item in of {
            element(&mut out, tag, item, fix(item));
        }
        out.push_str("  </testsuite>\n");
    }
    out + "</testsuites>\n"
}

fn element(out: &mut String, tag: &str, item: &Item, fix: Option<&str>) {
    let class = escape(&format!("{tag}.{}.{}", item.suite, item.client));
    let _ = write!(
        out,
        "    <testcase classname=\"{class}\" name=\"{}\" time=\"{:.3}\">",
        escape(&item.name),
        item.seconds
    );
    match (item.outcome, fix) {
        (Outcome::Passed, _) => {}
        (Outcome::Skipped, _) => {
            let _ = write!(out, "<skipped message=\"{}\"/>", escape(item.message));
        }
        (_, Some(fix)) => {
            let _ = write!(out, "<skipped message=\"{}\"/>", escape(&format!("known: {}; {fix}", item.message)));
        }
        _ => {
            let _ = write!(out, "<failure message=\"{}\">{}</failure>", escape(item.message), escape(item.text));
        }
    }
    if !item.stderr.is_empty() {
        let _ = write!(out, "<system-err>{}</system-err>", escape(item.stderr));
    }
    out.push_str("</testcase>\n");
}

/// Text for XML 1.0, which has no way to write most control characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c < ' ' || matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
