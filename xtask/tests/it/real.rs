//! Tests that need a Docker engine and network. `cargo xtask ci` runs them after it has built everything else into
//! the cache that they share.

use std::fs;

pub use crate::common::run;
use crate::common::{Clone, matrix_has, own_matrix, real, text};

/// A matrix with nothing but the package in `docker/undeclared`, which has modules that declare that they run without
/// the GIL, and one that does not.
fn with_undeclared() -> Clone {
    let clone = Clone::without_packages();
    clone.add_built_with_setuptools(&small_package("undeclared", "docker/undeclared"));
    clone
}

/// Returns the row of a package with one module, built in a container from a folder.
pub fn small_package(id: &str, folder: &str) -> String {
    let module = id.replace('-', "_");
    format!(
        "{{id: {id}, import: [{module}], source: {{path: {folder}}}, \
         build: {{with: container, platform: manylinux_2_34_x86_64, apt: compile}}}}"
    )
}

/// Whether the project's matrix has these ABIs; a test about others is skipped.
pub fn has_abis(ids: &[&str]) -> bool {
    matrix_has("abis", ids)
}

#[test]
#[ignore = "needs a Docker engine"]
fn the_gate_catches_a_module_that_switches_the_gil_on() {
    if !has_abis(&["cp314t"]) {
        return;
    }
    let clone = with_undeclared();
    clone.add("images", "{tag: gate, abi: cp314t, packages: [undeclared], gil: \"off\"}");
    let (output, said) = run(&clone, &["image", "gate", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("promises `gil: off`, but `undeclared` does not"), "{said}");
    assert!(!said.contains("`declared` does not"), "{said}");
    // The error lists the modules, but not the JSON report of the probe.
    assert!(said.contains("undeclared: undeclared (undeclared 1.0)") && !said.contains("\"schema\""), "{said}");
    let (output, _) = run(&clone, &["verify", "gate"]);
    assert_eq!(output.status.code(), Some(1), "an image that broke its promise has no tag");
    // The same as a gate for a wheel that others built, in a folder without a matrix.
    let wheel = clone.wheel("cp314t").display().to_string();
    fs::remove_file(clone.project().join("matrix.yaml")).unwrap();
    let (output, said) = run(&clone, &["verify", "--gil", "off", &wheel]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("on in CPython 3.14") && said.contains("enabled by `undeclared`"), "{said}");
    assert!(said.contains("  declared    declared\n"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine"]
fn the_same_image_may_say_the_truth() {
    if !has_abis(&["cp314t"]) {
        return;
    }
    let clone = with_undeclared();
    let promise = "env: {PYTHON_GIL: \"0\"}, gil: \"forced off\"";
    clone.add("images", &format!("{{tag: gate-forced, abi: cp314t, packages: [undeclared], {promise}}}"));
    let (output, said) = run(&clone, &["image", "gate-forced", "--quick"]);
    assert!(output.status.success(), "{said}");
    let (output, said) = run(&clone, &["verify", "gate-forced"]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("undeclared  undeclared (undeclared 1.0)"), "{said}");
    for module in ["declared", "undeclared_not", "undeclared_not_2"] {
        assert!(said.contains(&format!("  declared    {module} (undeclared 1.0)")), "{said}");
    }
}

#[test]
#[ignore = "needs a Docker engine and a network"]
fn a_missing_header_is_named_with_its_debian_package() {
    if !has_abis(&["cp311"]) {
        return;
    }
    let clone = Clone::without_packages();
    clone.add_built_with_setuptools(&small_package("needs-yaml", "needs-yaml"));
    let folder = clone.project().join("needs-yaml");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("needs_yaml.c"), "#include <yaml.h>\n").unwrap();
    let setup = "from setuptools import Extension, setup\n\
                 setup(name='needs-yaml', version='1.0', ext_modules=[Extension('needs_yaml', ['needs_yaml.c'])])\n";
    fs::write(folder.join("setup.py"), setup).unwrap();
    let (output, said) = run(&clone, &["wheels", "--package", "needs-yaml", "--abi", "cp311", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("yaml.h` is missing") && said.contains("`libyaml-dev`"), "{said}");
    // Some builds fall back to pure Python if they cannot compile, and the wheel would be without the module.
    let fallback = "import subprocess\nfrom setuptools import setup\nsubprocess.run(['cc', '-c', 'needs_yaml.c'])\n\
                    setup(name='needs-yaml', version='1.0', py_modules=['needs_yaml'])\n";
    fs::write(folder.join("needs_yaml.py"), "").unwrap();
    fs::write(folder.join("setup.py"), fallback).unwrap();
    let matrix = clone.project().join("matrix.yaml");
    let row = fs::read_to_string(&matrix).unwrap();
    let auto = row.replace("    platform: manylinux_2_34_x86_64\n", "");
    assert!(row != auto, "the row names no platform");
    fs::write(&matrix, auto).unwrap();
    let (output, said) = run(&clone, &["wheels", "--package", "needs-yaml", "--abi", "cp311", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has no extension module") && said.contains("`libyaml-dev`"), "{said}");
}

/// Returns the row of a package from the index with this digest of its sdist.
fn psycopg2(digest: &str) -> String {
    format!(
        "{{id: psycopg2, import: [psycopg2], source: {{pypi: {{version: 2.9.13, sha256: {digest}}}}}, \
         build: {{with: container, platform: manylinux_2_34_x86_64, apt: psycopg2-build}}}}"
    )
}

#[test]
#[ignore = "needs a Docker engine and a network"]
fn a_third_package_with_its_own_libraries_is_an_edit_of_the_matrix() {
    if !has_abis(&["cp314"]) {
        return;
    }
    let clone = Clone::without_packages();
    clone.add("apt", "{id: psycopg2-build, include: [compile], packages: [libpq-dev]}");
    clone.add_built_with_setuptools(&psycopg2("d36784fc2dae69523ba4b79c7d1d1b4d6e83e87836874f111262f4db940b16a6"));
    // The vendor may add a declaration in future versions; `on` is valid with and without it.
    clone.add("images", "{tag: pg, abi: cp314, packages: [psycopg2], gil: \"on\"}");
    let (output, said) = run(&clone, &["image", "pg", "--quick"]);
    assert!(output.status.success(), "{said}");
    let (output, said) = run(&clone, &["verify", "pg"]);
    assert!(output.status.success() && said.contains("psycopg2._psycopg"), "{said}");
}

/// The requirement has no wheel for CPython 3.14, and its newest version is not the one that is required.
#[test]
#[ignore = "needs a Docker engine and a network"]
fn requirements_without_a_wheel_are_added_first() {
    if !has_abis(&["cp314t"]) {
        return;
    }
    let clone = Clone::without_packages();
    let copy = clone.project().join("copy");
    fs::create_dir_all(copy.join("demo_titles")).unwrap();
    fs::write(copy.join("demo_titles/__init__.py"), "import setproctitle\n").unwrap();
    let pyproject = "[project]\nname = 'demo-titles'\nversion = '1'\ndependencies = ['setproctitle<1.3']\n\
                     [build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n";
    fs::write(copy.join("pyproject.toml"), pyproject).unwrap();
    let arguments = ["add", "./copy", "--image", "titles", "--abi", "cp314t", "--quick"];
    let (output, said) = run(&clone, &arguments);
    assert!(!output.status.success() && said.contains("add 'setproctitle<1.3'"), "{said}");
    let (output, said) = run(&clone, &[&arguments[..], &["--with-dependencies"]].concat());
    assert!(output.status.success() && said.contains("packages: [setproctitle, demo-titles]"), "{said}");
    let matrix = fs::read_to_string(clone.project().join("matrix.yaml")).unwrap();
    assert!(matrix.contains("pypi: {version: 1.2"), "{matrix}");
}

#[test]
#[ignore = "needs a network"]
fn a_wrong_digest_is_never_used() {
    if !has_abis(&["cp314t"]) {
        return;
    }
    let wrong = "a".repeat(64);
    let clone = Clone::without_packages();
    clone.add("images", "{tag: empty, abi: cp314t, packages: [], gil: \"off\"}");
    let mut right = String::new();
    clone.change(|matrix| {
        let abi = matrix["abis"].as_sequence().unwrap().iter().find(|abi| abi["id"] == "cp314t").unwrap();
        let archive = abi["interpreter"]["source"]["archive"].clone();
        let sources = matrix["sources"].as_sequence_mut().unwrap();
        let source = sources.iter_mut().find(|source| source["id"] == archive).unwrap();
        right = source["sha256"].as_str().unwrap().to_owned();
        source["sha256"] = wrong.as_str().into();
    });
    let (output, said) = run(&clone, &["image", "empty", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("has the SHA-256 `{right}`, not the pinned")) || said.contains("3 attempts"),
        "{said}"
    );

    let clone = Clone::without_packages();
    clone.add("apt", "{id: psycopg2-build, include: [compile], packages: [libpq-dev]}");
    clone.add_built_with_setuptools(&psycopg2(&wrong));
    let (output, said) = run(&clone, &["wheels", "--package", "psycopg2", "--abi", "cp314t", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the index has no file with the pinned SHA-256"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine"]
fn what_was_made_before_asks_nothing_of_the_machine() {
    if !has_abis(&["cp314t"]) {
        return;
    }
    let clone = with_undeclared();
    let (output, said) = run(&clone, &["wheels", "--package", "undeclared", "--abi", "cp314t", "--quick"]);
    assert!(output.status.success(), "{said}");
    let programs = clone.top.join("programs");
    fs::create_dir_all(&programs).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let rustc = std::env::split_paths(&path).map(|folder| folder.join("rustc")).find(|file| file.is_file()).unwrap();
    std::os::unix::fs::symlink(rustc, programs.join("rustc")).unwrap();
    let bare = |package: &str| {
        let mut command = real(&clone, &["wheels", "--package", package, "--abi", "cp314t", "--quick"]);
        let output = command.env("PATH", &programs).env("DOCKER_HOST", "unix:///nowhere.sock").output().unwrap();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (code, said) = bare("undeclared");
    assert!(code == Some(0) && said.contains(" cached "), "{said}");
    clone.edit("platform: manylinux_2_34_x86_64", "platform: manylinux_2_35_x86_64");
    let (code, said) = bare("undeclared");
    assert!(code == Some(1) && said.contains("requirements are missing on this machine"), "{said}");
}

#[test]
#[ignore = "looks for a Docker engine"]
fn without_an_engine_the_whole_list_is_said_and_nothing_changed() {
    let clone = with_undeclared();
    let abi = own_matrix()["abis"][0]["id"].as_str().unwrap().to_owned();
    let output = real(&clone, &["wheels", "--package", "undeclared", "--abi", &abi, "--quick"])
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .env("XTASK_CACHE_DIR", clone.top.join("cache"))
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Docker engine") && said.contains("/nonexistent/docker.sock"), "{said}");
    assert!(!clone.project().join("wheels").exists());
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_wheel_that_says_when_it_was_built_is_not_reproducible() {
    if !has_abis(&["cp311"]) {
        return;
    }
    let clone = Clone::without_packages();
    clone.add_built_with_setuptools(&small_package("stamped", "stamped"));
    let setup = |stamp: &str| {
        let text = format!(
            "import os, time\nfrom setuptools import setup\nopen('stamped.py', 'w').write({stamp})\n\
             setup(name='stamped', version='1.0', py_modules=['stamped'])\n"
        );
        fs::create_dir_all(clone.project().join("stamped")).unwrap();
        fs::write(clone.project().join("stamped/setup.py"), text).unwrap();
    };
    let check = ["wheels", "--package", "stamped", "--abi", "cp311", "--check-reproducible"];

    setup("f'folder = {os.getcwd()!r}'");
    let (output, said) = run(&clone, &check);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("wheel-stamped-cp311  identical, sha256 "), "{said}");

    setup("f'when = {time.time_ns():020}'");
    let (output, said) = run(&clone, &check);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("  stamped.py: ") && said.contains(" of 27 bytes differ\n    at 0x"), "{said}");
    assert!(said.contains("stamped-1.0.dist-info/RECORD: "), "{said}");
    assert!(said.contains("1 of 1 wheels are not reproducible: `wheel-stamped-cp311`"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine and a network"]
fn a_package_that_debian_lacks_is_refused_before_anything_is_built() {
    if !has_abis(&["cp314t"]) {
        return;
    }
    let clone = with_undeclared();
    clone.add("apt", "{id: misspelt, include: [compile], packages: [libyaml-devel]}");
    clone.edit("apt: compile", "apt: misspelt");
    let (output, said) = run(&clone, &["wheels", "--package", "undeclared", "--abi", "cp314t", "--quick"]);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines = "has no package `libyaml-devel`, which the apt set `misspelt` lists; similar names are `libyaml-dev`";
    assert!(said.contains(lines), "{said}");
    assert!(!said.contains("[devel-") && !said.contains("[wheel-") && !said.contains("[python-"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine"]
fn an_image_that_is_another_is_not_started() {
    let clone = Clone::without_packages();
    let name = format!("xtask-verify-{}", std::process::id());
    let abi = own_matrix()["abis"][0]["id"].as_str().unwrap().to_owned();
    clone.change(|matrix| drop(matrix.insert("name".into(), name.as_str().into())));
    clone.add("images", &format!("{{tag: 314t, abi: {abi}, packages: [], gil: \"on\"}}"));
    // An empty image, of which no container can be started.
    let empty = clone.top.join("empty.tar");
    fs::write(&empty, [0; 1024]).unwrap();
    let docker = |arguments: &[&str]| {
        let output = std::process::Command::new("docker").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    let tag = format!("{name}:314t");
    docker(&["import", &empty.display().to_string(), &tag]);
    let zeros = "0".repeat(64);
    let entry = format!(
        "{{\"id\": \"proof-314t\", \"kind\": \"image\", \"name\": \"{name}\", \"tag\": \"314t\", \"file\": \"{tag}\", \
         \"sha256\": \"{zeros}\", \"size\": 0, \"key\": \"{zeros}\", \"seconds\": 0, \"cached\": false, \
         \"inputs\": {{}}, \"notes\": {{}}}}"
    );
    let manifest = clone.top.join("manifest.json");
    fs::write(&manifest, format!("{{\"schema\": 1, \"artefacts\": [{entry}]}}")).unwrap();
    let (output, said) = run(&clone, &["verify", "314t", "--manifest", &manifest.display().to_string()]);
    docker(&["image", "rm", &tag]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("it is not the image that was built"), "{said}");
}
