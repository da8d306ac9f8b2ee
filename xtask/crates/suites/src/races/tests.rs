use super::{Owner, RaceBaseline, RaceFinding, RaceReport, check, document, findings, table};
use crate::result::{Control, Libraries, Library, Outcome, Race, Results};
use matrix::Matrix;

/// As ThreadSanitizer of LLVM 22 writes it.
const IN_PACKAGE: &str = "\
WARNING: ThreadSanitizer: data race (pid=31)
  Write of size 4 at 0x7b0800000123 by thread T2 (mutexes: write M0, read M1):
    #0 close_node src/node.c:12:5 (_acme.so+0x11a1) (BuildId: 4989d6)
    #1 <null> <null> (libffi.so.8+0x6f79) (BuildId: 4b5ef0)
    #2 method_vectorcall cpython/Objects/descrobject.c:406 (python3.14+0x205618) (BuildId: 23b8e1)

  Previous atomic read of size 4 at 0x7b0800000123 by main thread:
    #0 memcpy <null> (python3.14+0x205000) (BuildId: 23b8e1)
    #1 is_open src/node.c:40:9 (_acme.so+0x2100)

  Location is heap block of size 64 at 0x7b0800000100 allocated by main thread:
    #0 malloc <null> (python3.14+0x205618)
    #1 open_node src/node.c:3:9 (_acme.so+0x2200)

  Thread T2 (tid=33, running) created by main thread at:
    #0 pthread_create <null> (python3.14+0x100)

SUMMARY: ThreadSanitizer: data race src/node.c:12:5 in close_node";

fn library(path: &str, instrumented: bool) -> Library {
    Library { path: path.to_owned(), instrumented }
}

fn libraries() -> Libraries {
    let site = "/usr/local/lib/python3.14t/site-packages";
    Libraries {
        outcome: Some(Outcome::Passed),
        message: String::new(),
        libraries: vec![
            library(&format!("{site}/acme/_acme.so"), true),
            library(&format!("{site}/numpy/core.so"), false),
            library("/usr/lib/libffi.so.8", false),
            library("/usr/local/lib/python3.14t/lib-dynload/_json.so", true),
        ],
    }
}

fn found(texts: &[&str], baseline: &str) -> Vec<RaceFinding> {
    let text = fixture::MATRIX;
    let matrix = Matrix::parse(text, "matrix.yaml").unwrap();
    let image = matrix.images.iter().find(|image| image.has_package("acme")).unwrap();
    let race = |text: &&str| Race {
        suite: "storm".to_owned(),
        client: "acme".to_owned(),
        case: "mix".to_owned(),
        text: (*text).to_owned(),
    };
    let results = Results { races: texts.iter().map(race).collect(), libraries: libraries(), ..Results::default() };
    findings(&results, &RaceBaseline::parse(baseline, "races.yaml").unwrap(), &matrix, image).unwrap()
}

#[test]
fn a_report_is_parsed_without_what_differs_from_run_to_run() {
    let report = RaceReport::parse(IN_PACKAGE).unwrap();
    assert_eq!(report.kind, "data race");
    let titles: Vec<&str> = report.stacks.iter().map(|stack| stack.title.as_str()).collect();
    assert_eq!(titles, ["Write of size 4 by thread T2", "Previous atomic read of size 4 by main thread"]);
    assert_eq!(report.functions(), ["close_node", "is_open"], "not memcpy, which has no source");
    assert_eq!(report.stacks[0].frames[2].place, Some(("cpython/Objects/descrobject.c".to_owned(), 406)));
    assert_eq!(report.stacks[0].frames[1].module, "libffi.so.8");
    assert_eq!(RaceReport::parse("ThreadSanitizer: CHECK failed"), None);
}

#[test]
fn reports_of_the_same_functions_are_one_finding_in_either_order() {
    let (write, read) = (IN_PACKAGE.find("  Write").unwrap(), IN_PACKAGE.find("  Previous").unwrap());
    let end = IN_PACKAGE.find("  Location").unwrap();
    let swapped = format!(
        "{}{}{}{}",
        &IN_PACKAGE[..write],
        IN_PACKAGE[read..end].replace("Previous atomic read", "Atomic read"),
        IN_PACKAGE[write..read].replace("Write", "Previous write"),
        &IN_PACKAGE[end..]
    );
    let found = found(&[IN_PACKAGE, &swapped], "races: []");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].count, found[0].title()), (2, "close_node / is_open".to_owned()));
}

#[test]
fn the_owner_of_a_race_is_where_the_threads_met_then_who_called() {
    let owner = |text: &str| found(&[text], "races: []").remove(0).owner;
    assert_eq!(owner(IN_PACKAGE), Owner::Package("acme".to_owned()));
    let reached = IN_PACKAGE
        .replace("#0 close_node src/node.c:12:5 (_acme.so", "#0 dict_set cpython/dict.c:1:1 (python3.14")
        .replace("#1 <null> <null> (libffi.so.8", "#1 close_node src/node.c:12:5 (_acme.so")
        .replace("#1 is_open src/node.c:40:9 (_acme.so", "#1 dict_get cpython/dict.c:2:1 (python3.14");
    assert_eq!(owner(&reached), Owner::Reached("acme".to_owned()));
    let python = reached.replace("(_acme.so", "(_json.so");
    assert_eq!(owner(&python), Owner::Python);
    let other = IN_PACKAGE.replace("(_acme.so", "(core.so");
    assert_eq!(owner(&other), Owner::Library("core.so".to_owned()));
}

#[test]
fn a_reviewed_race_is_known_and_all_others_are_new() {
    let baseline = "races: [{functions: [is_open, close_node], reason: The flag is only a hint.}]";
    let other = IN_PACKAGE.replace("is_open", "is_closed");
    let found = found(&[IN_PACKAGE, &other], baseline);
    let reasons: Vec<Option<&str>> = found.iter().map(|finding| finding.reason.as_deref()).collect();
    assert_eq!(reasons, [None, Some("The flag is only a hint.")]);
    let text = table(&found, &libraries());
    assert!(text.contains("RACE    acme: data race, 1 report"), "{text}");
    assert!(text.contains("known   close_node / is_open (1 report): The flag is only a hint."), "{text}");
    assert!(text.contains("not seen:\n        numpy/core.so\n"), "{text}");
    assert!(text.ends_with("FAILED  races: 1 new, 1 known; the controls were reported\n"), "{text}");
    let log = document("314t-tsan", &found);
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["region"]["startLine"], 12);
    assert!(results[0].get("suppressions").is_none());
    assert_eq!(results[1]["suppressions"][0]["justification"], "The flag is only a hint.");
    let error = RaceBaseline::parse("races: [{functions: [a, b], reason: ' '}]", "races.yaml").unwrap_err();
    assert_eq!(error.to_string(), "races.yaml: the race of a and b has no reason");
}

#[test]
fn a_report_that_cannot_be_parsed_is_an_error() {
    let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
    let race =
        Race { suite: String::new(), client: String::new(), case: String::new(), text: "\nWARNING: other".to_owned() };
    let results = Results { races: vec![race], ..Results::default() };
    let error = findings(&results, &RaceBaseline::default(), &matrix, &matrix.images[0]).unwrap_err().to_string();
    assert!(error.contains("may have failed itself: `WARNING: other`"), "{error}");
}

fn control(name: &str) -> Control {
    let race = format!(
        "WARNING: ThreadSanitizer: data race (pid=1)\n  Write of size 8 at 0x1 by thread T1:\n    #0 {name} controls.c:9:5 \
         (libcontrols_c.so+0x1)\n  Previous write of size 8 at 0x1 by thread T2:\n    #0 {name} controls.c:9:5 \
         (libcontrols_c.so+0x1)\n"
    );
    let races = if name.ends_with("unguarded") { vec![race] } else { Vec::new() };
    Control { name: name.to_owned(), outcome: Outcome::Passed, message: String::new(), gil_after: Some(false), races }
}

/// Checks the controls after a change.
fn checked(change: impl Fn(&mut Vec<Control>)) -> Result<(), String> {
    let mut controls = ["c_unguarded", "c_guarded", "rust_unguarded", "rust_guarded"].map(control).to_vec();
    change(&mut controls);
    check(&controls, &libraries()).map_err(|error| error.to_string())
}

#[test]
fn each_fault_of_the_controls_is_found() {
    assert_eq!(checked(|_| {}), Ok(()));
    let refused = |part: &str, change: &dyn Fn(&mut Vec<Control>)| {
        let error = checked(change).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused("`rust_guarded` was not run", &|controls| {
        controls.pop();
    });
    refused("exactly one race in `c_unguarded`, but it reported 0", &|controls| controls[0].races.clear());
    refused("exactly one race in `rust_unguarded`, but it reported 2", &|controls| {
        let again = controls[2].races[0].clone();
        controls[2].races.push(again);
    });
    refused("reports a race in `rust_guarded`, which has none", &|controls| {
        controls[3].races = controls[2].races.clone();
    });
    refused("does not name this function with its line", &|controls| {
        controls[0].races[0] = controls[0].races[0].replace("controls.c:9:5", "<null>");
    });
    refused("the GIL is on in the control `c_guarded`", &|controls| controls[1].gil_after = Some(true));
    refused("`c_guarded` could not be run: no library", &|controls| {
        controls[1].outcome = Outcome::Failed;
        controls[1].message = "no library\n".to_owned();
    });
    let failed = Libraries { outcome: Some(Outcome::Failed), ..libraries() };
    let controls = ["c_unguarded", "c_guarded", "rust_unguarded", "rust_guarded"].map(control);
    assert!(check(&controls, &failed).unwrap_err().to_string().contains("cannot be imported"));
}
