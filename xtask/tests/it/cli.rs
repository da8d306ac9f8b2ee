//! Tests of the command line: output, exit codes and files.
//!
//! `--fake` replaces the work of the steps, so everything runs in seconds without Docker and network.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::{Clone, files, text};

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
fn a_toolchain_that_is_not_installed_is_named() {
    let clone = Clone::new();
    clone.edit("build: {with: maturin, ", "build: {toolchain: no-such-toolchain, with: maturin, ");
    let said = clone.bad(1, &["plan"]);
    assert!(said.contains("toolchain") && said.contains("no-such-toolchain") && said.contains("install"), "{said}");
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
    let output = clone.run(&["bench", "build", "--row", "plan", "--row", "xtask", "--repeat", "1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(text(&output.stdout), "");
    assert!(said.contains("error: [xtask] ") && said.contains("Cargo.toml") && said.contains("whole log: "), "{said}");
    assert!(!clone.top.join("cache/v1/state/bench/work").exists());
    assert!(clone.bad(2, &["bench", "build", "--row", "nothing"]).contains("wheels-cold"));
    let said = clone.bad(2, &["bench", "build", "--row", "plan", "--write"]);
    assert!(said.contains("docs/performance.md") && !said.contains("prepares"), "{said}");
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
    assert!(clone.bad(2, &["bench", "serve", "--scale", "users=4,2"]).contains("ascending numbers"));
    assert!(clone.bad(2, &["bench", "serve", "--cpus", "1"]).contains("--scale"));
    assert!(clone.bad(2, &["bench", "serve", "--precision", "3%"]).contains("--paired"));
    assert!(clone.bad(2, &["bench", "serve", "--paired", "--precision", "3", "--repeat", "4"]).contains("--repeat 5"));
    assert!(clone.bad(2, &["bench", "serve", "--paired", "--precision", "0%"]).contains("0.1% to 50%"));
    let few = ["bench", "serve", "--paired", "--precision", "3%", "--repeat", "9", "--max-repeat", "8"];
    assert!(clone.bad(2, &few).contains("--max-repeat 8 is less than --repeat 9"));
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
