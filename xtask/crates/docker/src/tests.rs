//! Tests with temporary directories and sockets, without an engine.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::{fs, thread};

use crate::Docker;
use crate::context::{Content, ContextFile, FileList};
use crate::endpoint::{Endpoint, Tls, resolve};

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
    assert!(error.contains("not valid JSON") && !error.contains("secret"), "{error}");
    assert_eq!(resolve(&env_of(&[])).unwrap().host, "unix:///var/run/docker.sock");
}

#[test]
fn tars_are_the_same() {
    let file = |path: &str| ContextFile { path: path.into(), source: Content::Bytes(b"x".to_vec()), mode: 0o644 };
    let tar = |files: &[ContextFile]| {
        let mut out = Vec::new();
        FileList::new(files, true).unwrap().write(&mut out).unwrap();
        out
    };
    let long = format!("d/{}/z", "n".repeat(150));
    assert_eq!(tar(&[file("a/b"), file("c"), file(&long)]), tar(&[file(&long), file("c"), file("a/b")]));
    for bad in [&["a", "a"][..], &["a", "a/b"], &["../a"], &["a//b"], &[""]] {
        assert!(FileList::new(&bad.iter().map(|p| file(p)).collect::<Vec<_>>(), true).is_err(), "{bad:?}");
    }
    let missing = ContextFile { path: "a".into(), source: Content::File("/nowhere".into()), mode: 0o644 };
    assert!(FileList::new(&[missing], true).is_err());
}

#[test]
fn unreachable() {
    assert!(fails(&at("unix:///tmp/no/such.sock")).contains("there is no Docker socket"));
    let dead = dir("dead").join("s");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(fails(&at(&format!("unix://{}", dead.display()))).contains("no process listens"));
    assert!(fails(&at("tcp://127.0.0.1:1")).contains("connection refused"));
    assert!(fails(&at("tcp://no-such-host.invalid:1")).contains("cannot find the host"));
    assert!(fails(&at("npipe:////./pipe/x")).contains("use unix://"));
    let secret = fails(&at("tcp://me:secret@host:1"));
    assert!(!secret.contains("secret"), "{secret}");
    let secret = fails(&at("ssh://me:secret@host"));
    assert!(!secret.contains("secret"), "{secret}");
    assert!(fails(&at("ssh://-oProxyCommand=x")).contains("is not valid"));
    // A server that is not an engine.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"SSH-2.0-x\r\n");
        }
    });
    assert!(fails(&at(&format!("tcp://{address}"))).contains("is not a Docker engine"));
    let mut tls = at(&format!("tcp://{address}"));
    let none = PathBuf::from("/nowhere");
    tls.tls = Some(Tls { ca: none.clone(), cert: none.clone(), key: none });
    assert!(fails(&tls).contains("TLS"));
}

/// As root, the test runs itself again as user `nobody`.
#[test]
fn permission() {
    if let Ok(socket) = std::env::var("TEST_DENIED") {
        assert!(fails(&at(&format!("unix://{socket}"))).contains("usermod -aG docker"));
        return;
    }
    let socket = dir("denied").join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
    if !rustix::process::geteuid().is_root() {
        assert!(fails(&at(&format!("unix://{}", socket.display()))).contains("usermod -aG docker"));
        return;
    }
    let folder = dir("denied-exe");
    // Whatever the umask is, the other user must reach the copy.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.join("t");
    // Copied by another process: a file that this one has open for writing cannot be run while another test starts
    // a program, which inherits it for a moment.
    assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status().unwrap().success());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--exact", "tests::permission", "--nocapture"])
        .env("TEST_DENIED", &socket)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    // A wrong name of the test would run none and succeed.
    assert!(output.status.success() && printed.contains("1 passed"), "{output:?}");
    println!("{printed}");
}

/// Imports a file from an engine that answers with these pieces, each some time after the one before.
fn import_from(name: &str, pieces: &'static [&'static str]) -> anyhow::Result<String> {
    use std::io::{Read as _, Write as _};
    let folder = dir(name);
    let (socket, tar) = (folder.join("s"), folder.join("root.tar"));
    fs::write(&tar, "a file").unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let engine = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"\r\n0\r\n\r\n") {
            let count = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..count]);
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for piece in pieces {
            write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
            thread::sleep(std::time::Duration::from_millis(100));
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let client =
        bollard::Docker::connect_with_unix(socket.to_str().unwrap(), 60, bollard::API_DEFAULT_VERSION).unwrap();
    let docker = Docker::new(client, "the test".into(), None);
    let import = crate::Import { tar: &tar, tag: "a/b:c", labels: &Default::default(), instructions: &[] };
    let result = docker.import(&import, &base::cancel::Cancel::default());
    engine.join().unwrap();
    result
}

#[test]
fn a_line_break_that_arrives_late_is_no_error() {
    const IMPORTED: &str = r#"{"status":"sha256:1"}"#;
    assert_eq!(import_from("late", &[IMPORTED, "\r\n"]).unwrap(), "sha256:1");
    assert_eq!(import_from("two", &[r#"{"status":"x"}"#, "\r\n", IMPORTED, "\r\n"]).unwrap(), "sha256:1");
    // An answer that is cut off is an error: what it would have said is missing.
    let error = format!("{:#}", import_from("cut", &[r#"{"status":"x"}"#, "\r\n", r#"{"status":"sha2"#]).unwrap_err());
    assert!(error.contains("the answer ended before the image was complete"), "{error}");
}

fn bytes(path: &str, text: &str, mode: u32) -> ContextFile {
    ContextFile { path: path.into(), source: Content::Bytes(text.as_bytes().to_vec()), mode }
}

mod engine;
