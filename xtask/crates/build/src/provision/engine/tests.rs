//! Tests that an engine that exits is detected, reported and started again.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::{BringUp, Look, launch, quoted};
use base::cancel::Cancel;

/// Starts an engine whose starts are these shell scripts. It responds once the file `up` exists in its folder.
/// Returns the result, the number of starts, and the messages.
fn bring_up(name: &str, scripts: &[&str]) -> (anyhow::Result<()>, usize, String) {
    let top = std::env::temp_dir().join(format!("xtask-engine-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&top);
    std::fs::create_dir_all(&top).unwrap();
    let (up, log): (PathBuf, PathBuf) = (top.join("up"), top.join("log"));
    let (starts, said) = (Cell::new(0), RefCell::new(String::new()));
    let result = BringUp {
        look: &|| match up.exists() {
            true => Look::Answers(()),
            false => Look::Silent("connection refused".to_owned(), true),
        },
        start: &|| {
            let script = scripts[starts.get()].replace("UP", &up.display().to_string());
            starts.set(starts.get() + 1);
            launch(&["sh", "-c", &script], false, &log)
        },
        say: &|text| said.borrow_mut().push_str(text),
        pauses: [Duration::ZERO; 2],
        // If an exit were not detected, the test would wait this long.
        patience: Duration::from_secs(3600),
    }
    .run(&Cancel::default());
    let _ = std::fs::remove_dir_all(&top);
    (result, starts.get(), said.into_inner())
}

const PID_FILE: &str = "echo failed to start daemon: pid file found >&2; exit 1";

#[test]
fn an_engine_that_exits_is_started_again() {
    let (result, starts, said) = bring_up("again", &[PID_FILE, "touch UP"]);
    result.unwrap();
    assert_eq!(starts, 2);
    assert!(said.contains("| failed to start daemon: pid file found"), "{said}");
}

#[test]
fn an_engine_that_exits_twice_is_an_error_with_its_last_lines() {
    let (result, starts, _) = bring_up("twice", &[PID_FILE, "echo no space left; exit 1"]);
    let error = result.unwrap_err().to_string();
    assert_eq!(starts, 2);
    assert!(error.contains("exited each time:\n    | no space left\n    whole log: "), "{error}");
}

#[test]
fn an_argument_in_any_encoding_reaches_the_shell() {
    let word = OsString::from_vec(b"it's \xff".to_vec());
    let mut script = OsString::from("printf %s ");
    script.push(quoted(&word));
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert_eq!(OsString::from_vec(output.stdout), word);
}
