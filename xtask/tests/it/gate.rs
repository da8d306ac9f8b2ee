//! `verify --gil off` and `init`, in folders without a matrix.yaml.

use std::fs;

use crate::common::{Clone, write_program};

/// A clone without a matrix, and a small real wheel for a free-threaded interpreter.
fn wheel() -> (Clone, String) {
    let clone = Clone::new();
    clone.good(&["wheels", "--package", "acme-py", "--abi", "cp314t"]);
    let wheel = clone.wheel("cp314t").display().to_string();
    fs::remove_file(clone.project().join("matrix.yaml")).unwrap();
    (clone, wheel)
}

/// Writes a program that answers like an interpreter, and like the probe that it is asked to run.
fn interpreter(clone: &Clone, free_threaded: bool, status: &str) -> String {
    let path = clone.top.join("python");
    let report = format!(
        r#"{{"interpreter": {{"version": "3.14.5", "free_threaded": true, "python_gil": null}},
 "distributions": [{{"name": "acme-py", "version": "1.4.2", "modules":
   [{{"name": "_acme_py", "status": "{status}", "error": null}}]}}],
 "effective": {{"state": "off", "switched_on_by": [], "error": null}}}}"#
    );
    let answer = format!(r#"{{"abi": "cp314", "free_threaded": {free_threaded}}}"#);
    let script = format!("#!/bin/sh\ncase $1 in -c) echo '{answer}' ;; *) cat <<'END'\n{report}\nEND\n;; esac\n");
    write_program(&path, &script);
    path.display().to_string()
}

#[test]
fn a_wheel_of_others_is_checked_without_a_matrix() {
    let (clone, wheel) = wheel();
    let said = clone.good(&["verify", &wheel]);
    assert!(said.contains("acme_py") && said.ends_with("  ok\n"), "{said}");
    let python = interpreter(&clone, true, "declared");
    let said = clone.good(&["verify", "--gil", "off", "--python", &python, &wheel]);
    assert!(said.contains("  declared    _acme_py\n  GIL         off in CPython 3.14.5t\n  ok\n"), "{said}");
}

#[test]
fn a_module_that_enables_the_gil_fails_the_gate() {
    let (clone, wheel) = wheel();
    let python = interpreter(&clone, true, "undeclared");
    let said = clone.bad(1, &["verify", "--gil", "off", "--python", &python, &wheel]);
    assert!(said.contains("`_acme_py` does not declare that it runs without the GIL"), "{said}");
}

#[test]
fn the_gate_needs_a_free_threaded_interpreter_and_wheels_for_it() {
    let (clone, wheel) = wheel();
    let with_gil = interpreter(&clone, false, "declared");
    let said = clone.bad(2, &["verify", "--gil", "off", "--python", &with_gil, &wheel]);
    assert!(said.contains("interpreter with a GIL"), "{said}");
    let other = wheel.replace("cp314t", "cp314");
    fs::copy(&wheel, &other).unwrap();
    let said = clone.bad(2, &["verify", "--gil", "off", &other]);
    assert!(said.contains("no free-threaded interpreter of the matrix can load wheels with the ABI `cp314`"), "{said}");
    let said = clone.bad(2, &["verify", "--gil", "off", "314t"]);
    assert!(said.contains("`314t` is not a file"), "{said}");
}
