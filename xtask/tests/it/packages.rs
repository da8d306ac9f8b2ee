//! Tests of `lock`, `add` and `survey` without network, with a substitute for uv.

use std::fs;

use crate::common::{Clone, text, write_program};

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
    fs::create_dir_all(&programs).unwrap();
    write_program(&programs.join("uv"), &program);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let arguments = [&["lock", "demo-app"], options].concat();
    let output = clone.command(&arguments).env("PATH", path).output().unwrap();
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
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
fn a_requirement_without_a_wheel_is_named_with_the_command_that_builds_it() {
    let hint = "echo 'hint: Wheels are required for `uwsgi` because building from source is disabled' >&2; exit 1";
    let clone = Clone::new();
    let (code, said) = lock(&clone, hint, &[]);
    let wanted = "the package index has no wheel of `uwsgi` for this version of Python; `cargo xtask add uwsgi` builds";
    assert!(code == Some(1) && said.contains(wanted), "{said}");
    let (code, said) = with_copy_and(&clone, &["add", "../copy"], hint);
    assert!(code == Some(1) && said.contains("require another version in `build.requires` of `my-demo`"), "{said}");
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
    assert!(error.contains("there is no package `nowhere` in the matrix; the choices are `acme-py`"), "{error}");
    let error = clone.bad(2, &["lock", "--print", "cp27"]);
    assert!(error.contains("there is no ABI `cp27`; the choices are `cp311`"), "{error}");
}

/// Writes a working copy beside the project and runs `add` for it, with a substitute for uv.
fn add(clone: &Clone, options: &[&str]) -> (Option<i32>, String) {
    with_copy(clone, &[&["add", "../copy"], options].concat())
}

fn with_copy(clone: &Clone, arguments: &[&str]) -> (Option<i32>, String) {
    with_copy_and(clone, arguments, ":")
}

/// Like `with_copy`; the substitute for uv also runs a command of the shell.
fn with_copy_and(clone: &Clone, arguments: &[&str], command: &str) -> (Option<i32>, String) {
    let copy = clone.top.join("copy");
    fs::create_dir_all(&copy).unwrap();
    let pyproject = "[project]\nname = 'My.Demo'\nversion = '1'\n[build-system]\nrequires = ['setuptools']\n";
    fs::write(copy.join("pyproject.toml"), pyproject).unwrap();
    let uv = format!(
        "#!/bin/sh\nset -eu\n{command}\nwhile [ \"$1\" != --output-file ]; do shift; done\n\
         printf 'lock-version = \"1.0\"\\ncreated-by = \"uv\"\\n' >\"$2\"\n"
    );
    fs::create_dir_all(clone.top.join("programs")).unwrap();
    write_program(&clone.top.join("programs/uv"), &uv);
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
    let workflows = clone.project().join(".github/workflows");
    fs::create_dir_all(&workflows).unwrap();
    let text = "# written by `cargo xtask workflow`: images\n# until here\n";
    fs::write(workflows.join("demo.yml"), text).unwrap();
    let (code, said) = add(&clone, &["--image", "314t-demo", "--abi", "cp311", "--abi", "cp314t"]);
    assert!(said.contains("`demo.yml`") && said.contains("run `cargo xtask workflow`"), "{said}");
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
fn an_edit_of_the_matrix_during_a_build_is_kept() {
    let clone = Clone::new();
    let matrix = clone.project().join("matrix.yaml");
    // The substitute for uv stands for an editor.
    let edit = format!("sed -i 's/^name: fixture$/name: fixture # edited/' {}", matrix.display());
    let (code, said) = with_copy_and(&clone, &["add", "../copy"], &edit);
    let after = fs::read_to_string(&matrix).unwrap();
    assert!(
        code == Some(0) && after.contains("name: fixture # edited\n") && after.contains("- id: my-demo\n"),
        "{said}"
    );
    assert!(said.contains("No image was made, so nothing is known about the GIL"), "{said}");
}

#[test]
fn a_tag_that_is_no_name_is_refused_before_the_build() {
    let (code, said) = add(&Clone::new(), &["--image", "bad tag!"]);
    assert!(code == Some(2) && said.contains("`bad tag!` is not a name") && !said.contains("wheel-my-demo"), "{said}");
}

#[test]
fn a_survey_changes_nothing_but_its_table() {
    let clone = Clone::new();
    let matrix = clone.project().join("matrix.yaml");
    let before = fs::read_to_string(&matrix).unwrap();
    let (code, said) = with_copy(&clone, &["survey", "../copy", "../nowhere", "--write", "table.md"]);
    let table = fs::read_to_string(clone.project().join("table.md")).unwrap();
    assert!(code == Some(0) && said.contains(&table), "{said}");
    assert!(table.contains("| my-demo | - | setuptools | - | 0 | - | off |\n"), "{table}");
    assert!(table.contains("| ../nowhere | - | - | - | - | - | not built: there is no folder `../nowhere`"), "{table}");
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
