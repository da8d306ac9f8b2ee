//! `check` with a package index on this machine, in a folder without `matrix.yaml`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common::text;

/// Starts an index that has one project, `demo`, with a wheel and a source distribution, and returns its URL.
fn index() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/simple/", listener.local_addr().unwrap());
    let file = |name: &str| {
        format!(r#"{{"filename": "{name}", "url": "/{name}", "hashes": {{"sha256": "{}"}}}}"#, "a".repeat(64))
    };
    let files = [file("demo-1-cp314-cp314t-manylinux_2_28_x86_64.whl"), file("demo-1.tar.gz"), file("demo-0.1.tar.gz")];
    let page = format!(r#"{{"files": [{}]}}"#, files.join(","));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let (status, body) = match head.split(' ').nth(1) {
                Some("/simple/demo/") => ("200 OK", page.as_str()),
                Some("/simple/private/") => ("403 Forbidden", ""),
                _ => ("404 Not Found", ""),
            };
            let length = body.len();
            // The client may have gone.
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    url
}

fn check(index: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("requirements.txt"), "demo\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    command.arg("check").args(arguments).current_dir(&folder);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "GITHUB_ACTIONS"] {
        command.env_remove(name);
    }
    command.env("PIP_INDEX_URL", index).env("XTASK_CACHE_DIR", folder.path().join("cache")).output().unwrap()
}

#[test]
fn the_exit_code_says_whether_all_are_ready() {
    let index = index();
    let output = check(&index, &["requirements.txt"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("demo          1        ready: cp314t wheel  1\n"),
        "{}",
        text(&output.stdout)
    );
    let output = check(&index, &["demo==0.1", "missing", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("2 of 2 distributions are without a wheel for `cp314t`"),
        "{}",
        text(&output.stderr)
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = &json["targets"][0]["distributions"];
    assert_eq!((&rows[0]["verdict"], &rows[0]["later"]), (&"source-only".into(), &"1".into()));
    assert_eq!(rows[1]["verdict"], "not-found");
    let output = check(&index, &["missing.txt"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn an_index_that_does_not_answer_is_no_verdict() {
    let output = check(&index(), &["demo", "private"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("cannot look up `private` on the package index: ") && error.contains("403"), "{error}");
    assert!(output.stdout.is_empty(), "{error}");
}
