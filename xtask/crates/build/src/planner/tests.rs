//! What must change a key, and what must not.

use std::collections::BTreeMap;

use super::plan;
use crate::facts::Facts;
use crate::lock::Pin;
use crate::origin::Origin;
use crate::plan::{PatchFile, Plan};
use base::digest;
use matrix::Matrix;
use matrix::select::Selection;

const REAL: &str = fixture::MATRIX;

fn facts() -> Facts {
    Facts { rustc: "rustc 1.95.0".to_owned(), ..Facts::default() }
}

fn planned(text: &str, facts: &Facts) -> Plan {
    let matrix = Matrix::parse(text, "matrix.yaml").unwrap();
    plan(&matrix, &Selection::all(&matrix), facts)
}

/// All keys, when Debian's archive gave `archive` for everything.
fn keys(plan: &Plan, archive: &str) -> BTreeMap<String, String> {
    let keys = plan.keys(|_, key| Some(format!("{archive} for {key}")));
    keys.into_iter().map(|(id, key)| (id, key.unwrap())).collect()
}

fn changed(text: &str, facts: &Facts, archive: &str) -> Vec<String> {
    let before = keys(&planned(REAL, &self::facts()), "that day");
    let after = keys(&planned(text, facts), archive);
    before.into_iter().filter(|(id, key)| after.get(id) != Some(key)).map(|(id, _)| id).collect()
}

fn edited(from: &str, to: &str) -> Vec<String> {
    assert!(REAL.contains(from), "matrix.yaml no longer has `{from}`");
    changed(&REAL.replace(from, to), &facts(), "that day")
}

fn has(ids: &[String], id: &str) -> bool {
    ids.iter().any(|other| other == id)
}

#[test]
fn the_same_inputs_give_the_same_keys() {
    assert!(changed(REAL, &facts(), "that day").is_empty());
    let elsewhere = Facts { project: "/somewhere/else".into(), ..facts() };
    assert!(changed(REAL, &elsewhere, "that day").is_empty(), "the path of the clone does not matter");
}

#[test]
fn a_source_affects_only_its_wheels_and_their_images() {
    let ids = edited("c6d3ee3ecc84267f38059f72176d4bacbf4965158c543578283ed9fb72930f4a", &"a".repeat(64));
    assert!(has(&ids, "wheel-acme-py-cp311") && has(&ids, "proof-314t"), "{ids:?}");
    assert!(!has(&ids, "wheel-acme-cp314t") && !has(&ids, "python-cp314t"), "{ids:?}");
}

#[test]
fn an_interpreters_source_affects_what_is_built_with_it() {
    let ids = edited("ff98a34ef69eb6e688bc6f80c901f0ea28a0805f9493af84294e461064e82e8f", &"a".repeat(64));
    assert!(has(&ids, "python-cp314t") && has(&ids, "wheel-acme-cp314t") && has(&ids, "proof-314"), "{ids:?}");
    assert!(!has(&ids, "wheel-acme-py-cp314t") && !has(&ids, "base-cp311"), "{ids:?}");
}

#[test]
fn a_lock_file_affects_the_images_of_its_package_and_abi() {
    let pin = |sha256: char| Pin {
        name: "numpy".to_owned(),
        version: "2.4.0".to_owned(),
        sha256: sha256.to_string().repeat(64),
        url: None,
        file: None,
        origin: Origin::Unknown,
    };
    let locked = |sha256| {
        let key = ("demo-app".to_owned(), "cp314t".to_owned());
        Facts { runtime: BTreeMap::from([(key, vec![pin(sha256)])]), ..facts() }
    };
    let keys = |facts: &Facts| keys(&planned(REAL, facts), "that day");
    let (before, after) = (keys(&locked('a')), keys(&locked('b')));
    let ids: Vec<&String> = before.iter().filter(|(id, key)| after.get(*id) != Some(key)).map(|(id, _)| id).collect();
    assert_eq!(
        ids,
        ["image-314t", "image-314t-with-acme", "locked-demo-app-cp314t", "proof-314t", "proof-314t-with-acme"]
    );
}

#[test]
fn a_download_url_affects_only_the_download() {
    assert_eq!(edited("https://www.python.org/ftp", "https://mirror.example/ftp"), ["source-cpython-3.14.7"]);
}

#[test]
fn tools_affect_what_they_build() {
    let ids = edited("{name: ziglang, version: 0.17.1", "{name: ziglang, version: 0.17.2");
    assert!(has(&ids, "wheel-acme-py-cp314t") && !has(&ids, "wheel-acme-cp314t"), "{ids:?}");
    let ids = edited("ee0480ffdc8942e339a8a1da5441b3a70ca6a85334dc58f6bb92d0a0e13981bb", &"a".repeat(64));
    assert!(has(&ids, "wheel-acme-cp314t") && !has(&ids, "wheel-acme-py-cp314t"), "auditwheel: {ids:?}");
    // uv installs the build requirements in containers, so its digest counts there; its version is not used.
    assert_eq!(
        edited("{name: uv, version: 0.13.9", "{name: uv, version: 0.13.8"),
        [
            "requires-acme-cp314t",
            "requires-demo-app-cp311",
            "requires-demo-app-cp314",
            "requires-demo-app-cp314t",
            "tool-uv",
            "tools"
        ]
    );
}

#[test]
fn build_options_affect_the_wheel() {
    for (from, to, affected) in [
        ("build: {with: maturin, ", "build: {jobs: 1, with: maturin, ", "wheel-acme-py-cp311"),
        ("      apt: acme-build", "      apt: acme-build\n      jobs: 1", "wheel-acme-cp314t"),
        ("      apt: acme-build", "      apt: acme-build\n      rust: true", "wheel-acme-cp314t"),
        ("      apt: acme-build", "      apt: acme-build\n      env: {A: b}", "wheel-acme-cp314t"),
        ("      apt: acme-build", "      apt: acme-build\n      config-settings: {a: b}", "wheel-acme-cp314t"),
        ("build: {with: maturin, ", "build: {env: {A: b}, with: maturin, ", "wheel-acme-py-cp311"),
        ("      platform: manylinux_2_34_x86_64\n", "", "wheel-acme-cp314t"),
        ("      apt: acme-build", "      apt: acme-build\n      debug_info: true", "wheel-acme-cp314t"),
    ] {
        let ids = edited(from, to);
        assert!(has(&ids, affected) && !has(&ids, "wheel-demo-app-cp314t"), "{ids:?}");
    }
}

#[test]
fn the_folder_to_build_affects_the_wheel() {
    let ids = edited("      pypi: {version: 1.4.2,", "      subdirectory: python\n      pypi: {version: 1.4.2,");
    assert!(has(&ids, "wheel-acme-py-cp311") && !has(&ids, "wheel-acme-cp314t"), "{ids:?}");
}

#[test]
fn the_default_platform_of_maturin_gives_the_same_key() {
    assert!(edited("{with: maturin, platform: manylinux_2_28_x86_64}", "{with: maturin}").is_empty());
}

#[test]
fn a_version_from_git_affects_the_working_copy_unless_the_matrix_names_one() {
    let facts = |version: &str| {
        let versions = BTreeMap::from([("demo-app".to_owned(), version.to_owned())]);
        Facts { git_versions: versions, ..facts() }
    };
    let ids = changed(REAL, &facts("1.0"), "that day");
    assert!(has(&ids, "wheel-demo-app-cp314t") && !has(&ids, "wheel-acme-cp314t"), "{ids:?}");
    let app = "      platform: any\n      apt: compile\n";
    assert!(REAL.contains(app));
    let text = REAL.replace(app, &format!("{app}      env: {{SETUPTOOLS_SCM_PRETEND_VERSION_FOR_APP: '2'}}\n"));
    let keys = |version: &str| keys(&planned(&text, &facts(version)), "that day");
    assert_eq!(keys("1.0"), keys("1.1"));
}

#[test]
fn the_compiler_affects_wheels_with_rust_in_a_container() {
    let text = REAL.replace("      apt: acme-build", "      apt: acme-build\n      rust: true");
    let keys = |rustc: &str| keys(&planned(&text, &Facts { rustc: rustc.to_owned(), ..facts() }), "that day");
    assert_ne!(keys("rustc 1.95.0")["wheel-acme-cp314t"], keys("rustc 1.96.0")["wheel-acme-cp314t"]);
}

#[test]
fn an_abi3_wheel_serves_later_abis_with_a_gil() {
    let text = REAL.replace("build: {with: maturin, ", "build: {abi3: cp311, with: maturin, ");
    let plan = planned(&text, &facts());
    let needs = |id: &str| plan.step(id).unwrap().needs.clone();
    assert_eq!(needs("wheel-acme-py-cp314"), ["wheel-acme-py-cp311"]);
    for id in ["wheel-acme-py-cp311", "wheel-acme-py-cp314t"] {
        assert!(needs(id).iter().all(|need| !need.starts_with("wheel-")), "{id} is built: {:?}", needs(id));
    }
    let ids = edited("build: {with: maturin, ", "build: {abi3: cp311, with: maturin, ");
    assert!(!has(&ids, "wheel-acme-py-cp311"), "the wheel itself is the same: {ids:?}");
}

#[test]
fn compilers_and_their_configuration_affect_wheels() {
    for facts in
        [Facts { rustc: "rustc 1.96.0".to_owned(), ..facts() }, Facts { cargo_config: "another".to_owned(), ..facts() }]
    {
        let ids = changed(REAL, &facts, "that day");
        assert!(has(&ids, "wheel-acme-py-cp311") && has(&ids, "image-311"), "{ids:?}");
        assert!(!has(&ids, "wheel-acme-cp314t"), "{ids:?}");
    }
}

#[test]
fn the_content_of_the_archive_affects_everything_built_on_it() {
    let ids = changed(REAL, &facts(), "another day");
    assert!(has(&ids, "python-cp314t") && has(&ids, "wheel-acme-cp314t") && has(&ids, "proof-311"), "{ids:?}");
    assert!(!has(&ids, "root") && !has(&ids, "wheel-acme-py-cp314t"), "{ids:?}");
}

#[test]
fn keys_are_unknown_without_recorded_archive_content() {
    let keys = planned(REAL, &facts()).keys(|_, _| None);
    assert!(keys["root"].is_some() && keys["wheel-acme-py-cp314t"].is_some());
    assert!(keys["python-cp314t"].is_none() && keys["proof-314t"].is_none());
}

#[test]
fn an_apt_package_affects_its_set() {
    let ids = edited("libyaml-dev, zlib1g-dev]", "zlib1g-dev]");
    assert!(has(&ids, "devel-acme-cp314t") && has(&ids, "wheel-acme-cp314t"), "{ids:?}");
    assert!(!has(&ids, "python-cp314t") && !has(&ids, "proof-314t"), "{ids:?}");
}

#[test]
fn debian_packages_of_a_package_are_in_its_images_only() {
    let ids = edited("import: [acme, acme_helpers]", "import: [acme, acme_helpers]\n    runtime_apt: compile");
    assert!(has(&ids, "image-314t-with-acme") && has(&ids, "proof-311"), "{ids:?}");
    assert!(!has(&ids, "proof-314t") && !has(&ids, "base-cp314t") && !has(&ids, "wheel-acme-cp314t"), "{ids:?}");
}

#[test]
fn the_base_image_affects_everything_on_it() {
    let ids = edited("sha256:864abeda", "sha256:98200866");
    assert!(has(&ids, "root") && has(&ids, "python-cp314") && has(&ids, "proof-311"), "{ids:?}");
}

#[test]
fn scripts_affect_the_steps_that_use_them() {
    for (file, affected, not) in [
        ("docker/python.Dockerfile", "python-cp314t", "base-cp311"),
        ("docker/base.Dockerfile", "base-cp314t", "python-cp314t"),
        ("docker/build-wheel.sh", "wheel-acme-cp314t", "base-cp314t"),
        ("docker/parallel_compile.py", "wheel-acme-cp314t", "base-cp314t"),
        ("docker/image.Dockerfile", "image-314t", "wheel-acme-cp314t"),
        ("docker/compile_bytecode.py", "image-314t", "wheel-acme-cp314t"),
        ("docker/compile_added.py", "image-314t", "wheel-acme-cp314t"),
        ("docker/gil_probe.py", "proof-314t", "image-314t"),
        ("docker/builder.Dockerfile", "apt-cpython-build", "root"),
    ] {
        let mut facts = facts();
        facts.files.insert(file.to_owned(), "changed".to_owned());
        let ids = changed(REAL, &facts, "that day");
        assert!(has(&ids, affected) && !has(&ids, not), "{file}: {ids:?}");
    }
}

#[test]
fn the_revision_is_part_of_every_key() {
    let before = planned(REAL, &facts());
    for (i, step) in before.steps.iter().enumerate() {
        let mut after = before.clone();
        after.steps[i].inputs.get_mut("revision").unwrap().push('1');
        assert_ne!(keys(&before, "that day")[&step.id], keys(&after, "that day")[&step.id]);
    }
}

#[test]
fn the_toolchain_of_a_package_is_in_its_keys_only() {
    let text = REAL.replacen("build: {with: maturin", "build: {toolchain: \"1.85.0\", with: maturin", 1);
    assert_ne!(text, REAL, "no package is built by maturin");
    let toolchains = |version: &str| BTreeMap::from([("1.85.0".to_owned(), version.to_owned())]);
    let with = |version| Facts { toolchains: toolchains(version), ..facts() };
    let ids = changed(&text, &with("rustc 1.85.0"), "that day");
    assert!(has(&ids, "wheel-acme-py-cp314t") && !has(&ids, "wheel-acme-cp314t"), "{ids:?}");
    assert!(!has(&changed(&text, &with(&facts().rustc), "that day"), "wheel-acme-py-cp314t"), "the same compiler");
}

#[test]
fn inputs_of_available_results_are_not_needed() {
    let plan = planned(REAL, &facts());
    let everything: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    let wanted = plan.wanted(|_| false, |_| false);
    assert!(everything.iter().all(|id| wanted.contains(id)), "without results, all steps are needed");
    let rows = plan.wanted(|_| false, |_| true);
    assert!(rows.contains("proof-314t") && rows.contains("base-cp314t") && rows.contains("wheel-acme-cp314t"));
    assert!(!rows.contains("image-314t") && !rows.contains("python-cp314t") && !rows.contains("tools"), "{rows:?}");
    let one = plan.wanted(|step| step.id == "root", |step| step.id != "wheel-acme-cp314t");
    assert!(one.contains("devel-acme-cp314t") && one.contains("root") && !one.contains("python-cp314t"), "{one:?}");
}

#[test]
fn an_environment_variable_affects_only_its_image() {
    let ids = edited("env: {PYTHON_GIL: \"0\"}", "env: {PYTHON_GIL: \"0\", MODE: fast}");
    assert_eq!(ids, ["image-314t-with-acme", "proof-314t-with-acme"]);
}

#[test]
fn quick_and_fake_builds_have_their_own_keys() {
    let ids = changed(REAL, &Facts { quick: true, ..facts() }, "that day");
    assert!(has(&ids, "base-cp314t") && has(&ids, "image-314t") && !has(&ids, "base-cp311"), "{ids:?}");
    // How the interpreter is optimised changes no wheel; those of maturin have another profile.
    let wheels = ["wheel-acme-py-cp311", "wheel-acme-py-cp314", "wheel-acme-py-cp314t"];
    assert!(ids.iter().filter(|id| id.starts_with("wheel-")).eq(wheels), "{ids:?}");
    let ids = changed(REAL, &Facts { fake: true, ..facts() }, "that day");
    assert_eq!(ids.len(), planned(REAL, &facts()).steps.len());
}

#[test]
fn a_working_copy_is_identified_by_its_content() {
    let pin = "pypi: {version: 1.4.2, sha256: c6d3ee3ecc84267f38059f72176d4bacbf4965158c543578283ed9fb72930f4a}";
    let text = REAL.replace(pin, "path: ../acme-py");
    let at = |content: &str, folder: &str| {
        let mut facts = Facts { project: folder.into(), ..facts() };
        facts.working_copies.insert("acme-py".to_owned(), content.to_owned());
        keys(&planned(&text, &facts), "that day")["wheel-acme-py-cp314t"].clone()
    };
    assert_eq!(at("one", "/here"), at("one", "/there"));
    assert_ne!(at("one", "/here"), at("two", "/here"));
}

#[test]
fn a_patch_changes_the_patched_row_only() {
    let facts = |text: &str| {
        let patch = PatchFile { name: "0001.patch".to_owned(), sha256: digest::of(text), text: text.to_owned() };
        Facts { patches: BTreeMap::from([("acme-patched".to_owned(), vec![patch])]), ..facts() }
    };
    let matrix = fixture::with_patched_row();
    let plan = |text: &str| planned(&matrix, &facts(text));
    let (one, other) = (keys(&plan("one"), "that day"), keys(&plan("other"), "that day"));
    let changed: Vec<&String> = one.iter().filter(|(id, key)| other.get(*id) != Some(key)).map(|(id, _)| id).collect();
    assert!(changed.iter().all(|id| id.contains("acme-patched")), "{changed:?}");
    assert!(changed.iter().any(|id| *id == "wheel-acme-patched-cp314t"), "{changed:?}");
    // Both rows are built from one sdist, and the version tells their wheels apart.
    assert!(one.contains_key("sdist-acme") && !one.contains_key("sdist-acme-patched"));
    let plan = plan("one");
    let wheel = plan.step("wheel-acme-patched-cp314t").and_then(|step| step.action.wheel()).unwrap();
    assert_eq!((wheel.distribution, wheel.version), ("acme", Some("7.3.0+ft1")));
}

#[test]
fn each_step_comes_after_what_it_needs() {
    let plan = planned(REAL, &facts());
    for (i, step) in plan.steps.iter().enumerate() {
        for need in &step.needs {
            assert!(plan.steps[..i].iter().any(|earlier| earlier.id == *need), "{} needs {need}", step.id);
        }
    }
}

#[test]
fn the_longest_chain_is_the_most_urgent() {
    let plan = planned(REAL, &facts());
    let urgency = plan.urgency();
    assert!(urgency["root"] > urgency["python-cp314t-optimized"]);
    assert!(urgency["python-cp314t-optimized"] > urgency["wheel-acme-py-cp314t"]);
    assert!(urgency["wheel-acme-py-cp314t"] > urgency["python-cp314t"]);
}

/// The matrix with an image for ThreadSanitizer.
fn with_tsan() -> String {
    let row = "images:\n  - {tag: races, abi: cp314t, interpreter: tsan, packages: [acme, acme-py], gil: \"off\"}\n";
    REAL.replacen("images:\n", row, 1)
}

#[test]
fn an_image_with_thread_sanitizer_has_instrumented_wheels_and_is_built_only_if_it_is_named() {
    let matrix = Matrix::parse(&with_tsan(), "matrix.yaml").unwrap();
    let all = plan(&matrix, &Selection::all(&matrix), &facts());
    assert!(all.step("proof-races").is_none());
    assert_eq!(keys(&all, "that day"), keys(&planned(REAL, &facts()), "that day"), "no other key changes");

    let named = matrix::select::images(&matrix, &["races".to_owned()]).unwrap();
    let races = plan(&matrix, &named, &facts());
    for id in ["python-cp314t-tsan", "base-cp314t-tsan", "wheel-acme-cp314t-tsan", "wheel-acme-py-cp314t-tsan"] {
        assert!(races.step(id).is_some(), "{id}");
    }
    for id in ["python-cp314t", "wheel-acme-cp314t", "wheel-acme-py-cp314t"] {
        assert!(races.step(id).is_none(), "{id}");
    }
    let error = crate::step::quick::refuse(&races, "`--push`").unwrap_err();
    assert!(error.is::<base::UsageError>());
    assert!(
        error.to_string().contains("built with ThreadSanitizer for tests only, `wheel-acme-cp314t-tsan`"),
        "{error}"
    );
    crate::step::quick::refuse(&all, "`--push`").unwrap();
}

#[test]
fn an_image_may_have_another_interpreter_build() {
    let text = with_tsan().replace("interpreter: tsan", "interpreter: plain");
    let plan = planned(&text, &facts());
    assert!(plan.step("base-cp314t-plain").is_some() && plan.step("base-cp314t").is_some());
    assert!(plan.step("wheel-acme-cp314t-tsan").is_none());
    let quick = planned(&text, &Facts { quick: true, ..facts() });
    assert!(quick.step("base-cp314t-plain").is_none(), "with --quick all are plain");
}
