//! The table with made-up samples, and what happens to lines of rows that were not run.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::stats::Sample;

fn samples(ours: &[f64], plain: &[f64]) -> Samples {
    let list = |values: &[f64]| {
        let sample = |(n, seconds): (usize, &f64)| Sample {
            seconds: *seconds,
            load: 0.25 + n as f64,
            parts: BTreeMap::new(),
            received: None,
        };
        values.iter().enumerate().map(sample).collect()
    };
    Samples { ours: list(ours), plain: list(plain) }
}

fn matrix_rows() -> Vec<BenchRow> {
    matrix::Matrix::parse(::fixture::MATRIX, "matrix.yaml").unwrap().bench.unwrap().build.unwrap().rows
}

fn made_up() -> Vec<(BenchRow, Samples)> {
    let row = |name: &str| matrix_rows().into_iter().find(|row| *row.row == *name).unwrap();
    let mut image = samples(&[3.0, 3.5], &[9.0, 8.0]);
    for sample in &mut image.ours {
        sample.parts = BTreeMap::from([("image".to_owned(), 1.5), ("proof".to_owned(), 1.25)]);
    }
    let mut everything = samples(&[330.0, 340.0], &[800.0, 810.0]);
    for (sample, bytes) in
        everything.ours.iter_mut().chain(&mut everything.plain).zip([3 << 27, 3 << 27, 1 << 29, 1 << 28])
    {
        sample.received = Some(bytes);
    }
    vec![
        (row("wheels-cold"), samples(&[281.0, 270.5, 300.0], &[468.0, 470.0, 500.0])),
        (row("wheels-unchanged"), samples(&[0.21, 0.19], &[380.0, 375.0])),
        (row("image-cold"), image),
        (row("image-unchanged"), samples(&[0.8], &[0.4])),
        (row("everything"), everything),
        (row("plan"), samples(&[0.028, 0.027, 0.031], &[])),
    ]
}

#[test]
fn the_table_on_a_terminal() {
    insta::assert_snapshot!("terminal", text(&made_up()));
}

#[test]
fn the_table_in_the_documentation() {
    insta::assert_snapshot!(
        "documentation",
        markdown(&matrix_rows(), &made_up(), "Two cores.", "2026-11-22, abc1234", "")
    );
}

#[test]
fn a_row_that_was_not_run_keeps_its_line_of_the_same_machine_only() {
    let all = made_up();
    let old = markdown(&matrix_rows(), &all, "Two cores.", "yesterday", "");
    let new = markdown(&matrix_rows(), &all[..1], "Two cores.", "today", &old);
    assert!(new.contains("| `wheels-cold` |") && new.contains("| today |"), "{new}");
    assert_eq!(new.matches("| yesterday |").count(), 5, "{new}");
    assert!(new.contains("- image-cold: ours consists of image 1.5s"), "{new}");
    let elsewhere = markdown(&matrix_rows(), &all[..1], "Four cores.", "today", &old);
    assert!(!elsewhere.contains("yesterday") && !elsewhere.contains("image-cold"), "{elsewhere}");
}

#[test]
fn only_what_is_between_the_marks_is_written() {
    let path = std::env::temp_dir().join(format!("xtask-bench-{}.md", std::process::id()));
    fs::write(&path, format!("above\n{BEGIN}\nleft over\n{END}\nbelow\n")).unwrap();
    write(&path, &matrix_rows(), &made_up(), "Two cores.", "today").unwrap();
    let once = fs::read_to_string(&path).unwrap();
    write(&path, &matrix_rows(), &made_up(), "Two cores.", "today").unwrap();
    assert_eq!(once, fs::read_to_string(&path).unwrap());
    assert!(once.starts_with("above\n") && once.ends_with("\nbelow\n") && !once.contains("left over"), "{once}");
    fs::write(&path, "no marks").unwrap();
    assert!(
        write(&path, &matrix_rows(), &made_up(), "Two cores.", "today")
            .unwrap_err()
            .to_string()
            .contains("has lost the line")
    );
    fs::remove_file(&path).unwrap();
}

#[test]
fn numbers_for_people() {
    assert_eq!([0.0012, 0.05, 0.601, 1.0, 2.5].map(ratio), ["0.0012", "0.050", "0.60", "1.00", "2.50"]);
    assert_eq!([0.0284, 12.34, 281.0].map(time), ["28 ms", "12.3s", "4m 41s"]);
}
