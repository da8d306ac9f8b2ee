//! That only what went well becomes a number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use xshell::{Shell, cmd};

use crate::build_rows::{LIMIT, last_lines};
use crate::rows;
use crate::timings::units;
use base::cancel::Cancel;
use base::proc;

fn log() -> (PathBuf, File) {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("xtask-bench-{}-{count}.log", std::process::id()));
    let file = File::create(&path).unwrap();
    (path, file)
}

#[test]
fn a_command_that_fails_has_no_time() {
    let (path, file) = log();
    let shell = Shell::new().unwrap();
    let (script, cancel) = ("echo the last thing it said; exit 3", Cancel::default());
    let error = proc::time(cmd!(shell, "sh -c {script}"), &file, LIMIT, &cancel).unwrap_err().to_string();
    assert!(error.contains("failed with exit code 3"), "{error}");
    assert!(last_lines(&path).ends_with("| the last thing it said"));
    assert!(proc::time(cmd!(shell, "true"), &file, LIMIT, &cancel).is_ok());
    assert!(proc::time(cmd!(shell, "/nonexistent/program"), &file, LIMIT, &cancel).is_err());
    fs::remove_file(path).unwrap();
}

#[test]
fn what_hangs_is_ended_with_all_that_it_started() {
    let (path, file) = log();
    let shell = Shell::new().unwrap();
    let script = "sleep 1000 & echo $!; wait";
    let run = |limit, cancel: &Cancel| {
        proc::time(cmd!(shell, "sh -c {script}"), &file, limit, cancel).unwrap_err().to_string()
    };
    assert!(run(Duration::from_millis(200), &Cancel::default()).contains("its time limit"));
    let cancel = Cancel::default();
    cancel.set();
    assert_eq!(run(LIMIT, &cancel), "interrupted");
    for id in fs::read_to_string(&path).unwrap().lines() {
        // The limit only ends a test that has failed.
        let gone = (0..30_000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| stat.contains(") Z "))
        });
        assert!(gone, "{id} still runs");
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn times_of_crates_come_from_cargos_report() {
    let report = "<script>\nconst UNIT_DATA = [{\"name\": \"a\", \"duration\": 1.5}, {\"name\": \"b\", \"duration\": 2},\
                  {\"name\": \"a\", \"duration\": 0.5}];\nconst CONCURRENCY_DATA = [];</script>";
    assert_eq!(units(report).unwrap(), BTreeMap::from([("a".to_owned(), 2.0), ("b".to_owned(), 2.0)]));
    assert!(units("<html>").is_err());
}

#[test]
fn the_rows_of_the_matrix_are_chosen_by_name() {
    let matrix = matrix::Matrix::parse(::fixture::MATRIX, "matrix.yaml").unwrap();
    let bench = matrix.bench.unwrap().build.unwrap();
    let names = |asked: &[&str]| -> anyhow::Result<Vec<String>> {
        let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
        Ok(rows::choose(&bench, &asked)?.iter().map(|row| row.row.to_string()).collect())
    };
    assert_eq!(names(&[]).unwrap().len(), bench.rows.len());
    assert_eq!(names(&["plan", "acme-cold"]).unwrap(), ["acme-cold", "plan"], "in the order of the matrix");
    let error = names(&["plans"]).unwrap_err();
    assert!(error.is::<base::UsageError>() && error.to_string().contains("`acme-cold`"), "{error}");
}
