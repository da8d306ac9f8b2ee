//! Images through a registry, between machines that have an engine in common but no cache: Debian's
//! `docker-registry` on loopback, sound, dead, dying, locked, and with the wrong image under a key.

mod lab;
mod registry;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{Clone, files, matrix_has, text, write_program};
use crate::real::has_abis;
use lab::{Lab, docker, names, said};
use registry::{SecondEngine, breaks_off};

#[track_caller]
fn ended(said: &str, id: &str, how: &str) {
    let line =
        said.lines().find(|line| line.starts_with(&format!("[{id}] ")) && line.contains(&format!(" ... {how} ")));
    assert!(line.is_some(), "[{id}] did not end as `{how}`:\n{said}");
}

/// Whether the project's matrix has the interpreter of these tests; else they are skipped.
fn possible() -> bool {
    has_abis(&["cp311"]) && matrix_has("apt", &["python3.11-runtime"])
}

const SHARED: [&str; 4] = ["root", "apt-python3.11-runtime", "base-cp311", "image-small"];

#[test]
#[ignore = "needs a Docker engine and a network"]
fn what_one_machine_made_another_takes() {
    if !possible() {
        return;
    }
    let lab = Lab::new("travel", false);
    let repository = lab.registry.repository();
    let push: Vec<&str> = vec!["--push", &repository];
    lab.good(&push);
    for id in SHARED.into_iter().chain(["proof-small"]) {
        assert!(lab.registry.tag(id).is_some(), "`{id}` was not pushed");
    }
    let again = lab.good(&push);
    assert_eq!(again.matches(&format!("push to {repository} ... cached")).count(), 5, "{again}");

    let keys = lab.keys();
    fs::remove_dir_all(lab.clone.project().join("wheels")).unwrap();
    lab.forget("");
    lab.keep_tools(&["pip", "uv"]);
    let elsewhere = lab.clone.top.join("cache");
    let run = |arguments: &[&str]| {
        let (output, said) = said(lab.command(arguments).env("XTASK_CACHE_DIR", &elsewhere));
        assert!(output.status.success(), "{said}");
        said
    };
    let pulled = run(&["image", "small", "--quick", "--cache-from", &repository]);
    for id in ["base-cp311", "image-small"] {
        ended(&pulled, id, "pulled");
    }
    for id in ["root", "apt-python3.11-runtime", "tools"] {
        assert!(!pulled.contains(&format!("[{id}]")), "nothing needs `{id}`: {pulled}");
    }
    ended(&pulled, "proof-small", "ok");
    assert_eq!(lab.keys(), keys, "what is pulled has the same keys");
    run(&["verify", "small"]);
    let plan = run(&["plan", "image", "small", "--quick"]);
    assert!(plan.contains("8 steps: 3 cached, 5 unused"), "{plan}");
    // With the user-visible name of the base image.
    assert!(names().contains(&format!("{}/python:3.11-slim", lab.name)));
    // The result was pulled from there, so it is not pushed again.
    let both = run(&["image", "small", "--quick", "--cache-from", &repository, "--push", &repository]);
    for id in ["base-cp311", "image-small"] {
        assert!(both.contains(&format!("[{id}] push to {repository} ... cached")), "{both}");
    }
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_wrong_image_under_a_key_is_refused_and_replaced() {
    if !possible() {
        return;
    }
    let lab = Lab::new("wrong", false);
    let repository = lab.registry.repository();
    lab.good(&["--push", &repository]);
    let named = |id: &str| format!("{repository}:{}", lab.registry.tag(id).unwrap());
    let (base, image) = (named("base-cp311"), named("image-small"));

    // The image of another step.
    docker(&["tag", &image, &base]);
    docker(&["push", &base]);
    lab.forget("base-cp311");
    let refused = lab.good(&["--cache-from", &repository]);
    assert!(
        refused.contains(&format!("`{base}` is rejected")) && refused.contains("label `dev.wheel-matrix.key` is"),
        "{refused}"
    );
    ended(&refused, "base-cp311", "ok");

    // An image built on top of the correct one, which inherits its labels.
    lab.good(&["--push", &repository]);
    let dockerfile = lab.clone.top.join("Dockerfile");
    fs::write(&dockerfile, format!("FROM {base}\nENV PYTHONPATH=/tmp\n")).unwrap();
    let (folder, file) = (lab.clone.project().join("docker"), dockerfile.to_str().unwrap());
    docker(&["build", "--quiet", "--tag", &base, "--file", file, folder.to_str().unwrap()]);
    docker(&["push", &base]);
    lab.forget("base-cp311");
    let refused = lab.good(&["--cache-from", &repository, "--push", &repository]);
    assert!(refused.contains("changed after it was built"), "{refused}");
    ended(&refused, "base-cp311", "ok");

    // That run pushed the correct image again.
    lab.forget("base-cp311");
    ended(&lab.good(&["--cache-from", &repository]), "base-cp311", "pulled");
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_dead_registry_costs_one_line() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new("dead", false);
    let repository = lab.registry.repository();
    lab.good(&["--push", &repository]);

    // The registry fails while an image is transferred.
    let no_blobs = |head: &str| head.contains("/blobs/");
    let dying = format!("127.0.0.1:{}/team/cache", breaks_off(lab.registry.port, no_blobs));
    lab.forget("base-cp311");
    let said = lab.good(&["--cache-from", &dying]);
    assert_eq!(
        said.matches(&format!("is built locally, because it cannot be taken from `{dying}`")).count(),
        1,
        "{said}"
    );
    ended(&said, "base-cp311", "ok");

    lab.registry.stop();
    for step in ["base-cp311", "image-small"] {
        lab.forget(step);
    }
    let (output, said) = lab.small(&["--cache-from", &repository, "--push", &repository]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("continues without").count(), 1, "{said}");
    ended(&said, "base-cp311", "ok");
    ended(&said, "image-small", "ok");
    assert_eq!(said.matches("error: [").count(), 1, "the second push is not tried: {said}");
    let kept = said.lines().find(|line| line.contains(&format!("cannot push to `{repository}` (see above): ")));
    assert!(SHARED.iter().all(|id| kept.unwrap().contains(&format!("`{id}`"))), "{said}");
    assert!(text(&output.stdout).contains("small"), "the table is printed all the same: {said}");
    let (verified, said) = self::said(&mut lab.command(&["verify", "small"]));
    assert!(verified.status.success(), "{said}");
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_short_fault_of_the_registry_is_waited_out() {
    if !possible() {
        return;
    }
    let lab = Lab::new("fault", false);
    lab.good(&["--push", &lab.registry.repository()]);
    lab.forget("base-cp311");
    // The first two requests for images are aborted.
    let broken = Arc::new(AtomicUsize::new(0));
    let count = move |head: &str| head.contains("/manifests/") && broken.fetch_add(1, Ordering::SeqCst) < 2;
    let repository = format!("127.0.0.1:{}/team/cache", breaks_off(lab.registry.port, count));
    let said = lab.good(&["--cache-from", &repository]);
    ended(&said, "base-cp311", "pulled");
    assert!(!said.contains("continues without"), "{said}");
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_pinned_root_is_never_replaced_where_it_must_not_be() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new("pinned", false);
    lab.pin_root(Some(&format!("127.0.0.1:{}/debian:x@sha256:{}", lab.registry.port, "5a".repeat(32))));
    // The registry is reachable but does not have the image, so there is no fallback.
    let (output, said) = lab.small(&[]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the registry has no image `127.0.0.1:"), "{said}");
    lab.registry.stop();
    for argument in [vec!["--pinned-root"], vec!["--push", "127.0.0.1:1/cache"]] {
        let (output, said) = lab.small(&argument);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the root file system must be the pinned image"), "{said}");
    }
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_login_is_taken_from_the_docker_client() {
    if !possible() {
        return;
    }
    let lab = Lab::new("login", true);
    let repository = lab.registry.repository();
    let (output, said) = lab.small(&["--push", &repository]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("docker login") && said.contains(&format!("cannot push to `{repository}`")), "{said}");
    assert!(lab.registry.tag("root").is_none());

    // In the format of `docker login`: base64 of `me:secret`.
    let server = format!("127.0.0.1:{}", lab.registry.port);
    let plain = lab.clone.top.join("plain");
    fs::create_dir_all(&plain).unwrap();
    fs::write(plain.join("config.json"), format!("{{\"auths\": {{\"{server}\": {{\"auth\": \"bWU6c2VjcmV0\"}}}}}}"))
        .unwrap();
    let with = |config: &Path, arguments: &[&str]| {
        let path = format!("{}:{}", config.display(), std::env::var("PATH").unwrap());
        let mut command = lab.command(&[&["image", "small", "--quick"], arguments].concat());
        let (output, said) = self::said(command.env("DOCKER_CONFIG", config).env("PATH", path));
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("secret"), "{said}");
        said
    };
    with(&plain, &["--push", &repository]);
    assert!(lab.registry.tag("base-cp311").is_some());

    lab.forget("base-cp311");
    let shut = lab.good(&["--cache-from", &repository]);
    assert!(shut.contains(&format!("continues without `{repository}`")), "{shut}");
    ended(&shut, "base-cp311", "ok");

    // From a credential helper, as on a desktop.
    let helped = lab.clone.top.join("helped");
    fs::create_dir_all(&helped).unwrap();
    fs::write(helped.join("config.json"), format!("{{\"credHelpers\": {{\"{server}\": \"xtasktest\"}}}}")).unwrap();
    let helper = helped.join("docker-credential-xtasktest");
    let answer = "{\"Username\": \"me\", \"Secret\": \"secret\"}";
    write_program(&helper, &format!("#!/bin/sh\n[ \"$(cat)\" = {server} ] && echo '{answer}'\n"));
    lab.forget("base-cp311");
    ended(&with(&helped, &["--cache-from", &repository]), "base-cp311", "pulled");
}

#[test]
#[ignore = "needs a Docker engine and a network"]
fn wheels_travel_and_what_they_are_made_of_does_not() {
    if !possible() {
        return;
    }
    let lab = Lab::with_wheel("wheels");
    let repository = lab.registry.repository();
    lab.good(&["--push", &repository]);
    let (keys, id) = (lab.keys(), "wheel-undeclared-cp311");
    let wheel = format!("{repository}:{}", lab.registry.tag(id).unwrap());
    let made = lab.clone.wheel("undeclared-");
    let (file, bytes) = (made.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&made).unwrap());
    let label =
        |name: &str| docker(&["inspect", "--format", &format!("{{{{index .Config.Labels \"{name}\"}}}}"), &wheel]);
    let (key, passport) = (label("dev.wheel-matrix.key"), label("dev.wheel-matrix.passport"));

    fs::remove_dir_all(lab.clone.project().join("wheels")).unwrap();
    // What compiles stays in the engine, for those that are refused below; this cache knows nothing of it.
    let made_here = ["base-cp311", id, "image-small"];
    made_here.iter().for_each(|id| lab.forget(id));
    let elsewhere = lab.clone.top.join("cache");
    let run = |arguments: &[&str]| {
        let (output, said) = said(lab.command(arguments).env("XTASK_CACHE_DIR", &elsewhere));
        assert!(output.status.success(), "{said}");
        said
    };
    let from = ["image", "small", "--quick", "--cache-from", &repository];
    let plan = run(&["plan", "image", "small", "--quick", "--cache-from", &repository]);
    assert!(plan.contains("3 pull") && !plan.contains(" later "), "{plan}");
    let pulled = run(&from);
    for id in made_here {
        ended(&pulled, id, "pulled");
    }
    for id in ["root", "apt-", "devel-", "tools", "requires-"] {
        assert!(!pulled.contains(&format!("[{id}")), "nothing needs `{id}`: {pulled}");
    }
    assert_eq!(lab.keys(), keys, "what is pulled has the same keys");
    assert_eq!(fs::read(&made).unwrap(), bytes);
    run(&["verify", "small"]);

    // A flipped byte, then a valid wheel of another ABI: rejected results are built locally.
    let mut flipped = bytes.clone();
    flipped[40] ^= 1;
    let alien = file.replace("cp311-cp311", "cp314-cp314t");
    let alien_passport = passport.replace(&file, &alien);
    for (file, bytes, passport, why) in
        [(&file, &flipped, &passport, "has the SHA-256"), (&alien, &bytes, &alien_passport, "not `cp311`")]
    {
        let labels = [("dev.wheel-matrix.key", key.trim()), ("dev.wheel-matrix.passport", passport.trim())];
        lab.forge(&wheel, file, bytes, &labels);
        lab.forget(id);
        let record = files(&elsewhere.join("v1/records"))
            .into_iter()
            .find(|path| path.ends_with(format!("{}.json", key.trim())));
        fs::remove_file(record.unwrap()).unwrap();
        let refused = run(&from);
        assert!(
            refused.contains(&format!("`{wheel}` is rejected and built locally")) && refused.contains(why),
            "{refused}"
        );
        ended(&refused, id, "ok");
    }
}

#[test]
#[ignore = "needs a Docker engine and root"]
fn all_of_it_goes_to_the_engine_that_docker_host_names() {
    if !possible() {
        return;
    }
    let lab = Lab::new("second", false);
    let repository = lab.registry.repository();
    lab.good(&["--push", &repository]);
    let name = format!("{}:small", lab.name);
    docker(&["rmi", &name]);
    let folder = lab.clone.top.join("second");
    fs::create_dir_all(&folder).unwrap();
    let second = SecondEngine::start(&folder, &lab.registry);
    let run = |arguments: &[&str]| {
        let mut command = lab.command(arguments);
        command.env("DOCKER_HOST", &second.socket).env("XTASK_CACHE_DIR", lab.clone.top.join("cache"));
        let (output, said) = said(&mut command);
        assert!(output.status.success(), "{said}");
        said
    };
    let pulled = run(&["image", "small", "--quick", "--cache-from", &repository]);
    ended(&pulled, "base-cp311", "pulled");
    ended(&pulled, "proof-small", "ok");
    run(&["verify", "small"]);
    assert!(second.docker(&["image", "inspect", &name]).status.success());
    assert!(!names().contains(&name), "it is not in the other engine");
}

#[test]
fn a_repository_is_checked_before_anything_runs() {
    let clone = Clone::new();
    for (flag, wrong) in
        [("--push", "ghcr.io/me/cache:tag"), ("--cache-from", "GHCR/Cache"), ("--push", "127.0.0.1:5000")]
    {
        let said = clone.bad(2, &["image", "314t", flag, wrong]);
        assert!(said.contains(flag) && said.contains("write it as `ghcr.io/me/cache`"), "{said}");
    }
}
