//! `cargo xtask test` in the images: the short forms, and for each suite what makes it fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Clone, containers_of, text, turn};

/// Where nobody listens: for suites whose clients need no server.
const NOWHERE: &str = "127.0.0.1:1";

/// The tool in the clone itself, where the stand-in is compiled; results go to `out`.
fn xtask(arguments: &[&str], out: &Path) -> Command {
    let top = Path::new("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("test").args(arguments).arg("--out").arg(out).current_dir(top).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A copy of the project whose official client's adapter is replaced by `adapter`.
fn with_adapter(adapter: &str) -> Clone {
    let clone = Clone::new();
    let file = clone.project().join("docker/suites/clients/aerospike_py.py");
    let right = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{right}\n{adapter}")).unwrap();
    clone
}

fn in_clone(clone: &Clone, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("test").args(arguments).current_dir(clone.project()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = said(&output);
    (output, said)
}

fn junit(clone: &Clone, tag: &str) -> String {
    fs::read_to_string(clone.project().join(format!("test-results/{tag}/junit.xml"))).unwrap()
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn smoke_and_a_short_storm_pass() {
    let _turn = turn();
    let clone = Clone::new();
    for tag in ["311", "314t", "314t-with-official"] {
        let only: &[&str] = if tag == "314t-with-official" { &["--repeat", "1"] } else { &["--suite", "smoke"] };
        let more = ["--server", "standin"];
        let mut command = xtask(&[&[tag], &more[..], only].concat(), &clone.top);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let process = child.id();
        let output = child.wait_with_output().unwrap();
        let said = said(&output);
        assert_eq!(containers_of(process), [""; 0], "the server is gone");
        assert!(output.status.success(), "{said}");
        assert!(said.contains("the stand-in") && said.contains("as promised"), "{said}");
        assert!(said.lines().all(|line| line.starts_with('[') || line.chars().count() <= 400), "{said}");
        assert_eq!(said.contains("reads aerospike-py"), tag != "314t", "{said}");
    }
}

/// Up to 3.13 CPython ends a thread in the client's calls by unwinding it: with another unwinder than
/// the process's in the wheel, each of these processes was ended by SIGSEGV.
#[test]
#[ignore = "needs a Docker engine and the images"]
fn an_older_interpreter_ends_with_threads_in_the_client() {
    let _turn = turn();
    let clone = Clone::new();
    let storm = ["311", "--server", "standin", "--package", "aerospike-py", "--scenario", "shutdown", "--repeat", "3"];
    let output = xtask(&storm, &clone.top).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// Ten processes would find it more often than not: a hundred are the limit, not the rule.
#[test]
#[ignore = "needs a Docker engine and the images"]
fn the_storm_finds_the_known_crash_without_the_early_import() {
    let _turn = turn();
    let clone = Clone::new();
    let arguments = |more: &'static [&str]| {
        let common = ["314t-with-official", "--server", "standin", "--package", "aerospike", "--scenario"];
        [&common[..], &["first-batch-read", "--fail-fast"], more].concat()
    };
    let without = arguments(&["--repeat", "100", "--without", "early-import"]);
    let output = xtask(&without, &clone.top).output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("FAILED    first-batch-read: 1 of ") && told.contains("SIGSEGV"), "{told}");
    let report = fs::read_to_string(clone.top.join("junit.xml")).unwrap();
    // Where in Python, and where in C.
    assert!(report.contains("/suites/proving/storm.py") && report.contains("AerospikeClient_BatchRead"), "{report}");
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn a_client_that_answers_wrong_fails_the_smoke_suite() {
    let _turn = turn();
    let clone = with_adapter(
        "class Adapter(client.Adapter):\n    \
         def connect(self): return {}\n    \
         def close(self, client): pass\n    \
         def put(self, client, key, bins): client[key] = bins | {'number': 7}\n    \
         def get(self, client, key): return client[key]\n    \
         def query(self, *_): raise NotImplementedError\n    \
         def batch_read(self, client, keys): return [client.get(key) for key in keys]\n    \
         def rows(self, result): return result\n",
    );
    let (output, said) = in_clone(&clone, &["314t", "--suite", "smoke", "--server", NOWHERE]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAILED    put, get, batch read: 1 of 1: AssertionError: record 0 is"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn a_hang_and_a_crash_are_reported_with_their_stacks() {
    let _turn = turn();
    let adapter = "import faulthandler, time\nclass Adapter(client.Adapter):\n    \
         def connect(self): return {}\n    \
         def close(self, client): pass\n    \
         def server(self, client): return 'none'\n    \
         def put(self, *_): pass\n    \
         def add(self, *_): pass\n    \
         def query(self, *_): raise NotImplementedError\n    \
         def get(self, *_): time.sleep(1000)\n    \
         def batch_read(self, *_): faulthandler._sigsegv()\n";
    let clone = with_adapter(adapter);
    let scenarios = ["--scenario", "first-get", "--scenario", "first-batch-read"];
    let arguments = [&["314t", "--server", NOWHERE, "--repeat", "1", "--limit", "3"][..], &scenarios].concat();
    let (output, said) = in_clone(&clone, &arguments);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("first-get: 1 of 1: it had not ended after 3 s"), "{said}");
    assert!(said.contains("first-batch-read: 1 of 1: ended by SIGSEGV"), "{said}");
    let report = junit(&clone, "314t");
    assert!(report.contains("C stack trace") && report.contains("time.sleep(1000)"), "{report}");
}

/// A checkout: tests that pass, fail, and are skipped, and copies of the package that must not be imported.
fn checkout(folder: PathBuf, test: &str) -> String {
    for shadow in ["aerospike_py", "src/aerospike_py", "tests/shadow/aerospike_py"] {
        fs::create_dir_all(folder.join(shadow)).unwrap();
        fs::write(folder.join(shadow).join("__init__.py"), "broken = 'the checkout'\n").unwrap();
    }
    fs::create_dir_all(folder.join("tests/unit")).unwrap();
    fs::write(folder.join("tests/__init__.py"), "").unwrap();
    fs::write(folder.join("tests/unit/__init__.py"), "").unwrap();
    fs::write(folder.join("tests/unit/test_it.py"), test).unwrap();
    fs::write(folder.join("pyproject.toml"), "[tool.pytest.ini_options]\naddopts = ['-ra']\n").unwrap();
    folder.display().to_string()
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn own_tests_run_against_what_is_installed_and_can_fail() {
    let _turn = turn();
    let clone = Clone::new();
    let run = |name: &str, test: &str| {
        let source = checkout(clone.top.join(name), test);
        in_clone(&clone, &["314t", "--suite", "upstream", "--server", NOWHERE, "--source", &source])
    };
    let (output, said) = run(
        "good",
        "import os, aerospike_py, pytest\n\
         def test_installed(): assert not hasattr(aerospike_py, 'broken') and os.environ['AEROSPIKE_PORT'] == '1'\n\
         @pytest.mark.skip(reason='not today')\ndef test_skipped(): pass\n",
    );
    assert!(
        output.status.success() && said.contains("ok      upstream of aerospike-py: 0 of 1 failed, 1 skipped"),
        "{said}"
    );
    let (output, said) = run("bad", "def test_good(): pass\ndef test_bad(): assert {'a': 1} == {'a': 2}, 'a reason'\n");
    assert_eq!(output.status.code(), Some(1), "{said}");
    // The last line of pytest's report is the end of a comparison of the values.
    let message = "AssertionError: a reason assert {'a': 1} == {'a': 2}";
    assert!(said.contains(&format!("tests/unit: 1 of 2: tests/unit/test_it.py::test_bad: {message}")), "{said}");
    let report = junit(&clone, "314t");
    assert!(
        report.contains("<failure message=\"AssertionError: a reason") && report.contains("Differing items"),
        "{report}"
    );
    let (_, said) =
        run("crash", "import faulthandler\ndef test_good(): pass\ndef test_end(): faulthandler._sigsegv()\n");
    assert!(said.contains("ended by SIGSEGV in tests/unit/test_it.py::test_end"), "{said}");
    let (_, said) = run("skipped", "import pytest\n@pytest.mark.skip\ndef test_it(): pass\n");
    assert!(said.contains("each of its 1 tests was skipped"), "{said}");
    // Even tests that go out of their way do not get at another copy.
    let shadow = "import os, sys\nsys.path.insert(0, os.path.join(os.getcwd(), 'tests/shadow'))\n\
                  sys.modules.pop('aerospike_py', None)\nimport aerospike_py\ndef test_it(): pass\n";
    let (output, said) = run("shadow", shadow);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("exit code 9") && said.contains("`aerospike_py` is imported from"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn what_is_wrong_is_said_and_nothing_is_left_when_it_is_interrupted() {
    let _turn = turn();
    let clone = Clone::new();
    let fails = |arguments: &[&str], code: i32, text: &str| {
        let (output, said) = in_clone(&clone, arguments);
        assert!(output.status.code() == Some(code) && said.contains(text), "{said}");
    };
    fails(&["314x"], 2, "the choices are `311`");
    fails(&["314t", "--suite", "upstream"], 2, "--source PATH");
    fails(&["314t", "--package", "aerospike"], 2, "the choices are `aerospike-py`");
    fails(&["314t", "--source", "/nonexistent"], 2, "`/nonexistent` is not a folder");
    fails(&["314t", "--server", NOWHERE, "--scenario", "first-got"], 2, "there is no scenario `first-got`");
    clone.rename("314t", "314t-new");
    fails(&["314t-new"], 1, "`cargo xtask image 314t-new` builds it");

    let mut child = xtask(&["314t", "--server", "standin"], &clone.top).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !containers_of(child.id()).iter().any(|name| name.starts_with("xtask-job-")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no container is started");
        std::thread::sleep(Duration::from_millis(100));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(containers_of(child.id()), [""; 0]);
}
