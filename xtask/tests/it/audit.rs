//! Tests of `cargo xtask audit`: rejected findings, and validity of the SARIF output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cases::{project, real_project};
use crate::common::{Clone, text};

/// Creates a clone with a package `native` of one Rust file.
fn with_native(code: &str) -> Clone {
    let clone = Clone::new();
    clone.edit(
        "\npackages:\n",
        "\npackages:\n  - id: native\n    import: [native]\n    source: {path: native}\n    \
         build: {with: maturin, platform: manylinux_2_28_x86_64}\n    audit: {baseline: reviewed.yaml}\n",
    );
    write_code(&clone, code);
    clone
}

fn write_code(clone: &Clone, code: &str) {
    let folder = clone.project().join("native/src");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("lib.rs"), code).unwrap();
}

const AUDIT: [&str; 3] = ["audit", "--package", "native"];

#[test]
fn new_then_open_then_reviewed_then_stale() {
    let clone = with_native("fn f() { unsafe { g() } }\n");
    let baseline = clone.project().join("reviewed.yaml");
    assert!(clone.bad(1, &AUDIT).contains("1 findings that nobody has reviewed"));
    assert!(!baseline.exists(), "an audit writes nothing unless it is told to");

    let said = clone.bad(1, &["audit", "--package", "native", "--write"]);
    assert!(said.contains("no reason is given"), "{said}");

    let open = fs::read_to_string(&baseline).unwrap();
    let reviewed = open.replace("verdict: open", "verdict: sound").replace("reason: \"\"", "reason: it is mine alone");
    fs::write(&baseline, &reviewed).unwrap();
    let table = clone.good(&AUDIT);
    assert!(table.contains("rust-unsafe-block"), "{table}");
    write_code(&clone, "// moved\n\nfn f() { unsafe { g() } }\n");
    clone.good(&AUDIT);

    write_code(&clone, "fn f() { unsafe { g() } }\nfn h() { unsafe { g() } }\n");
    assert!(clone.bad(1, &AUDIT).contains("1 findings that nobody has reviewed"));
    write_code(&clone, "fn f() {}\n");
    assert!(clone.bad(1, &AUDIT).contains("no longer found"));

    fs::write(&baseline, reviewed.replace("verdict: sound", "verdict: perhaps")).unwrap();
    assert!(clone.bad(2, &AUDIT).contains("reviewed.yaml:"));
}

#[test]
fn what_cannot_be_audited_is_an_error() {
    let clone = with_native("fn {\n");
    let said = clone.bad(1, &AUDIT);
    assert!(said.contains("`src/lib.rs` is not Rust") && said.contains("line 1"), "{said}");
    clone.edit("baseline: reviewed.yaml", "baseline: reviewed.yaml, sources: [elsewhere]");
    assert!(clone.bad(1, &AUDIT).contains("`elsewhere` has no file of Rust or C"));
    clone.edit("sources: [elsewhere]", "sources: [../native]");
    assert!(clone.bad(2, &AUDIT).contains("is not a relative path inside"));
    clone.edit("sources: [../native]", "sources: []");
    assert!(clone.bad(2, &["audit", "--package", "nothing"]).contains("no package `nothing`"));
}

#[test]
fn modules_for_tests_only_are_left_out_with_their_files() {
    let clone = with_native("#[cfg(test)]\nmod tests;\nmod used;\n");
    let folder = clone.project().join("native/src");
    fs::create_dir_all(folder.join("tests")).unwrap();
    for (file, function) in [("tests.rs", "a"), ("tests/more.rs", "b"), ("used.rs", "c")] {
        fs::write(folder.join(file), format!("fn {function}() {{ unsafe {{ g() }} }}\n")).unwrap();
    }
    let output = clone.run(&["audit", "--package", "native", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = json["packages"][0]["findings"].as_array().unwrap();
    let functions: Vec<&str> = findings.iter().filter_map(|finding| finding["function"].as_str()).collect();
    assert_eq!(functions, ["c"]);
}

/// Returns the rules of the findings in order of lines.
fn rules(clone: &Clone, package: &str) -> Vec<String> {
    let output = clone.run(&["audit", "--package", package, "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = json["packages"][0]["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn c_beside_python_is_read() {
    let clone = project(&["c-beside-python"]);
    let said = clone.bad(1, &["audit", "--package", "c-beside-python"]);
    assert!(said.contains("5 findings that nobody has reviewed"), "{said}");
    // The static variables are the object and the module definition.
    let expected = ["c-static", "c-borrowed", "c-static", "c-gil-undeclared", "c-init-single-phase"];
    assert_eq!(rules(&clone, "c-beside-python"), expected);
}

#[test]
fn a_package_without_an_audit_fails_only_the_audit_that_names_it() {
    let clone = real_project(&["c-beside-python"], &[]).unwrap();
    let output = clone.run(&["audit"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("matrix.yaml has no `audit` for `c-beside-python`"), "{said}");
    assert!(text(&output.stdout).contains("c-gil-undeclared"));
}

#[test]
fn an_audit_that_read_nothing_is_an_error_that_names_the_folders() {
    let clone = with_native("");
    let native = clone.project().join("native");
    fs::remove_dir_all(native.join("src")).unwrap();
    fs::create_dir_all(native.join("vendor/lz4")).unwrap();
    fs::write(native.join("vendor/lz4/lz4.c"), "int x;\n").unwrap();
    let said = clone.bad(1, &AUDIT);
    assert!(
        said.contains("no native source of `native` was read") && said.contains("`vendor` (1 files, third-party"),
        "{said}"
    );
    fs::remove_dir_all(native.join("vendor")).unwrap();
    fs::write(native.join("module.py"), "").unwrap();
    assert!(clone.bad(1, &AUDIT).contains("the source has no file in a compiled language"));

    // A pure Python package has no code to scan.
    clone.edit(
        "build: {with: maturin, platform: manylinux_2_28_x86_64}\n    audit: {baseline: reviewed",
        "build: {with: container, platform: any, apt: compile}\n    audit: {baseline: reviewed",
    );
    assert!(clone.good(&AUDIT).contains("nothing was read"));
}

#[test]
fn what_cannot_be_read_has_to_be_judged_and_again_when_it_changes() {
    let clone = with_native("fn f() {}\n");
    let native = clone.project().join("native");
    for file in ["a.cpp", "b.pyx", "c.pyx", "c.c"] {
        fs::write(native.join(file), "int f(void) { return 1; }\n").unwrap();
    }
    fs::write(native.join("d.c"), "int f(void) {\n").unwrap();
    assert_eq!(rules(&clone, "native"), ["source-unread"; 3], "c.pyx lies beside its C");
    let table = text(&clone.run(&AUDIT).stdout);
    assert!(table.contains("NOT READ: 4 files") && table.contains("not C that the audit can read"), "{table}");

    clone.bad(1, &["audit", "--package", "native", "--write"]);
    let baseline = clone.project().join("reviewed.yaml");
    let open = fs::read_to_string(&baseline).unwrap();
    fs::write(&baseline, open.replace("verdict: open", "verdict: sound").replace("reason: \"\"", "reason: read by me"))
        .unwrap();
    clone.good(&AUDIT);
    fs::write(native.join("a.cpp"), "int f(void) { return 2; }\n").unwrap();
    assert!(clone.bad(1, &AUDIT).contains("1 findings that nobody has reviewed"));
}

/// Validates the output for a package with findings and for the project's own packages against the SARIF schema.
#[test]
#[ignore = "fetches a schema and sources; `cargo xtask ci` runs it"]
fn sarif_is_valid_against_its_schema() {
    let schema: Value = serde_json::from_slice(&fs::read(schema()).unwrap()).unwrap();
    let results = |log: &Value| -> usize {
        log["runs"].as_array().unwrap().iter().map(|run| run["results"].as_array().unwrap().len()).sum()
    };
    let check = |log: &Value| {
        let mut problems = Vec::new();
        validate(log, &schema, &schema, "log", &mut problems);
        assert!(problems.is_empty(), "{problems:#?}");
        println!("{} results, valid against {}", results(log), schema["$id"]);
    };
    let output = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"))
        .args(["audit", "--format", "sarif"])
        .current_dir(Path::new(".."))
        .output()
        .unwrap();
    // With findings that nobody has reviewed it fails, which is not what this test is about.
    assert!(!output.stdout.is_empty(), "{}", text(&output.stderr));
    check(&serde_json::from_slice(&output.stdout).unwrap());
    let clone = project(&["c-beside-python"]);
    let output = clone.run(&["audit", "--package", "c-beside-python", "--format", "sarif"]);
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(results(&log) > 0, "nothing was found, so nothing was validated");
    check(&log);

    // Check that the validator detects errors.
    for (at, wrong) in [
        ("/version", Value::from("2.0.0")),
        ("/runs/0/results/0/level", Value::from("terrible")),
        ("/runs/0/results/0/locations/0/physicalLocation/region/startLine", Value::from(0)),
        ("/runs/0/results/0/message", Value::from("a text")),
        ("/runs/0/tool/driver/name", Value::Null),
    ] {
        let mut broken = log.clone();
        *broken.pointer_mut(at).unwrap_or_else(|| panic!("the log has no {at}")) = wrong;
        let mut problems = Vec::new();
        validate(&broken, &schema, &schema, "log", &mut problems);
        assert!(!problems.is_empty(), "{at} was not noticed");
    }
    let mut more = log.clone();
    more["runs"][0]["unheard-of"] = Value::from(1);
    let mut problems = Vec::new();
    validate(&more, &schema, &schema, "log", &mut problems);
    assert!(!problems.is_empty(), "an unknown property was not noticed");
}

/// Returns the schema of SARIF 2.1.0 from a crate that contains it; Cargo verifies the download, and this function
/// its digest.
fn schema() -> PathBuf {
    const SHA256: &str = "af47e7b67f24efe74076621fd3a5fbe7398add9e84fe820c971219a385895cea";
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    fs::create_dir(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), "").unwrap();
    let manifest =
        "[package]\nname = \"schema\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nserde-sarif = \"=0.8.0\"\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(["metadata", "--format-version", "1"]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found =
        metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "serde-sarif").unwrap();
    let path = Path::new(found["manifest_path"].as_str().unwrap()).with_file_name("src").join("schema.json");
    let sum = Command::new("sha256sum").arg(&path).output().unwrap();
    assert!(text(&sum.stdout).starts_with(SHA256), "`{}` is not the schema that is meant", path.display());
    path
}

/// Validates JSON Schema draft 7 as far as the SARIF schema uses it; panics for unknown keywords.
fn validate(value: &Value, schema: &Value, root: &Value, at: &str, problems: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().unwrap() {
        let mut wrong = |why: String| problems.push(format!("{at}: {why}"));
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "default" | "format" | "definitions" => {}
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                validate(value, target, root, at, problems);
            }
            "type" => {
                let fits = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "null" => value.is_null(),
                    other => panic!("unknown type {other}"),
                };
                if !rule.as_array().map_or_else(|| fits(rule), |names| names.iter().any(fits)) {
                    wrong(format!("{value} is not of type {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => wrong(format!("{value} is none of {rule}")),
            "required" if value.is_object() => {
                for name in rule.as_array().unwrap().iter().filter(|name| value.get(name.as_str().unwrap()).is_none()) {
                    wrong(format!("lacks {name}"));
                }
            }
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(name) {
                        validate(inner, rule, root, &format!("{at}/{name}"), problems);
                    }
                }
            }
            "additionalProperties" => {
                let known = |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
                for (name, inner) in value.as_object().into_iter().flatten().filter(|(name, _)| !known(name)) {
                    match rule.as_bool() {
                        Some(true) => {}
                        Some(false) => problems.push(format!("{at}: unknown property {name}")),
                        None => validate(inner, rule, root, &format!("{at}/{name}"), problems),
                    }
                }
            }
            "items" => {
                for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
                    validate(inner, rule, root, &format!("{at}/{index}"), problems);
                }
            }
            "anyOf" | "oneOf" => {
                let fits = |option: &&Value| {
                    let mut inner = Vec::new();
                    validate(value, option, root, at, &mut inner);
                    inner.is_empty()
                };
                let count = rule.as_array().unwrap().iter().filter(fits).count();
                if count == 0 || (keyword == "oneOf" && count > 1) {
                    wrong(format!("fits {count} of {keyword}"));
                }
            }
            "minItems" if value.as_array().is_some_and(|items| (items.len() as u64) < rule.as_u64().unwrap()) => {
                wrong(format!("has fewer than {rule} items"));
            }
            "uniqueItems" if rule == true => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                if items.iter().enumerate().any(|(index, item)| items[..index].contains(item)) {
                    wrong("has an item twice".to_owned());
                }
            }
            "minimum" if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) => {
                wrong(format!("{value} is less than {rule}"));
            }
            "maximum" if value.as_f64().is_some_and(|number| number > rule.as_f64().unwrap()) => {
                wrong(format!("{value} is more than {rule}"));
            }
            "enum" | "required" | "minItems" | "uniqueItems" | "minimum" | "maximum" => {}
            "pattern" if !value.is_string() => {}
            other => panic!("{at}: this test does not know `{other}`: {rule}"),
        }
    }
}
