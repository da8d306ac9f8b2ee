//! Checks the module against temporary directories and, in the ignored tests, against a running engine.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::{fs, thread};

use super::connect::{Endpoint, resolve};
use super::*;

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("docker-test-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn env_of<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
}

fn at(host: &str) -> Endpoint {
    Endpoint { host: host.into(), tls: None, origin: "the test".into() }
}

fn fails(endpoint: &Endpoint) -> String {
    let error = format!("{:#}", Docker::open(endpoint).err().expect("must fail"));
    println!("{error}");
    error
}

#[test]
fn contexts() {
    let home = dir("contexts");
    let docker = home.join(".docker");
    let sha = |name: &str| -> String {
        use sha2::{Digest, Sha256};
        Sha256::digest(name).iter().map(|b| format!("{b:02x}")).collect()
    };
    let make = |name: &str, host: &str, skip: bool| {
        let meta = docker.join("contexts/meta").join(sha(name));
        fs::create_dir_all(&meta).unwrap();
        fs::write(
            meta.join("meta.json"),
            format!(r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":{skip}}}}}}}"#),
        )
        .unwrap();
    };
    make("far", "tcp://far:2376", false);
    make("bad", "tcp://bad:2376", true);
    make("ssh", "ssh://me@there", false);
    let tls = docker.join("contexts/tls").join(sha("far")).join("docker");
    fs::create_dir_all(&tls).unwrap();
    fs::write(docker.join("config.json"), r#"{"currentContext":"far"}"#).unwrap();
    let h = home.to_str().unwrap();

    let far = resolve(&env_of(&[("HOME", h)])).unwrap();
    assert_eq!(far.host, "tcp://far:2376");
    assert_eq!(far.tls.unwrap().ca, tls.join("ca.pem"));
    assert_eq!(resolve(&env_of(&[("HOME", h), ("DOCKER_CONTEXT", "ssh")])).unwrap().host, "ssh://me@there");
    assert_eq!(
        resolve(&env_of(&[("HOME", h), ("DOCKER_CONTEXT", "default")])).unwrap().host,
        "unix:///var/run/docker.sock"
    );
    let both = resolve(&env_of(&[("HOME", h), ("DOCKER_CONTEXT", "ssh"), ("DOCKER_HOST", "tcp://x:1")])).unwrap();
    assert_eq!((both.host.as_str(), both.tls), ("tcp://x:1", None));
    let tls = resolve(&env_of(&[("DOCKER_HOST", "tcp://x:1"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/c")]))
        .unwrap();
    assert_eq!(tls.tls.unwrap().key, PathBuf::from("/c/key.pem"));
    let error = resolve(&env_of(&[("HOME", h), ("DOCKER_CONTEXT", "none")])).unwrap_err().to_string();
    assert!(error.contains("`bad`, `default`, `far`, `ssh`"), "{error}");
    assert!(resolve(&env_of(&[("HOME", h), ("DOCKER_CONTEXT", "bad")])).is_err());
    fs::write(docker.join("config.json"), "{\"auths\": secret").unwrap();
    let error = format!("{:#}", resolve(&env_of(&[("HOME", h)])).unwrap_err());
    assert!(error.contains("no valid JSON") && !error.contains("secret"), "{error}");
    assert_eq!(resolve(&env_of(&[])).unwrap().host, "unix:///var/run/docker.sock");
}

#[test]
fn references_and_lines() {
    assert_eq!(split_reference("a/b"), ("a/b", "latest"));
    assert_eq!(split_reference("h:5/a/b"), ("h:5/a/b", "latest"));
    assert_eq!(split_reference("h:5/a:1"), ("h:5/a", "1"));
    assert_eq!(split_reference("a:1@sha256:0"), ("a", "sha256:0"));
    assert!(check_reference("a?b").is_err() && check_reference("../x").is_err() && check_reference("a:b").is_ok());
    assert_eq!(credentials::server("debian:12"), "https://index.docker.io/v1/");
    assert_eq!(credentials::server("me/x"), "https://index.docker.io/v1/");
    assert_eq!(credentials::server("ghcr.io/me/x"), "ghcr.io");
    assert_eq!(credentials::server("localhost:5/x"), "localhost:5");
    let mut lines = Vec::new();
    let mut buffer = LineBuffer::default();
    for part in ["on", "e\r", "\n10%\r50%", "\r99%\r\n", "\n\u{e4}", "x\r"] {
        buffer.push(part.as_bytes(), &mut |l| lines.push(l.to_owned()));
    }
    buffer.push(b"\xff", &mut |l| lines.push(l.to_owned()));
    buffer.finish(&mut |l| lines.push(l.to_owned()));
    assert_eq!(lines, ["one", "99%", "", "\u{fffd}"]);
}

#[test]
fn tars_are_the_same() {
    let file = |path: &str| ContextFile { path: path.into(), source: Content::Bytes(b"x".to_vec()), mode: 0o644 };
    let tar = |files: &[ContextFile]| {
        let mut out = Vec::new();
        context::Listing::new(files, true).unwrap().write(&mut out).unwrap();
        out
    };
    let long = format!("d/{}/z", "n".repeat(150));
    assert_eq!(tar(&[file("a/b"), file("c"), file(&long)]), tar(&[file(&long), file("c"), file("a/b")]));
    for bad in [&["a", "a"][..], &["a", "a/b"], &["../a"], &["a//b"], &[""]] {
        assert!(context::Listing::new(&bad.iter().map(|p| file(p)).collect::<Vec<_>>(), true).is_err(), "{bad:?}");
    }
    let missing = ContextFile { path: "a".into(), source: Content::File("/nowhere".into()), mode: 0o644 };
    assert!(context::Listing::new(&[missing], true).is_err());
}

#[test]
fn unreachable() {
    assert!(fails(&at("unix:///tmp/no/such.sock")).contains("there is no Docker socket"));
    let dead = dir("dead").join("s");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(fails(&at(&format!("unix://{}", dead.display()))).contains("nobody listens"));
    assert!(fails(&at("tcp://127.0.0.1:1")).contains("connection refused"));
    assert!(fails(&at("tcp://no-such-host.invalid:1")).contains("cannot find the host"));
    let start = Instant::now();
    // A gateway may refuse on behalf of the unknown address.
    let error = fails(&at("tcp://192.0.2.1:2375"));
    assert!(error.contains("cannot reach") || error.contains("refused"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8));
    assert!(fails(&at("npipe:////./pipe/x")).contains("use unix://"));
    let secret = fails(&at("tcp://me:secret@host:1"));
    assert!(!secret.contains("secret"), "{secret}");
    let secret = fails(&at("ssh://me:secret@host"));
    assert!(!secret.contains("secret"), "{secret}");
    assert!(fails(&at("ssh://-oProxyCommand=x")).contains("cannot be used"));
    // Something that is no engine.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"SSH-2.0-x\r\n");
        }
    });
    assert!(fails(&at(&format!("tcp://{address}"))).contains("no Docker engine"));
    let mut tls = at(&format!("tcp://{address}"));
    let none = PathBuf::from("/nowhere");
    tls.tls = Some(connect::Tls { ca: none.clone(), cert: none.clone(), key: none });
    assert!(fails(&tls).contains("TLS"));
}

/// Run as root: the child is this same test as user `nobody`.
#[test]
fn permission() {
    if let Ok(socket) = std::env::var("TEST_DENIED") {
        assert!(fails(&at(&format!("unix://{socket}"))).contains("usermod -aG docker"));
        return;
    }
    let socket = dir("denied").join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0)).unwrap();
    let copy = dir("denied-exe").join("t");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--exact", "docker::tests::permission", "--nocapture"])
        .env("TEST_DENIED", &socket)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    println!("{}", String::from_utf8_lossy(&output.stdout));
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);
impl Log {
    fn add(&self, line: &str) {
        println!("| {line}");
        self.0.lock().unwrap().push(line.to_owned());
    }
    fn has(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

fn bytes(path: &str, text: &str, mode: u32) -> ContextFile {
    ContextFile { path: path.into(), source: Content::Bytes(text.as_bytes().to_vec()), mode }
}

fn engine() -> Docker {
    Docker::connect().unwrap()
}

#[test]
#[ignore = "needs an engine"]
fn builds() {
    let (docker, log, never) = (engine(), Log::default(), Cancel::default());
    let on = |line: &str| log.add(line);
    let stamp = format!("{:?}", Instant::now());
    let mut build = Build {
        dockerfile: "FROM t/base:1 AS one\nARG A\nRUN --mount=type=bind,source=sub/x,target=/x cat /x && echo arg=$A && ls -la /x\nFROM one AS two\nCOPY sub /sub\nRUN stat -c '%n %a %u %Y' /sub /sub/x && ! getent hosts deb.debian.org\n",
        context: vec![bytes("sub/x", &stamp, 0o755)],
        args: BTreeMap::from([("A".into(), "b c$d".into())]),
        labels: BTreeMap::from([("l".into(), "v \"$x".into())]),
        tags: vec!["t/h1:1".into(), "t/h1:2".into()],
        network: Network::None,
        ..Build::default()
    };
    let id = docker.build(&build, &on, &never).unwrap();
    assert!(log.has(&stamp) && log.has("arg=b c$d") && log.has("/sub/x 755 0 0") && log.has("DONE"));
    let image = docker.image("t/h1:2").unwrap().unwrap();
    assert_eq!((image.id.as_str(), image.labels["l"].as_str()), (id.as_str(), "v \"$x"));
    let again = Log::default();
    assert_eq!(docker.build(&build, &|l| again.add(l), &never).unwrap(), id);
    assert!(again.has("CACHED"));
    build.target = Some("one");
    build.tags.clear();
    assert_ne!(docker.build(&build, &on, &never).unwrap(), id);
    docker.untag("t/h1:1").unwrap();
    docker.untag("t/h1:2").unwrap();
    assert!(docker.image("t/h1:1").unwrap().is_none());

    let failing = Log::default();
    build = Build {
        dockerfile: "FROM t/base:1\nRUN echo before; printf 'no newline'; exit 37\n",
        no_cache: true,
        ..Build::default()
    };
    let error = format!("{:#}", docker.build(&build, &|l| failing.add(l), &never).unwrap_err());
    println!("{error}");
    assert!(
        error.contains("37")
            && error.contains("[2/2] RUN echo before")
            && failing.has("before")
            && failing.has("no newline")
    );
    for (text, expected) in
        [("FRM x\n", "FRM"), ("FROM t/none:1\n", "t/none:1"), ("FROM t/base:1\nCOPY nope /\n", "nope")]
    {
        build.dockerfile = text;
        let error = format!("{:#}", docker.build(&build, &on, &never).unwrap_err());
        println!("{error}");
        assert!(error.to_lowercase().contains(&expected.to_lowercase()));
    }
    build =
        Build { dockerfile: "FROM t/base:1\nRUN getent hosts deb.debian.org\n", no_cache: true, ..Build::default() };
    docker.build(&build, &on, &never).unwrap();
}

#[test]
#[ignore = "needs an engine"]
fn build_cancel() {
    let (docker, log, cancel) = (engine(), Log::default(), Cancel::default());
    let later = cancel.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(4));
        later.set();
    });
    let build = Build { dockerfile: "FROM t/base:1\nRUN echo on; sleep 98765\n", no_cache: true, ..Build::default() };
    let start = Instant::now();
    let error = format!("{:#}", docker.build(&build, &|l| log.add(l), &cancel).unwrap_err());
    println!("{error} {:?}", start.elapsed());
    assert!(error == "interrupted" && start.elapsed() < Duration::from_millis(4500));
    thread::sleep(Duration::from_secs(3));
    let running = Command::new("pgrep").args(["-xf", "sleep 98765"]).output().unwrap();
    assert!(running.stdout.is_empty(), "still running in the engine");
}

fn job<'a>(script: &str) -> Job<'a> {
    Job {
        image: "t/base:1",
        command: vec!["sh".into(), "-c".into(), script.into()],
        network: Network::None,
        ..Job::default()
    }
}

#[test]
#[ignore = "needs an engine"]
fn jobs() {
    let (docker, log, never) = (engine(), Log::default(), Cancel::default());
    let on = |line: &str| log.add(line);
    let left = || {
        let output = Command::new("docker")
            .args(["ps", "-aq", "--filter", &format!("name=xtask-job-{}-", std::process::id())])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let big = dir("big").join("big");
    fs::write(&big, vec![7u8; 30 << 20]).unwrap();
    let mut first = job(
        "cat /in/deep/a; id -u; echo err >&2; printf 'x\\377\\r\\n10%%\\r20%%\\n'; echo $V; ls -ld /in /in/deep /tmp /in/big; mkdir -p /out/s; cp /in/big /out/s/; echo hi >/out/h; ln /out/h /out/l; ln -s h /out/y; printf end; pwd; exit 5",
    );
    first.inputs = vec![
        bytes("/in/deep/a", "hello\n", 0o600),
        ContextFile { path: "/in/big".into(), source: Content::File(big), mode: 0o640 },
    ];
    first.outputs = vec!["/out".into(), "/in/deep/a".into()];
    first.env = vec![("V".into(), "a b=c".into())];
    first.workdir = Some("/usr");
    let result = docker.run(&first, &on, &never).unwrap();
    assert_eq!((result.exit, result.oom_killed, result.stderr.as_str()), (5, false, "err\n"));
    assert!(
        result.stdout.starts_with("hello\n0\nx\u{fffd}\r\n10%\r20%\na b=c\n") && result.stdout.ends_with("end/usr\n"),
        "{}",
        result.stdout
    );
    let names: Vec<_> = result.outputs.iter().map(|(name, b)| (name.as_str(), b.len())).collect();
    assert_eq!(names, [("h", 3), ("l", 3), ("s/big", 30 << 20), ("a", 6)]);
    assert!(log.has("20%") && !log.has("10%"));

    let mut second = job(
        "touch /usr/x && exit 1; cat /in/a; id -u; echo out >/out/o; mkdir /out/d; echo t >/tmp/t && ls -ld /out /in /tmp; ls -l /in",
    );
    second.read_only = true;
    second.user = Some("1234:1234");
    second.inputs = vec![bytes("/in/a", "readable\n", 0o644), bytes("/in/sub/b", "x", 0o644)];
    second.outputs = vec!["/out".into()];
    let result = docker.run(&second, &on, &never).unwrap();
    assert_eq!(result.exit, 0);
    assert!(result.stdout.starts_with("readable\n1234\n"));
    assert_eq!(result.outputs, [("o".to_owned(), b"out\n".to_vec())]);

    let mut slow = job("echo slow; exec sleep 1000");
    slow.timeout = Some(Duration::from_secs(3));
    let start = Instant::now();
    let error = format!("{:#}", docker.run(&slow, &on, &never).unwrap_err());
    println!("{error} {:?}", start.elapsed());
    assert!(error.contains("longer than 3s") && start.elapsed() < Duration::from_secs(9) && left().is_empty());

    slow.timeout = None;
    let cancel = Cancel::default();
    let later = cancel.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(3));
        later.set();
    });
    let start = Instant::now();
    let error = format!("{:#}", docker.run(&slow, &on, &cancel).unwrap_err());
    println!("{error} {:?}", start.elapsed());
    assert!(error == "interrupted" && start.elapsed() < Duration::from_secs(5) && left().is_empty());

    let mut bad = job("x");
    bad.image = "t/none:1";
    println!("{:#}", docker.run(&bad, &on, &never).unwrap_err());
    bad = job("x");
    bad.command = vec!["/no/such".into()];
    println!("{:#}", docker.run(&bad, &on, &never).unwrap_err());
    bad = job("true");
    bad.outputs = vec!["/none".into()];
    println!("{:#}", docker.run(&bad, &on, &never).unwrap_err());
    bad = job("exec >&- 2>&-; sleep 2; exit 9");
    assert_eq!(docker.run(&bad, &on, &never).unwrap().exit, 9);
    bad = job("seq 1 200000");
    bad.entrypoint = Some(vec![]);
    assert_eq!(docker.run(&bad, &|_| (), &never).unwrap().stdout.lines().count(), 200_000);
    assert!(left().is_empty());
    bad = job("true");
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        docker.run(&job("echo a; sleep 100"), &|_| panic!("callback"), &never)
    }));
    assert!(panic.is_err() && left().is_empty());
    bad.network = Network::Host;
    assert_eq!(docker.run(&bad, &on, &never).unwrap().exit, 0);
}

#[test]
#[ignore = "needs an engine"]
fn stale() {
    let docker = engine();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let make = |owner: &str| {
        let output = Command::new("docker")
            .args(["create", "--label", &format!("dev.xtask.job={owner}"), "t/base:1", "true"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let dead = make(&format!("4194305@{}", host.trim()));
    let alive = make(&format!("{}@{}", std::process::id(), host.trim()));
    let other = make("4194305@elsewhere");
    assert_eq!(docker.remove_stale_jobs().unwrap(), 1);
    let there = |id: &str| {
        Command::new("docker")
            .args(["inspect", id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    assert!(!there(&dead) && there(&alive) && there(&other));
    Command::new("docker").args(["rm", &alive, &other]).stdout(Stdio::null()).status().unwrap();
}

#[test]
#[ignore = "needs an engine"]
fn imports() {
    let (docker, never) = (engine(), Cancel::default());
    let tar = dir("import").join("r.tar");
    let mut out = fs::File::create(&tar).unwrap();
    context::Listing::new(&[bytes("etc/x", "y", 0o644)], true).unwrap().write(&mut out).unwrap();
    let labels = BTreeMap::from([("k.x".to_owned(), "a \"b\" $HOME \\ c".to_owned())]);
    let id = docker.import(&tar, "t/h1-import:1", &["ENV A=b".into(), "USER 12".into()], &labels, &never).unwrap();
    let image = docker.image("t/h1-import:1").unwrap().unwrap();
    assert_eq!((image.id, image.labels, image.user.as_str()), (id, labels.clone(), "12"));
    assert!(image.env.contains(&"A=b".to_owned()));
    docker.tag("t/h1-import:1", "t/h1-import", "2").unwrap();
    docker.untag("t/h1-import:1").unwrap();
    docker.untag("t/h1-import:2").unwrap();
    fs::write(&tar, [0x42u8; 100_000]).unwrap();
    println!("{:#}", docker.import(&tar, "t/h1-import:1", &[], &labels, &never).unwrap_err());
    println!("{:#}", docker.import(&tar, "t/h1-import:1", &["BOGUS x".into()], &labels, &never).unwrap_err());
    println!("{:#}", docker.untag("t/none:1").unwrap_err());
    // A source that never ends, cancelled.
    let fifo = dir("fifo").join("f");
    Command::new("mkfifo").arg(&fifo).status().unwrap();
    let opened = fifo.clone();
    thread::spawn(move || {
        let _file = fs::OpenOptions::new().write(true).open(opened).unwrap();
        thread::sleep(Duration::from_secs(20));
    });
    let cancel = Cancel::default();
    let later = cancel.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        later.set();
    });
    let start = Instant::now();
    let error = format!("{:#}", docker.import(&fifo, "t/h1-import:3", &[], &labels, &cancel).unwrap_err());
    assert!(error == "interrupted" && start.elapsed() < Duration::from_secs(4), "{error}");
    println!("{:#}", docker.pull("localhost:1/none:1", &|l| println!("| {l}"), &never).unwrap_err());
}

/// A second engine, which may be stopped and killed.
struct Second(Child, PathBuf);

impl Second {
    fn start(name: &str) -> Second {
        let root = PathBuf::from(format!("/tmp/w/h1/{name}"));
        fs::create_dir_all(&root).unwrap();
        let child = Command::new("dockerd")
            .arg("-H")
            .arg(format!("unix://{}/d.sock", root.display()))
            .arg("--data-root")
            .arg(root.join("d"))
            .arg("--exec-root")
            .arg(root.join("e"))
            .arg("-p")
            .arg(root.join("pid"))
            .args(["--bridge=none", "--iptables=false"])
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.join("log")).unwrap())
            .spawn()
            .unwrap();
        let second = Second(child, root);
        for _ in 0..200 {
            if Docker::open(&second.at()).is_ok() {
                return second;
            }
            thread::sleep(Duration::from_millis(200));
        }
        panic!("second engine did not start");
    }
    fn at(&self) -> Endpoint {
        at(&format!("unix://{}/d.sock", self.1.display()))
    }
    fn signal(&self, name: &str) {
        Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status().unwrap();
    }
    fn base(&self, docker: &Docker) {
        if docker.image("t/base:1").unwrap().is_some() {
            return;
        }
        let tar = self.1.join("base.tar");
        let create = Command::new("docker").args(["create", "t/base:1", "true"]).output().unwrap();
        let id = String::from_utf8(create.stdout).unwrap().trim().to_owned();
        Command::new("docker").args(["export", "-o"]).arg(&tar).arg(&id).status().unwrap();
        Command::new("docker").args(["rm", &id]).stdout(Stdio::null()).status().unwrap();
        docker.import(&tar, "t/base:1", &[], &BTreeMap::new(), &Cancel::default()).unwrap();
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.signal("CONT");
        self.signal("TERM");
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "starts an engine of its own"]
fn watchdog() {
    let second = Second::start("wd");
    let (docker, never) = (Docker::open(&second.at()).unwrap(), Cancel::default());
    second.base(&docker);
    let build = Build {
        dockerfile: "FROM t/base:1\nRUN echo on; sleep 300\n",
        no_cache: true,
        network: Network::None,
        ..Build::default()
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(6));
            second.signal("STOP");
        });
        let start = Instant::now();
        let error = format!("{:#}", docker.build(&build, &|l| println!("| {l}"), &never).unwrap_err());
        println!("{error} {:?}", start.elapsed());
        assert!(error.contains("stopped answering") && start.elapsed() < Duration::from_secs(80));
        second.signal("CONT");
    });
    // A silent but living engine is left alone.
    let build = Build { dockerfile: "FROM t/base:1\nRUN sleep 75\n", ..build };
    docker.build(&build, &|l| println!("| {l}"), &never).unwrap();
}

#[test]
#[ignore = "starts an engine of its own"]
fn killed() {
    for run in [false, true] {
        let mut second = Second::start("kill");
        let (docker, never) = (Docker::open(&second.at()).unwrap(), Cancel::default());
        second.base(&docker);
        let (tell, heard) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let second = &second;
            scope.spawn(move || {
                heard.recv().unwrap();
                second.signal("KILL");
            });
            let started = Mutex::new((tell, Instant::now()));
            let on = |line: &str| {
                println!("| {line}");
                if line.ends_with("begun") || line.ends_with(" begun") {
                    let mut started = started.lock().unwrap();
                    started.1 = Instant::now();
                    started.0.send(()).unwrap();
                }
            };
            let error = if run {
                format!("{:#}", docker.run(&job("echo begun; sleep 300"), &on, &never).unwrap_err())
            } else {
                let build = Build {
                    dockerfile: "FROM t/base:1\nRUN set -e; echo begun; sleep 300\n",
                    no_cache: true,
                    network: Network::None,
                    ..Build::default()
                };
                format!("{:#}", docker.build(&build, &on, &never).unwrap_err())
            };
            println!("{error} {:?}", started.lock().unwrap().1.elapsed());
            assert!(error.contains("closed the connection"), "{error}");
            assert!(started.lock().unwrap().1.elapsed() < Duration::from_secs(3));
        });
        let _ = second.0.wait();
    }
}
