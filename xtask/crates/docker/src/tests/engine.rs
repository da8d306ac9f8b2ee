//! Tests with a running engine, in a base image that `cargo xtask ci` has built.

use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, thread};

use std::collections::BTreeMap;

use super::{bytes, dir};
use crate::context::FileList;
use crate::{Build, Content, ContextFile, Docker, Import, Job, Network, owner};
use base::cancel::Cancel;
use base::limits::Limits;

/// A base image with an interpreter: the newest of those that are built, whatever the matrix is called.
fn base_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let filter = ["--filter", "reference=*/build:base-*", "--format", "{{.Repository}}:{{.Tag}}"];
        let output = Command::new("docker").arg("images").args(filter).output().unwrap();
        let names = String::from_utf8(output.stdout).unwrap();
        names.lines().next().expect("no base image is built: run `cargo xtask ci` first").to_owned()
    })
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

/// Names for images that no other run of these tests uses; they are removed when this is dropped.
struct Names(Vec<String>);

impl Names {
    fn new(test: &str, count: usize) -> Names {
        let stamp = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        Names((1..=count).map(|number| format!("xtask-test/{test}-{}-{stamp}:{number}", std::process::id())).collect())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // A test that has failed may not have made all of them.
        let _ = Command::new("docker").arg("rmi").args(&self.0).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn engine() -> Docker {
    owner::register_below(&std::env::temp_dir().join(format!("xtask-engine-{}", std::process::id())));
    Docker::connect().unwrap()
}

#[test]
#[ignore = "needs an engine"]
fn builds() {
    let (docker, log, never) = (engine(), Log::default(), Cancel::default());
    let (on_line, names) = (|line: &str| log.add(line), Names::new("build", 3));
    let stamp = names.0[0].clone();
    let mut build = Build {
        dockerfile: &format!(
            "FROM {} AS one\nARG A\nRUN --mount=type=bind,source=sub/x,target=/x cat /x && echo arg=$A && ls -la /x\nFROM one AS two\nCOPY sub /sub\nRUN stat -c '%n %a %u %Y' /sub /sub/x && test \"$(ls /sys/class/net)\" = lo\n",
            base_image()
        ),
        context: vec![bytes("sub/x", &stamp, 0o755)],
        args: BTreeMap::from([("A".into(), "b c$d".into())]),
        labels: BTreeMap::from([("l".into(), "v \"$x".into())]),
        tags: names.0[..2].to_vec(),
        network: Network::None,
        ..Build::default()
    };
    let id = docker.build(&build, &on_line, &never).unwrap();
    assert!(log.has(&stamp) && log.has("arg=b c$d") && log.has("/sub/x 755 0 0") && log.has("DONE"));
    let image = docker.image(&names.0[1]).unwrap().unwrap();
    assert_eq!((image.id.as_str(), image.labels["l"].as_str()), (id.as_str(), "v \"$x"));
    let again = Log::default();
    assert_eq!(docker.build(&build, &|l| again.add(l), &never).unwrap(), id);
    assert!(again.has("CACHED"));
    build.target = Some("one");
    build.tags.clear();
    assert_ne!(docker.build(&build, &on_line, &never).unwrap(), id);
    assert!(docker.image(&names.0[2]).unwrap().is_none());

    let failing = Log::default();
    let failing_file = format!("FROM {}\nRUN echo before; printf 'no newline'; exit 37\n", base_image());
    let missing_file = format!("FROM {}\nCOPY nope /\n", base_image());
    build = Build { dockerfile: &failing_file, no_cache: true, ..Build::default() };
    let error = format!("{:#}", docker.build(&build, &|l| failing.add(l), &never).unwrap_err());
    println!("{error}");
    assert!(
        error.contains("37")
            && error.starts_with("no newline: step `[2/2] RUN echo before")
            && failing.has("before")
            && failing.has("no newline")
    );
    for (text, expected) in
        [("FRM x\n", "FRM"), ("FROM xtask-test/none:1\n", "xtask-test/none:1"), (&missing_file, "nope")]
    {
        build.dockerfile = text;
        let error = format!("{:#}", docker.build(&build, &on_line, &never).unwrap_err());
        println!("{error}");
        assert!(error.to_lowercase().contains(&expected.to_lowercase()));
    }
}

#[test]
#[ignore = "needs an engine"]
fn build_cancel() {
    let (docker, log, cancel) = (engine(), Log::default(), Cancel::default());
    // As many seconds as no other program sleeps on this machine.
    let sleep = format!("sleep 1{:010}", std::process::id());
    let build = Build {
        dockerfile: &format!("FROM {}\nRUN echo begun-$((6*7)); {sleep}\n", base_image()),
        no_cache: true,
        network: Network::None,
        ..Build::default()
    };
    let on_line = |line: &str| {
        log.add(line);
        if line.contains("begun-42") {
            cancel.set();
        }
    };
    let error = format!("{:#}", docker.build(&build, &on_line, &cancel).unwrap_err());
    assert!(error == "interrupted", "{error}");
    let command = format!("{}\0", sleep.replace(' ', "\0"));
    let running = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .into_iter()
            .any(|process| fs::read_to_string(process.path().join("cmdline")).is_ok_and(|text| text == command))
    };
    let begun = Instant::now();
    while running() {
        assert!(begun.elapsed() < Duration::from_secs(300), "still running in the engine");
        thread::sleep(Duration::from_millis(100));
    }
}

fn job<'a>(script: &str) -> Job<'a> {
    Job {
        image: base_image(),
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
    let on_line = |line: &str| log.add(line);
    // Other tests of this process run jobs at the same time.
    let job = |script: &str| job(&format!(": of-this-test; {script}"));
    let left = || {
        let name = format!("name=xtask-job-{}-", std::process::id());
        let list = ["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Command}}", "--filter", &name];
        let output = Command::new("docker").args(list).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        listed.lines().filter(|line| line.contains("of-this-test")).map(str::to_owned).collect::<Vec<_>>()
    };
    let big = dir("big").join("big");
    fs::write(&big, vec![7u8; 30 << 20]).unwrap();
    let out = dir("out");
    let mut first = job(
        "cat /in/deep/a; id -u; echo err >&2; printf 'x\\377\\r\\n10%%\\r20%%\\n'; echo $V; ls -ld /in /in/deep /tmp /in/big; mkdir -p /out/s; cp /in/big /out/s/; echo hi >/out/h; printf end; pwd; exit 5",
    );
    first.inputs = vec![
        bytes("/in/deep/a", "hello\n", 0o600),
        ContextFile { path: "/in/big".into(), source: Content::File(big), mode: 0o640 },
    ];
    first.outputs = vec!["/out".into(), "/in/deep/a".into()];
    first.out = Some(&out);
    first.env = vec![("V".into(), "a b=c".into())];
    first.workdir = Some("/usr");
    let result = docker.run(&first, &on_line, &never).unwrap();
    assert_eq!((result.exit, result.stderr.as_str()), (5, "err\n"));
    assert!(
        result.stdout.starts_with("hello\n0\nx\u{fffd}\r\n10%\r20%\na b=c\n") && result.stdout.ends_with("end/usr\n"),
        "{}",
        result.stdout
    );
    assert_eq!(result.outputs, ["h", "s/big", "a"]);
    let sizes = result.outputs.iter().map(|name| fs::metadata(out.join(name)).unwrap().len());
    assert_eq!(sizes.collect::<Vec<_>>(), [3, 30 << 20, 6]);
    assert!(log.has("20%") && !log.has("10%"));

    let mut second = job(
        "touch /usr/x && exit 1; cat /in/a; id -u; echo out >/job/out/o; mkdir /job/out/d; echo t >/tmp/t && ls -ld /job/out /in /tmp; ls -l /in",
    );
    second.read_only = true;
    second.user = Some("1234:1234");
    second.inputs = vec![bytes("/in/a", "readable\n", 0o644), bytes("/in/sub/b", "x", 0o644)];
    second.outputs = vec!["/job/out".into()];
    second.out = Some(&out);
    let result = docker.run(&second, &on_line, &never).unwrap();
    assert_eq!(result.exit, 0);
    assert!(result.stdout.starts_with("readable\n1234\n"));
    assert_eq!((result.outputs, fs::read(out.join("o")).unwrap()), (vec!["o".to_owned()], b"out\n".to_vec()));

    let mut slow = job("echo slow; exec sleep 1000");
    slow.timeout = Some(Duration::from_secs(1));
    let error = format!("{:#}", docker.run(&slow, &on_line, &never).unwrap_err());
    assert!(error.contains("longer than 1s") && left().is_empty(), "{error}");

    slow.timeout = None;
    let cancel = Cancel::default();
    let error = format!("{:#}", docker.run(&slow, &|_| cancel.set(), &cancel).unwrap_err());
    assert!(error == "interrupted" && left().is_empty(), "{error}");

    let mut bad = job("x");
    bad.image = "xtask-test/none:1";
    println!("{:#}", docker.run(&bad, &on_line, &never).unwrap_err());
    bad = job("x");
    bad.command = vec!["/no/such".into()];
    println!("{:#}", docker.run(&bad, &on_line, &never).unwrap_err());
    bad = job("true");
    bad.outputs = vec!["/none".into()];
    bad.out = Some(&out);
    println!("{:#}", docker.run(&bad, &on_line, &never).unwrap_err());
    bad = job("exec >&- 2>&-; sleep 0.5; exit 9");
    assert_eq!(docker.run(&bad, &on_line, &never).unwrap().exit, 9);
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
fn a_job_that_reaches_a_limit_is_ended_with_an_error_that_names_it() {
    let (docker, never, out) = (engine(), Cancel::default(), dir("limits"));
    let usual = Limits { output: 1 << 20, files: 1 << 20, memory: Some(64 << 20), processes: 50 };
    let limited = |script: &str| Job { limits: Some(usual), builds: true, ..job(script) };
    let refused = |job: &Job, expected: &[&str]| {
        let error = format!("{:#}", docker.run(job, &|_| {}, &never).unwrap_err());
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    for script in ["yes", "yes >&2", "yes | tr -d '\\n'"] {
        refused(&limited(script), &["printed more than 1.00 MiB", "XTASK_MAX_OUTPUT"]);
    }
    let left = |script| Job { outputs: vec!["/out".into()], out: Some(&out), ..limited(script) };
    refused(
        &left("mkdir /out; truncate -s 1T /out/x"),
        &["larger than 1.00 MiB together", "`out/x` with 1.00 TiB", "XTASK_MAX_FILES"],
    );
    refused(&left("mkdir /out; echo 1 >/out/x; ln /out/x /out/y"), &["is a hard link"]);
    refused(&left("mkdir /out; mkfifo /out/x"), &["`out/x` is a pipe"]);
    refused(&left("ln -s /etc /out"), &["is a symbolic link"]);
    refused(
        &limited("i=0; while [ $i -lt 100 ]; do sleep 60 & i=$((i+1)); done"),
        &["may have 50 processes", "XTASK_MAX_PROCESSES"],
    );
    refused(&limited("exec python -c 'print(len(b\"x\" * (1 << 28)))'"), &["may use 64.00 MiB", "XTASK_MAX_MEMORY"]);
    let own = docker.run(&job("grep -E 'CapEff|NoNewPrivs' /proc/self/status"), &|_| {}, &never).unwrap().stdout;
    assert_eq!(own.split_whitespace().collect::<Vec<_>>(), ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]);
}

#[test]
#[ignore = "needs an engine"]
fn leftovers_of_killed_runs_are_removed() {
    let docker = engine();
    let cache = dir("leftovers");
    let folder = owner::folder(&cache);
    let [dead, alive, unknown] = [(); 3].map(|()| owner::random_id().unwrap());
    fs::create_dir_all(&folder).unwrap();
    // As a run writes it; nobody holds the lock of the first one.
    let machine = ["kernel/hostname", "kernel/random/boot_id"]
        .map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap());
    for id in [&dead, &alive] {
        fs::write(folder.join(id), machine.concat()).unwrap();
    }
    let lock = fs::File::open(folder.join(&alive)).unwrap();
    lock.lock().unwrap();
    let client = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let label = |id: &str| format!("{}={id}", base::labels::RUN);
    for id in [&dead, &alive, &unknown] {
        client(&["create", "--label", &label(id), base_image(), "true"]);
        client(&["network", "create", "--label", &label(id), &format!("xtask-test-{id}")]);
    }
    assert_eq!(docker.remove_leftovers(&cache).unwrap(), 2);
    let left = |id: &str| {
        let filter = format!("label={}", label(id));
        let ids = client(&["ps", "--all", "--quiet", "--filter", &filter]);
        ids.lines().count() + client(&["network", "ls", "--quiet", "--filter", &filter]).lines().count()
    };
    assert_eq!([&dead, &alive, &unknown].map(|id| left(id)), [0, 2, 2]);
    // A run removes its own and nothing else.
    assert_eq!(docker.remove_labelled(&[(base::labels::RUN, &alive)]).unwrap().len(), 2);
    assert_eq!([&alive, &unknown].map(|id| left(id)), [0, 2]);
    docker.remove_labelled(&[(base::labels::RUN, &unknown)]).unwrap();
}

#[test]
#[ignore = "needs an engine"]
fn imports() {
    let (docker, never) = (engine(), Cancel::default());
    let names = Names::new("import", 3);
    let tar = dir("import").join("r.tar");
    let mut out = fs::File::create(&tar).unwrap();
    FileList::new(&[bytes("etc/x", "y", 0o644)], true).unwrap().write(&mut out).unwrap();
    let labels = BTreeMap::from([("k.x".to_owned(), "a \"b\" $HOME \\ c".to_owned())]);
    let instructions = ["ENV A=b", "USER 12"].map(str::to_owned);
    let unknown = ["BOGUS x".to_owned()];
    let import = |instructions| Import { tar: &tar, tag: &names.0[0], instructions, labels: &labels };
    let id = docker.import(&import(&instructions), &never).unwrap();
    let image = docker.image(&names.0[0]).unwrap().unwrap();
    assert_eq!((image.id, image.labels, image.user.as_str()), (id, labels.clone(), "12"));
    assert!(image.env.contains(&"A=b".to_owned()));
    let (repository, tag) = names.0[1].rsplit_once(':').unwrap();
    docker.tag(&names.0[0], repository, tag).unwrap();
    fs::write(&tar, [0x42u8; 100_000]).unwrap();
    println!("{:#}", docker.import(&import(&[]), &never).unwrap_err());
    println!("{:#}", docker.import(&import(&unknown), &never).unwrap_err());
    // A source that never ends, cancelled.
    let fifo = dir("fifo").join("f");
    Command::new("mkfifo").arg(&fifo).status().unwrap();
    let cancel = Cancel::default();
    let (opened, later) = (fifo.clone(), cancel.clone());
    let (end, ended) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        // Opened as soon as the import reads it, and kept open until this test ends.
        let _file = fs::OpenOptions::new().write(true).open(opened).unwrap();
        later.set();
        let _ = ended.recv();
    });
    let error = format!(
        "{:#}",
        docker
            .import(&Import { tar: &fifo, tag: &names.0[2], instructions: &[], labels: &labels }, &cancel)
            .unwrap_err()
    );
    assert!(error == "interrupted", "{error}");
    drop(end);
    println!("{:#}", docker.pull("localhost:1/none:1", &|l| println!("| {l}"), &never).unwrap_err());
}
