//! What is fetched once, what is fetched again, and what is refused.

use std::fs;

use super::*;
use crate::cache::Cache;
use crate::facts::Facts;
use crate::origin::Origin;
use crate::step::env::RunContext;
use base::cancel::Cancel;
use base::ui::Ui;
use download::testing::{TestServer, direct_client, empty, send};

const SHA: &str = "ff98a34ef69eb6e688bc6f80c901f0ea28a0805f9493af84294e461064e82e8f";

fn found(text: &str, page: &Url) -> Result<Option<FileLocation>> {
    find_in_index(&Page { url: page.clone(), entries: page::entries(text)? }, SHA)
}

#[test]
fn a_file_is_found_by_digest_in_json_and_in_html() {
    let json = format!(
        r#"{{"files": [{{"filename": "x-1.whl", "url": "../../f/x-1.whl", "size": 3, "hashes": {{"sha256": "{SHA}"}}}}]}}"#
    );
    let html = format!(r#"<a href="../../f/x-1.whl#sha256={SHA}">x-1.whl</a>"#);
    let page = download::parse_url("https://index.example/root/simple/x/").unwrap();
    for text in [json, html] {
        let place = found(&text, &page).unwrap().unwrap();
        assert_eq!(place.urls[0].as_str(), "https://index.example/root/f/x-1.whl");
        assert_eq!(place.name, "x-1.whl");
    }
    assert!(found("<html></html>", &page).unwrap().is_none());
}

#[test]
fn a_malicious_entry_is_an_error() {
    let page = download::parse_url("https://index.example/simple/x/").unwrap();
    let entry = |name: &str, url: &str| {
        let name = serde_json::to_string(name).unwrap();
        let url = serde_json::to_string(url).unwrap();
        let text = format!(r#"{{"files": [{{"filename": {name}, "url": {url}, "hashes": {{"sha256": "{SHA}"}}}}]}}"#);
        found(&text, &page).map(|place| place.is_some())
    };
    assert!(entry("x-1.whl", "x-1.whl").unwrap());
    for name in ["../x.whl", "/x.whl", ".x.whl", "x\n.whl", "x/../../y.whl", "", "..", "x\0.whl"] {
        assert!(entry(name, "x-1.whl").is_err(), "{name:?}");
    }
    for url in [
        "http://h/x\noutput=/any/file\nurl=http://h/evil",
        "file:///etc/passwd",
        "http://index.example/x",
        "https://h/x\u{0}",
        "gopher://h/",
    ] {
        assert!(entry("x-1.whl", url).is_err(), "{url:?}");
    }
    // Deeply nested JSON is not read, and does not exhaust the stack.
    let deep = format!("{{\"files\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(found(&deep, &page).unwrap().is_none());
}

#[test]
fn a_login_is_sent_only_to_the_index() {
    let page = download::parse_url("https://me:secret@index.example/simple/x/").unwrap();
    let url = |link: &str| {
        let text = format!(r#"<a href="{link}#sha256={SHA}">x-1.whl</a>"#);
        found(&text, &page).unwrap().unwrap().urls.remove(0).to_string()
    };
    assert_eq!(url("x-1.whl"), "https://me:secret@index.example/simple/x/x-1.whl");
    assert_eq!(url("https://index.example/f/x-1.whl"), "https://me:secret@index.example/f/x-1.whl");
    assert_eq!(url("https://index.example:444/x-1.whl"), "https://index.example:444/x-1.whl");
    assert_eq!(url("https://files.example/x-1.whl"), "https://files.example/x-1.whl");
}

#[test]
fn a_digest_of_another_version_is_an_error() {
    assert!(is_file_of_release("acme_py-1.4.2.tar.gz", "acme-py", "1.4.2"));
    assert!(is_file_of_release("acme-7.3.0-cp314-cp314-manylinux_2_28_x86_64.whl", "acme", "7.3.0"));
    assert!(!is_file_of_release("acme_py-1.4.2.tar.gz", "acme-py", "0.14"));
    assert!(!is_file_of_release("acme_py-1.4.2.tar.gz", "acme", "1.4.2"));
    assert!(!is_file_of_release("acme_py-1.4.2.tar.gz", "acme-py", "1.99.2"));
    // PEP 625 normalises the name and the version, older build backends neither.
    assert!(is_file_of_release("calver_demo-2026.8.1.tar.gz", "Calver.Demo", "2026.08.1"));
    assert!(is_file_of_release("calver-demo-2026.08.1.tar.gz", "calver_demo", "2026.8.1"));
}

/// A cache of its own, in which files are fetched.
struct Lab(std::path::PathBuf);

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Lab {
    fn new(name: &str) -> Lab {
        let folder = std::env::temp_dir().join(format!("xtask-fetch-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Lab(folder)
    }

    /// Fetches files as one step, from an index on this port.
    fn fetch(&self, port: u16, files: Vec<Download>) -> Result<Output> {
        let (cache, facts, ui, cancel) = (Cache::at(&self.0)?, Facts::default(), Ui::detect(), Cancel::default());
        let context = RunContext {
            cache: &cache,
            facts: &facts,
            ui: &ui,
            cancel: &cancel,
            docker: None,
            cores: 1,
            engine_cores: 1,
            repository: "test",
            pinned_root: false,
        };
        let task = ui.start("test", "fetch", &cache.log("test"));
        let scratch = cache.scratch("test")?;
        let env = StepEnv {
            id: "test",
            key: "",
            needs: Default::default(),
            scratch: scratch.path(),
            task: &task,
            context: &context,
        };
        let index = format!("http://127.0.0.1:{port}/simple/");
        fetch_all(&Fetch { files }, &Net { env: &env, client: direct_client().into(), index: index.into() })
    }
}

fn pin(name: &str, content: &[u8]) -> Download {
    Download { name: name.to_owned(), sha256: digest::of(content), from: Vec::new(), origin: Default::default() }
}

/// An index with the projects `a`, `b` and `c`, each with one file that contains its name.
fn answer(head: &str, stream: &mut std::net::TcpStream) -> std::io::Result<()> {
    let path = head.split(' ').nth(1).unwrap();
    match path.strip_prefix("/simple/").and_then(|rest| rest.strip_suffix('/')) {
        Some(project) => {
            let sha256 = digest::of(project);
            let page = format!(
                r#"{{"files": [{{"filename": "{project}-1.tar.gz", "url": "/f/{project}", "hashes": {{"sha256": "{sha256}"}}, "size": 1}}]}}"#
            );
            send(stream, "200 OK", "", page.as_bytes(), page.len())
        }
        None => send(stream, "200 OK", "", path.trim_start_matches("/f/").as_bytes(), 1),
    }
}

fn asked(server: &TestServer, path: &str) -> usize {
    let requests = server.requests.lock().unwrap();
    requests.iter().filter(|head| head.starts_with(&format!("GET {path} "))).count()
}

#[test]
fn files_are_kept_if_the_step_fails_and_reused_by_other_steps() {
    let lab = Lab::new("kept");
    let files = || vec![pin("a==1", b"a"), pin("b==1", b"b"), pin("c==1", b"c")];
    let broken = TestServer::start(|_, head, stream| match head.contains(" /f/c ") {
        true => empty(stream, "404 Not Found", ""),
        false => answer(head, stream),
    });
    let error = format!("{:#}", lab.fetch(broken.port, files()).unwrap_err());
    assert!(error.contains("cannot download `c==1`") && error.contains("404"), "{error}");
    let server = TestServer::start(|_, head, stream| answer(head, stream));
    let output = lab.fetch(server.port, files()).unwrap();
    let names: Vec<&str> = output.files.iter().map(|file| &*file.name).collect();
    assert_eq!(names, ["a-1.tar.gz", "b-1.tar.gz", "c-1.tar.gz"]);
    assert_eq!((asked(&server, "/f/a"), asked(&server, "/f/b"), asked(&server, "/f/c")), (0, 0, 1));
    // A step with one of the files asks nobody.
    lab.fetch(broken.port, vec![pin("c==1", b"c")]).unwrap();
    assert_eq!(asked(&broken, "/simple/c/"), 1);
    // By another name, it is the same file; and a pin with a wrong version is refused although the file is there.
    let named = |name: &str| Download { from: vec!["http://127.0.0.1:9/x".to_owned()], ..pin(name, b"c") };
    assert_eq!(lab.fetch(broken.port, vec![named("other")]).unwrap().files[0].name, "other");
    let error = format!("{:#}", lab.fetch(server.port, vec![pin("c==2", b"c")]).unwrap_err());
    assert!(error.contains("belongs to `c-1.tar.gz`"), "{error}");
    // What has changed in the cache is fetched again.
    fs::write(lab.0.join("v1/blobs").join(digest::of(b"a")), "x").unwrap();
    lab.fetch(server.port, vec![pin("a==1", b"a")]).unwrap();
    assert_eq!(asked(&server, "/f/a"), 1);
}

#[test]
fn a_malicious_index_causes_only_errors() {
    let lab = Lab::new("hostile");
    let written = lab.0.join("written");
    let evil = format!("http://h/x\noutput={0}\nurl=http://h/evil\noutput={0}\nurl=http://h/y\n#", written.display());
    let page = serde_json::json!({"files": [
        {"filename": "a-1.tar.gz", "url": evil, "hashes": {"sha256": digest::of(b"a")}},
        {"filename": "b-1.tar.gz", "url": "/f/b", "hashes": {"sha256": digest::of(b"b")}, "size": 1},
    ]});
    let page = page.to_string();
    let server = TestServer::start(move |_, head, stream| match head.contains(" /f/") {
        true => send(stream, "200 OK", "", &[b'b'; 1 << 16], 1 << 16),
        false => send(stream, "200 OK", "", page.as_bytes(), page.len()),
    });
    let error = format!("{:#}", lab.fetch(server.port, vec![pin("a==1", b"a")]).unwrap_err());
    assert!(error.contains("entry for `a` is invalid: the URL contains control characters"), "{error}");
    assert!(!written.exists());
    let error = format!("{:#}", lab.fetch(server.port, vec![pin("b==1", b"b")]).unwrap_err());
    assert!(error.contains("announces 64.00 KiB, but the file has 1 B"), "{error}");
}

#[test]
fn a_wrong_digest_error_has_the_file_and_the_digests_of_the_index() {
    let lab = Lab::new("wrong");
    let server = TestServer::start(|_, head, stream| answer(head, stream));
    let wrong = |name: &str, content: &[u8]| {
        let origin = Origin::Lock { file: "locks/pylock.toml".to_owned(), sha256: digest::of("unknown") };
        format!("{:#}", lab.fetch(server.port, vec![Download { origin, ..pin(name, content) }]).unwrap_err())
    };
    let there = format!("of `a` 1 the index has\n      {}  a-1.tar.gz", digest::of("a"));
    let error = wrong("a==1", b"else");
    assert!(error.starts_with("locks/pylock.toml: cannot download `a==1`: the index has no file with the"), "{error}");
    assert!(error.ends_with(&there), "{error}");
    assert!(wrong("a==2", b"a").ends_with("correct the version or the digest; the index has no file of `a` 2"));
}
