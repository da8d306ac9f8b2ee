//! Tests every promise against every GIL state, without a container.

use std::process::Command;

use super::*;

fn module(name: &str, status: &str) -> ProbedModule {
    ProbedModule { name: name.to_owned(), status: status.to_owned(), error: None, reached: None, reached_error: None }
}

fn verdict(state: &str, modules: Vec<ProbedModule>) -> GilReport {
    GilReport {
        interpreter: ProbedInterpreter { version: "3.14.7".to_owned(), free_threaded: true, python_gil: None },
        distributions: vec![ProbedDistribution { name: "x".to_owned(), version: "1".to_owned(), modules }],
        effective: EffectiveGil {
            state: state.to_owned(),
            switched_on_by: if state == "on" { vec!["bad".to_owned()] } else { Vec::new() },
            error: None,
        },
    }
}

#[test]
fn promises_that_are_kept() {
    assert!(verdict("off", vec![module("good", "declared")]).check_promise(GilState::Off).is_ok());
    assert!(verdict("forced off", vec![module("bad", "undeclared")]).check_promise(GilState::ForcedOff).is_ok());
    assert!(verdict("on", vec![module("x", "not-applicable")]).check_promise(GilState::On).is_ok());
    assert!(
        verdict("on", vec![module("bad", "undeclared"), module("good", "declared")])
            .check_promise(GilState::On)
            .is_ok()
    );
}

#[test]
fn a_broken_promise_names_the_module() {
    for (state, status, promise) in [
        ("on", "undeclared", GilState::Off),
        ("off", "undeclared", GilState::Off),
        ("on", "declared", GilState::ForcedOff),
    ] {
        let error = verdict(state, vec![module("bad", status)]).check_promise(promise).unwrap_err().to_string();
        assert!(error.contains("`bad`"), "{error}");
    }
    let error =
        verdict("off", vec![module("good", "declared")]).check_promise(GilState::ForcedOff).unwrap_err().to_string();
    assert!(error.contains("not needed"), "{error}");
    // The module is in the image, but none of the configured imports reaches it.
    for promise in [GilState::ForcedOff, GilState::On] {
        let error = verdict("off", vec![module("bad", "undeclared")]).check_promise(promise).unwrap_err().to_string();
        assert!(error.contains("no import of the image reaches `bad`"), "{error}");
    }
}

#[test]
fn an_unloadable_module_counts_only_if_an_import_reaches_it() {
    let mut bad = module("bad", "error");
    bad.error = Some("ImportError: no Tk\nand more".to_owned());
    for (state, promise) in [("on", GilState::On), ("off", GilState::Off)] {
        let verdict = verdict(state, vec![bad.clone()]);
        assert!(verdict.check_promise(promise).is_ok());
        assert_eq!(verdict.not_loadable(), ["bad: ImportError: no Tk"]);
        assert_eq!(verdict.lines(), ["not loadable: bad (x 1): ImportError: no Tk"]);
    }
    // The package may catch the error; then only the probe observed it.
    (bad.reached, bad.reached_error) = (Some("failed".to_owned()), Some("ImportError: not here".to_owned()));
    for promise in [GilState::On, GilState::Off, GilState::ForcedOff] {
        let error = verdict(&promise.to_string(), vec![bad.clone()]).check_promise(promise).unwrap_err().to_string();
        assert!(error.contains("`bad` cannot be loaded, and an import of the image reaches it: ImportError: not here"));
    }
}

#[test]
fn libraries_of_the_system_that_an_import_misses_are_named() {
    let missing = |library: &str| format!("ImportError: {library}: cannot open shared object file: No such file");
    let mut bad = module("bad", "error");
    bad.error = Some(missing("libX11.so.6"));
    assert!(verdict("off", vec![bad.clone()]).missing_libraries().is_empty(), "no import reaches the module");
    bad.reached = Some("failed".to_owned());
    let mut verdict = verdict("off", vec![bad]);
    verdict.effective.error = Some("OSError: libmagic.so.1: cannot open shared object file".to_owned());
    assert_eq!(verdict.missing_libraries(), ["libX11.so.6", "libmagic.so.1"]);
    assert!(verdict.check_promise(GilState::Off).unwrap_err().to_string().contains("`runtime_apt` of the package"));
    verdict.effective.error = Some("OSError: /a/b.so: cannot open shared object file".to_owned());
    assert_eq!(verdict.missing_libraries(), ["libX11.so.6"], "a path is not the name of a library");
}

#[test]
fn an_image_that_cannot_import_its_packages_breaks_every_promise() {
    let mut verdict = verdict("error", Vec::new());
    verdict.effective.error = Some("the import ended the process by SIGSEGV".to_owned());
    for promise in [GilState::On, GilState::Off, GilState::ForcedOff] {
        let error = verdict.check_promise(promise).unwrap_err().to_string();
        assert!(error.contains("cannot import its packages: the import ended the process by SIGSEGV"), "{error}");
    }
}

/// Models CPython: returns whether the GIL is enabled in a process.
fn is_on(free_threaded: bool, python_gil: Option<&str>, imported: bool) -> bool {
    !free_threaded || python_gil.map_or(imported, |value| value == "1")
}

#[test]
fn accepted_promises_hold_in_each_process() {
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
                if verdict(state, modules).check_promise(promise).is_err() {
                    continue;
                }
                accepted += 1;
                let rule = GilRule::new(promise, free_threaded, python_gil);
                // A process may import the module like the image, or import something else.
                for imported in [false, in_image] {
                    let process = ProcessGil {
                        at_start: Some(is_on(free_threaded, python_gil, false)),
                        at_end: Some(is_on(free_threaded, python_gil, imported)),
                        undeclared: if imported && free_threaded { &undeclared } else { &[] },
                    };
                    assert_eq!(rule.violation(&process), None, "{promise} {free_threaded} {python_gil:?} {process:?}");
                }
            }
        }
    }
    // Four `on` with a GIL build, two `on` with PYTHON_GIL=1, one `on` by the module; two `off`; one `forced off`.
    assert_eq!(accepted, 10);
}

#[test]
fn a_broken_promise_of_a_process_is_explained() {
    let bad = ["bad".to_owned()];
    let process =
        |at_start, at_end, undeclared| ProcessGil { at_start: Some(at_start), at_end: Some(at_end), undeclared };
    let (on, off) = (GilRule::new(GilState::On, true, None), GilRule::new(GilState::Off, true, None));
    let (always, forced) =
        (GilRule::new(GilState::On, false, None), GilRule::new(GilState::ForcedOff, true, Some("0")));
    for (rule, process, told) in [
        (off, process(false, true, &bad[..]), "the GIL was on, enabled by `bad`"),
        (off, process(false, true, &[]), "the GIL was on"),
        (forced, process(true, true, &[]), "the GIL was on at the start"),
        (on, process(false, false, &bad[..]), "the GIL was off, although the undeclared `bad` was imported"),
        (always, process(false, true, &[]), "the GIL was off at the start"),
        (always, process(true, false, &[]), "the GIL was off"),
    ] {
        assert_eq!(rule.violation(&process).as_deref(), Some(told));
    }
    let crashed = ProcessGil { at_start: None, at_end: None, undeclared: &[] };
    assert_eq!(always.violation(&crashed), None, "a crash is reported separately");
}

#[test]
fn the_probe_passes_its_own_tests() {
    let tests = fixture::project().join("docker/tests/test_gil_probe.py");
    let output = Command::new("python3").arg(tests).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_missing_library_of_the_system_is_named_with_what_to_do() {
    let mut bad = module("bad", "error");
    bad.reached = Some("failed".to_owned());
    bad.reached_error =
        Some("ImportError: libexpat.so.1: cannot open shared object file: No such file or directory".to_owned());
    let error = verdict("off", vec![bad.clone()]).check_promise(GilState::Off).unwrap_err().to_string();
    assert!(error.contains("expect `libexpat.so.1` of the system") && error.contains("runtime_apt"), "{error}");
    bad.reached_error = Some("ImportError: no".to_owned());
    assert!(verdict("off", vec![bad]).check_promise(GilState::Off).unwrap_err().to_string().ends_with("no"));
}
