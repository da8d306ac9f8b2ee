//! Makes the same calls with both clients as were recorded with a real server; see `differential.py`.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::MIB;
use crate::connections::listen;

const TESTS: &str = "tests";
const REAL: &str = "tests/data/community-8.1.2.0.jsonl";

/// Has both clients; `cargo xtask image 311` makes it.
const IMAGE: &str = "aerospike-benchmark:311";

fn compare(recording: &Path) -> (bool, String) {
    let script = format!("{TESTS}/differential.py");
    let output = Command::new("python3").args([&script, "compare", REAL]).arg(recording).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
#[ignore = "needs a Docker engine and the image 311"]
fn both_clients_see_what_they_saw_of_a_real_server() {
    let address = listen(100, 256 * MIB).to_string();
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("standin.jsonl");
    // Copy the tests with permissions for the container's user, independent of the umask.
    let tests = folder.path().join("tests");
    fs::create_dir(&tests).unwrap();
    fs::copy(Path::new(TESTS).join("differential.py"), tests.join("differential.py")).unwrap();
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path()).status().unwrap().success());
    let mount = format!("{}:/tests:ro", tests.display());
    let run = ["run", "--rm", "--network=host", "--volume", &mount, "--entrypoint=python", IMAGE];
    let script = ["/tests/differential.py", "record", &address];
    let mut record = Command::new("docker");
    record.args(run).args(script).stdout(File::create(&recording).unwrap());
    assert!(record.status().unwrap().success(), "{record:?}");
    let (same, said) = compare(&recording);
    assert!(same, "{said}");
}

#[test]
fn the_comparison_finds_a_difference() {
    let (same, said) = compare(Path::new(REAL));
    assert!(same && said.contains(" 0 differences"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.jsonl");
    let text = fs::read_to_string(REAL).unwrap();
    fs::write(&changed, text.replacen("\"code\": 13", "\"code\": 8", 1)).unwrap();
    let (same, said) = compare(&changed);
    assert!(!same && said.contains("A {\"code\": 13}\n  B {\"code\": 8}"), "{said}");
}
