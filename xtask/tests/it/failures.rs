//! Tests of builds that fail or are interrupted: what they say, and what is delivered nevertheless.

use std::fs;
use std::process::Stdio;

use sha2::Digest as _;

use crate::cache::{interrupt, wait_for};
use crate::common::{Clone, files, text};

#[test]
fn a_missing_debian_package_is_named_until_the_apt_set_has_it() {
    let clone = Clone::new();
    let build = |missing: &str| {
        let missing = format!("wheel-acme-cp314t={missing}");
        let mut command = clone.command(&["wheels", "--package", "acme", "--abi", "cp314t"]);
        let output = command.env("XTASK_FAKE_MISSING", missing).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = build("zlib1g-dev,libev-dev");
    assert_eq!(code, Some(1), "{said}");
    let expected =
        "`libev-dev.h` is missing, which is in the Debian package `libev-dev`: add it to the package's apt set";
    assert!(said.contains(expected), "{said}");
    assert_eq!(said.matches("is missing").count(), 1, "the error is printed once: {said}");
    let (code, said) = build("zlib1g-dev,libyaml-dev");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_failed_step_says_what_where_and_how_to_go_on() {
    let clone = Clone::new();
    let output =
        clone.command(&["wheels", "--abi", "cp314t"]).env("XTASK_FAKE_FAIL", "wheel-acme-cp314t").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "[wheel-acme-cp314t] failed as requested",
        "| this line is the last",
        "whole log: ",
        "run the same command again to continue",
    ] {
        assert!(said.contains(part), "`{part}` expected: {said}");
    }
    assert!(clone.leftovers().is_empty(), "{:?}", clone.leftovers());
    let wheels: Vec<_> = files(&clone.project().join("wheels"));
    assert!(!wheels.iter().any(|path| path.display().to_string().contains("/acme-7")), "{wheels:?}");
    // The second run executes only the failed step and its dependents.
    clone.good(&["wheels", "--abi", "cp314t"]);
}

/// Returns the files below `wheels/` and the ids of the rows in the manifest.
fn delivered(clone: &Clone) -> (Vec<String>, Vec<String>) {
    let folder = clone.project().join("wheels");
    let names = files(&folder).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let manifest = fs::read(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let rows = manifest["artefacts"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
    (names.collect(), rows.collect())
}

#[test]
fn what_was_built_is_delivered_whatever_else_failed() {
    let clone = Clone::new();
    let rows = ["wheels", "--abi", "cp314t"];
    clone.good(&rows);
    assert_eq!(delivered(&clone).1, ["wheel-acme-cp314t", "wheel-acme-py-cp314t", "wheel-demo-app-cp314t"]);
    // Two of them get new keys, and one of these fails: its earlier wheel no longer matches the matrix.
    clone.edit("platform: manylinux_2_34_x86_64", "platform: manylinux_2_35_x86_64");
    clone.edit("platform: manylinux_2_28_x86_64", "platform: manylinux_2_29_x86_64");
    let fail = |ids: &str, arguments: &[&str]| {
        let output = clone.command(arguments).env("XTASK_FAKE_FAIL", ids).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (table, said) = fail("wheel-acme-cp314t", &[&rows[..], &["--keep-going"]].concat());
    let (names, listed) = delivered(&clone);
    assert_eq!(listed, ["wheel-acme-py-cp314t", "wheel-demo-app-cp314t"], "{said}");
    assert!(names.iter().any(|name| name.contains("manylinux_2_29")), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("manylinux_2_34") || name.starts_with("acme-7")), "{names:?}");
    assert!(clone.bad(2, &["verify", "wheel-acme-cp314t"]).contains("is neither a wheel file"));
    assert!(table.lines().any(|line| line.starts_with("acme ") && line.contains(" FAILED ")), "{table}");

    // Without --keep-going, no step is started after a failure, and a row that was not reached keeps its wheel if it
    // matches the matrix.
    let (table, said) = fail("wheel-acme-cp314t", &[&rows[..], &["--jobs", "1"]].concat());
    assert!(table.contains(" FAILED ") && said.contains("`wheel-acme-cp314t` failed"), "{table}{said}");
    assert_eq!(delivered(&clone).1, listed);
    clone.good(&rows);
    assert_eq!(delivered(&clone).1.len(), 3);
}

#[test]
fn all_failures_are_listed_with_what_was_not_built_because_of_them() {
    let clone = Clone::new();
    let output = clone
        .command(&["image", "314t-with-acme", "--keep-going"])
        .env("XTASK_FAKE_FAIL", "devel-acme-cp314t,wheel-demo-app-cp314t")
        .output()
        .unwrap();
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = |start: &str| {
        let line =
            table.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {table}{said}"));
        line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("acme "), "- - not built - needs devel-acme-cp314t");
    assert_eq!(line("devel-acme-cp314t "), "- - FAILED - -");
    assert_eq!(line("demo-app "), "- - FAILED - -");
    assert_eq!(line("image "), "- - not built - needs devel-acme-cp314t");
    assert!(line("acme-py ").contains(" built "));
    assert!(
        said.contains("`devel-acme-cp314t`, `wheel-demo-app-cp314t` failed")
            || said.contains("`wheel-demo-app-cp314t`, `devel-acme-cp314t` failed"),
        "{said}"
    );
    let (names, listed) = delivered(&clone);
    assert_eq!(listed, ["base-cp314t", "wheel-acme-py-cp314t"]);
    assert!(names.iter().any(|name| name.starts_with("acme_py-")), "{names:?}");
}

#[test]
fn ctrl_c_ends_it_and_leaves_nothing() {
    let clone = Clone::new();
    let mut child = clone
        .command(&["wheels", "--abi", "cp314t"])
        .env("XTASK_FAKE_HANG", "wheel-acme-py-cp314t")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&clone, "wheel-acme-py-cp314t-");
    interrupt(&child);
    let output = child.wait_with_output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stderr).contains("interrupted"), "{}", text(&output.stderr));
    assert!(clone.leftovers().is_empty(), "{:?}", clone.leftovers());
    child = clone.command(&["wheels", "--abi", "cp314t"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(child.wait().unwrap().success(), "and again, to the end");
}

#[test]
fn a_build_that_fails_while_it_is_checked_says_why() {
    let clone = Clone::new();
    let output = clone
        .command(&["wheels", "--abi", "cp314t", "--check-reproducible"])
        .env("XTASK_FAKE_FAIL", "wheel-acme-cp314t")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the first build failed:") && said.contains("failed as requested"), "{said}");
}

/// Stores a pure Python wheel in the cache, as if from the package index, and returns its SHA-256.
fn plant(clone: &Clone, name: &str, version: &str) -> String {
    let info = format!("{name}-{version}.dist-info");
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (leaf, text) in [
        ("WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n".to_owned()),
        ("METADATA", format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")),
    ] {
        archive.start_file(format!("{info}/{leaf}"), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut archive, text.as_bytes()).unwrap();
    }
    let bytes = archive.finish().unwrap().into_inner();
    let sha256: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let blobs = clone.top.join("cache/v1/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(&sha256), bytes).unwrap();
    sha256
}

#[test]
fn a_wrong_pin_fails_although_everything_is_cached() {
    let (pin, name, version, rows) = ("uv, version: 0.13.9", "uv", "0.13.9", &["image", "314t"]);
    let clone = Clone::new();
    let sha256 = plant(&clone, name, version);
    let path = clone.project().join("matrix.yaml");
    let matrix = fs::read_to_string(&path).unwrap();
    let (before, after) = matrix.split_once(&format!("{{name: {pin}, sha256: ")).unwrap();
    let right = format!("{before}{{name: {pin}, sha256: {sha256}{}", &after[64..]);
    fs::write(&path, &right).unwrap();
    clone.good(rows);
    assert!(!clone.good(rows).contains(" built "));
    let wrong = pin.replace(version, &format!("{version}99"));
    fs::write(&path, right.replace(pin, &wrong)).unwrap();
    let said = clone.bad(1, rows);
    let line = before.lines().count().max(1);
    let parts = format!(": the SHA-256 pinned for `{name}=={version}99` belongs to `{name} {version}`");
    assert!(said.contains(&format!("matrix.yaml:{line}:")) && said.contains(&parts), "{said}");
    // Another spelling of the same version is equal.
    fs::write(&path, right.replace(pin, &pin.replace(version, &format!("{version}.0")))).unwrap();
    clone.good(rows);
}

#[test]
fn a_wrong_pin_in_a_lock_file_fails_although_everything_is_cached() {
    let clone = Clone::new();
    let sha256 = plant(&clone, "numpy", "2.4.6");
    let write = |version: &str| {
        let text = format!(
            "lock-version = \"1.0\"\ncreated-by = \"hand\"\n[[packages]]\nname = \"numpy\"\nversion = \"{version}\"\n\
             wheels = [\n  {{ name = \"numpy-{version}-py3-none-any.whl\", hashes = {{ sha256 = \"{sha256}\" }} }},\n]\n"
        );
        clone.lock("demo-app", "pylock.toml", &text);
    };
    write("2.4.6");
    clone.good(&["image", "314t"]);
    write("2.3.1");
    let said = clone.bad(1, &["image", "314t"]);
    let parts = "locks/demo-app/pylock.toml:7: the SHA-256 pinned for `numpy==2.3.1` belongs to `numpy 2.4.6`";
    assert!(said.contains(parts), "{said}");
}

#[test]
fn an_argument_that_is_not_utf_8_is_shown_after_a_failure() {
    use std::os::unix::ffi::OsStrExt;
    let clone = Clone::new();
    let mut command = clone.command(&["collect"]);
    command.arg(std::ffi::OsStr::from_bytes(b"f\xff")).env("GITHUB_ACTIONS", "true");
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("on your machine: cargo xtask collect --fake 'f\u{fffd}'"), "{said}");
}

#[test]
fn output_of_a_failed_step_gives_no_workflow_command() {
    let clone = Clone::new();
    let mut command = clone.command(&["collect", "::stop-commands::x ##[error]y\n::add-mask::z"]);
    let output = command.env("GITHUB_ACTIONS", "true").output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains(": :add-mask::z") && said.contains("# #[error]y"), "{said}");
    let commands: Vec<&str> = said.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(said.lines().filter(|line| line.contains("##[") && !line.starts_with("::error ")).count(), 0, "{said}");
    assert!(matches!(commands[..], [one] if one.starts_with("::error title=cargo xtask collect")), "{commands:?}");
}
