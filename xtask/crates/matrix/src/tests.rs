//! Tests each error of validation with an edit of the fixture matrix.

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
    check_error("archive: cpython-3.14.5,", "archive: cpython-3.15,", "cpython-3.15", &["archive", "`cpython-3.14.5`"]);
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
        "  - id: cp314t\n    python: 3.14.5",
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
fn a_package_needs_a_source_and_a_builder() {
    check_error(
        "      # A working copy would be `path: ../acme-py`.\n",
        "      path: ../x\n",
        "- id: acme-py",
        &["exactly one of `pypi` and `path`"],
    );
    check_error("      apt: acme-build\n", "", "publishes no cp314t wheel", &["needs the field `apt`"]);
    check_error("platform: manylinux_2_34_x86_64", "platform: linux_x86_64", "platform: linux_x86_64", &["PEP 600"]);
    check_error("{with: maturin,", "{with: poetry,", "with: poetry", &["`maturin`", "`container`"]);
    check_error("import: [acme_py]", "import: [a..b]", "import: [a..b]", &["not a module name"]);
    let private = FIXTURE.replacen("import: [acme_py]", "import: [_calver, a.größe]", 1);
    assert!(Matrix::parse(&private, "matrix.yaml").is_ok());
    check_error("import: [acme_py]", "import: [acme-py]", "import: [acme-py]", &["not a module name"]);
    check_error("import: [acme_py]", "import: []", "- id: acme-py", &["import"]);
    check_error(
        "{with: maturin, platform",
        "{with: maturin, apt: compile, platform",
        "apt: compile",
        &["`with: container` only"],
    );
}

#[test]
fn a_builder_needs_its_tools() {
    check_error(
        "ee0480ffdc8942e339a8a1da5441b3a70ca6a85334dc58f6bb92d0a0e13981bb, container: true",
        "ee0480ffdc8942e339a8a1da5441b3a70ca6a85334dc58f6bb92d0a0e13981bb",
        "publishes no cp314t wheel",
        &["`auditwheel` marked"],
    );
    check_error("manylinux_2_34_x86_64", "manylinux_2_39_x86_64", "manylinux_2_39_x86_64", &["newer glibc", "2.36"]);
}

#[test]
fn options_that_a_builder_does_not_support() {
    let build = "build: {with: maturin, ";
    check_error(build, "build: {jobs: 0, with: maturin, ", "jobs: 0", &["packages[0].build.jobs", "nonzero"]);
    let to = "build: {debug_info: true, with: maturin, ";
    check_error(build, to, "- id: acme-py", &["debug_info", "is allowed for `with: container` only"]);
}

#[test]
fn a_build_without_a_platform_has_a_default() {
    let text = FIXTURE.replacen("      platform: manylinux_2_34_x86_64\n", "", 1).replacen(
        "{with: maturin, platform: manylinux_2_28_x86_64}",
        "{with: maturin}",
        1,
    );
    let matrix = Matrix::parse(&text, "matrix.yaml").unwrap();
    let tag = |id: &str| matrix.package(id).unwrap().platform_tag(matrix.platform);
    assert_eq!((tag("acme-py").as_str(), tag("acme").as_str()), ("manylinux_2_28_x86_64", crate::AUTO));
}

#[test]
fn settings_of_a_build_that_cannot_be_passed_on_are_errors() {
    let container = "      apt: acme-build\n";
    for (field, parts) in [
        ("env: {\"1A\": x}", ["packages[].build.env", "\"1A\" is not a valid variable name"]),
        ("env: {PATH: /opt/bin}", ["packages[].build.env", "the build of `acme` sets `PATH` itself"]),
        ("env: {UV_CACHE_DIR: x}", ["packages[].build.env", "sets `UV_CACHE_DIR` itself"]),
        ("env: {A: \"x\\ny\"}", ["packages[].build.env", "contains a control character"]),
        ("config-settings: {a=b: x}", ["packages[].build.config-settings", "\"a=b\" is not the name of a setting"]),
        ("config-settings: {a: []}", ["packages[].build.config-settings", "must be a text or a list of texts"]),
    ] {
        check_error(container, &format!("{container}      {field}\n"), "publishes no cp314t wheel", &parts);
    }
    for (field, parts) in [
        ("env: {RUSTFLAGS: -g}", ["sets `RUSTFLAGS` itself", "write the flags into `.cargo/config.toml`"]),
        ("env: {CFLAGS_x86_64: -g}", ["sets `CFLAGS_x86_64` itself", "`.cargo/config.toml`"]),
        ("config-settings: {a: b}", ["`a` of `acme-py`: settings are allowed for `with: container` only", "maturin"]),
        ("rust: true", ["packages[].build.rust", "is allowed for `with: container` only"]),
    ] {
        check_error("build: {with: maturin, ", &format!("build: {{{field}, with: maturin, "), "- id: acme-py", &parts);
    }
    for (abi, part) in [("cp314t", "is free-threaded"), ("cp312", "there is no `cp312`; the choices are")] {
        let to = format!("build: {{abi3: {abi}, with: maturin, ");
        check_error("build: {with: maturin, ", &to, "abi3:", &["packages[].build.abi3", part]);
    }
    check_error(
        "      pypi: {version: 1.4.2,",
        "      subdirectory: ../python\n      pypi: {version: 1.4.2,",
        "../python",
        &["packages[].source.subdirectory", "is not a relative path inside the source of `acme-py`"],
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

#[test]
fn a_benchmark_of_unknown_rows_is_an_error() {
    let bench = |from: &str, to: &str, parts: &[&str]| check_error(from, &format!("{to} # here\n"), "# here", parts);
    bench("    image: 314t-with-acme\n", "    image: 314t-with-acm", &["bench.build.image", "`314t-with-acme`"]);
    bench("    image: 314t-with-acme\n", "    image: 314t", &["bench.build.image", "must contain"]);
    let container = "    container: {package: acme, abi: cp314t}\n";
    bench(container, "    container: {package: acme-py, abi: cp314t}", &["container.package", "the choices are"]);
    bench(container, "    container: {package: acme, abi: cp311}", &["container.abi", "is downloaded"]);
    let maturin = "    maturin: {package: acme-py, abis: [cp311, cp314t], touch: rust/src/lib.rs}\n";
    let other = |text: &str| format!("    maturin: {{package: acme-py, {text}}}");
    bench(maturin, &other("abis: [cp311, cp315t], touch: rust/src/lib.rs"), &["maturin.abis", "`cp314t`"]);
    bench(maturin, &other("abis: [cp311, cp314t], touch: ../lib.rs"), &["maturin.touch", "not a relative path"]);
}

#[test]
fn a_benchmark_row_that_could_not_be_measured_is_an_error() {
    let cold = "      - {row: acme-cold, measure: container-cold, ratio: 0.45, minutes: 2}\n";
    let row = |to: &str, parts: &[&str]| check_error(cold, &format!("      - {{{to}}} # here\n"), "# here", parts);
    row("row: acme-cold, measure: container", &["rows[3].measure", "unknown variant `container`", "`container-cold`"]);
    row("row: wheels-cold, measure: container-cold", &["bench.build.rows[].row", "`wheels-cold`", "twice"]);
    row("row: acme-cold, measure: maturin-cold", &["rows[].measure", "`acme-cold` measures the same as `wheels-cold`"]);
    row("row: acme-cold, measure: container-cold, ratio: 0", &["rows[].ratio", "greater than 0"]);
    row("row: acme-cold, measure: container-cold, seconds: .inf", &["rows[].seconds", "greater than 0"]);
    row("row: acme-cold, measure: container-cold, ratio: half", &["rows[3].ratio", "invalid type"]);
    let plan = "measure: plan, seconds: 0.03";
    check_error(plan, "measure: plan, ratio: 0.5", "measure: plan,", &["rows[].ratio", "can only be `seconds`"]);
    let container = "    container: {package: acme, abi: cp314t}\n";
    check_error(container, "", "row: acme-cold", &["rows[].measure", "`acme-cold` needs the field `container`"]);
}

#[test]
fn an_invalid_load_test_is_an_error() {
    let solo = "{id: 314t-solo-sync, title: \"3.14t, sync alone\", image: 314t-with-acme, gil: \"forced off\",";
    let config = |to: &str, parts: &[&str]| check_error(solo, to, "# 314t-solo", parts);
    let row = |id: &str, title: &str, image: &str, gil: &str| {
        format!("{{id: {id}, title: {title}, image: {image}, gil: \"{gil}\", # 314t-solo\n       ")
    };
    check_error(
        solo,
        &row("\"314\"", "x", "314t", "off"),
        "# 314t-solo",
        &["bench.serve.configs", "`314` occurs twice"],
    );
    config(&row("314t-solo-x", "x", "314u", "off"), &["configs[].image", "no `314u`", "`314t-with-acme`"]);
    config(&row("314t-solo-x", "\"\"", "314t", "off"), &["configs[].title", "one-line title"]);
    config(&row("314t-solo-x", "x", "\"314\"", "off"), &["configs[].gil", "`cp314` always has a GIL"]);
    check_error(
        "clients: [sync]}",
        "clients: []}",
        "clients: []}",
        &["configs[].clients", "must list at least one client"],
    );
    check_error(
        "scenarios: [single,",
        "scenarios: [stress,",
        "scenarios: [stress",
        &["scenarios", "`stress` occurs twice"],
    );
    check_error(
        "open: arrival",
        "open: arrivals",
        "open: arrivals",
        &["bench.serve.open", "`arrivals` is not one of", "`stress`"],
    );
    check_error("runtime: /runtime", "runtime: runtime", "runtime: runtime", &["bench.serve", "must start with `/`"]);
    check_error(
        "scripts: load",
        "scripts: ../loadtest",
        "scripts: ../",
        &["bench.serve.scripts", "not a relative path"],
    );
    let digest = "@sha256:8b2d6ca96ef9f36d4d3b8ca3651c9cffffe89382faf27ee0e1e617f33554e329";
    check_error(digest, "", "k6: grafana", &["bench.serve.k6", "no digest"]);
}

#[test]
fn an_invalid_service_is_an_error() {
    let own = "- id: demo-app";
    check_error("command: [python, -m, app]", "command: []", own, &["packages[].serve", "`command`"]);
    check_error("load: [load-data]", "load: [\"\"]", own, &["packages[].serve", "`load`"]);
    check_error("env: {server: ACME_HOSTS, host", "env: {host", own, &["packages[].serve", "`env.server` is missing"]);
    check_error("      load: [load-data]\n", "", "id: \"311\"", &["bench.serve.configs", "no `serve.load`"]);
    check_error("port: 8000", "port: 0", own, &["serve.port"]);
    check_error("ready: /ready", "ready: ready", "ready: ready", &["serve.ready", "must start with `/`"]);
    let digest = "@sha256:5eb61b7397e30e1e8a3774f2a0d2d573661319562b9ec9f07ee0fa01713a6b83";
    check_error(digest, "", "image: acme/acme-server", &["server.image", "no digest"]);
    check_error("port: 3000", "port: 0", "image: acme/acme-server", &["server.port"]);
}

#[test]
fn two_services_in_one_image_are_an_error() {
    let start = FIXTURE.find("  - id: demo-app").unwrap();
    let end = FIXTURE.find("images:\n  - {tag: \"311\"").unwrap();
    let second = FIXTURE[start..end].replace("demo-app", "second-app");
    let text = format!("{}{second}{}", &FIXTURE[..end], &FIXTURE[end..])
        .replace("packages: [acme-py, demo-app]", "packages: [second-app, demo-app]");
    let error = format!("{:#}", Matrix::parse(&text, "matrix.yaml").unwrap_err());
    assert!(
        error.contains("images[].packages") && error.contains("`second-app`") && error.contains("only one"),
        "{error}"
    );
}

#[test]
fn an_audit_path_outside_the_project_is_an_error() {
    check_error(
        "audit: {baseline: audit/acme-py.yaml}",
        "audit: {baseline: ../acme-py.yaml}",
        "baseline: ../",
        &["packages[].audit.baseline", "is not a relative path inside the folder of matrix.yaml"],
    );
    check_error(
        "audit: {baseline: audit/acme.yaml}",
        "audit: {baseline: audit/acme.yaml, sources: [/usr/include]}",
        "sources: [/usr",
        &["packages[].audit.sources", "is not a relative path inside the top of `acme`"],
    );
}

#[test]
fn the_tests_of_a_package_are_one_field() {
    let folders = |field: &str| -> Result<Vec<String>, String> {
        let text = FIXTURE.replacen("    locks: app/locks\n", "", 1);
        let text =
            text.replacen("  - id: demo-app\n", &format!("  - id: demo-app\n    tests: {{pytest: {field}}}\n"), 1);
        let matrix = Matrix::parse(&text, "matrix.yaml").map_err(|error| format!("{error:#}"))?;
        let tests = matrix.package("demo-app").and_then(|package| package.tests.clone()).unwrap();
        Ok(tests.pytest.unwrap().all().iter().map(|folder| folder.to_string()).collect())
    };
    assert_eq!(folders("tests"), Ok(vec!["tests".to_owned()]));
    assert_eq!(folders("[tests/unit, checks]"), Ok(vec!["tests/unit".to_owned(), "checks".to_owned()]));
    for (field, part) in [
        ("../tests", "`../tests` is not a relative path inside the source of `demo-app`"),
        ("[tests, ../x]", "`../x` is not a relative path"),
        ("[]", "must list at least one folder"),
        ("{a: b}", "expected a folder or a list of folders"),
        ("tests, upstream: {take: [tests], folders: [tests]}", "has both `pytest` and `upstream`"),
        ("\"a b\"", "`a b` is not a URL or path"),
    ] {
        let error = folders(field).unwrap_err();
        assert!(error.contains(part) && error.starts_with("matrix.yaml:"), "{error}");
    }
    check_error(
        "      client: clients/acme.py\n",
        "      client: clients/acme.py\n      pytest: [tests, ../x]\n",
        "../x",
        &["packages[].tests.pytest", "`../x`"],
    );
}

#[test]
fn invalid_upstream_tests_are_an_error() {
    check_error(
        "folders: [tests/unit,",
        "folders: [test/unit,",
        "folders: [test/unit",
        &["`test/unit` is not inside any path of `take`"],
    );
    check_error(
        "take: [tests, ",
        "take: [../tests, ",
        "take: [../tests",
        &["`../tests` is not a relative path inside a checkout"],
    );
    check_error(
        "folders: [tests/unit, tests/integration]",
        "folders: []",
        "- id: acme-py",
        &["must list at least one folder"],
    );
}

#[test]
fn a_known_crash_that_cannot_be_reproduced_is_an_error() {
    let client = "      client: clients/acme.py\n";
    check_error(client, "", "- scenario: first-batch-read", &["`acme` needs a `client` to reproduce the crash"]);
    check_error("signal: SIGSEGV", "signal: segfault", "signal: segfault", &["`segfault` is not the name of a signal"]);
}

#[test]
fn patches_need_an_sdist_and_a_row_of_their_own() {
    let text = fixture::with_patched_row();
    let matrix = Matrix::parse(&text, "matrix.yaml").unwrap();
    let patched = matrix.package("acme-patched").unwrap();
    assert_eq!((patched.distribution(), patched.wheel_version().as_deref()), ("acme", Some("7.3.0+ft1")));
    let message = |from: &str, to: &str| {
        assert!(text.contains(from), "the matrix has no `{from}`");
        format!("{:#}", Matrix::parse(&text.replacen(from, to, 1), "matrix.yaml").expect_err("the matrix is valid"))
    };
    for (from, to, expected) in [
        ("local_version: ft1", "local_version: ft-1", "no local version label (PEP 440)"),
        ("folder: patches/acme", "folder: ../patches", "not a relative path inside the folder of matrix.yaml"),
        (
            "[acme-py, acme, demo-app]",
            "[acme-py, acme, acme-patched]",
            "`acme` and `acme-patched` are the same distribution",
        ),
    ] {
        let error = message(from, to);
        assert!(error.contains(expected), "{error}");
    }
    // The vendor's wheel is not patched, and a working copy is changed itself.
    let patches = "      apt: acme-build\n      patches: {folder: patches/acme, local_version: ft1}\n";
    let error = error("      apt: acme-build\n", patches);
    assert!(error.contains("a wheel of the vendor is not patched"), "{error}");
    let source = "    source: {path: app}\n    build:\n";
    let error = self::error(source, &format!("{source}      patches: {{folder: patches, local_version: ft1}}\n"));
    assert!(error.contains("patches belong to `source.pypi` only"), "{error}");
}
