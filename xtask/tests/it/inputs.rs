//! Tests of `outdated` and `deny` without network.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::{Clone, text};

#[test]
fn what_cannot_be_asked_is_said_in_its_row() {
    let clone = Clone::new();
    let matrix = fs::read_to_string(clone.project().join("matrix.yaml")).unwrap();
    let table = clone.good(&["outdated", "--write"]);
    assert!(table.starts_with("INPUT "), "{table}");
    for input in ["tool maturin ", "check zizmor ", "source cpython-", "image debian:", "base image python:"] {
        let row = table.lines().find(|line| line.starts_with(input)).unwrap_or_else(|| panic!("no {input}: {table}"));
        assert!(row.ends_with("not asked"), "{row}");
    }
    assert_eq!(fs::read_to_string(clone.project().join("matrix.yaml")).unwrap(), matrix);
    // Inputs that could not be checked do not count as outdated.
    clone.good(&["outdated", "--check"]);
}

#[test]
#[ignore = "builds cargo-deny, with a network"]
fn crates_that_are_not_allowed_are_refused() {
    let clone = Clone::new();
    let source = fixture::project();
    // The digests of the fixture are invented.
    fs::write(clone.project().join("matrix.yaml"), fixture::own_matrix()).unwrap();
    let crates = fs::read_dir(source.join("xtask/crates")).unwrap().flatten();
    let crates = crates.map(|entry| format!("xtask/crates/{}", entry.file_name().to_string_lossy()));
    let members: Vec<String> = ["xtask", "xtask/standin"].map(str::to_owned).into_iter().chain(crates).collect();
    let manifests = members.iter().map(|member| format!("{member}/Cargo.toml"));
    let files = ["Cargo.toml", "Cargo.lock", ".cargo/deny.toml"].map(str::to_owned).into_iter().chain(manifests);
    for file in files {
        let to = clone.project().join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(source.join(file), to).unwrap();
    }
    for member in &members {
        let sources = clone.project().join(member).join("src");
        fs::create_dir_all(&sources).unwrap();
        fs::write(sources.join("lib.rs"), "").unwrap();
        if !member.starts_with("xtask/crates/") {
            fs::write(sources.join("main.rs"), "fn main() {}\n").unwrap();
        }
        // Cargo requires all targets that a manifest lists.
        let manifest = fs::read_to_string(source.join(member).join("Cargo.toml")).unwrap();
        let tests = clone.project().join(member).join("tests");
        fs::create_dir_all(&tests).unwrap();
        for target in manifest.split("[[test]]").skip(1) {
            let name = target.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
            fs::write(tests.join(format!("{}.rs", name.trim_matches('"'))), "").unwrap();
        }
    }
    // Run the real command with the user's cache.
    let deny = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
        let output = command.arg("deny").current_dir(clone.project()).stdin(Stdio::null()).output().unwrap();
        let said = text(&output.stderr);
        // The terminal shows the last lines of the log; the log file is complete.
        let log = said.lines().find_map(|line| Some(line.split_once("whole log: ")?.1.trim()));
        let log = log.map_or_else(String::new, |log| fs::read_to_string(log).unwrap());
        (output.status.code(), said, log)
    };
    let (code, said, _) = deny();
    assert_eq!(code, Some(0), "{said}");
    let path = clone.project().join(".cargo/deny.toml");
    let mut rules = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"MIT\", ", ""),
        ("crate = \"syn@2\"", "crate = \"syn@1\""),
        ("[sources]\n", "[sources]\nallow-registry = []\n"),
    ] {
        assert!(rules.contains(from), "deny.toml no longer has `{from}`");
        rules = rules.replace(from, to);
    }
    fs::write(&path, rules).unwrap();
    let (code, said, log) = deny();
    let told = said + &log;
    assert_eq!(code, Some(1), "{told}");
    for finding in ["licenses FAILED", "bans FAILED", "sources FAILED"] {
        assert!(told.contains(finding), "`{finding}` expected: {told}");
    }
}
