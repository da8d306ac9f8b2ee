//! Tests from the runner's output to verdicts, without a container. The Python code has its own tests.

use std::process::{Command, Stdio};

use crate::options::{Options, Suite, suites};
use crate::plan::{self, PackageTests};
use crate::result::{self, Outcome, Results, cases};
use crate::run::{gil_line, only};
use crate::{junit, published, table};
use base::UsageError;
use matrix::gil::GilRule;
use matrix::{GilState, Known, Matrix};

const LINES: &str = r#"{"event": "interpreter", "version": "3.14.7", "build": "free-threading"}
{"event": "server", "text": "a server"}
{"event": "process", "suite": "smoke", "client": "one", "case": "import", "number": 1, "outcome": "passed", "seconds": 0.5, "signal": null, "exit": 0, "message": "", "stderr": "", "gil_at_start": false, "gil_after": false}
{"event": "process", "suite": "storm", "client": "one", "case": "first-get", "number": 1, "outcome": "passed", "seconds": 0.5, "signal": null, "exit": 0, "message": "", "stderr": "", "gil_at_start": false, "gil_after": false}
{"event": "process", "suite": "storm", "client": "one", "case": "first-get", "number": 2, "outcome": "hung", "seconds": 60.0, "signal": null, "exit": -6, "message": "it had not ended after 60 s", "stderr": "Thread <1>:\u0007 \"x\" & y\n", "gil_at_start": null, "gil_after": null}
{"event": "process", "suite": "storm", "client": "one", "case": "first-query", "number": 1, "outcome": "skipped", "seconds": 0.0, "signal": null, "exit": 0, "message": "not served", "stderr": ""}
{"event": "process", "suite": "storm", "client": "one", "case": "first-read, no care", "number": 1, "outcome": "crashed", "seconds": 0.5, "signal": "SIGSEGV", "exit": -11, "message": "ended by SIGSEGV", "stderr": "stack", "gil_at_start": null, "gil_after": null}
{"event": "process", "suite": "storm", "client": "one", "case": "first-read, no care", "number": 2, "outcome": "passed", "seconds": 0.5, "signal": null, "exit": 0, "message": "", "stderr": "", "gil_at_start": false, "gil_after": false}
{"event": "test", "suite": "upstream", "client": "one", "case": "tests/unit", "name": "test_a", "outcome": "passed", "seconds": 0.1, "message": ""}
{"event": "test", "suite": "upstream", "client": "one", "case": "tests/unit", "name": "test_b", "outcome": "failed", "seconds": 0.1, "message": "AssertionError: assert {'a': 1} == {'a': 2}\n  Full diff:\n  }", "text": "test_it.py:3: in test_b\nE   assert\nE   }"}
{"event": "process", "suite": "upstream", "client": "one", "case": "tests/unit", "number": 1, "outcome": "passed", "seconds": 1.0, "signal": null, "exit": 1, "message": "", "stderr": "", "gil_at_start": false, "gil_after": false}
{"event": "end"}
"#;

fn known() -> Vec<(String, Known)> {
    let row =
        r#"{"scenario": "first-read", "without": "care", "promise": "off", "signal": "SIGSEGV", "fix": "take care"}"#;
    vec![("one".to_owned(), serde_json::from_str(row).unwrap())]
}

#[test]
fn results_are_formatted_as_table_and_verdicts() {
    let results = Results::read(LINES).unwrap();
    let cases = cases(&results, &known(), false);
    assert_eq!(
        table::table(&cases),
        "\
SUITE    CLIENT CASE                RUNS FAILED SKIP  BOUND
smoke    one    import                 1      0    0      -
storm    one    first-get              2      1    0 97.5 %
storm    one    first-query            1      0    1      -
storm    one    first-read, no care    2      1    0 97.5 %
upstream one    tests/unit             2      1    0      -
"
    );
    assert_eq!(
        table::verdicts("314t", &cases, GilState::ForcedOff),
        "\
ok      smoke of one: 0 of 1 failed
FAILED  storm of one: 1 of 2 failed, 1 skipped
FAILED    first-get: 1 of 2: it had not ended after 60 s
known     first-read, no care: 1 of 2 ended by SIGSEGV: take care
FAILED  upstream of one: 1 of 2 failed
FAILED    tests/unit: 1 of 2: test_b: AssertionError: assert {'a': 1} == {'a': 2} Full diff: }
"
    );
    // If the GIL is enabled by a module that this client does not import, its storm runs without it.
    assert!(!table::verdicts("314t", &cases, GilState::On).contains("does not show how it works without the GIL"));
    let on = LINES.replace("\"gil_after\": false", "\"gil_after\": true");
    let cases = result::cases(&Results::read(&on).unwrap(), &known(), false);
    assert!(table::verdicts("314t", &cases, GilState::On).contains("does not show how it works without the GIL"));
}

#[test]
fn another_failure_is_not_the_known_crash() {
    let lines = LINES.replace("\"SIGSEGV\"", "\"SIGABRT\"");
    let cases = cases(&Results::read(&lines).unwrap(), &known(), false);
    let case = cases.iter().find(|case| case.name == "first-read, no care").unwrap();
    assert!(case.bad() && case.fix.is_none(), "{case:?}");
}

#[test]
fn a_known_wrong_result_is_no_crash() {
    let text = r#"{"scenario": "first-get", "promise": "forced off", "fix": "keep the GIL"}"#;
    let row = vec![("one".to_owned(), serde_json::from_str::<Known>(text).unwrap())];
    let judge = |outcome: &str, signal: &str| {
        let lines =
            LINES.lines().filter(|line| !line.contains("\"case\": \"first-get\"")).collect::<Vec<_>>().join("\n");
        let first = LINES.lines().find(|line| line.contains("\"case\": \"first-get\"")).unwrap();
        let process = |outcome: &str, signal: &str| {
            let mut line: serde_json::Value = serde_json::from_str(first).unwrap();
            (line["outcome"], line["signal"]) = (outcome.into(), serde_json::from_str(signal).unwrap());
            line.to_string()
        };
        let cases = cases(&Results::read(&format!("{}\n{lines}\n", process(outcome, signal))).unwrap(), &row, false);
        cases.into_iter().find(|case| case.name == "first-get").unwrap()
    };
    assert!(!judge("failed", "null").bad());
    assert!(judge("crashed", "\"SIGSEGV\"").bad() && judge("hung", "null").bad());
}

#[test]
fn an_aborted_series_has_no_bound() {
    let cases = cases(&Results::read(LINES).unwrap(), &known(), true);
    assert!(table::table(&cases).contains("first-get              2      1    0     -\n"), "{}", table::table(&cases));
}

#[test]
fn incomplete_output_is_an_error() {
    let error = Results::read(LINES.trim_end().strip_suffix("{\"event\": \"end\"}").unwrap()).unwrap_err();
    assert!(error.to_string().contains("exited before all suites finished"), "{error}");
    let wrong = "{\"event\": \"wrong\", \"text\": \"there is no scenario `x`\"}\n";
    assert!(Results::read(wrong).unwrap_err().is::<UsageError>());
    assert!(Results::read("Killed\n").is_err());
}

#[test]
fn a_broken_gil_promise_is_detected() {
    let results = Results::read(LINES).unwrap();
    let off = GilRule::new(GilState::Off, true, None);
    assert!(result::broken_promises(&results, &off).is_empty());
    let on = Results::read(&LINES.replacen("\"gil_after\": false", "\"gil_after\": true", 1)).unwrap();
    let broken = result::broken_promises(&on, &off);
    assert_eq!(broken.len(), 1);
    let line = gil_line(GilState::Off, &on, &broken);
    assert_eq!(line, "FAILED  GIL: off was promised, and the GIL was on in `import` of one\n");
}

/// The image promises `on`, because one module enables the GIL; only the first process imports it.
#[test]
fn the_gil_may_be_off_until_an_undeclared_module_is_imported() {
    let rule = GilRule::new(GilState::On, true, None);
    let text = LINES.replacen("\"gil_after\": false", "\"gil_after\": true, \"undeclared\": [\"bad\"]", 1);
    let results = Results::read(&text).unwrap();
    assert!(result::broken_promises(&results, &rule).is_empty());
    let line = gil_line(GilState::On, &results, &[]);
    assert_eq!(
        line,
        "ok      GIL on as promised, in 7 processes; off in 3 of them, which imported no undeclared module\n"
    );

    let text = LINES.replacen("\"gil_after\": false", "\"gil_after\": false, \"undeclared\": [\"bad\"]", 1);
    let results = Results::read(&text).unwrap();
    let broken = result::broken_promises(&results, &rule);
    assert_eq!(broken.len(), 1);
    assert!(broken[0].1.contains("although the undeclared `bad` was imported"), "{}", broken[0].1);
}

#[test]
fn junit_is_well_formed_and_complete() {
    let results = Results::read(LINES).unwrap();
    let document = junit::document("tag", &results, &cases(&results, &known(), false), &[]).unwrap();
    let script = "import sys, xml.etree.ElementTree as tree\nfor suite in tree.parse(sys.stdin).getroot():\n \
                  c = suite.findall('testcase')\n \
                  print(suite.get('name'), suite.get('tests') == str(len(c)), suite.get('failures'), suite.get('skipped'), \
                  [(f.get('message'), f.text.count('test_it.py')) for e in c for f in e.findall('failure')], [e.find('system-err').text for e in c if e.find('system-err') is not None])";
    let mut python = Command::new("python3");
    let mut child = python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), document.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "tag smoke one True 0 0 [] []\n\
         tag storm one True 1 2 [('it had not ended after 60 s', 0)] ['Thread <1>: \"x\" & y\\n', 'stack']\n\
         tag upstream one True 1 0 [(\"AssertionError: assert {'a': 1} == {'a': 2}   Full diff:   }\", 1)] []\n",
        "{document}"
    );
}

#[test]
fn the_outcomes_have_the_runners_names() {
    let parse = |text: &str| serde_json::from_str::<Outcome>(&format!("\"{text}\"")).unwrap();
    assert_eq!(
        ["passed", "failed", "crashed", "hung", "untested", "skipped"].map(parse),
        [Outcome::Passed, Outcome::Failed, Outcome::Crashed, Outcome::Hung, Outcome::Untested, Outcome::Skipped]
    );
}

#[test]
fn the_reference_of_verdicts_matches_the_records() {
    let docs = fixture::project().join("docs");
    if !docs.join("verdicts.json").exists() {
        // Nothing is published yet; `cargo xtask test --write` writes both files.
        assert!(
            !docs.join("verdicts.md").exists(),
            "docs/verdicts.md is generated from docs/verdicts.json, which is missing"
        );
        return;
    }
    let records = published::read(&docs.join("verdicts.json")).unwrap();
    fixture::generated::compare("docs/verdicts.md", &published::document(&records)).unwrap_or_else(|e| panic!("{e}"));
    assert!(!records.is_empty());
}

#[test]
fn the_python_side_passes_its_own_tests() {
    python_tests("test_suites.py");
}

#[test]
fn imports_in_threads_pass_their_own_tests() {
    python_tests("test_imports.py");
}

#[test]
fn own_tests_in_threads_pass_their_own_tests() {
    python_tests("test_parallel.py");
}

#[test]
fn driven_calls_pass_their_own_tests() {
    python_tests("test_driven.py");
}

#[test]
fn logs_of_thread_sanitizer_are_read_completely() {
    python_tests("test_sanitizer.py");
}

fn python_tests(file: &str) {
    let tests = fixture::project().join("docker/suites/tests").join(file);
    let output = Command::new("python3").arg(tests).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nothing_tested_is_no_pass() {
    let lines = r#"{"event": "test", "suite": "parallel", "client": "one", "case": "tests", "name": "test_a", "outcome": "skipped", "seconds": 0.0, "message": "in one thread already: it fails"}
{"event": "process", "suite": "parallel", "client": "one", "case": "tests", "number": 1, "outcome": "untested", "seconds": 1.0, "signal": null, "exit": 0, "message": "none of its 1 tests could be run in threads", "stderr": "", "gil_at_start": false, "gil_after": false}
{"event": "end"}"#;
    let results = Results::read(lines).unwrap();
    let cases = cases(&results, &[], false);
    assert!(cases[0].bad(), "{cases:?}");
    assert_eq!(
        table::verdicts("314t", &cases, GilState::Off),
        "NOTHING parallel of one: 0 of 0 failed, 1 skipped\nNOTHING   tests: none of its 1 tests could be run in threads\n"
    );
    assert!(junit::document("314t", &results, &cases, &[]).unwrap().contains("<error message=\"none of its 1 tests"));
}

#[test]
fn a_failure_that_depends_on_a_seed_can_be_repeated() {
    let failed = |number: u32, seed: u64, outcome: &str| {
        format!(
            r#"{{"event": "process", "suite": "imports", "client": "one", "case": "import", "number": {number}, "outcome": "{outcome}", "seconds": 1.0, "signal": null, "exit": 0, "message": "it failed", "stderr": "", "gil_at_start": false, "gil_after": false, "seed": {seed}}}"#
        )
    };
    let lines = [failed(1, 7, "passed"), failed(2, 8, "failed"), failed(3, 9, "failed"), r#"{"event": "end"}"#.into()];
    let cases = cases(&Results::read(&lines.join("\n")).unwrap(), &[], false);
    assert!(table::table(&cases).contains("imports one    import    3      2    0 98.3 %"), "{}", table::table(&cases));
    let command = "test 314t --suite imports --package one --seed 8 --repeat 1\n";
    let verdicts = table::verdicts("314t", &cases, GilState::Off);
    assert!(verdicts.contains("FAILED    import: 2 of 3: it failed\nrepeat    "), "{verdicts}");
    assert!(verdicts.ends_with(command), "{verdicts}");
}

#[test]
fn a_server_is_needed_only_if_the_matrix_requires_it() {
    let text = fixture::MATRIX;
    let mut matrix = Matrix::parse(text, "matrix.yaml").unwrap();
    let image = matrix.image("314t").unwrap().clone();
    let alone = only(&image, &["demo-app".to_owned()]).unwrap();
    let package = matrix.package("acme-py").unwrap();
    let env = package.tests.as_ref().unwrap().upstream.as_ref().unwrap().env.as_ref();
    let own = |env| [PackageTests { package, take: vec![], folders: vec!["tests"], env, checkout: None }];
    assert!(plan::needs_server(&matrix, &image, &[Suite::Smoke], &[]), "acme-py has an adapter");
    assert!(!plan::needs_server(&matrix, &alone, &[Suite::Smoke, Suite::Storm], &[]), "demo-app has none");
    assert!(!plan::needs_server(&matrix, &image, &[Suite::Upstream], &own(None)));
    assert!(plan::needs_server(&matrix, &image, &[Suite::Upstream], &own(env)));

    matrix.packages.iter_mut().for_each(|package| package.tests = None);
    assert!(!plan::needs_server(&matrix, &image, &[Suite::Smoke, Suite::Upstream, Suite::Storm], &[]));
}

#[test]
fn a_storm_without_a_client_is_skipped_or_an_error() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }
    let options = |words: &[&str]| <Line as clap::Parser>::parse_from([&["test", "314t"], words].concat()).options;
    let names = |suites: Vec<Suite>| suites.into_iter().map(Suite::name).collect::<Vec<_>>();
    assert_eq!(names(suites(&options(&[]), false, true).unwrap()), ["smoke", "storm"]);
    assert_eq!(names(suites(&options(&[]), true, false).unwrap()), ["smoke", "upstream"]);
    for words in [["--suite", "storm"], ["--scenario", "first-get"]] {
        let error = suites(&options(&words), true, false).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("`tests.client`"), "{error}");
    }
}

#[test]
fn all_files_of_the_runner_are_part_of_the_program() {
    let listed = std::fs::read_dir(fixture::project().join("docker/suites/proving")).unwrap();
    let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".py")).collect();
    names.sort();
    assert_eq!(names, crate::plan::PROVING.map(|(name, _)| name));
}
