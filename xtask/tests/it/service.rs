//! Tests of the service of each image with the stand-in: `up`, requests, loss of the server, `down`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::{Clone, make_readable, matrix_has, text, wait_until};

const MODES: [&str; 3] = ["single", "gather", "merge_gather"];

/// Whether the project's matrix has the images of this project's own application; else these tests are skipped.
pub fn has_application() -> bool {
    matrix_has("packages", &["aerospike-py", "aerospike", "benchmark-app"])
        && matrix_has("images", &["311", "314", "314t", "314t-with-official"])
}

/// Runs in the clone itself, where the stand-in is compiled, without changing files.
fn xtask(arguments: &[&str]) -> Output {
    let top = Path::new("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    command.args(arguments).current_dir(top).stdin(Stdio::null());
    command.output().unwrap()
}

fn good(arguments: &[&str]) -> String {
    let output = xtask(arguments);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn docker(arguments: &[&str]) {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Service at its own port, removed on drop.
struct Up {
    port: u16,
}

impl Up {
    fn new(tag: &str) -> Up {
        let up = Up { port: free_port() };
        let said = good(&["up", tag, "--server", "standin", "--records", "200", "--port", &up.port.to_string()]);
        assert!(said.contains("STAND-IN") && said.contains(&format!("http://127.0.0.1:{}", up.port)), "{said}");
        up
    }

    fn down(&self) -> String {
        good(&["down", "--port", &self.port.to_string()])
    }

    /// Returns status and body; status 0 if there is no response.
    fn get(&self, path: &str) -> (u16, String) {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().unwrap_or_default();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Sends `requests` over several connections, cycling through `paths`, and returns the number of responses other
    /// than 200.
    fn hammer(&self, connections: usize, paths: &[String], requests: usize) -> usize {
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            break;
                        }
                        if self.get(&paths[number % paths.len()]).0 != 200 {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        failed.into_inner()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        xtask(&["down", "--port", &self.port.to_string()]);
    }
}

/// Returns an unused port below the kernel's range of ephemeral ports (from 32,768).
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(16) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (number % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Few requests by default: XTASK_TEST_REQUESTS=2000 takes five minutes on two cores.
fn requests() -> usize {
    std::env::var("XTASK_TEST_REQUESTS").map_or(100, |text| text.parse().unwrap())
}

/// Stops the load on drop.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn every_image_serves_the_same_predictions() {
    if !has_application() {
        return;
    }
    let mut first: Option<Vec<(String, f64)>> = None;
    for (tag, clients, gil) in [
        ("311", &["py-async", "official"][..], true),
        ("314", &["py-async", "official"][..], true),
        ("314t", &["py-async"][..], false),
        ("314t-with-official", &["py-async", "official"][..], false),
    ] {
        let up = Up::new(tag);
        let mut paths = Vec::new();
        for (client, mode) in clients.iter().flat_map(|client| MODES.map(|mode| (client, mode))) {
            let path = format!("/predict/{client}/sample?mode={mode}");
            let answer = up.json(&path);
            assert_eq!(answer["recordsFound"], answer["recordsTotal"], "{tag} {path}");
            let scores = answer["predictions"].as_array().unwrap().iter();
            let scores: Vec<(String, f64)> =
                scores.map(|p| (p["adId"].to_string(), p["score"].as_f64().unwrap())).collect();
            assert_eq!(scores.len(), 200, "{tag} {path}");
            let known = first.get_or_insert_with(|| scores.clone());
            for (one, other) in known.iter().zip(&scores) {
                assert!(one.0 == other.0 && (one.1 - other.1).abs() < 1e-5, "{tag} {path}: {one:?} {other:?}");
            }
            paths.push(path);
        }
        assert_eq!(up.hammer(10, &paths, requests()), 0, "{tag}: requests that were not answered");
        let state = up.json("/runtime");
        assert_eq!(state["gil"]["now"], gil, "{tag}: {state}");
        assert_eq!(state["image_labels"]["org.opencontainers.image.version"], tag, "{state}");
        if clients.len() == 1 {
            let (status, body) = up.get("/predict/official/sample");
            assert!(status == 503 && body.contains("not installed"), "{tag}: {status} {body}");
        }
    }
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn a_server_that_is_lost_is_found_again() {
    if !has_application() {
        return;
    }
    let up = Up::new("314t-with-official");
    let (server, port) = (format!("aerospike-benchmark-server-{}", up.port), up.port.to_string());
    let paths = ["py-async", "official"].map(|client| format!("/predict/{client}/sample?mode=gather"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                up.hammer(2, &paths, 50);
            }
        });
        // Stop the load also if an assertion fails, because the scope would wait forever.
        let _load = Stop(&stop);
        docker(&["kill", &server]);
        wait_until("without its server it is still ready", || up.get("/ready").0 == 503);
        for path in &paths {
            wait_until("a lost server is not said", || up.get(path).0 == 503);
        }
        assert_eq!(up.get("/health").0, 200, "the process itself is well");
        docker(&["start", &server]);
        let load = ["load-data", "--records", "200", "--port", &port];
        wait_until("the data cannot be written again", || xtask(&load).status.success());
        wait_until("it is not ready again", || up.get("/ready").0 == 200);
    });
    for path in &paths {
        wait_until("it does not answer again", || up.get(path).0 == 200);
    }
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn what_is_up_is_told_and_removed() {
    if !has_application() {
        return;
    }
    let up = Up::new("314t");
    let port = up.port.to_string();
    let again = xtask(&["up", "314t", "--server", "standin", "--port", &port]);
    let said = text(&again.stderr);
    assert!(!again.status.success() && said.contains(&format!("cargo xtask down --port {port}")), "{said}");
    // A service at another port is independent of the first.
    let other = Up::new("314t");
    assert!(other.down().contains(&format!("aerospike-benchmark-service-{}", other.port)));
    assert_eq!((up.get("/ready").0, other.get("/ready").0), (200, 0));
    assert!(up.down().contains(&format!("aerospike-benchmark-service-{port}")));
    assert_eq!(up.down(), "no services were up\n");
    assert_eq!(up.get("/health").0, 0, "nobody listens");
    // The port becomes unavailable before the service starts: everything started before must be removed.
    let _taken = TcpListener::bind(("127.0.0.1", up.port)).unwrap();
    let output = xtask(&["up", "314t", "--server", "standin", "--records", "0", "--port", &port]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(&port), "{said}");
    assert_eq!(up.down(), "no services were up\n");
}

/// Returns the Python of the pinned tools, whose pip knows the user's package index.
fn tools_python() -> PathBuf {
    let plan: Value = serde_json::from_str(&good(&["plan", "wheels", "--format", "json"])).unwrap();
    let tools = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == "tools").unwrap();
    let folder = format!("v1/state/tools-{}/bin/python", &tools["key"].as_str().unwrap()[..16]);
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("XTASK_CACHE_DIR")
        .or_else(|| var("XDG_CACHE_HOME").map(|folder| folder.join("wheel-matrix")))
        .unwrap_or_else(|| var("HOME").unwrap().join(".cache/wheel-matrix"));
    cache.join(folder)
}

/// With other versions the scores might differ, and a comparison of interpreters would compare libraries.
#[test]
fn the_application_has_the_same_versions_for_every_abi() {
    let Ok(lock) = std::fs::read_to_string("../docker/locks/benchmark-app/pylock.toml") else { return };
    let mut names: Vec<&str> = lock.lines().filter(|line| line.starts_with("name = ")).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(all > 0 && names.len() == all, "a package has several entries: {names:?}");
}

#[test]
#[ignore = "needs a Docker engine and the images"]
fn the_application_passes_its_own_tests_in_the_images() {
    if !has_application() {
        return;
    }
    let clone = Clone::of_project();
    let app = clone.project().join("docker/app");
    let pytest = clone.top.join("pytest");
    let mut pip = Command::new(tools_python());
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--target"]);
    let locked = clone.top.join("requirements.txt");
    std::fs::write(&locked, good(&["lock", "--print", "cp314t", "--for", "tests", "benchmark-app"])).unwrap();
    let output = pip.arg(&pytest).arg("-r").arg(&locked).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    make_readable(&clone.top);
    let run = |tag: &str| {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--network", "none", "--read-only", "--workdir", "/source"]);
        for (from, to) in [(&app, "/source"), (&pytest, "/pytest")] {
            command.arg("--volume").arg(format!("{}:{to}:ro", from.display()));
        }
        command.args(["--env", "PYTHONPATH=/source/src:/pytest", "--env", "PYTHONDONTWRITEBYTECODE=1"]);
        command.arg(format!("aerospike-benchmark:{tag}")).args(["python", "-m", "pytest"]).output().unwrap()
    };
    std::thread::scope(|scope| {
        let runs = ["311", "314t", "314t-with-official"].map(|tag| (tag, scope.spawn(|| run(tag))));
        for (tag, thread) in runs {
            let output = thread.join().unwrap();
            let said = text(&output.stdout);
            assert!(output.status.success() && said.contains(" passed"), "{tag}: {said}{}", text(&output.stderr));
        }
    });
}
