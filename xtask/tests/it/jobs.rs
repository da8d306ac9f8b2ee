//! Tests of job matrices and of wheels passed between jobs.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Clone, text};
use crate::plan::without_digests;

/// Runs git in a clone without the user's configuration.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Returns a copy of the project with one commit, and its hash.
fn committed() -> (Clone, String) {
    let clone = Clone::new();
    let folder = clone.project();
    git(&folder, &["init", "--quiet"]);
    git(&folder, &["add", "--all"]);
    git(&folder, &["commit", "--quiet", "--message", "everything"]);
    let commit = git(&folder, &["rev-parse", "HEAD"]);
    (clone, commit)
}

fn planned(clone: &Clone, arguments: &[&str]) -> Value {
    let said = clone.good(&[&["plan", "--format", "github"], arguments].concat());
    assert_eq!(said.lines().count(), 1, "one line, as GITHUB_OUTPUT takes it: {said}");
    serde_json::from_str(&said).unwrap()
}

fn since(clone: &Clone, commit: &str) -> Value {
    planned(clone, &["--event", "pull_request", "--changed-since", commit])
}

/// Compares jobs with the snapshot `name`.
fn assert_jobs(name: &str, jobs: &Value) {
    insta::assert_snapshot!(name, without_digests(&format!("{jobs:#}\n")));
}

fn ids<'v>(jobs: &'v Value, list: &str) -> Vec<&'v str> {
    jobs[list]["include"].as_array().unwrap().iter().filter_map(|row| row["id"].as_str()).collect()
}

#[test]
fn the_jobs_of_everything() {
    assert_jobs("jobs", &planned(&Clone::new(), &["--quick"]));
}

#[test]
fn the_jobs_when_only_the_application_has_changed() {
    let (clone, commit) = committed();
    let file = clone.project().join("app/pyproject.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + "\n").unwrap();
    assert_jobs("jobs-app", &since(&clone, &commit));
}

#[test]
fn the_jobs_when_the_version_of_one_package_has_changed() {
    let (clone, commit) = committed();
    clone.edit("pypi: {version: 1.4.2, sha256: c6d3ee3e", "pypi: {version: 1.4.3, sha256: 3a856c78");
    assert_jobs("jobs-version", &since(&clone, &commit));
}

#[test]
fn the_jobs_when_nothing_has_changed() {
    let (clone, commit) = committed();
    assert_jobs("jobs-nothing", &since(&clone, &commit));
    let every = planned(&clone, &["--event", "schedule", "--changed-since", &commit]);
    assert_eq!(every, planned(&clone, &[]), "at night nothing is left out");
}

#[test]
fn what_is_cached_is_no_job() {
    let clone = Clone::new();
    clone.good(&["wheels", "--abi", "cp314t"]);
    let jobs = planned(&clone, &[]);
    assert!(!ids(&jobs, "wheels").contains(&"wheel-acme-py-cp314t"), "{jobs:#}");
    assert!(ids(&jobs, "wheels").contains(&"wheel-acme-py-cp314"), "{jobs:#}");
    let every = planned(&clone, &["--event", "release"]);
    assert!(ids(&every, "wheels").contains(&"wheel-acme-py-cp314t"), "a release looks at everything");
}

#[test]
fn each_job_names_a_command_that_is_one() {
    let clone = Clone::new();
    let jobs = planned(&clone, &["--quick"]);
    for list in ["wheels", "images"] {
        for row in jobs[list]["include"].as_array().unwrap() {
            let words: Vec<&str> = row["run"].as_str().unwrap().split(' ').collect();
            let table = clone.good(&words);
            assert!(table.starts_with("ARTEFACT"), "{words:?}: {table}");
        }
    }
    let after = planned(&clone, &["--quick"]);
    assert_eq!((ids(&after, "wheels"), ids(&after, "images")), (vec![], vec![]), "all of them were run");
}

#[test]
fn a_toolchain_that_has_changed_changes_what_it_compiles() {
    let (clone, commit) = committed();
    fs::write(clone.project().join("rust-toolchain.toml"), "").unwrap();
    let jobs = since(&clone, &commit);
    assert!(ids(&jobs, "wheels").contains(&"wheel-acme-py-cp314t"), "{jobs:#}");
    assert!(!ids(&jobs, "wheels").contains(&"wheel-acme-cp314t"), "{jobs:#}");
}

#[test]
fn the_revision_of_a_step_changes_everything_and_a_new_digest_of_its_code_nothing() {
    let (clone, _) = committed();
    let folder = clone.project();
    let revisions = folder.join("xtask/crates/build/src/step/revisions.txt");
    fs::create_dir_all(revisions.parent().unwrap()).unwrap();
    fs::write(&revisions, "maturin 1 abc\n").unwrap();
    git(&folder, &["add", "--all"]);
    git(&folder, &["commit", "--quiet", "--message", "a step"]);
    fs::write(&revisions, "maturin 1 def\n").unwrap();
    let jobs = since(&clone, "HEAD");
    assert_eq!((ids(&jobs, "wheels"), ids(&jobs, "images")), (vec![], vec![]));
    fs::write(&revisions, "maturin 2 def\n").unwrap();
    assert_eq!(since(&clone, "HEAD"), planned(&clone, &[]));
}

#[test]
fn what_cannot_be_compared_counts_as_changed_and_is_said() {
    let (clone, _) = committed();
    let everything = planned(&clone, &[]);
    // A new branch, an event without a commit, and a commit that disappeared in a forced push.
    for revision in ["0000000000000000000000000000000000000000", "", "1234567890123456789012345678901234567890"] {
        assert_eq!(since(&clone, revision), everything, "`{revision}`");
    }
    let output = clone.run(&["plan", "--format", "github", "--changed-since", &"1".repeat(40)]);
    assert!(text(&output.stderr).contains("everything counts as changed"), "{}", text(&output.stderr));
    let said = clone.bad(2, &["plan", "--format", "github", "--changed-since", "no-such-branch"]);
    assert!(said.contains("`no-such-branch` is no commit"), "{said}");
    let said = clone.bad(2, &["plan", "--changed-since", "HEAD"]);
    assert!(said.contains("--format github"), "{said}");
}

/// Returns two machines: the first has built the wheels for cp314t, and the second has them as exported by two jobs.
fn travelled() -> (Clone, Clone) {
    let (one, other) = (Clone::new(), Clone::new());
    one.good(&["wheels", "--abi", "cp314t"]);
    for package in ["acme-py", "acme", "demo-app"] {
        one.good(&["export", &format!("wheel-{package}-cp314t"), &incoming(&other)]);
    }
    (one, other)
}

fn incoming(machine: &Clone) -> String {
    machine.top.join("incoming").display().to_string()
}

const ROW: &str = "wheel-acme-py-cp314t";

/// Modifies the manifest of a delivered row.
fn forge(machine: &Clone, from: &str, to: &str) {
    let manifest = machine.top.join("incoming").join(ROW).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&manifest, text.replace(from, to)).unwrap();
}

#[test]
fn wheels_of_an_earlier_job_are_used() {
    let (one, other) = travelled();
    let table = other.good(&["image", "314t-with-acme", "--wheels-from", &incoming(&other)]);
    let state = |row: &str| table.lines().find(|line| line.starts_with(row)).unwrap().contains(" taken ");
    assert!(state("acme-py ") && state("acme ") && state("demo-app "), "{table}");
    assert!(!state("image "), "{table}");
    let manifest = fs::read_to_string(other.project().join("wheels/manifest.json")).unwrap();
    assert!(manifest.contains(&format!("\"taken_from\": \"{}/{ROW}\"", incoming(&other))), "{manifest}");
    // A user's own `wheels/` folder is accepted as well.
    let third = Clone::new();
    let wheels = one.project().join("wheels").display().to_string();
    let table = third.good(&["wheels", "--abi", "cp314t", "--wheels-from", &wheels]);
    assert_eq!(table.matches(" taken ").count(), 3, "{table}");
}

#[test]
fn a_wheel_that_was_tampered_with_is_refused() {
    let (_one, other) = travelled();
    let folder = other.top.join("incoming");
    let wheel = crate::common::files(&folder).into_iter().find(|path| path.display().to_string().contains("acme_py-"));
    let wheel = wheel.unwrap();
    let mut bytes = fs::read(&wheel).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&wheel, &bytes).unwrap();
    let said = other.bad(1, &["image", "314t", "--wheels-from", &incoming(&other)]);
    assert!(said.contains("is rejected") && said.contains("changed during transfer"), "{said}");
    assert!(crate::common::files(&other.project().join("wheels")).is_empty(), "nothing is made of it");
}

#[test]
fn a_manifest_that_leads_elsewhere_is_refused() {
    for (from, to, said) in [
        ("\"file\": \"acme_py-", "\"file\": \"../acme_py-", "is not a plain file name"),
        ("\"id\": \"wheel-acme-py-cp314t\"", "\"id\": \"root\"", "but its manifest lists `root`"),
        ("\"name\": \"acme-py\"", "\"name\": \"acme\"", "has the id `wheel-acme-py-cp314t` instead"),
        ("\"key\": \"", "\"key\": \"../", "is not a SHA-256"),
        ("\"tag\": \"cp314t\"", "\"tag\": \"cp314\"", "its manifest has the id"),
        ("\"kind\": \"wheel\"", "\"kind\": \"image\"", "the matrix has no image for the row"),
    ] {
        let (_one, other) = travelled();
        forge(&other, from, to);
        let told = other.bad(1, &["collect", &incoming(&other)]);
        assert!(told.contains(said), "`{said}` expected: {told}");
        assert!(crate::common::files(&other.project().join("wheels")).is_empty(), "nothing is published");
    }
}

#[test]
fn a_job_delivers_its_own_row_only() {
    let (_one, other) = travelled();
    let folder = other.top.join("incoming");
    // The job of another row also delivers this one with different bytes.
    fs::rename(folder.join(ROW), folder.join("wheel-acme-py-cp311")).unwrap();
    for command in [vec!["collect"], vec!["wheels", "--abi", "cp314t", "--wheels-from"]] {
        let said = other.bad(1, &[command, vec![&incoming(&other)]].concat());
        assert!(said.contains("may contain only the row `wheel-acme-py-cp311`"), "{said}");
        assert!(said.contains(&format!("lists `{ROW}`")), "{said}");
    }
}

#[test]
fn a_row_that_is_delivered_twice_is_refused() {
    let (one, other) = travelled();
    let second = other.top.join("incoming/wheel-acme-cp314t");
    for file in crate::common::files(&one.project().join("wheels")) {
        fs::copy(&file, second.join(file.file_name().unwrap())).unwrap();
    }
    for command in [vec!["collect"], vec!["wheels", "--abi", "cp314t", "--wheels-from"]] {
        let said = other.bad(1, &[command, vec![&incoming(&other)]].concat());
        let both = said.contains(&format!("incoming/{ROW}`")) && said.contains("incoming/wheel-acme-cp314t`");
        assert!(both && said.contains("is delivered twice"), "{said}");
    }
}

#[test]
fn what_was_planned_is_delivered_with_the_planned_keys() {
    let (_one, other) = travelled();
    let plan = other.top.join("plan.json");
    let collect = |jobs: &Value| {
        fs::write(&plan, jobs.to_string()).unwrap();
        other.run(&["collect", &incoming(&other), "--plan", &plan.display().to_string()])
    };
    let mut jobs = planned(&other, &["wheels", "--abi", "cp314t"]);
    assert_eq!(
        (jobs["wheels"]["include"][0]["id"].as_str(), &jobs["wheels"]["include"][0]["fixed"]),
        (Some(ROW), &true.into())
    );
    assert!(collect(&jobs).status.success());
    // A key that depends on Debian's archive may have changed when the job builds.
    let built = jobs["wheels"]["include"].as_array().unwrap().iter().position(|row| row["fixed"] == false).unwrap();
    jobs["wheels"]["include"][built]["key"] = "0".repeat(64).into();
    assert!(collect(&jobs).status.success());
    let mut other_key = jobs.clone();
    other_key["wheels"]["include"][0]["key"] = "0".repeat(64).into();
    let mut without = jobs.clone();
    without["wheels"]["include"].as_array_mut().unwrap().remove(0);
    let mut more = jobs.clone();
    more["wheels"]["include"][0]["id"] = "wheel-acme-py-cp314".into();
    for (jobs, part) in [(other_key, "was planned"), (without, "which was not planned"), (more, "was not planned")] {
        let output = collect(&jobs);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(part), "`{part}` expected: {}", text(&output.stderr));
    }
    jobs["images"]["include"] = planned(&other, &["image", "314t"])["images"]["include"].clone();
    let output = collect(&jobs);
    assert!(text(&output.stderr).contains("the rows `proof-314t` are missing"), "{}", text(&output.stderr));
    assert_eq!(other.run(&["collect", &incoming(&other), "--plan", "no-such-file"]).status.code(), Some(2));
}

#[test]
fn other_bytes_of_a_known_key_are_published_as_they_were_delivered() {
    let (_one, other) = travelled();
    // A build with different bytes each time.
    let mut make = other.command(&["wheels", "--package", "acme-py", "--abi", "cp314t"]);
    assert!(make.env("XTASK_FAKE_STAMP", ROW).output().unwrap().status.success());
    let here = fs::read(other.wheel("acme_py-")).unwrap();
    let output = other.run(&["collect", &incoming(&other)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is not the wheel that is cached here"), "{}", text(&output.stderr));
    assert_ne!(fs::read(other.wheel("acme_py-")).unwrap(), here);
    // The cache keeps the result that was built here.
    other.good(&["wheels", "--package", "acme-py", "--abi", "cp314t"]);
    assert_eq!(fs::read(other.wheel("acme_py-")).unwrap(), here);
}

#[test]
fn wheels_from_nowhere_are_an_error() {
    let said = Clone::new().bad(2, &["wheels", "--wheels-from", "no-such-folder"]);
    assert!(said.contains("--wheels-from `no-such-folder`"), "{said}");
}
