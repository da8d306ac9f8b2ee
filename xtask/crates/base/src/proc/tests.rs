//! Tests of child processes: order and limits of output, and termination.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

use xshell::{Shell, cmd};

use super::*;
use crate::ui::Ui;

/// Returns a task with its own log.
fn task() -> (Task, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("xtask-proc-{}-{}.log", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let log = std::env::temp_dir().join(name);
    let task = Ui::detect().start("test", "a program", &log);
    task.open_log().unwrap();
    (task, log)
}

/// Runs a shell script with an output limit.
fn shell(script: &str, captured: bool, limit: u64) -> (Result<String>, Vec<String>) {
    let (task, log) = task();
    let shell = Shell::new().unwrap();
    let running = RunningProcess::start(cmd!(shell, "/bin/sh -c {script}"), &task, captured).unwrap();
    let ended = running.finish(&task, &Cancel::default(), &ProcessIo::default(), limit);
    fs::remove_file(log).unwrap();
    (ended, task.tail())
}

#[test]
fn the_log_keeps_the_order_of_both_streams() {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done; exit 3";
    let (ended, tail) = shell(script, false, 1 << 20);
    let expected = (1..=9).flat_map(|i| [format!("out {i}"), format!("err {i}")]).collect::<Vec<_>>();
    assert_eq!(tail[1..], expected);
    assert_eq!(ended.unwrap_err().to_string(), "`sh` failed with exit code 3: err 9");
}

#[test]
fn captured_output_is_not_in_the_last_lines() {
    let (ended, tail) = shell("echo '{\"a\": 1}'; echo careful >&2; printf end", true, 1 << 20);
    assert_eq!(ended.unwrap(), "{\"a\": 1}\nend");
    assert_eq!(tail[1..], ["careful"]);
}

#[test]
fn a_daemon_holding_the_pipe_does_not_block() {
    let file = std::env::temp_dir().join(format!("xtask-daemon-{}", std::process::id()));
    let path = file.display();
    // The daemon leaves the process group, so it outlives the program; the program waits for its process id.
    let daemon = format!("setsid sh -c 'echo $$ >{path}.part; mv {path}.part {path}; exec sleep 1000000' &");
    let (ended, tail) =
        shell(&format!("{daemon} until test -e {path}; do sleep 0.01; done; echo done"), false, 1 << 20);
    let id = fs::read_to_string(&file).unwrap();
    fs::remove_file(file).unwrap();
    let left = fs::read_to_string(format!("/proc/{}/comm", id.trim()));
    signal(id.trim().parse().unwrap(), Signal::KILL);
    ended.unwrap();
    assert!(left.is_ok(), "the daemon had ended: the test shows nothing");
    assert_eq!(tail.last().map(String::as_str), Some("done"), "{tail:?}");
}

#[test]
fn endless_output_fails_and_names_the_limit() {
    for script in ["yes", "yes | tr -d '\\n'", "yes >&2"] {
        for captured in [false, true] {
            let (ended, _) = shell(script, captured, 1 << 20);
            let error = format!("{:#}", ended.unwrap_err());
            assert!(error.contains("printed more than 1.00 MiB") && error.contains("XTASK_MAX_OUTPUT"), "{error}");
        }
    }
}

#[test]
fn child_processes_are_terminated_with_the_program() {
    let (ended, tail) = shell("sleep 1000000 & echo $!", false, 1 << 20);
    ended.unwrap();
    let id = tail.last().unwrap();
    // The bound only ends a test that has failed.
    let gone = (0..30_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert!(gone, "{id} still runs");
}

#[test]
fn a_program_that_does_not_read_its_input_does_not_block() {
    let (task, log) = task();
    let shell = Shell::new().unwrap();
    let input = "x".repeat(1 << 20);
    run_with(cmd!(shell, "true"), &task, &Cancel::default(), &ProcessIo { input: &input, ..ProcessIo::default() })
        .unwrap();
    let found = read(cmd!(shell, "cat"), &task, &Cancel::default(), &input).unwrap();
    assert_eq!(found.len(), input.len());
    fs::remove_file(log).unwrap();
}

#[test]
fn an_error_names_the_signal_that_ended_the_program() {
    let (ended, _) = shell("kill -9 $$", false, 1 << 20);
    assert_eq!(ended.unwrap_err().to_string(), "`sh` was terminated by signal 9");
}
