//! Every promise, with every way in which the GIL can be on or off, without a container.

use std::process::Command;

use super::*;

fn module(name: &str, status: &str) -> Module {
    Module { name: name.to_owned(), status: status.to_owned(), error: None, reached: None, reached_error: None }
}

fn verdict(state: &str, modules: Vec<Module>) -> Verdict {
    Verdict {
        interpreter: Interpreter { version: "3.14.5".to_owned(), free_threaded: true, python_gil: None },
        distributions: vec![Distribution { name: "x".to_owned(), version: "1".to_owned(), modules }],
        effective: Effective {
            state: state.to_owned(),
            switched_on_by: if state == "on" { vec!["bad".to_owned()] } else { Vec::new() },
            error: None,
        },
    }
}

#[test]
fn promises_that_are_kept() {
    assert!(verdict("off", vec![module("good", "declared")]).judge(GilState::Off).is_ok());
    assert!(verdict("forced off", vec![module("bad", "undeclared")]).judge(GilState::ForcedOff).is_ok());
    assert!(verdict("on", vec![module("x", "not-applicable")]).judge(GilState::On).is_ok());
    assert!(verdict("on", vec![module("bad", "undeclared"), module("good", "declared")]).judge(GilState::On).is_ok());
}

#[test]
fn a_broken_promise_names_the_module() {
    for (state, status, promise) in [
        ("on", "undeclared", GilState::Off),
        ("off", "undeclared", GilState::Off),
        ("on", "declared", GilState::ForcedOff),
    ] {
        let error = verdict(state, vec![module("bad", status)]).judge(promise).unwrap_err().to_string();
        assert!(error.contains("`bad`"), "{error}");
    }
    let error = verdict("off", vec![module("good", "declared")]).judge(GilState::ForcedOff).unwrap_err().to_string();
    assert!(error.contains("not needed"), "{error}");
    // It is in the image, but nothing that the matrix names imports it.
    for promise in [GilState::ForcedOff, GilState::On] {
        let error = verdict("off", vec![module("bad", "undeclared")]).judge(promise).unwrap_err().to_string();
        assert!(error.contains("no import of the image reaches `bad`"), "{error}");
    }
}

#[test]
fn a_module_that_does_not_load_counts_only_where_an_import_reaches_it() {
    let mut bad = module("bad", "error");
    bad.error = Some("ImportError: no Tk\nand more".to_owned());
    for (state, promise) in [("on", GilState::On), ("off", GilState::Off)] {
        let verdict = verdict(state, vec![bad.clone()]);
        assert!(verdict.judge(promise).is_ok());
        assert_eq!(verdict.not_loadable(), ["bad: ImportError: no Tk"]);
        assert_eq!(verdict.lines(), ["not loadable: bad (x 1): ImportError: no Tk"]);
    }
    // The package may catch the error: then only the probe has seen it.
    (bad.reached, bad.reached_error) = (Some("failed".to_owned()), Some("ImportError: not here".to_owned()));
    for promise in [GilState::On, GilState::Off, GilState::ForcedOff] {
        let error = verdict(&promise.to_string(), vec![bad.clone()]).judge(promise).unwrap_err().to_string();
        assert!(error.contains("`bad` cannot be loaded, and an import of the image reaches it: ImportError: not here"));
    }
}

#[test]
fn an_image_that_cannot_import_its_packages_breaks_every_promise() {
    let mut verdict = verdict("error", Vec::new());
    verdict.effective.error = Some("the import ended the process by SIGSEGV".to_owned());
    for promise in [GilState::On, GilState::Off, GilState::ForcedOff] {
        let error = verdict.judge(promise).unwrap_err().to_string();
        assert!(error.contains("cannot import its packages: the import ended the process by SIGSEGV"), "{error}");
    }
}

/// What CPython does, for the test below: whether the GIL is on in a process.
fn is_on(free_threaded: bool, python_gil: Option<&str>, imported: bool) -> bool {
    !free_threaded || python_gil.map_or(imported, |value| value == "1")
}

#[test]
fn a_promise_that_the_proof_accepts_is_kept_by_each_process() {
    let undeclared = ["bad".to_owned()];
    let mut accepted = 0;
    for promise in [GilState::On, GilState::Off, GilState::ForcedOff] {
        for (free_threaded, python_gil) in
            [(false, None), (false, Some("1")), (true, None), (true, Some("0")), (true, Some("1"))]
        {
            for in_image in [false, true] {
                let state = match is_on(free_threaded, python_gil, in_image) {
                    true => "on",
                    false if in_image => "forced off",
                    false => "off",
                };
                let status = if free_threaded { "undeclared" } else { "not-applicable" };
                let modules = if in_image { vec![module("bad", status)] } else { Vec::new() };
                if verdict(state, modules).judge(promise).is_err() {
                    continue;
                }
                accepted += 1;
                let rule = Rule::new(promise, free_threaded, python_gil);
                // A process may import what the image imports, or something else alone.
                for imported in [false, in_image] {
                    let process = Process {
                        at_start: Some(is_on(free_threaded, python_gil, false)),
                        at_end: Some(is_on(free_threaded, python_gil, imported)),
                        undeclared: if imported && free_threaded { &undeclared } else { &[] },
                    };
                    assert_eq!(rule.broken(&process), None, "{promise} {free_threaded} {python_gil:?} {process:?}");
                }
            }
        }
    }
    // on: four of the build with a GIL, two with PYTHON_GIL=1, one by the module; off: two; forced off: one.
    assert_eq!(accepted, 10);
}

#[test]
fn a_process_that_breaks_a_promise_is_told_how() {
    let bad = ["bad".to_owned()];
    let process = |at_start, at_end, undeclared| Process { at_start: Some(at_start), at_end: Some(at_end), undeclared };
    let (on, off) = (Rule::new(GilState::On, true, None), Rule::new(GilState::Off, true, None));
    let (always, forced) = (Rule::new(GilState::On, false, None), Rule::new(GilState::ForcedOff, true, Some("0")));
    for (rule, process, told) in [
        (off, process(false, true, &bad[..]), "it was on, switched on by `bad`"),
        (off, process(false, true, &[]), "it was on"),
        (forced, process(true, true, &[]), "it was on at the start"),
        (on, process(false, false, &bad[..]), "it was off, although the undeclared `bad` was imported"),
        (always, process(false, true, &[]), "it was off at the start"),
        (always, process(true, false, &[]), "it was off"),
    ] {
        assert_eq!(rule.broken(&process).as_deref(), Some(told));
    }
    let crashed = Process { at_start: None, at_end: None, undeclared: &[] };
    assert_eq!(always.broken(&crashed), None, "a crash is another failure");
}

#[test]
fn the_probe_passes_its_own_tests() {
    let tests = fixture::project().join("docker/tests/test_gil_probe.py");
    let output = Command::new("python3").arg(tests).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
