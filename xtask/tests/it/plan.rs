//! Tests of `plan`.

use std::process::{Command, Stdio};

use crate::common::{Clone, files, own_matrix, text};

/// Replaces keys and digests, which change with the code.
pub fn without_digests(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let body = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let hex = body.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if hex && matches!(body.len(), 8 | 12 | 64) {
            out.push_str(&"#".repeat(body.len().min(12)));
            out.push_str(&word[body.len()..]);
        } else {
            out.push_str(word);
        }
    }
    out
}

#[test]
fn the_plan_of_everything() {
    let clone = Clone::new();
    insta::assert_snapshot!("plan", without_digests(&clone.good(&["plan"])));
    assert!(files(&clone.project().join("wheels")).is_empty(), "a plan must not make anything");
}

#[test]
fn the_plan_of_one_image() {
    let plan = Clone::new().good(&["plan", "image", "314t", "--quick"]);
    insta::assert_snapshot!("plan-314t", without_digests(&plan));
}

/// The project's own matrix must have a plan, whatever its packages are.
#[test]
fn the_projects_own_matrix_has_a_plan() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    command.args(["plan", "--fake"]).current_dir("..").env("XTASK_CACHE_DIR", cache.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let plan = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let matrix = own_matrix();
    for (list, field, prefix) in [("packages", "id", "wheel-"), ("images", "tag", "image-")] {
        for row in matrix[list].as_sequence().unwrap() {
            if row["interpreter"] == "tsan" {
                // Built only if it is named.
                continue;
            }
            let step = format!("\n{prefix}{}", row[field].as_str().unwrap());
            assert!(plan.contains(&step), "no step for `{step}`: {plan}");
        }
    }
}

#[test]
fn a_plan_as_json_has_the_same_steps() {
    let clone = Clone::new();
    let plan: serde_json::Value = serde_json::from_str(&clone.good(&["plan", "--format", "json"])).unwrap();
    let ids: Vec<&str> = plan["steps"].as_array().unwrap().iter().filter_map(|step| step["id"].as_str()).collect();
    let lines = clone.good(&["plan"]);
    // Continued lines are indented.
    let steps = lines.lines().filter(|line| !line.starts_with(' '));
    let shown: Vec<&str> = steps.filter_map(|line| line.split(' ').next()).take(ids.len()).collect();
    assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
    assert_eq!(ids, shown);
}

#[test]
fn a_plan_does_not_depend_on_where_and_when() {
    let (one, other) = (Clone::new(), Clone::new());
    let first = one.good(&["plan", "--format", "json"]);
    let second = other
        .command(&["plan", "--format", "json", "--jobs", "7"])
        .env("HOME", other.top.as_os_str())
        .env("CARGO_HOME", std::env::var("CARGO_HOME").unwrap_or(format!("{}/.cargo", std::env::var("HOME").unwrap())))
        .env(
            "RUSTUP_HOME",
            std::env::var("RUSTUP_HOME").unwrap_or(format!("{}/.rustup", std::env::var("HOME").unwrap())),
        )
        .env("USER", "somebody")
        .env("LANG", "tr_TR.UTF-8")
        .env("RUSTFLAGS", "--cfg something")
        .output()
        .unwrap();
    assert_eq!(first, text(&second.stdout), "{}", text(&second.stderr));
}

#[test]
fn quick_changes_interpreters_of_images_and_wheels_of_maturin() {
    let clone = Clone::new();
    clone.good(&["image", "314t"]);
    let again = clone.good(&["plan", "image", "314t", "--quick"]);
    let rows = again.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let names: Vec<&str> = rows
        .filter(|row| row.get(1).is_some_and(|status| ["build", "later"].contains(status)))
        .map(|row| row[0])
        .collect();
    assert_eq!(names, ["base-cp314t", "wheel-acme-py-cp314t", "image-314t", "proof-314t"]);
}
