//! Packages: sources, builders, tests and patches.

use super::*;

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
fn the_url_of_an_index_has_no_login() {
    let with = |url: &str| format!("import: [acme_py]\n    indexes: [\"{url}\"]");
    for (url, problem) in [
        ("https://me:token@host.example/simple", "user name or password"),
        ("http://host.example/simple", "an https URL"),
    ] {
        check_error("import: [acme_py]", &with(url), url, &[problem]);
    }
    let good = FIXTURE.replacen("import: [acme_py]", &with("https://host.example/simple/@x"), 1);
    assert!(Matrix::parse(&good, "matrix.yaml").is_ok());
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
    let toolchain = ["packages[].build.toolchain", "`1.85.0` compiles nothing: add `rust: true`"];
    check_error(container, &format!("{container}      toolchain: \"1.85.0\"\n"), "toolchain:", &toolchain);
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
