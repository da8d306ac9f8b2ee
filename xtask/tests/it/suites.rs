//! Tests of `cargo xtask test` in the images: short runs, and failures of each suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::{Clone, containers_of, standin, text, wait_until};
use crate::service::has_application;

/// Unused address, for suites whose clients need no server.
const NOWHERE: &str = "127.0.0.1:1";

/// Runs the tool in the clone itself, where the stand-in is compiled; results are written to `out`.
fn xtask(arguments: &[&str], out: &Path) -> Command {
    let top = Path::new("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    command.arg("test").args(arguments).arg("--out").arg(out).current_dir(top).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Returns a copy of the project with `adapter` appended to the adapter of `client`.
fn with_adapter(client: &str, adapter: &str) -> Clone {
    let clone = Clone::of_project();
    let file = clone.project().join(format!("docker/suites/clients/{client}.py"));
    let right = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{right}\n{adapter}")).unwrap();
    clone
}

fn in_clone(clone: &Clone, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
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
    if !has_application() {
        return;
    }
    let (clone, server) = (Clone::of_project(), standin());
    for tag in ["311", "314t", "314t-with-official"] {
        // The official client does not declare free-threading support, so its storm may fail.
        let storm = tag != "314t-with-official";
        let only: &[&str] = if storm { &["--repeat", "1"] } else { &["--suite", "smoke"] };
        let (output, said) = in_clone(&clone, &[&[tag, "--server", &server], only].concat());
        assert!(output.status.success() || only_the_end_failed(&said), "{said}");
        assert!(said.contains("as promised"), "{said}");
        assert_eq!(said.contains("given by its address (wheel-matrix stand-in"), storm, "{said}");
        assert!(said.lines().all(|line| line.starts_with('[') || line.chars().count() <= 400), "{said}");
        assert_eq!(said.contains("reads aerospike-py"), tag != "314t", "{said}");
    }
}

/// Whether nothing failed but the end of one process whose threads are in calls. docs/known-problems.md describes both
/// faults: CPython 3.14t does not end about 1 of 100 such processes, and on 3.11 1 of 1,200 was aborted. No other failure is
/// accepted, and nothing is repeated.
fn only_the_end_failed(said: &str) -> bool {
    let failed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("FAILED    ")).collect();
    let known = |case: &&str| {
        let how = case.strip_prefix("shutdown: 1 of ").and_then(|rest| rest.split_once(": "));
        how.is_some_and(|(_, how)| how.starts_with("it had not ended after ") || how == "ended by SIGABRT")
    };
    !failed.is_empty() && failed.iter().all(known)
}

#[test]
fn only_known_ends_of_processes_are_accepted() {
    assert!(only_the_end_failed("FAILED    shutdown: 1 of 3: ended by SIGABRT\n"));
    assert!(only_the_end_failed("x\nFAILED    shutdown: 1 of 1: it had not ended after 60 s\n"));
    for other in
        ["shutdown: 2 of 3: ended by SIGABRT", "shutdown: 1 of 3: ended by SIGSEGV", "batch: 1 of 3: ended by SIGABRT"]
    {
        assert!(!only_the_end_failed(&format!("FAILED    {other}\n")), "{other}");
    }
    assert!(!only_the_end_failed("ok\n"));
}

/// Up to 3.13 CPython ends a thread in the client's calls by unwinding it: with another unwinder than
/// the process's in the wheel, each of these processes was terminated by SIGSEGV.
#[test]
#[ignore = "needs a Docker engine and the images"]
fn an_older_interpreter_ends_with_threads_in_the_client() {
    if !has_application() {
        return;
    }
    let (clone, server) = (Clone::of_project(), standin());
    let storm = ["311", "--server", &server, "--package", "aerospike-py", "--scenario", "shutdown", "--repeat", "3"];
    let (output, said) = in_clone(&clone, &storm);
    assert!(output.status.success() || only_the_end_failed(&said), "{said}");
}

/// Makes certain what a race between threads makes possible: they find the module in `sys.modules` while another thread
/// imports it, before it has any names. What the official client does then is not changed.
const HALF_IMPORTED: &str = "\
import sys
import types


class Adapter(Adapter):
    def connect(self):
        name = 'aerospike_helpers.batch.records'
        sys.modules.setdefault(name, types.ModuleType(name))
        return super().connect()
";

#[test]
#[ignore = "needs a Docker engine and the images"]
fn the_storm_finds_the_known_crash_without_the_early_import() {
    if !has_application() {
        return;
    }
    let clone = with_adapter("aerospike", HALF_IMPORTED);
    let server = standin();
    let run = |more: &[&str]| {
        let common = ["314t-with-official", "--server", &server, "--package", "aerospike"];
        in_clone(&clone, &[&common[..], &["--scenario", "first-batch-read"], more].concat())
    };
    let (output, said) = run(&["--repeat", "1"]);
    // The known crash is a separate case in this image and not a failure.
    assert!(output.status.success() && said.contains("known     first-batch-read, no early-import: 1 of 1"), "{said}");
    let (output, said) = run(&["--repeat", "3", "--without", "early-import"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAILED    first-batch-read: 3 of 3: ended by SIGSEGV"), "{said}");
    // All 16 threads of a process crash simultaneously; the report of the first one is complete.
    let report = junit(&clone, "314t-with-official");
    for part in [
        "Fatal Python error: Segmentation fault",
        "/suites/proving/storm.py",
        "at AerospikeClient_BatchRead+",
        "Extension modules: ",
    ] {
        assert!(report.matches(part).count() >= 3, "`{part}` expected three times: {report}");
    }
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn a_client_that_answers_wrong_fails_the_smoke_suite() {
    if !has_application() {
        return;
    }
    let clone = with_adapter(
        "aerospike_py",
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
    if !has_application() {
        return;
    }
    let adapter = "import faulthandler, time\nclass Adapter(client.Adapter):\n    \
         def connect(self): return {}\n    \
         def close(self, client): pass\n    \
         def server(self, client): return 'none'\n    \
         def put(self, *_): pass\n    \
         def add(self, *_): pass\n    \
         def query(self, *_): raise NotImplementedError\n    \
         def get(self, *_): time.sleep(1000)\n    \
         def batch_read(self, *_): faulthandler._sigsegv()\n";
    let clone = with_adapter("aerospike_py", adapter);
    let scenarios = ["--scenario", "first-get", "--scenario", "first-batch-read"];
    let arguments = [&["314t", "--server", NOWHERE, "--repeat", "1", "--limit", "10"][..], &scenarios].concat();
    let (output, said) = in_clone(&clone, &arguments);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("first-get: 1 of 1: it had not ended after 10 s"), "{said}");
    assert!(said.contains("first-batch-read: 1 of 1: ended by SIGSEGV"), "{said}");
    let report = junit(&clone, "314t");
    assert!(report.contains("C stack trace") && report.contains("time.sleep(1000)"), "{report}");
}

/// Creates a checkout with passing, failing and skipped tests, and copies of the package that must not be imported.
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
    if !has_application() {
        return;
    }
    let clone = Clone::of_project();
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
    // The last line of pytest's message is the end of a comparison of values.
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
    // Even tests that change the module path do not import another copy.
    let shadow = "import os, sys\nsys.path.insert(0, os.path.join(os.getcwd(), 'tests/shadow'))\n\
                  sys.modules.pop('aerospike_py', None)\nimport aerospike_py\ndef test_it(): pass\n";
    let (output, said) = run("shadow", shadow);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("exit code 9") && said.contains("`aerospike_py` is imported from"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn own_tests_in_threads_have_their_verdicts() {
    if !has_application() {
        return;
    }
    let clone = Clone::of_project();
    let test = "import sys, threading, aerospike_py\n\
                seen = []\n\
                def test_good(): assert aerospike_py.__name__ == 'aerospike_py'\n\
                def test_gil(num_parallel_threads): assert num_parallel_threads == 1 or sys._is_gil_enabled()\n\
                def test_shared(num_parallel_threads): assert num_parallel_threads == 1\n\
                def test_once():\n    seen.append(1)\n    assert len(seen) == 1\n\
                def test_fails(): assert False\n\
                def test_system(num_parallel_threads):\n    if num_parallel_threads > 1: raise SystemError('null')\n";
    let source = checkout(clone.top.join("threads"), test);
    let arguments = ["314t", "--suite", "parallel", "--server", NOWHERE, "--source", &source];
    let (output, said) = in_clone(&clone, &arguments);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ok      GIL off as promised"), "{said}");
    assert!(said.contains("FAILED  parallel of aerospike-py: 2 of 3 failed, 3 skipped"), "{said}");
    let report = junit(&clone, "314t");
    for part in [
        "only without the GIL: in 3 of 3 runs in 8 threads: assert",
        "the test's own shared state: it fails in threads with the GIL, too: in 3 of 3 runs in 8 threads",
        "not repeatable: it fails when one thread, not the main one, runs it 8 times",
        "in one thread already: assert False",
        "in 3 of 3 runs in 8 threads: SystemError: null",
    ] {
        let escaped = part.replace('\'', "&apos;");
        assert!(report.contains(part) || report.contains(&escaped), "`{part}`: {report}");
    }
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn what_is_wrong_is_said_and_nothing_is_left_when_it_is_interrupted() {
    if !has_application() {
        return;
    }
    let clone = Clone::of_project();
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
    fails(&["314t-new"], 1, "build it with `cargo xtask image 314t-new`");

    let mut child = xtask(&["314t", "--server", "standin"], &clone.top).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a container is started", || {
        containers_of(child.id()).iter().any(|name| name.starts_with("xtask-job-"))
    });
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(containers_of(child.id()), [""; 0]);
}
