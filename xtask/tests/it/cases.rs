//! Small packages in `tests/cases`, each of which reproduces a former bug of a build, check or audit.
//!
//! A test creates a copy of the project with [`project`], whose matrix contains the selected cases as packages.
//! Several cases share one copy and one run of the tool, which saves most of the time.

use std::path::Path;

use crate::common::{Clone, SETUPTOOLS, SETUPTOOLS_SHA256, copy_folder, matrix_has};
use crate::plain::{self, Builder, Package, Stored};
use crate::real::{has_abis, run};

/// Package in `tests/cases`.
pub struct Case {
    /// Name of its folder in `tests/cases`.
    pub folder: &'static str,
    /// Its `id` in the matrix, which is the name of its distribution.
    pub package: &'static str,
    /// The list of its import names, as YAML.
    import: &'static str,
    with: With,
}

enum With {
    /// Built in a container with setuptools as its only build requirement.
    Setuptools,
    /// Built in a container with the build requirements in its `pylock.build.toml`.
    Lock,
    Maturin,
}

/// `workspace` and `nested-manifest` build the same distribution: one matrix can have only one of them.
const CASES: [Case; 9] = [
    Case { folder: "abi3-inside", package: "abi3-inside", import: "[abi3_inside]", with: With::Setuptools },
    Case { folder: "calver", package: "calver-demo", import: "[_calver]", with: With::Setuptools },
    Case {
        folder: "build-order",
        package: "build-order",
        import: "[order_a, order_b, order_files]",
        with: With::Setuptools,
    },
    Case { folder: "c-beside-python", package: "c-beside-python", import: "[beside]", with: With::Setuptools },
    Case { folder: "nested-manifest", package: "workspace-demo", import: "[workspace_demo]", with: With::Maturin },
    Case { folder: "numpy-headers", package: "numpy-headers", import: "[_numpy_headers]", with: With::Lock },
    Case { folder: "optional-module", package: "optional-module", import: "[optdemo]", with: With::Setuptools },
    Case { folder: "shared-source", package: "shared-source", import: "[demo_a, demo_b]", with: With::Setuptools },
    Case { folder: "workspace", package: "workspace-demo", import: "[workspace_demo]", with: With::Maturin },
];

/// Returns the case in `tests/cases/<folder>`.
pub fn case(folder: &str) -> &'static Case {
    CASES.iter().find(|case| case.folder == folder).unwrap_or_else(|| panic!("no case is called `{folder}`"))
}

/// Returns the fixture project with a package for each of these cases, for `--fake` and audits.
pub fn project(folders: &[&str]) -> Clone {
    add(Clone::new(), folders)
}

/// The interpreters and tools of the project's own matrix with a package for each of these cases. `None` if that has
/// none of these ABIs, or no maturin for a case that it builds: the test is skipped.
pub fn real_project(folders: &[&str], abis: &[&str]) -> Option<Clone> {
    let maturin = folders.iter().any(|folder| matches!(case(folder).with, With::Maturin));
    let possible = has_abis(abis) && (!maturin || matrix_has("tools", &["maturin", "ziglang", "pip"]));
    possible.then(|| add(Clone::without_packages(), folders))
}

fn add(clone: Clone, folders: &[&str]) -> Clone {
    for folder in folders {
        copy_folder(&Path::new("tests/cases").join(folder), &clone.project().join("cases").join(folder));
        let Case { package, import, with, .. } = case(folder);
        let build = match with {
            With::Setuptools | With::Lock => "with: container, platform: manylinux_2_34_x86_64, apt: compile",
            With::Maturin => "with: maturin, platform: manylinux_2_28_x86_64",
        };
        let row = format!("{{id: {package}, import: {import}, source: {{path: cases/{folder}}}, build: {{{build}}}}}");
        match with {
            With::Setuptools => clone.add_built_with_setuptools(&row),
            With::Lock => {
                clone.add("packages", &row);
                let text = std::fs::read_to_string(format!("tests/cases/{folder}/pylock.build.toml")).unwrap();
                clone.lock(package, "pylock.build.toml", &text);
            }
            With::Maturin => clone.add("packages", &row),
        }
    }
    clone
}

/// Builds the wheels of these cases for one ABI in one run, with the user's cache.
pub fn build(clone: &Clone, folders: &[&str], abi: &str) {
    let packages = folders.iter().flat_map(|folder| ["--package", case(folder).package]);
    let arguments: Vec<&str> = ["wheels", "--abi", abi].into_iter().chain(packages).collect();
    let (output, said) = run(clone, &arguments);
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_case_has_a_row_that_the_matrix_accepts() {
    for case in CASES {
        let plan = project(&[case.folder]).good(&["plan", "wheels", "--package", case.package, "--abi", "cp314t"]);
        assert!(plan.contains(&format!("wheel-{}-cp314t", case.package)), "{plan}");
    }
}

#[test]
#[ignore = "needs a Docker engine"]
fn stable_abi_modules_and_versions_with_zeros_are_built_checked_and_imported() {
    let folders = ["abi3-inside", "calver"];
    let Some(clone) = real_project(&folders, &["cp311", "cp314t"]) else { return };
    clone.add("images", "{tag: legal, abi: cp311, packages: [abi3-inside, calver-demo], gil: \"on\"}");
    build(&clone, &folders, "cp314t");
    let (output, said) = run(&clone, &["image", "legal", "--quick"]);
    assert!(output.status.success(), "{said}");
    let (output, said) = run(&clone, &["verify", "legal", "wheel-abi3-inside-cp311", "wheel-abi3-inside-cp314t"]);
    assert!(output.status.success(), "{said}");
    for module in ["(abi3_inside.abi3.so)", "(abi3_inside.cpython-314t-x86_64-linux-gnu.so)", "_calver (calver"] {
        assert!(said.contains(module), "`{module}` expected: {said}");
    }
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_missing_run_time_dependency_names_who_requires_it_and_the_field() {
    let Some(clone) = real_project(&["calver"], &["cp311"]) else { return };
    let setup = clone.project().join("cases/calver/setup.py");
    let text = std::fs::read_to_string(&setup).unwrap();
    std::fs::write(&setup, text.replace("packages=[],", "packages=[], install_requires=['numpy>=2'],")).unwrap();
    clone.add("images", "{tag: incomplete, abi: cp311, packages: [calver-demo], gil: \"on\"}");
    let (output, said) = run(&clone, &["image", "incomplete", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let wanted = "`calver-demo` requires `numpy>=2`, which is not installed: run `cargo xtask lock calver-demo`";
    assert!(said.contains(wanted), "{said}");
}

fn setuptools() -> Stored {
    Stored::new(SETUPTOOLS, SETUPTOOLS_SHA256)
}

/// Compares the wheels of cases with those of the plain tools by evaluating expressions with expected results.
fn compare(clone: &Clone, asked: &[(&str, &[(&str, &str)])], abi: &str, devel: &str) {
    let names: Vec<Vec<&str>> =
        asked.iter().map(|(_, questions)| questions.iter().map(|(ask, _)| *ask).collect()).collect();
    let packages: Vec<Package> = asked
        .iter()
        .zip(&names)
        .map(|((folder, _), expressions)| Package {
            id: case(folder).package,
            expressions,
            source: clone.project().join("cases").join(folder),
            builder: match case(folder).with {
                With::Setuptools => Builder::Pip(vec![setuptools()]),
                With::Maturin => Builder::Maturin,
                With::Lock => panic!("the plain tool is given one set of build requirements"),
            },
        })
        .collect();
    let answers = plain::compare(clone, &packages, abi, devel);
    for ((folder, questions), answers) in asked.iter().zip(answers) {
        for (ask, expected) in *questions {
            assert_eq!(answers[ask], *expected, "{folder}: {ask}");
        }
    }
}

#[test]
#[ignore = "needs a Docker engine"]
fn wheels_of_the_cases_do_what_those_of_the_plain_tools_do() {
    let folders =
        ["abi3-inside", "build-order", "c-beside-python", "calver", "optional-module", "shared-source", "workspace"];
    let Some(clone) = real_project(&folders, &["cp314t"]) else { return };
    build(&clone, &folders, "cp314t");
    compare(
        &clone,
        &[
            (
                "build-order",
                &[
                    ("order_a.answer()", "1"),
                    ("order_b.answer()", "2"),
                    ("order_files.answer()", "3"),
                    ("order_files.files()", "('one', 'two')"),
                ],
            ),
            ("abi3-inside", &[]),
            ("c-beside-python", &[("beside.remember([5])", "5")]),
            ("calver", &[]),
            ("optional-module", &[]),
            ("shared-source", &[("demo_a.flavour()", "1"), ("demo_b.flavour()", "2")]),
            ("workspace", &[("workspace_demo.flag()", "True"), ("workspace_demo.answer()", "42")]),
        ],
        "cp314t",
        "devel-shared-source-cp314t",
    );
    let Some(clone) = real_project(&["nested-manifest", "shared-source"], &["cp314t"]) else { return };
    build(&clone, &["nested-manifest"], "cp314t");
    let asked: &[(&str, &str)] = &[("workspace_demo.flag()", "False"), ("workspace_demo.answer()", "42")];
    compare(&clone, &[("nested-manifest", asked)], "cp314t", "devel-shared-source-cp314t");
}

#[test]
#[ignore = "needs a Docker engine"]
fn object_files_of_modules_are_never_mixed_up() {
    let Some(clone) = real_project(&["shared-source"], &["cp311"]) else { return };
    // Each build uses another number of jobs.
    let check = ["wheels", "--quick", "--package", "shared-source", "--abi", "cp311", "--check-reproducible"];
    let (output, said) = run(&clone, &check);
    assert!(output.status.success() && said.contains("wheel-shared-source-cp311  identical"), "{said}");
}

#[test]
fn a_build_lock_without_a_fitting_wheel_is_exit_code_2() {
    let clone = project(&["numpy-headers"]);
    let lock = clone.project().join("locks/numpy-headers/pylock.build.toml");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, text.replace("cp314-cp314t-", "cp314-cp314-")).unwrap();
    let said = clone.bad(2, &["plan", "wheels", "--package", "numpy-headers", "--abi", "cp314t"]);
    assert!(
        said.contains("locks/numpy-headers/pylock.build.toml`: no wheel of `numpy`") && said.contains("`cp314t`"),
        "{said}"
    );
    clone.good(&["plan", "wheels", "--package", "numpy-headers", "--abi", "cp314"]);
}

#[test]
#[ignore = "needs a Docker engine"]
fn build_requirements_may_differ_by_abi() {
    let Some(clone) = real_project(&["numpy-headers"], &["cp311", "cp314", "cp314t"]) else { return };
    clone.add("images", "{tag: numpy-case, abi: cp314t, packages: [numpy-headers], gil: \"off\"}");
    // At run time the module needs the numpy that it was compiled against.
    let text = std::fs::read_to_string("tests/cases/numpy-headers/pylock.build.toml").unwrap();
    clone.lock("numpy-headers", "pylock.toml", &text);
    let wheels =
        ["wheels", "--quick", "--package", "numpy-headers", "--abi", "cp311", "--abi", "cp314", "--abi", "cp314t"];
    let (output, said) = run(&clone, &wheels);
    assert!(output.status.success(), "{said}");
    for tags in ["cp311-cp311", "cp314-cp314-", "cp314-cp314t"] {
        clone.wheel(tags);
    }
    // The proof imports the module, which fails if numpy's C API is not the one that it was compiled against.
    let (output, said) = run(&clone, &["image", "numpy-case", "--quick"]);
    assert!(output.status.success(), "{said}");
}
