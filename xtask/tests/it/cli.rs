//! Tests of the command line: output, exit codes and files.
//!
//! `--fake` replaces the work of the steps, so everything runs in seconds without Docker and network.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sha2::Digest as _;

use crate::cache::{interrupt, wait_for};
use crate::common::{Clone, files, own_matrix, text};

/// Replaces keys and digests, which change with the code.
pub fn without_digests(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let body = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let hex = body.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if hex && matches!(body.len(), 8 | 12 | 64) {
            out.push_str(&"#".repeat(body.len().min(12)));
            out.push_str(&word[body.len()..]);
        } else {
            out.push_str(word);
        }
    }
    out
}

#[test]
fn the_plan_of_everything() {
    let clone = Clone::new();
    insta::assert_snapshot!("plan", without_digests(&clone.good(&["plan"])));
    assert!(files(&clone.project().join("wheels")).is_empty(), "a plan must not make anything");
}

#[test]
fn the_plan_of_one_image() {
    let plan = Clone::new().good(&["plan", "image", "314t", "--quick"]);
    insta::assert_snapshot!("plan-314t", without_digests(&plan));
}

/// The project's own matrix must have a plan, whatever its packages are.
#[test]
fn the_projects_own_matrix_has_a_plan() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    command.args(["plan", "--fake"]).current_dir("..").env("XTASK_CACHE_DIR", cache.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let plan = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let matrix = own_matrix();
    for (list, field, prefix) in [("packages", "id", "wheel-"), ("images", "tag", "image-")] {
        for row in matrix[list].as_sequence().unwrap() {
            let step = format!("\n{prefix}{}", row[field].as_str().unwrap());
            assert!(plan.contains(&step), "no step for `{step}`: {plan}");
        }
    }
}

#[test]
fn a_plan_as_json_has_the_same_steps() {
    let clone = Clone::new();
    let plan: serde_json::Value = serde_json::from_str(&clone.good(&["plan", "--format", "json"])).unwrap();
    let ids: Vec<&str> = plan["steps"].as_array().unwrap().iter().filter_map(|step| step["id"].as_str()).collect();
    let lines = clone.good(&["plan"]);
    // Continued lines are indented.
    let steps = lines.lines().filter(|line| !line.starts_with(' '));
    let shown: Vec<&str> = steps.filter_map(|line| line.split(' ').next()).take(ids.len()).collect();
    assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
    assert_eq!(ids, shown);
}

#[test]
fn a_plan_does_not_depend_on_where_and_when() {
    let (one, other) = (Clone::new(), Clone::new());
    let first = one.good(&["plan", "--format", "json"]);
    let second = other
        .command(&["plan", "--format", "json", "--jobs", "7"])
        .env("HOME", other.top.as_os_str())
        .env("CARGO_HOME", std::env::var("CARGO_HOME").unwrap_or(format!("{}/.cargo", std::env::var("HOME").unwrap())))
        .env(
            "RUSTUP_HOME",
            std::env::var("RUSTUP_HOME").unwrap_or(format!("{}/.rustup", std::env::var("HOME").unwrap())),
        )
        .env("USER", "somebody")
        .env("LANG", "tr_TR.UTF-8")
        .env("RUSTFLAGS", "--cfg something")
        .output()
        .unwrap();
    assert_eq!(first, text(&second.stdout), "{}", text(&second.stderr));
}

#[test]
fn quick_changes_interpreters_of_images_and_wheels_of_maturin() {
    let clone = Clone::new();
    clone.good(&["image", "314t"]);
    let again = clone.good(&["plan", "image", "314t", "--quick"]);
    let rows = again.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let names: Vec<&str> = rows
        .filter(|row| row.get(1).is_some_and(|status| ["build", "later"].contains(status)))
        .map(|row| row[0])
        .collect();
    assert_eq!(names, ["base-cp314t", "wheel-acme-py-cp314t", "image-314t", "proof-314t"]);
}

#[test]
fn an_image_with_all_that_it_needs_then_nothing() {
    let clone = Clone::new();
    let table = clone.good(&["image", "314t-with-acme"]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert_eq!(table.matches(" built ").count(), 5, "{table}");
    assert!(table.contains("forced off"), "{table}");
    let manifest = clone.project().join("wheels/manifest.json");
    let first: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(first["schema"], 1);
    assert_eq!(first["artefacts"].as_array().unwrap().len(), 5);

    let table = clone.good(&["image", "314t-with-acme"]);
    assert_eq!(table.matches(" cached ").count(), 5, "{table}");
    assert!(clone.leftovers().is_empty(), "{:?}", clone.leftovers());
}

#[test]
fn only_the_wheels_asked_for() {
    let clone = Clone::new();
    clone.good(&["wheels", "--abi", "cp314t"]);
    let names: Vec<PathBuf> = files(&clone.project().join("wheels"));
    let wheels: Vec<&PathBuf> = names.iter().filter(|path| path.extension().is_some_and(|ext| ext == "whl")).collect();
    assert_eq!(wheels.len(), 3, "{wheels:?}");
    // Compare whole tags, because `cp314t` contains `cp314`.
    let fits = |path: &str| path.contains("-cp314-cp314t-") || path.ends_with("-py3-none-any.whl");
    assert!(wheels.iter().all(|path| fits(&path.display().to_string())), "{wheels:?}");
    clone.good(&["wheels", "--abi", "cp314", "--package", "acme"]);
    assert!(clone.wheel("acme-7.3.0-cp314-cp314-").exists());
    assert!(clone.wheel("-cp314t-").exists(), "wheels of other rows stay");
}

#[test]
fn wrong_names_list_the_right_ones() {
    let clone = Clone::new();
    let said = clone.bad(2, &["wheels", "--abi", "cp313t"]);
    assert!(said.contains("`cp313t`") && said.contains("`cp311`, `cp314`, `cp314t`"), "{said}");
    let said = clone.bad(2, &["image", "latest"]);
    assert!(said.contains("`311`, `314`, `314t`, `314t-with-acme`"), "{said}");
    let said = clone.bad(2, &["wheels", "--package", "acme_py"]);
    assert!(said.contains("`acme-py`, `acme`"), "{said}");
    clone.bad(2, &["frobnicate"]);
    clone.bad(2, &["image"]);
}

#[test]
fn a_wrong_matrix_is_exit_code_2_with_the_line() {
    let clone = Clone::new();
    clone.edit("gil: \"forced off\"", "gill: \"forced off\"");
    let said = clone.bad(2, &["plan"]);
    assert!(said.starts_with("error: matrix.yaml:") && said.contains("unknown field `gill`"), "{said}");
}

#[test]
fn a_matrix_without_rows_is_exit_code_3() {
    let clone = Clone::new();
    let path = clone.project().join("matrix.yaml");
    let matrix = fs::read_to_string(&path).unwrap();
    let (head, _) = matrix.split_once("\npackages:").unwrap();
    fs::write(&path, format!("{head}\npackages: []\nimages: []\n")).unwrap();
    clone.bad(3, &["wheels"]);
}

#[test]
fn outside_a_clone() {
    let clone = Clone::new();
    let output = clone.command(&["plan"]).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no matrix.yaml"), "{}", text(&output.stderr));
}

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
fn help_is_wrapped_between_words_at_80_columns() {
    let clone = Clone::new();
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"))
            .args(arguments)
            .arg("--help")
            .env("COLUMNS", "80")
            .current_dir(clone.project())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let help = text(&output.stdout);
        let long: Vec<_> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{arguments:?}: {long:#?}");
        help
    };
    let top = help(&[]);
    let commands = top.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Other lines continue a description.
    let names = commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| *name != "help").collect();
    assert!(names.len() > 15, "{names:?}");
    names.iter().for_each(|name| drop(help(&[name])));
    for (command, below) in [("cache", "prune"), ("bench", "build"), ("bench", "serve"), ("bench", "report")] {
        help(&[command, below]);
    }
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
fn verify_tells_a_good_wheel_from_a_changed_one() {
    let clone = Clone::new();
    clone.good(&["wheels", "--package", "acme-py"]);
    let said = clone.good(&["verify", "wheel-acme-py-cp314t"]);
    assert!(said.contains("sha256") && said.contains("same digest"), "{said}");

    // The wheel for the GIL build renamed to that for the free-threaded build, a mistake that real projects have
    // made.
    let (gil, free) = (clone.wheel("-cp314-cp314-"), clone.wheel("-cp314-cp314t-"));
    fs::copy(gil, &free).unwrap();
    let said = clone.bad(1, &["verify", free.to_str().unwrap()]);
    assert!(said.contains(".cpython-314t-x86_64-linux-gnu.so"), "{said}");

    let other = clone.wheel("-cp311-cp311-");
    let mut bytes = fs::read(&other).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&other, bytes).unwrap();
    clone.bad(1, &["verify", other.to_str().unwrap()]);
    clone.bad(2, &["verify", "nonsense"]);
}

#[test]
fn a_third_package_and_its_image_are_an_edit_of_the_matrix() {
    let clone = Clone::new();
    clone.edit(
        "\nsources:\n",
        "  - id: psycopg2-build\n    include: [compile]\n    packages: [libpq-dev]\n\nsources:\n",
    );
    let digest = "0".repeat(64);
    clone.edit(
        "\npackages:\n",
        &format!(
            "\npackages:\n  - id: psycopg2\n    import: [psycopg2]\n    source:\n      pypi: {{version: 2.9.11, sha256: {digest}}}\n    \
             build: {{with: container, platform: manylinux_2_34_x86_64, apt: psycopg2-build}}\n"
        ),
    );
    clone.edit("  - {tag: 314t, abi", "  - {tag: 314t-pg, abi: cp314t, packages: [psycopg2], env: {PYTHON_GIL: \"0\"}, gil: \"forced off\"}\n  - {tag: 314t, abi");
    clone.lock("psycopg2", "pylock.build.toml", "lock-version = \"1.0\"\ncreated-by = \"hand\"\n");
    let table = clone.good(&["image", "314t-pg"]);
    assert!(table.contains("psycopg2") && table.contains("314t-pg"), "{table}");
    let plan = clone.good(&["plan", "image", "314t-pg", "--format", "json"]);
    assert!(plan.contains("libpq-dev"), "{plan}");
}

#[test]
fn a_working_copy_is_keyed_by_its_content() {
    let clone = Clone::new();
    let copy = clone.top.join("copy");
    fs::create_dir_all(copy.join("src")).unwrap();
    fs::write(copy.join("src/lib.rs"), "// one").unwrap();
    let pin = "pypi: {version: 1.4.2, sha256: c6d3ee3ecc84267f38059f72176d4bacbf4965158c543578283ed9fb72930f4a}";
    clone.edit(pin, "path: ../copy");
    let ours = ["wheels", "--package", "acme-py", "--abi", "cp314t"];
    assert!(clone.good(&ours).contains(" built "));
    assert!(clone.good(&ours).contains(" cached "));
    fs::write(copy.join("src/lib.rs"), "// two").unwrap();
    assert!(clone.good(&ours).contains(" built "));
    fs::write(copy.join("src/lib.rs"), "// one").unwrap();
    assert!(clone.good(&ours).contains(" cached "), "the same content again is the same key");
    fs::remove_dir_all(&copy).unwrap();
    let said = clone.bad(2, &ours);
    assert!(said.contains("packages[].source.path of `acme-py`") && said.contains("not a folder"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let clone = Clone::new();
    let mut child =
        clone.command(&["plan", "--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_bench_prints_times_and_keeps_its_samples() {
    let clone = Clone::new();
    let output = clone.run(&["bench", "build", "--row", "plan", "--repeat", "2"]);
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with("plan ") && line.contains("≤ 30 ms")), "{table}");
    let raw = said.lines().find_map(|line| line.strip_prefix("[bench] all samples: ")).unwrap();
    let raw: serde_json::Value = serde_json::from_str(&fs::read_to_string(raw).unwrap()).unwrap();
    assert_eq!(raw["rows"]["plan"]["ours"].as_array().unwrap().len(), 30);
    assert!(!clone.top.join("cache/v1/state/bench/work").exists());
}

#[test]
fn a_bench_whose_run_fails_prints_no_row() {
    // A test's clone contains no Cargo.toml.
    let clone = Clone::new();
    let output = clone.run(&["bench", "build", "--row", "plan", "--row", "xtask", "--repeat", "1", "--write"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(text(&output.stdout), "");
    assert!(said.contains("error: [xtask] ") && said.contains("Cargo.toml") && said.contains("whole log: "), "{said}");
    assert!(!clone.top.join("cache/v1/state/bench/work").exists());
    assert!(clone.bad(2, &["bench", "build", "--row", "nothing"]).contains("wheels-cold"));
    let pin = "pypi: {version: 1.4.2, sha256: c6d3ee3ecc84267f38059f72176d4bacbf4965158c543578283ed9fb72930f4a}";
    clone.edit(pin, "path: docker");
    assert!(clone.bad(2, &["bench", "build", "--row", "plan"]).contains("is a working copy"));
}

#[test]
fn a_load_that_is_not_there_is_told_before_anything_starts() {
    let clone = Clone::new();
    let said = clone.bad(2, &["bench", "serve", "--config", "311,313t"]);
    assert!(said.contains("no configuration `313t`") && said.contains("`314t-with-acme`"), "{said}");
    assert!(clone.bad(2, &["bench", "serve", "--scenario", "double"]).contains("`gather`"));
    assert!(clone.bad(2, &["bench", "serve", "--duration", "1h"]).contains("as 60s or 5m"));
    fs::remove_file(clone.project().join("results/original.yaml")).unwrap();
    assert!(clone.bad(2, &["bench", "serve", "--config", "314t"]).contains("results/original.yaml"));
    assert!(clone.bad(1, &["bench", "report", "nowhere"]).contains("cargo xtask bench serve"));
    assert!(clone.bad(2, &["bench", "report", "one", "two"]).contains("--compare"));
    assert!(clone.bad(2, &["bench", "report", "--compare", "one"]).contains("two with --compare"));
}

#[test]
fn wheels_are_built_twice_and_compared() {
    let clone = Clone::new();
    let all = ["wheels", "--abi", "cp314t", "--abi", "cp314", "--check-reproducible"];
    let output = clone.run(&all);
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    // Two ABIs of two packages and one of another, whose sixth wheel is published by its vendor.
    assert_eq!(out.matches("  identical, sha256 ").count(), 5, "{out}");
    assert!(said.contains("[wheel-acme-cp314] is skipped"), "{said}");
    assert!(files(&clone.project().join("wheels")).is_empty(), "a check must not publish anything");
    assert!(clone.leftovers().is_empty(), "{:?}", clone.leftovers());

    let output = clone.command(&all).env("XTASK_FAKE_STAMP", "wheel-acme-cp314t").output().unwrap();
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 5 wheels are not reproducible: `wheel-acme-cp314t`"), "{said}");
    for part in [
        "wheel-acme-cp314t  NOT REPRODUCIBLE\n",
        "  acme_stamp.py: ",
        "second  ",
        "|somewhere else/c|",
        &format!("contains the local folder `{}` ", clone.top.join("cache").display()),
    ] {
        assert!(out.contains(part), "`{part}` expected: {out}");
    }
    assert_eq!(out.matches("  identical, sha256 ").count(), 4, "{out}");

    let said = clone.bad(2, &["wheels", "--package", "acme", "--abi", "cp311", "--check-reproducible"]);
    assert!(said.contains("there is nothing to build"), "{said}");
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

#[test]
fn a_module_that_the_wheel_does_not_have_is_named_with_those_that_it_has() {
    let clone = Clone::new();
    let rows = ["wheels", "--package", "acme-py", "--abi", "cp314t"];
    clone.good(&rows);
    clone.edit("import: [acme_py]", "import: [acme_py, acme_pi]");
    // The wheel is cached, and a new one would be equal.
    let said = clone.bad(1, &rows);
    let matrix = fs::read_to_string(clone.project().join("matrix.yaml")).unwrap();
    let line = matrix.lines().position(|line| line.contains("acme_pi]")).unwrap() + 1;
    let place = format!("matrix.yaml:{line}:23: packages[].import: `acme_py-1.4.2-cp314-cp314t-");
    assert!(said.contains(&place), "{said}");
    assert!(said.contains("has no module `acme_pi`; its modules are `_acme_py`, `acme_py`"), "{said}");
    assert!(!said.contains("made again"), "{said}");
    clone.edit("import: [acme_py, acme_pi]", "import: [acme_py]");
    assert!(clone.good(&rows).contains(" cached "));
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
