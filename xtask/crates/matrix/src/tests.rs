//! Tests each error of validation with an edit of the fixture matrix.

mod bench;
mod packages;

use super::Matrix;

const FIXTURE: &str = fixture::MATRIX;

/// Returns the error for the matrix with the first `from` replaced by `to`.
fn error(from: &str, to: &str) -> String {
    assert!(FIXTURE.contains(from), "matrix.yaml no longer has `{from}`");
    let text = FIXTURE.replacen(from, to, 1);
    format!("{:#}", Matrix::parse(&text, "matrix.yaml").expect_err("the matrix is valid"))
}

/// Asserts that the error contains the file, the line of the first occurrence of `at`, and each of `parts`.
fn check_error(from: &str, to: &str, at: &str, parts: &[&str]) {
    let message = error(from, to);
    let text = FIXTURE.replacen(from, to, 1);
    // The error refers to the row that follows the comment.
    let line = text.lines().position(|line| line.contains(at)).expect("no such line") + 1;
    let line = line + usize::from(text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('#')));
    assert!(message.starts_with(&format!("matrix.yaml:{line}:")), "line {line} expected: {message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` expected: {message}");
    }
}

#[test]
fn thread_sanitizer_needs_wheels_that_are_built() {
    let builds = |text: &str| {
        let matrix = Matrix::parse(text, "matrix.yaml").unwrap();
        let acme = matrix.package("acme").unwrap();
        matrix.abis.iter().filter(|abi| matrix.builds(acme, abi)).map(|abi| abi.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(builds(FIXTURE), ["cp314t"]);
    let row = "images:\n  - {tag: races, abi: cp314, interpreter: tsan, packages: [acme], gil: \"on\"}\n";
    assert_eq!(builds(&FIXTURE.replacen("images:\n", row, 1)), ["cp314", "cp314t"]);
}

/// A clone of the project may have replaced it.
#[test]
fn the_projects_own_matrix_is_valid() {
    Matrix::parse(&fixture::own_matrix(), "matrix.yaml").unwrap();
}

#[test]
fn the_fixture_matrix_is_valid() {
    let matrix = Matrix::parse(FIXTURE, "matrix.yaml").unwrap();
    let ids: Vec<&str> = matrix.abis.iter().map(|abi| &*abi.id).collect();
    assert_eq!(ids, ["cp311", "cp314", "cp314t"]);
    assert!(matrix.apt_packages("acme-build").contains(&"libyaml-dev".to_owned()));
    assert!(matrix.apt_packages("acme-build").contains(&"build-essential".to_owned()), "of the included set");
}

#[test]
fn unknown_field() {
    check_error(
        "    import: [acme_py]",
        "    imports: [acme_py]",
        "imports:",
        &["unknown field `imports`", "`import`"],
    );
}

#[test]
fn missing_digest() {
    check_error(
        "{version: 1.4.2, sha256: c6d3ee3ecc84267f38059f72176d4bacbf4965158c543578283ed9fb72930f4a}",
        "{version: 1.4.2}",
        "{version: 1.4.2}",
        &["pypi", "missing field `sha256`"],
    );
}

#[test]
fn malformed_digest() {
    check_error(
        "sha256: c6d3ee3e",
        "sha256: 2A856C78",
        "2A856C78",
        &["sha256", "is not a SHA-256", "64 hexadecimal digits"],
    );
    check_error("sha256: c6d3ee3e", "sha256: a856c78", "sha256: a856c78", &["is not a SHA-256"]);
}

#[test]
fn different_spellings_of_one_distribution() {
    check_error(
        "{name: ziglang,",
        "{name: Maturin, # again\n    ",
        "# again",
        &["tools", "`Maturin` is the same distribution as `maturin`"],
    );
}

#[test]
fn duplicate_ids() {
    for (from, to, field) in [
        ("  - id: cpython-build", "  - id: compile # again", "apt"),
        ("{name: ziglang,", "{name: maturin, # again\n    ", "tools"),
        ("  - id: acme\n", "  - id: acme-py # again\n", "packages"),
        ("{name: check-jsonschema,", "{name: zizmor, # again\n    ", "ci.checks"),
        ("{tag: \"314\",", "{tag: 311, # again\n    ", "images"),
    ] {
        check_error(from, to, "# again", &[field, "occurs twice"]);
    }
}

#[test]
fn dangling_references() {
    check_error("archive: cpython-3.14.7,", "archive: cpython-3.15,", "cpython-3.15", &["archive", "`cpython-3.14.7`"]);
    check_error(
        "build_apt: cpython-build",
        "build_apt: cpython",
        "build_apt: cpython,",
        &["build_apt", "`cpython-build`", "`compile`"],
    );
    check_error("include: [compile]", "include: [compiler]", "[compiler]", &["apt[].include", "`compile`"]);
    check_error("apt: acme-build", "apt: acme", "apt: acme", &["build.apt", "`acme-build`"]);
    check_error(
        "{tag: 314t, abi: cp314t,",
        "{tag: 314t, abi: cp315t,",
        "cp315t",
        &["images[].abi", "`cp314`, `cp314t`"],
    );
    check_error(
        "packages: [acme-py, demo-app], gil",
        "packages: [acme_py, demo-app], gil",
        "[acme_py, demo-app], gil",
        &["images[].packages", "`acme-py`, `acme`"],
    );
    check_error("publish: []", "publish: [acm]", "[acm]", &["ci.publish", "`acme-py`"]);
    check_error("- {abi: cp311, sha256", "- {abi: cp31, sha256", "{abi: cp31,", &["published", "`cp311`"]);
}

#[test]
fn cycles() {
    check_error(
        "    include: [compile]\n    packages: [libssl-dev",
        "    include: [cpython-build, acme-build]\n    packages: [libssl-dev",
        "acme-build]",
        &["apt[].include", "include each other: `acme-build` → `acme-build`"],
    );
}

#[test]
fn a_set_included_several_times_is_listed_once() {
    let sets: String = (0..64)
        .map(|n| format!("  - {{id: set{n}, include: [set{0}, set{0}], packages: [package{n}]}}\n", n + 1))
        .collect();
    let text = FIXTURE.replacen("apt:\n", &format!("apt:\n{sets}  - {{id: set64, packages: [last]}}\n"), 1);
    let matrix = Matrix::parse(&text, "matrix.yaml").unwrap();
    let packages = matrix.apt_packages("set0");
    assert_eq!(packages.len(), 65);
    assert_eq!((&*packages[0], &*packages[64]), ("last", "package0"), "those of an included set come first");
}

#[test]
fn shell_characters_are_errors() {
    for bad in ["'libyaml-dev; reboot'", "'$(id)'", "'-oDebug=1'", "'a b'", "\"a\\nb\"", "'a`id`'", "''"] {
        let message = error("libyaml-dev, zlib1g-dev]", &format!("{bad}]"));
        assert!(message.contains("is not an apt package"), "{message}");
    }
    for bad in ["'1 --index-url=x'", "'1;id'", "'-1'", "'$x'", "''"] {
        let message = error("version: 1.16.0", &format!("version: {bad}"));
        assert!(message.contains("is not a version"), "{message}");
    }
    for bad in ["'../x'", "'a/b'", "'-x'", "'a b'"] {
        let message = error("  - id: cpython-runtime", &format!("  - id: {bad}"));
        assert!(message.contains("is not a name"), "{message}");
    }
    for bad in ["X: \"a\\nRUN id\"", "\"A B\": x", "1A: x", "\"\": x", "X: $(id)"] {
        let message = error("PYTHON_GIL: \"0\"", &format!("PYTHON_GIL: \"0\", {bad}"));
        assert!(message.contains("images[].env"), "{message}");
    }
}

#[test]
fn an_unquoted_number_is_an_error() {
    check_error("python: \"3.11\"", "python: 3.11", "python: 3.11", &["invalid type", "in quotes"]);
    check_error("gil: \"off\"", "gil: false", "gil: false", &["gil"]);
    check_error("gil: \"off\"", "gil: \"none\"", "gil: \"none\"", &["`on`", "`off`", "`forced off`"]);
}

#[test]
fn an_abi_must_match_its_version() {
    check_error(
        "  - id: cp314t\n    python: 3.14.7",
        "  - id: cp314t\n    python: 3.13.5",
        "3.13.5",
        &["abis[].python", "`cp313t`"],
    );
    check_error("  - id: cp314t\n", "  - id: py314t\n", "py314t", &["not a CPython ABI tag"]);
    check_error(
        "  - id: cp311\n    python: \"3.11\"",
        "  - id: cp311t\n    python: \"3.11\"",
        "id: cp311t",
        &["no free-threaded interpreter"],
    );
}

#[test]
fn an_impossible_promise_is_an_error() {
    check_error(
        "{tag: \"311\", abi: cp311, packages: [acme-py, acme, demo-app], gil: \"on\"}",
        "{tag: \"311\", abi: cp311, packages: [acme-py, acme], gil: \"off\"}",
        "tag: \"311\"",
        &["always has a GIL", "`on`"],
    );
    check_error(
        "    gil: \"forced off\"",
        "    gil: \"off\"",
        "- tag: 314t-with-acme",
        &["images[].gil", "PYTHON_GIL=0"],
    );
    check_error("    env: {PYTHON_GIL: \"0\"}\n", "", "- tag: 314t-with-acme", &["needs `PYTHON_GIL: \"0\"`"]);
    check_error(
        "packages: [acme-py, acme, demo-app], gil: \"on\"}",
        "packages: [], env: {PYTHON_GIL: \"0\"}, gil: \"on\"}",
        "env: {PYTHON_GIL: \"0\"}, gil",
        &["fatal error on `cp311`"],
    );
}

#[test]
fn an_image_without_a_digest() {
    check_error("-slim@sha256:864abeda", "-slim@sha256:864abed", "  image: debian", &["root.image", "has no digest"]);
}

#[test]
fn invalid_yaml_is_an_error() {
    for text in ["", "name: [", "\u{0}", "- 1\n- 2\n", "name: x\n\tapt: []\n"] {
        assert!(Matrix::parse(text, "matrix.yaml").is_err(), "{text:?} is accepted");
    }
}
