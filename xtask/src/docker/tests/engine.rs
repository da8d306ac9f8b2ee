//! Checks the module against a running engine, in the image `314t`, which the pipeline has built before.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::super::*;
use super::{bytes, dir};
use crate::cancel::Cancel;

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
        dockerfile: "FROM aerospike-benchmark:314t AS one\nARG A\nRUN --mount=type=bind,source=sub/x,target=/x cat /x && echo arg=$A && ls -la /x\nFROM one AS two\nCOPY sub /sub\nRUN stat -c '%n %a %u %Y' /sub /sub/x && test \"$(ls /sys/class/net)\" = lo\n",
        context: vec![bytes("sub/x", &stamp, 0o755)],
        args: BTreeMap::from([("A".into(), "b c$d".into())]),
        labels: BTreeMap::from([("l".into(), "v \"$x".into())]),
        tags: vec!["xtask-test/image:1".into(), "xtask-test/image:2".into()],
        network: Network::None,
        ..Build::default()
    };
    let id = docker.build(&build, &on, &never).unwrap();
    assert!(log.has(&stamp) && log.has("arg=b c$d") && log.has("/sub/x 755 0 0") && log.has("DONE"));
    let image = docker.image("xtask-test/image:2").unwrap().unwrap();
    assert_eq!((image.id.as_str(), image.labels["l"].as_str()), (id.as_str(), "v \"$x"));
    let again = Log::default();
    assert_eq!(docker.build(&build, &|l| again.add(l), &never).unwrap(), id);
    assert!(again.has("CACHED"));
    build.target = Some("one");
    build.tags.clear();
    assert_ne!(docker.build(&build, &on, &never).unwrap(), id);
    assert!(docker.image("xtask-test/image:3").unwrap().is_none());

    let failing = Log::default();
    build = Build {
        dockerfile: "FROM aerospike-benchmark:314t\nRUN echo before; printf 'no newline'; exit 37\n",
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
    for (text, expected) in [
        ("FRM x\n", "FRM"),
        ("FROM xtask-test/none:1\n", "xtask-test/none:1"),
        ("FROM aerospike-benchmark:314t\nCOPY nope /\n", "nope"),
    ] {
        build.dockerfile = text;
        let error = format!("{:#}", docker.build(&build, &on, &never).unwrap_err());
        println!("{error}");
        assert!(error.to_lowercase().contains(&expected.to_lowercase()));
    }
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
    let build = Build {
        dockerfile: "FROM aerospike-benchmark:314t\nRUN echo on; sleep 98765\n",
        no_cache: true,
        network: Network::None,
        ..Build::default()
    };
    let error = format!("{:#}", docker.build(&build, &|l| log.add(l), &cancel).unwrap_err());
    println!("{error}");
    assert!(error == "interrupted");
    thread::sleep(Duration::from_secs(3));
    let running = Command::new("pgrep").args(["-xf", "sleep 98765"]).output().unwrap();
    assert!(running.stdout.is_empty(), "still running in the engine");
}

fn job<'a>(script: &str) -> Job<'a> {
    Job {
        image: "aerospike-benchmark:314t",
        command: vec!["sh".into(), "-c".into(), script.into()],
        user: Some("root"),
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
        "touch /usr/x && exit 1; cat /in/a; id -u; echo out >/job/out/o; mkdir /job/out/d; echo t >/tmp/t && ls -ld /job/out /in /tmp; ls -l /in",
    );
    second.read_only = true;
    second.user = Some("1234:1234");
    second.inputs = vec![bytes("/in/a", "readable\n", 0o644), bytes("/in/sub/b", "x", 0o644)];
    second.outputs = vec!["/job/out".into()];
    let result = docker.run(&second, &on, &never).unwrap();
    assert_eq!(result.exit, 0);
    assert!(result.stdout.starts_with("readable\n1234\n"));
    assert_eq!(result.outputs, [("o".to_owned(), b"out\n".to_vec())]);

    let mut slow = job("echo slow; exec sleep 1000");
    slow.timeout = Some(Duration::from_secs(3));
    let error = format!("{:#}", docker.run(&slow, &on, &never).unwrap_err());
    println!("{error}");
    assert!(error.contains("longer than 3s") && left().is_empty());

    slow.timeout = None;
    let cancel = Cancel::default();
    let later = cancel.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(3));
        later.set();
    });
    let error = format!("{:#}", docker.run(&slow, &on, &cancel).unwrap_err());
    println!("{error}");
    assert!(error == "interrupted" && left().is_empty());

    let mut bad = job("x");
    bad.image = "xtask-test/none:1";
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
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        docker.run(&job("echo a; sleep 100"), &|_| panic!("callback"), &never)
    }));
    assert!(panic.is_err() && left().is_empty());
}

#[test]
#[ignore = "needs an engine"]
fn stale() {
    let docker = engine();
    let host = job::machine();
    let make = |owner: &str| {
        let output = Command::new("docker")
            .args(["create", "--label", &format!("dev.xtask.job={owner}"), "aerospike-benchmark:314t", "true"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let dead = make(&format!("4194305@{}", host));
    let alive = make(&format!("{}@{}", std::process::id(), host));
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
    let id = docker
        .import(&tar, "xtask-test/image-import:1", &["ENV A=b".into(), "USER 12".into()], &labels, &never)
        .unwrap();
    let image = docker.image("xtask-test/image-import:1").unwrap().unwrap();
    assert_eq!((image.id, image.labels, image.user.as_str()), (id, labels.clone(), "12"));
    assert!(image.env.contains(&"A=b".to_owned()));
    docker.tag("xtask-test/image-import:1", "xtask-test/image-import", "2").unwrap();
    fs::write(&tar, [0x42u8; 100_000]).unwrap();
    println!("{:#}", docker.import(&tar, "xtask-test/image-import:1", &[], &labels, &never).unwrap_err());
    println!(
        "{:#}",
        docker.import(&tar, "xtask-test/image-import:1", &["BOGUS x".into()], &labels, &never).unwrap_err()
    );
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
    let error = format!("{:#}", docker.import(&fifo, "xtask-test/image-import:3", &[], &labels, &cancel).unwrap_err());
    assert!(error == "interrupted", "{error}");
    println!("{:#}", docker.pull("localhost:1/none:1", &|l| println!("| {l}"), &never).unwrap_err());
}
