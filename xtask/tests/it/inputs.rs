//! Tests of `outdated` and `lock` without network.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Clone, text};

/// An answer of uv with these wheels.
fn answer(wheels: &[(&str, &str)]) -> String {
    let mut text = "lock-version = \"1.0\"\ncreated-by = \"uv\"\n".to_owned();
    for (name, version) in wheels {
        text += &format!(
            "[[packages]]\nname = \"{name}\"\nversion = \"{version}\"\nwheels = [\n  {{ url = \
             \"https://index.example/{name}-{version}-py3-none-any.whl\", hashes = {{ sha256 = \"{}\" }} }},\n]\n",
            "ab".repeat(32)
        );
    }
    text
}

/// Runs `lock` for the application of the fixture project with a substitute for uv, a shell script. `$output` and
/// `$input` are the files that uv writes and reads.
fn lock(clone: &Clone, uv: &str, options: &[&str]) -> (Option<i32>, String) {
    let program = format!(
        "#!/bin/sh\nset -eu\nprintf '%s ' \"$@\" >>{log}\nwhile [ \"$1\" != --output-file ]; do shift; done\n\
         output=$2 input=$3\n{uv}\n",
        log = clone.top.join("uv.log").display()
    );
    let programs = clone.top.join("programs");
    write_program(&programs.join("uv"), &program);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let arguments = [&["lock", "demo-app"], options].concat();
    let output = clone.command(&arguments).env("PATH", path).output().unwrap();
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

/// Writes a program by a child process: a file that this process has open for writing cannot be run by a thread of it.
fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut command = Command::new("sh");
    command.args(["-euc", "printf %s \"$2\" >\"$1\"; chmod 755 \"$1\"", "sh"]).arg(path).arg(text);
    assert!(command.status().unwrap().success());
}

fn read_lock(clone: &Clone) -> String {
    fs::read_to_string(clone.project().join("locks/demo-app/pylock.toml")).unwrap()
}

#[test]
fn requirements_are_locked_and_what_stays_the_same_is_not_touched() {
    let clone = Clone::new();
    fs::write(clone.top.join("answer"), answer(&[("anyio", "4.12.0"), ("numpy", "2.4.6"), ("sniffio", "1.3.1")]))
        .unwrap();
    let uv = format!("cat {} >\"$output\"", clone.top.join("answer").display());
    let before = read_lock(&clone);
    let (code, said) = lock(&clone, &uv, &["--check"]);
    assert!(code == Some(1) && said.contains("would change: run `cargo xtask lock`"), "{said}");
    assert_eq!(read_lock(&clone), before, "--check writes nothing");
    let (code, said) = lock(&clone, &uv, &[]);
    let changes = "locks/demo-app/pylock.toml: anyio 4.11.0 -> 4.12.0, +sniffio 1.3.1, -exceptiongroup 1.3.0, -h11 0.16.0, \
                   -starlette 0.50.0\n";
    assert!(code == Some(0) && said.contains(changes), "{said}");
    assert!(!read_lock(&clone).contains("://"), "no URL of an index");
    let (code, said) = lock(&clone, &uv, &["--check"]);
    assert!(code == Some(0) && said.contains("locks/demo-app/pylock.toml: current\n"), "{said}");
    let log = fs::read_to_string(clone.top.join("uv.log")).unwrap();
    for option in ["--universal", "--only-binary=:all:", "--python-version 3.11", "--no-emit-package acme"] {
        assert!(log.contains(option), "{log}");
    }
    // What is printed is what pip installs.
    let printed = clone.good(&["lock", "demo-app", "--print", "cp314t"]);
    assert!(printed.contains(&format!("anyio==4.12.0 --hash=sha256:{}\n", "ab".repeat(32))), "{printed}");
}

#[test]
fn a_failed_resolution_leaves_all_lock_files_as_they_were() {
    let clone = Clone::new();
    let before = read_lock(&clone);
    let good = answer(&[("numpy", "9")]);
    fs::write(clone.top.join("answer"), &good).unwrap();
    let windows = good.replace("py3-none-any", "cp314-cp314-win_amd64");
    fs::write(clone.top.join("windows"), windows).unwrap();
    let answers = clone.top.display();
    for (uv, error) in [
        // The lock of the build requirements is resolved after that of the run-time requirements.
        (
            format!("grep -q numpy \"$input\" || {{ echo no way >&2; exit 1; }}\ncat {answers}/answer >\"$output\""),
            "no way",
        ),
        ("echo 'lock-version = ' >\"$output\"".to_owned(), "the answer of uv: TOML parse error"),
        (format!("cat {answers}/windows >\"$output\""), "no wheel of `numpy` in the lock file matches `cp311`"),
    ] {
        let (code, said) = lock(&clone, &uv, &["--upgrade"]);
        assert!(code == Some(1) && said.contains(error), "{said}");
        assert_eq!(read_lock(&clone), before);
    }
}

#[test]
fn the_cache_is_not_pruned_while_locks_are_made() {
    let program = env!("CARGO_BIN_EXE_wheel-matrix");
    let clone = Clone::new();
    let (_, said) = lock(
        &clone,
        &format!(
            "XTASK_CACHE_DIR={} {program} cache prune || echo prune: $? >&2; exit 1",
            clone.top.join("cache").display()
        ),
        &[],
    );
    assert!(said.contains("prune: 1") && said.contains("the cache is in use"), "{said}");
    clone.good(&["cache", "prune"]);
}

#[test]
fn an_unknown_package_or_abi_is_exit_code_2() {
    let clone = Clone::new();
    let error = clone.bad(2, &["lock", "nowhere"]);
    assert!(error.contains("there is no package `nowhere`; the choices are `acme-py`"), "{error}");
    let error = clone.bad(2, &["lock", "--print", "cp27"]);
    assert!(error.contains("there is no ABI `cp27`; the choices are `cp311`"), "{error}");
}

/// Writes a working copy beside the project and runs `add` for it, with a substitute for uv.
fn add(clone: &Clone, options: &[&str]) -> (Option<i32>, String) {
    with_copy(clone, &[&["add", "../copy"], options].concat())
}

fn with_copy(clone: &Clone, arguments: &[&str]) -> (Option<i32>, String) {
    let copy = clone.top.join("copy");
    fs::create_dir_all(&copy).unwrap();
    let pyproject = "[project]\nname = 'My.Demo'\nversion = '1'\n[build-system]\nrequires = ['setuptools']\n";
    fs::write(copy.join("pyproject.toml"), pyproject).unwrap();
    let uv = "#!/bin/sh\nset -eu\nwhile [ \"$1\" != --output-file ]; do shift; done\n\
              printf 'lock-version = \"1.0\"\\ncreated-by = \"uv\"\\n' >\"$2\"\n";
    write_program(&clone.top.join("programs/uv"), uv);
    let path = format!("{}:{}", clone.top.join("programs").display(), std::env::var("PATH").unwrap());
    let output = clone.command(arguments).env("PATH", path).output().unwrap();
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn a_working_copy_is_added_with_its_image() {
    let clone = Clone::new();
    let matrix = clone.project().join("matrix.yaml");
    let before = fs::read_to_string(&matrix).unwrap();
    let (code, said) = add(&clone, &["--image", "314t-demo", "--dry-run"]);
    let row = "+   - id: my-demo\n+     import: [my_demo]\n+     source: {path: ../copy}\n\
               +     build: {with: container, apt: compile}\n";
    assert!(code == Some(0) && said.contains(row), "{said}");
    assert_eq!(fs::read_to_string(&matrix).unwrap(), before, "--dry-run writes nothing");
    let (code, said) = add(&clone, &["--image", "314t-demo", "--abi", "cp311", "--abi", "cp314t"]);
    // The wheel has another module than was guessed.
    let row = row.replace("[my_demo]", "[_my_demo]");
    let image = "+   - {tag: 314t-demo, abi: cp314t, packages: [my-demo], gil: \"off\"}\n";
    assert!(code == Some(0) && said.contains(&row) && said.contains(image), "{said}");
    let after = fs::read_to_string(&matrix).unwrap();
    assert_eq!(after.lines().count(), before.lines().count() + 5, "comments and other rows are kept");
    // The rows are complete: nothing is left to build.
    assert!(!clone.good(&["image", "314t-demo"]).contains(" built "));
    let (code, said) = add(&clone, &[]);
    assert!(code == Some(2) && said.contains("already has a package `my-demo`"), "{said}");
}

#[test]
fn a_survey_changes_nothing_but_its_table() {
    let clone = Clone::new();
    let matrix = clone.project().join("matrix.yaml");
    let before = fs::read_to_string(&matrix).unwrap();
    let (code, said) = with_copy(&clone, &["survey", "../copy", "../nowhere", "--write", "table.md"]);
    let table = fs::read_to_string(clone.project().join("table.md")).unwrap();
    assert!(code == Some(0) && said.contains(&table), "{said}");
    assert!(table.contains("| my-demo | - | setuptools | - | 0 | off |\n"), "{table}");
    assert!(table.contains("| ../nowhere | - | - | - | - | not built: there is no folder `../nowhere`"), "{table}");
    assert_eq!(fs::read_to_string(&matrix).unwrap(), before);
    assert!(!clone.project().join("locks/my-demo").exists() && !clone.project().join("wheels").exists());
}

#[test]
fn a_package_that_cannot_be_built_is_not_added() {
    let clone = Clone::new();
    let matrix = clone.project().join("matrix.yaml");
    let before = fs::read_to_string(&matrix).unwrap();
    let (code, said) = add(&clone, &["--abi", "cp27"]);
    assert!(code == Some(2) && said.contains("there is no ABI `cp27`"), "{said}");
    let (code, said) = add(&clone, &["--image", "314t"]);
    assert!(code == Some(2) && said.contains("already has an image `314t`"), "{said}");
    for what in ["../nowhere", "..", "a b", ">=1"] {
        let said = clone.bad(2, &["add", what]);
        assert!(said.contains(what), "{said}");
    }
    let mut command = clone.command(&["add", "../copy", "--abi", "cp314t"]);
    let path = format!("{}:{}", clone.top.join("programs").display(), std::env::var("PATH").unwrap());
    let output = command.env("PATH", path).env("XTASK_FAKE_FAIL", "wheel-my-demo-cp314t").output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("nothing was added to matrix.yaml"), "{said}");
    assert!(said.contains("+   - id: my-demo\n"), "the rows can be copied: {said}");
    assert_eq!(fs::read_to_string(&matrix).unwrap(), before);
    assert!(!clone.project().join("locks/my-demo").exists(), "no lock file is left");
}

#[test]
fn a_missing_build_lock_is_exit_code_2() {
    let clone = Clone::new();
    fs::remove_file(clone.project().join("locks/acme/pylock.build.toml")).unwrap();
    let error = clone.bad(2, &["plan", "wheels", "--package", "acme", "--abi", "cp314t"]);
    assert!(error.contains("there is no `locks/acme/pylock.build.toml`: run `cargo xtask lock acme`"), "{error}");
    // The vendor's wheel needs none.
    clone.good(&["plan", "wheels", "--package", "acme", "--abi", "cp311"]);
}

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
