//! Runs the workflows like GitHub with fake steps, and tests their checks.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::{Clone, files, text};
use crate::runner::{Hub, Run};

/// Runs the workflow of a pull request that makes one change to the last commit.
fn pull_request(hub: &Hub, change: impl FnOnce(&Clone)) -> Run {
    let base = crate::jobs::git(&hub.clone.project(), &["rev-parse", "HEAD"]);
    change(&hub.clone);
    hub.commit();
    hub.run("ci.yml", "pull_request", json!({"pull_request": {"base": {"sha": base}}}))
}

fn new_version(clone: &Clone) {
    clone.edit("pypi: {version: 1.4.2, sha256: c6d3ee3e", "pypi: {version: 1.4.3, sha256: 3a856c78");
}

fn results(run: &Run) -> Vec<(&str, &str)> {
    run.results.iter().map(|(job, result)| (job.as_str(), result.as_str())).collect()
}

/// Returns whether all jobs that the event starts succeeded: audit findings are uploaded only after a push.
fn went_well(run: &Run) -> bool {
    run.results.iter().all(|(job, result)| {
        result == "success" || (["code-scanning", "races"].contains(&job.as_str()) && result == "skipped")
    })
}

/// Creates a project with two ABIs and a published wheel, for workflows that build everything.
fn small() -> Hub {
    let hub = Hub::new();
    let path = hub.clone.project().join("matrix.yaml");
    let mut matrix = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("  - id: cp314\n", "  - id: cp314t\n"),
        ("      - {abi: cp314, sha256", "\n  # A service in Python only"),
        ("  - {tag: \"314\"", "  - {tag: 314t,"),
        ("  - {tag: 314t,", "  # `acme` does not declare"),
        ("  serve:\n    k6:", "\nserver:\n"),
    ] {
        let (start, end) = (matrix.find(from).unwrap(), matrix.find(to).unwrap());
        matrix.replace_range(start..end, "");
    }
    fs::write(&path, matrix).unwrap();
    hub.commit();
    hub
}

#[test]
fn a_change_runs_the_rows_that_it_touches() {
    let hub = Hub::new();
    let run = pull_request(&hub, new_version);
    assert!(went_well(&run), "{:?}\n{}", run.results, run.said);
    let calls: Vec<&str> =
        run.calls.lines().filter(|call| call.contains(" wheels ") || call.contains(" image ")).collect();
    assert_eq!(calls.len(), 3 + 4, "{calls:#?}");
    assert!(calls[0].starts_with("cargo xtask wheels --package acme-py --abi cp311 --yes"), "{calls:#?}");
    assert!(calls[6].starts_with("cargo xtask image 314t-with-acme --yes --wheels-from incoming"), "{calls:#?}");
    // Each image job used the wheel of the earlier job and built the others.
    assert!(run.said.contains("[wheel-acme-py-cp314t] build acme-py manylinux_2_28_x86_64 ... cached"));
    assert_eq!(run.said.matches("[wheel-acme-py-cp314t] build acme-py manylinux_2_28_x86_64 ... ok").count(), 1);
    assert!(run.said.contains("on your machine: cargo xtask wheels --package acme-py --abi cp314t\n"));
    assert_eq!(run.summary.matches("ARTEFACT").count(), 3 + 4 + 1, "each job's table: {}", run.summary);
    assert!(run.summary.contains("forced off"), "{}", run.summary);
}

#[test]
fn the_next_push_takes_what_the_last_one_made_by_its_key() {
    let hub = Hub::new();
    let base = crate::jobs::git(&hub.clone.project(), &["rev-parse", "HEAD"]);
    new_version(&hub.clone);
    let again = || {
        hub.commit();
        hub.run("ci.yml", "pull_request", json!({"pull_request": {"base": {"sha": base}}}))
    };
    let state = |run: &Run, how: &str| {
        assert!(went_well(run), "{:?}\n{}", run.results, run.said);
        run.said.matches(&format!("[wheel-acme-py-cp311] build acme-py manylinux_2_28_x86_64 ... {how}")).count()
    };
    let first = again();
    assert_eq!(state(&first, "ok"), 1, "{}", first.said);
    let key = first.calls.lines().find(|call| call.starts_with("cache wheel-acme-py-cp311-")).unwrap();
    assert_eq!(key.rsplit('-').next().unwrap().len(), 64, "{key}");
    let second = again();
    assert!(second.calls.contains(key), "{}", second.calls);
    assert_eq!(state(&second, "ok"), 0, "{}", second.said);
    assert!(state(&second, "cached") > 0, "{}", second.said);
    hub.clone.edit("pypi: {version: 1.4.3, sha256: 3a856c78", "pypi: {version: 1.4.3, sha256: 4a856c78");
    let third = again();
    assert!(!third.calls.contains(key), "{}", third.calls);
    assert_eq!(state(&third, "ok"), 1, "{}", third.said);
}

#[test]
fn no_change_no_rows() {
    let hub = Hub::new();
    let run = pull_request(&hub, |_| {});
    let expected = ["audit", "code-scanning", "conclusion", "images", "plan", "proof", "tests", "wheels"];
    let skipped = ["code-scanning", "images", "wheels"];
    let expected = expected.map(|job| (job, if skipped.contains(&job) { "skipped" } else { "success" }));
    assert_eq!(results(&run), expected, "{}", run.said);
}

#[test]
fn a_push_and_a_new_branch_are_planned_too() {
    let hub = Hub::new();
    let run = hub.run("ci.yml", "push", json!({"before": "0".repeat(40)}));
    assert!(went_well(&run), "{:?}\n{}", run.results, run.said);
    assert_eq!(run.results["code-scanning"], "success", "{}", run.said);
    assert!(run.calls.contains("uses actions/cache/save"), "what is on the main branch is kept: {}", run.calls);
}

#[test]
fn a_failed_row_is_the_conclusion_with_the_local_command() {
    let mut hub = Hub::new();
    hub.env.insert("XTASK_FAKE_FAIL".to_owned(), "wheel-acme-py-cp314t".to_owned());
    let run = pull_request(&hub, new_version);
    assert_eq!(
        (&*run.results["wheels"], &*run.results["images"], &*run.results["conclusion"]),
        ("failure", "skipped", "failure")
    );
    for part in
        ["| this line is the last", "On your machine:", "cargo xtask wheels --package acme-py --abi cp314t --yes"]
    {
        assert!(run.summary.contains(part), "`{part}` expected: {}", run.summary);
    }
    assert!(run.said.contains("::error title=cargo xtask wheels --package acme-py"), "{}", run.said);
}

fn tamper(name: &str, folder: &Path) {
    if name == "wheel-acme-py-cp314t" || name == "release" {
        let wheel = files(folder).into_iter().find(|path| path.extension().is_some_and(|ext| ext == "whl")).unwrap();
        let mut bytes = fs::read(&wheel).unwrap();
        bytes.push(0);
        fs::write(&wheel, bytes).unwrap();
    }
}

#[test]
fn a_wheel_tampered_with_between_jobs_is_refused() {
    let mut hub = Hub::new();
    hub.meddle = Some(tamper);
    let run = pull_request(&hub, new_version);
    assert_eq!((&*run.results["wheels"], &*run.results["images"]), ("success", "failure"));
    assert_eq!((&*run.results["proof"], &*run.results["conclusion"]), ("failure", "failure"));
    assert!(run.said.contains("it was changed during transfer"), "{}", run.said);
}

/// Replaces a job's row by that of another job, as a malicious build script could.
fn deliver_another_row(name: &str, folder: &Path) {
    if name == "wheel-demo-app-cp314t" {
        let manifest = folder.join("manifest.json");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("demo-app", "acme-py")).unwrap();
    }
}

#[test]
fn a_job_that_delivers_another_row_ends_the_release() {
    let mut hub = small();
    hub.meddle = Some(deliver_another_row);
    let run = hub.run("release.yml", "push", json!({}));
    assert_eq!((&*run.results["wheels"], &*run.results["images"]), ("success", "failure"), "{}", run.said);
    assert_eq!((&*run.results["ghcr"], &*run.results["release"]), ("skipped", "skipped"), "{}", run.said);
    assert!(run.said.contains("delivered twice"), "{}", run.said);
    assert!(!run.calls.contains("docker push") && !run.calls.contains("gh release"), "{}", run.calls);
}

#[test]
fn an_artefact_is_the_row_that_it_is_named_after() {
    let hub = small();
    let run = hub.run("release.yml", "push", json!({}));
    let store = hub.clone.top.join("run/artefacts");
    let mut names = Vec::new();
    for folder in fs::read_dir(store).unwrap().flatten() {
        let name = folder.file_name().into_string().unwrap();
        if name.starts_with("wheel-") || name.starts_with("proof-") {
            let manifest = fs::read_to_string(folder.path().join("manifest.json")).unwrap();
            let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
            assert_eq!(manifest["artefacts"].as_array().unwrap().len(), 1, "{manifest:#}");
            assert_eq!(manifest["artefacts"][0]["id"], *name);
            let wheels =
                files(&folder.path()).iter().filter(|path| path.extension().is_some_and(|ext| ext == "whl")).count();
            assert_eq!(wheels, usize::from(name.starts_with("wheel-")));
            names.push(name);
        }
    }
    assert_eq!(names.len(), 6 + 2, "{names:?}\n{}", run.said);
}

#[test]
fn a_night_makes_everything_and_keeps_it() {
    let mut hub = small();
    let run = hub.run("nightly.yml", "schedule", json!({}));
    assert!(went_well(&run), "{:?}\n{}", run.results, run.said);
    assert_eq!(run.calls.matches("--yes --check-reproducible").count(), 5, "{}", run.calls);
    assert_eq!(run.calls.matches("--stage ghcr.io/someone/project/cache").count(), 2, "{}", run.calls);
    let pushed = "docker push ghcr.io/someone/project/cache:root-0123456789abcdef";
    assert_eq!(run.calls.matches(&format!("{pushed}\n")).count(), 2, "{}", run.calls);
    assert_eq!(run.calls.matches(&format!("{pushed}.note\n")).count(), 2, "{}", run.calls);
    assert!(!run.calls.contains("--cache-from") && !run.calls.contains("actions/cache"), "{}", run.calls);
    assert_eq!(run.summary.matches("INPUT ").count(), 1, "what is newer: {}", run.summary);
    assert_eq!(run.summary.matches("ARTEFACT").count(), 2 + 2, "made, then staged; each table once: {}", run.summary);
    let by_hand = hub.run("nightly.yml", "workflow_dispatch", json!({}));
    assert!(!by_hand.calls.contains("docker push"), "a branch of anybody's must not fill the cache: {}", by_hand.calls);
    assert!(!by_hand.calls.contains("--stage"), "{}", by_hand.calls);
    // Other images in the archive are not pushed.
    hub.env.insert("STRANGE".to_owned(), "proof-of-another-row-0123456789abcdef".to_owned());
    let run = hub.run("nightly.yml", "schedule", json!({}));
    assert_eq!((&*run.results["images"], &*run.results["push"]), ("success", "failure"), "{}", run.said);
    assert!(run.said.contains("is refused: it is no step of this row"), "{}", run.said);
    assert!(!run.calls.contains("docker push ghcr.io/someone/project/cache:proof-of-another-row"), "{}", run.calls);
}

/// Returns the permissions of a job besides reading, in order.
fn rights(job: &serde_json::Value) -> Vec<&str> {
    let rights = job["permissions"].as_object().into_iter().flatten();
    rights.filter(|(_, right)| **right == "write").map(|(name, _)| name.as_str()).collect()
}

#[test]
fn what_builds_has_no_rights_and_what_has_rights_builds_nothing() {
    for (workflow, expected) in [("ci.yml", 1), ("nightly.yml", 2), ("packages.yml", 0), ("release.yml", 3)] {
        let text = fs::read_to_string(Path::new("../.github/workflows").join(workflow)).unwrap();
        let document: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(document["permissions"], json!({"contents": "read"}), "{workflow}");
        let mut privileged = 0;
        for (name, job) in document["jobs"].as_object().unwrap() {
            let text = job.to_string();
            let uses = |action: &str| text.contains(&format!("\"uses\":\"{action}"));
            if rights(job).is_empty() {
                assert!(!text.contains("github.token") && !text.contains("secrets."), "{workflow}: {name}");
                continue;
            }
            privileged += 1;
            let builds = text.contains("cargo ") || uses("./") || uses("actions/checkout") || uses("actions/cache");
            assert!(!builds, "{workflow}: `{name}` has the rights {:?}, and builds or restores a cache", rights(job));
        }
        assert_eq!(privileged, expected, "{workflow}");
    }
}

#[test]
fn a_release_publishes_what_is_ours_and_checks_it_on_arrival() {
    let mut hub = small();
    let tampered = |name: &str, folder: &Path| {
        if name == "release" {
            tamper(name, folder);
        }
    };
    hub.meddle = Some(tampered);
    let run = hub.run("release.yml", "push", json!({}));
    assert_eq!((&*run.results["collect"], &*run.results["ghcr"]), ("success", "failure"), "{}", run.said);
    assert_eq!((&*run.results["pypi"], &*run.results["release"]), ("skipped", "skipped"), "{}", run.said);
    assert!(!run.calls.contains("docker push") && !run.calls.contains("gh release"), "{}", run.calls);

    hub.clone.edit("publish: []", "publish: [acme-py]");
    hub.commit();
    let run = hub.run("release.yml", "push", json!({}));
    assert_eq!((&*run.results["pypi"], &*run.results["release"]), ("failure", "skipped"), "{}", run.said);

    hub.meddle = None;
    let run = hub.run("release.yml", "push", json!({}));
    assert!(went_well(&run), "{:?}\n{}", run.results, run.said);
    assert!(run.said.contains("dist/acme_py-1.4.2-cp314-cp314t-manylinux_2_28_x86_64.whl: OK"), "{}", run.said);
    assert!(!run.said.contains("dist/acme-"), "{}", run.said);
    assert!(run.calls.contains("docker push ghcr.io/someone/project:314t-with-acme-v1"), "{}", run.calls);
    let release: Vec<&str> = run.calls.lines().filter(|call| call.starts_with("gh release ")).collect();
    let parts = ["view v1", "create v1", "upload v1", "edit v1"];
    assert!(release.iter().zip(parts).all(|(call, part)| call.contains(part)) && release.len() == 4, "{release:#?}");
    assert!(release[1].ends_with("--draft") && release[3].ends_with("--draft=false"), "{release:#?}");
    let made = release[2];
    assert!(made.contains("wheels/manifest.json") && made.matches(".whl ").count() == 5, "{made}");
    assert_eq!(made.matches(".whl.cdx.json").count(), 5, "{made}");
    assert_eq!(made.matches("wheels/image-").count(), 2, "{made}");
    // A second run for the same tag completes the first one.
    hub.env.insert("RELEASED".to_owned(), "yes".to_owned());
    let second = hub.run("release.yml", "push", json!({}));
    assert!(went_well(&second), "{:?}\n{}", second.results, second.said);
    assert!(!second.calls.contains("gh release create"), "{}", second.calls);
    assert!(second.calls.contains("gh release upload v1 --repo Someone/Project --clobber"), "{}", second.calls);
    assert!(!run.calls.contains("--cache-from") && !run.calls.contains("actions/cache"), "{}", run.calls);
}

#[test]
fn a_project_of_wheels_alone_is_released_too() {
    let hub = small();
    let path = hub.clone.project().join("matrix.yaml");
    let matrix = fs::read_to_string(&path).unwrap();
    let (start, end) = (matrix.find("\nimages:\n").unwrap(), matrix.find("\nserver:\n").unwrap());
    fs::write(&path, matrix.replace(&matrix[start..end], "\nimages: []\n")).unwrap();
    hub.commit();
    for (workflow, event, skipped) in [
        ("release.yml", "push", ["ghcr", "images", "pypi"].as_slice()),
        ("nightly.yml", "schedule", &["code-scanning", "images", "push", "races"]),
    ] {
        let run = hub.run(workflow, event, json!({}));
        let other = run.results.iter().filter(|(_, result)| *result != "success");
        let other: Vec<(&str, &str)> = other.map(|(job, result)| (job.as_str(), result.as_str())).collect();
        let expected: Vec<(&str, &str)> = skipped.iter().map(|job| (*job, "skipped")).collect();
        assert_eq!(other, expected, "{}", run.said);
    }
}

/// A project of somebody else, whose workflow calls `packages.yml`. What the tool is built from lies in it, too, since
/// all checkouts here are of the same repository.
fn caller() -> Hub {
    let mut hub = small();
    let (project, top) = (hub.clone.project(), hub.clone.top.clone());
    for file in ["Cargo.toml", "Cargo.lock", "docker/file", "xtask/Cargo.toml"] {
        fs::create_dir_all(project.join(file).parent().unwrap()).unwrap();
        fs::write(project.join(file), "").unwrap();
    }
    hub.clone.good(&["init", "--tool", "the-tool/of-others@0123abc"]);
    hub.commit();
    // Nothing is installed for the user who runs the tests.
    let home = std::env::var("HOME").unwrap();
    let rustup = std::env::var("RUSTUP_HOME").unwrap_or(format!("{home}/.rustup"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{}:{path}", top.join("bin").display(), top.join("cargo/bin").display());
    for (name, value) in [
        ("HOME", top.join("home").display().to_string()),
        ("CARGO_HOME", top.join("cargo").display().to_string()),
        ("RUSTUP_HOME", rustup),
        ("PATH", path),
    ] {
        hub.env.insert(name.to_owned(), value);
    }
    hub
}

#[test]
fn another_repository_builds_its_packages_with_the_version_of_the_tool_that_it_calls() {
    let hub = caller();
    let run = hub.run("packages.yml", "push", json!({"before": "0".repeat(40)}));
    assert!(went_well(&run), "{:?}\n{}", run.results, run.said);
    assert_eq!(run.calls.matches("checkout the-tool/of-others 0123abc\n").count(), 1 + 6 + 2 + 1, "{}", run.calls);
    for call in ["wheel-matrix wheels --package acme-py --abi cp314t --yes\n", "wheel-matrix collect incoming --plan"] {
        assert!(run.calls.contains(call), "`{call}` expected: {}", run.calls);
    }
    assert!(run.said.contains("on your machine: wheel-matrix image 314t-with-acme\n"), "{}", run.said);
    assert!(run.calls.contains("uses actions/cache/save"), "{}", run.calls);
    assert!(!run.said.contains("`cargo xtask"), "an installed program names itself: {}", run.said);
}

#[test]
fn a_row_that_fails_for_another_repository_ends_its_run() {
    let mut hub = caller();
    hub.env.insert("XTASK_FAKE_FAIL".to_owned(), "wheel-acme-py-cp314t".to_owned());
    let run = hub.run("packages.yml", "push", json!({"before": "0".repeat(40)}));
    let result = |job: &str| run.results[job].as_str();
    assert_eq!((result("wheels"), result("images"), result("collect")), ("failure", "skipped", "skipped"));
}

#[test]
fn workflows_that_have_drifted_name_the_command_that_mends_them() {
    let hub = Hub::new();
    hub.clone.good(&["workflow", "--check"]);
    hub.clone.rename("314t", "314t-slim");
    let said = hub.clone.bad(1, &["workflow", "--check"]);
    assert!(said.contains("`.github/workflows/ci.yml`") && said.contains("run `cargo xtask workflow`"), "{said}");
    assert_eq!(hub.clone.good(&["workflow"]), ".github/workflows/ci.yml\n");
    hub.clone.good(&["workflow", "--check"]);
}

const CI: &str = "workflows/ci.yml";
const SCHEMA: &str = "docs/reference/matrix.schema.json";

/// Runs the real linters on the project's files with one change.
fn linted(file: &str, from: &str, to: &str) -> String {
    let hub = Hub::new();
    let project = hub.clone.project();
    fs::create_dir_all(project.join("docs/reference")).unwrap();
    fs::copy(Path::new("..").join(SCHEMA), project.join(SCHEMA)).unwrap();
    // The linters are those that the project's own matrix pins.
    let matrix = fs::read_to_string("../matrix.yaml").unwrap();
    fs::write(project.join("matrix.yaml"), format!("# yaml-language-server: $schema={SCHEMA}\n{matrix}")).unwrap();
    hub.clone.good(&["workflow"]);
    let path = project.join(".github").join(file);
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "`{file}` no longer has `{from}`");
    fs::write(&path, before.replacen(from, to, 1)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    let output = command.args(["workflow", "--check"]).current_dir(hub.clone.project()).output().unwrap();
    format!("{:?}\n{}", output.status.code(), text(&output.stderr))
}

#[test]
#[ignore = "needs a network"]
fn each_linter_finds_what_the_others_do_not() {
    let said = linted(CI, "jobs:\n", "jobs:\n");
    assert!(said.starts_with("Some(0)"), "{said}");
    for (file, from, to, finding) in [
        (CI, "timeout-minutes: 20", "timeout-minuets: 20", "data.jobs.plan"),
        (
            CI,
            "needs.plan.outputs.plan).wheels }}",
            "needs.plan.outputs.plans).wheels }}",
            "property \"plans\" is not defined",
        ),
        (CI, "          persist-credentials: false\n", "", "artipacked"),
        (CI, "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "checkout@v7", "unpinned-uses"),
        (&format!("../{SCHEMA}"), "[0-9a-f]{64}", "[0-9a-f]{63}", "[workflow] matrix.yaml ... FAILED"),
        ("dependabot.yml", "interval: monthly", "interval: sometimes", "data.updates[0].schedule.interval"),
    ] {
        let said = linted(file, from, to);
        assert!(said.starts_with("Some(1)") && said.contains(finding), "`{finding}` expected: {said}");
    }
}
