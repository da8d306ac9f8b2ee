//! The tool in folders that are no clone of it: `init`, `verify --gil off`, and what runs in containers.

use std::fs;

use std::process::Command;

use crate::common::{Clone, text, write_program};

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
        r#"{{"interpreter": {{"version": "3.14.7", "free_threaded": true, "python_gil": null}},
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
    assert!(said.contains("  declared    _acme_py\n  GIL         off in CPython 3.14.7t\n  ok\n"), "{said}");
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
    assert!(
        said.contains(
            "no free-threaded interpreter of the matrix can load all of these wheels, whose ABIs are `cp314`"
        ),
        "{said}"
    );
    let python = interpreter(&clone, true, "declared");
    let said = clone.bad(2, &["verify", "--gil", "off", "--python", &python, &other]);
    assert!(said.contains("has the ABI `cp314`, which a cp314t interpreter cannot load"), "{said}");
    let said = clone.bad(2, &["verify", "--gil", "off", "--python", "no/such/python", &wheel]);
    assert!(said.contains("there is no file `no/such/python`"), "{said}");
    let said = clone.bad(2, &["verify", "--gil", "off", "314t"]);
    assert!(said.contains("`314t` is not a file"), "{said}");
}

/// A clone whose project folder is empty.
fn empty() -> Clone {
    let clone = Clone::new();
    fs::remove_dir_all(clone.project()).unwrap();
    fs::create_dir_all(clone.project()).unwrap();
    clone
}

#[test]
fn a_new_project_needs_only_its_rows() {
    let clone = empty();
    let said = clone.bad(2, &["plan"]);
    assert!(said.contains("no matrix.yaml in") && said.contains("init"), "{said}");
    let said = clone.good(&["init", "--name", "demo"]);
    assert!(said.contains("wrote   matrix.yaml\n") && said.contains("no workflows"), "{said}");
    let (source, build) = ("{path: .}", "{with: maturin, platform: manylinux_2_28_x86_64}");
    clone.add("packages", &format!("{{id: acme, import: [acme], source: {source}, build: {build}}}"));
    clone.add("images", "{tag: 314t, abi: cp314t, packages: [acme], gil: \"off\"}");
    let plan = clone.good(&["plan", "image", "314t"]);
    assert!(plan.contains("\nbase-cp314t ") && plan.contains("\nproof-314t "), "{plan}");
    // Only a clone of the tool has sources of the tool to check.
    let output = clone.run(&["ci", "--fast"]);
    assert!(output.status.success() && !text(&output.stderr).contains("cargo fmt"), "{}", text(&output.stderr));
    let mut deny = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    let deny = deny.arg("deny").current_dir(clone.project()).env("XTASK_CACHE_DIR", clone.top.join("cache")).output();
    let deny = deny.unwrap();
    assert_eq!(deny.status.code(), Some(2), "{}", text(&deny.stderr));
    assert!(text(&deny.stderr).contains("works on the sources of this tool"), "{}", text(&deny.stderr));
    // A second time, nothing changes.
    let matrix = fs::read_to_string(clone.project().join("matrix.yaml")).unwrap();
    let said = clone.good(&["init", "--tool", "o/r@v1"]);
    assert!(said.contains("kept    matrix.yaml") && said.contains("wrote   .github/workflows/build.yml"), "{said}");
    assert_eq!(fs::read_to_string(clone.project().join("matrix.yaml")).unwrap(), matrix);
    let said = clone.bad(2, &["init", "--name", "Upper"]);
    assert!(said.contains("upper-case"), "{said}");
}

#[test]
#[ignore = "needs a network"]
fn the_workflows_of_a_new_project_pass_the_linters() {
    let clone = empty();
    clone.good(&["init", "--tool", &format!("o/r@{}", "0".repeat(40))]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    let output = command.args(["workflow", "--check"]).current_dir(clone.project()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn only_a_named_folder_replaces_what_runs_in_containers() {
    const FILE: &str = "docker/base.Dockerfile";
    let clone = Clone::new();
    let digest = |folder: Option<&str>| {
        let mut command = clone.command(&["plan", "image", "314t", "--format", "json"]);
        if let Some(folder) = folder {
            command.env("XTASK_CONTAINER_FILES", folder);
        }
        let plan: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let base = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == "base-cp314t").unwrap();
        base["inputs"][FILE].as_str().unwrap().to_owned()
    };
    let before = digest(None);
    fs::create_dir_all(clone.project().join("docker")).unwrap();
    fs::write(clone.project().join(FILE), "FROM scratch\n").unwrap();
    assert_eq!(digest(None), before, "a project may have a folder of that name");
    assert_ne!(digest(Some("docker")), before);
}
