//! Tests of short `cargo xtask bench serve` runs with the stand-in: complete, killed, and compared.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::{Clone, containers_of, text, wait_until};
use crate::service::has_application;

/// Runs in the clone itself, where the stand-in is compiled; results are written to `out`.
fn serve(arguments: &[&str], out: &Path) -> Command {
    let top = Path::new("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    command.args(["bench", "serve", "--server", "standin", "--records", "200", "--vus", "4"]);
    command.args(arguments).arg("--out").arg(out).current_dir(top).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap()
}

fn docker(arguments: &[&str]) -> bool {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    output.status.success()
}

#[test]
#[ignore = "needs a Docker engine, the images and k6"]
fn a_short_run_is_measured_and_drawn() {
    if !has_application() {
        return;
    }
    let clone = Clone::of_project();
    let out = clone.top.join("results");
    let arguments = ["--config", "311,314t-stages", "--scenario", "single,stress", "--repeat", "1", "--duration", "3s"];
    let output = serve(&arguments, &out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let found = manifest(&out);
    assert_eq!(found["runs"].as_array().unwrap().len(), 2);
    for run in found["runs"].as_array().unwrap() {
        assert_eq!((&run["failed"], &run["before"]), (&Value::Null, &run["after"]), "{run}");
        let staged = run["config"] == "314t-stages";
        assert_eq!(run["after"]["gil"], !staged, "{run}");
        for phase in run["phases"].as_array().unwrap() {
            assert!(phase["iterations"].as_u64().unwrap() > 0, "{phase}");
            let names: Vec<&str> =
                phase["server"].as_array().unwrap().iter().filter_map(|s| s["name"].as_str()).collect();
            assert!(names.contains(&"predict_duration_seconds"), "{names:?}");
            assert_eq!(names.contains(&"db_client_internal_stage_seconds"), staged, "{names:?}");
        }
    }
    let (report, page) = ("report.md", "report.html");
    let [report, page] = [report, page].map(|name| fs::read_to_string(out.join(name)).unwrap());
    assert!(
        report.contains("STAND-IN SERVER") && page.contains("STAND-IN SERVER") && page.contains("<svg "),
        "{report}"
    );
    assert!(!report.contains("INCOMPLETE") && report.contains("## Stages"), "{report}");
    // Regenerate the report; a run does not differ from itself.
    let again = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_wheel-matrix")).args(arguments).output().unwrap();
    let folder = out.to_str().unwrap();
    assert!(again(&["bench", "report", folder]).status.success());
    assert_eq!(fs::read_to_string(out.join("report.md")).unwrap(), report);
    let compared = again(&["bench", "report", "--compare", folder, folder]);
    assert!(compared.status.success() && text(&compared.stdout).contains("no difference shown"), "{}", said(&compared));
    // The caller's variables must not affect k6: with this proxy, no request would succeed.
    let hostile = clone.top.join("hostile");
    let mut command = serve(
        &["--config", "314t", "--scenario", "single", "--repeat", "1", "--duration", "1s", "--profile"],
        &hostile,
    );
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9").env("K6_ITERATIONS", "1");
    let output = command.output().unwrap();
    assert!(output.status.success() && !said(&output).contains("more errors"), "{}", said(&output));
    assert!(manifest(&hostile)["runs"][0]["phases"][0]["iterations"].as_u64().unwrap() > 1);
    // The stacks were read from outside.
    let stacks = &manifest(&hostile)["profiles"][0]["stacks"]["Ok"];
    assert!(stacks["running"].as_u64().unwrap() > 0 && stacks["gil_waits"].is_null(), "{stacks}");
    assert!(fs::read_to_string(hostile.join("profiles/314t.folded")).unwrap().contains(" (app/"), "{stacks}");
    assert!(fs::read_to_string(hostile.join("report.md")).unwrap().contains("## What the threads do"), "{stacks}");
    // Existing results are not overwritten.
    let output = serve(&arguments, &out).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("already contains results"), "{}", said(&output));
}

#[test]
#[ignore = "needs a Docker engine, the images and k6"]
fn paired_configurations_are_loaded_in_turn() {
    if !has_application() {
        return;
    }
    let clone = Clone::of_project();
    let out = clone.top.join("results");
    let arguments = ["--config", "314t-gil,314t-with-official", "--scenario", "single", "--repeat", "2"];
    let output = serve(&arguments, &out).args(["--duration", "4s", "--paired", "--slice", "2s"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let found = manifest(&out);
    let runs = found["runs"].as_array().unwrap();
    let mut periods = Vec::new();
    for run in runs {
        let phase = &run["phases"][0];
        assert!(phase["cpu"].as_f64().unwrap() > 0.0, "{phase}");
        let slices = phase["slices"].as_array().unwrap();
        assert_eq!(slices.len(), 2, "{phase}");
        for slice in slices {
            assert!(slice["cpu"].as_f64().unwrap() > 0.0 && slice["answered"].as_u64().unwrap() > 0, "{slice}");
            let began = slice["began"].as_f64().unwrap();
            periods.push((began, began + slice["seconds"].as_f64().unwrap()));
        }
    }
    assert_eq!(runs.iter().map(|run| run["round"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 1, 2, 2]);
    // Never two at once.
    periods.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(periods.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{periods:?}");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        report.contains("## Processor time per request") && report.contains("2 rounds, in each of which"),
        "{report}"
    );
    assert!(report.contains("| GIL state (on → off) | processor time per request |"), "{report}");
    // Two configurations that differ in several things cannot be measured to a precision.
    let other = clone.top.join("other");
    let arguments = ["--config", "314t-gil,314t", "--paired", "--precision", "3%"];
    let output = serve(&arguments, &other).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("differ in one thing"), "{}", said(&output));
}

#[test]
#[ignore = "needs a Docker engine, the images and k6"]
fn an_application_that_is_killed_gives_no_number() {
    if !has_application() {
        return;
    }
    let clone = Clone::of_project();
    let out = clone.top.join("results");
    let arguments = ["--config", "314t", "--scenario", "single", "--repeat", "1", "--duration", "40s"];
    let child = serve(&arguments, &out).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready', timeout=5)";
    let mut service = None;
    wait_until("the service is ready", || {
        service = containers_of(child.id()).into_iter().find(|name| name.contains("-service-"));
        service.as_ref().is_some_and(|service| docker(&["exec", service, "python", "-c", asked]))
    });
    assert!(docker(&["kill", &service.unwrap()]));
    let output = child.wait_with_output().unwrap();
    let told = said(&output);
    assert!(output.status.code() == Some(1) && told.contains("the application exited with code 137"), "{told}");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        report.contains("INCOMPLETE: 0 of 1 runs are complete") && report.contains("exited with code 137"),
        "{report}"
    );
    assert!(!report.contains("charts/"), "{report}");
    assert!(manifest(&out)["runs"][0]["failed"].is_string());
}
