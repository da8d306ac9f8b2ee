//! Both real clients against the wheels of the plain tools. Not run by `cargo test`, because it compiles
//! each of them as the plain tools do, which takes minutes: `cargo test -p xtask --test clients`.

// A test that meets something unexpected panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "only a part of it is needed here")]
#[path = "it/common.rs"]
mod common;
#[path = "it/plain.rs"]
mod plain;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Clone;
use plain::{Builder, Package, Stored};
use serde_json::Value;

const ABI: &str = "cp314t";

/// What can be asked without a server.
const OFFICIAL: [&str; 4] = [
    "aerospike.__version__",
    "aerospike.calc_digest(\"test\", \"demo\", \"key\")",
    "aerospike.client({\"hosts\": [(\"127.0.0.1\", 1)]})",
    "aerospike.geodata({\"type\": \"Point\", \"coordinates\": [1, 2]}).dumps()",
];
const PYTHON: [&str; 2] = ["aerospike_py.__version__", "aerospike_py.exp.int_bin(\"a\")"];

#[test]
fn the_clients_do_what_those_of_the_plain_tools_do() {
    if !common::matrix_has("packages", &["aerospike", "aerospike-py"]) || !common::matrix_has("abis", &[ABI]) {
        return;
    }
    let clone = Clone::of_project();
    let arguments = ["wheels", "--abi", ABI, "--package", "aerospike", "--package", "aerospike-py"];
    let (output, said) = common::run(&clone, &arguments);
    assert!(output.status.success(), "{said}");
    let packages = [
        Package {
            id: "aerospike",
            expressions: &OFFICIAL,
            source: source(&clone, "aerospike"),
            builder: Builder::Pip(made(&clone, "requires-aerospike")),
        },
        Package {
            id: "aerospike-py",
            expressions: &PYTHON,
            source: source(&clone, "aerospike-py"),
            builder: Builder::Maturin,
        },
    ];
    plain::compare(&clone, &packages, ABI, "devel-aerospike-cp314t");
}

/// The files that a step made.
fn made(clone: &Clone, step: &str) -> Vec<Stored> {
    let record = plain::record(clone, step);
    let text = |file: &Value, field: &str| file[field].as_str().unwrap().to_owned();
    let files = record["files"].as_array().unwrap().iter();
    files.map(|file| Stored { name: text(file, "name"), sha256: text(file, "sha256") }).collect()
}

/// The unpacked sdist of a package.
fn source(clone: &Clone, package: &str) -> PathBuf {
    let folder = clone.top.join("source").join(package);
    std::fs::create_dir_all(&folder).unwrap();
    let [sdist]: [Stored; 1] = made(clone, &format!("sdist-{package}")).try_into().ok().unwrap();
    sdist.copy_to(&folder);
    unpack(&folder.join(sdist.name), &folder);
    folder
}

fn unpack(archive: &Path, folder: &Path) {
    let status = Command::new("tar").arg("-xzf").arg(archive).args(["--strip-components=1", "-C"]).arg(folder).status();
    assert!(status.unwrap().success());
    std::fs::remove_file(archive).unwrap();
}
