//! Tests of downloads from servers that abort, stall, send wrong data, or never finish.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::check_redirect;
use crate::testing::{TestServer, direct_client, empty, send, short_limits};
use crate::transfer::check_room;
use crate::{Client, DownloadLimits, DownloadProgress, DownloadRequest, Url, parse_url};
use anyhow::Result;
use base::cancel::Cancel;
use base::{digest, ui};

/// Returns the offset of a `Range` header.
fn range(head: &str) -> Option<usize> {
    let line = head.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned))?;
    line.trim_end_matches('-').parse().ok()
}

fn body() -> Vec<u8> {
    (0..100_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

/// Folder, captured log lines, and a client with short delays and no proxy.
struct DownloadTest {
    folder: PathBuf,
    log: Mutex<String>,
    limits: DownloadLimits,
}

impl Drop for DownloadTest {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl DownloadTest {
    fn new() -> DownloadTest {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("xtask-http-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        DownloadTest { folder, log: Mutex::default(), limits: short_limits() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("download")
    }

    fn get(&self, wanted: &DownloadRequest) -> Result<Url> {
        self.get_until(wanted, &Cancel::default())
    }

    fn get_until(&self, wanted: &DownloadRequest, cancel: &Cancel) -> Result<Url> {
        let client = Client::new(reqwest::Client::builder().no_proxy(), self.limits.clone(), Vec::new()).unwrap();
        let line = |line: &str| self.log.lock().unwrap().push_str(&format!("{line}\n"));
        client.download(wanted, &self.path(), &DownloadProgress { line: &line, bytes: &|_, _| {} }, cancel)
    }

    /// Returns the error of a download that must fail without creating its file.
    fn refused(&self, wanted: &DownloadRequest) -> String {
        let error = format!("{:#}", self.get(wanted).unwrap_err());
        assert!(!self.path().exists());
        error
    }
}

fn wanted<'a>(urls: &'a [Url], sha256: &'a str) -> DownloadRequest<'a> {
    DownloadRequest { urls, sha256: Some(sha256), size: None, largest: 1 << 20, accept: None }
}

#[test]
fn an_aborted_transfer_is_resumed() {
    let lab = DownloadTest::new();
    let sha256 = digest::of(body());
    let server = TestServer::start(|n, head, stream| match n {
        0 => send(stream, "200 OK", "ETag: \"one\"\r\n", &body()[..150_000], 400_000),
        _ => {
            let from = range(head).unwrap();
            let part = format!("Content-Range: bytes {from}-399999/400000\r\n");
            let end = if n == 1 { 300_000 } else { 400_000 };
            send(stream, "206 Partial Content", &part, &body()[from..end], 400_000 - from)
        }
    });
    lab.get(&wanted(&[server.url()], &sha256)).unwrap();
    assert_eq!(fs::read(lab.path()).unwrap(), body());
    let requests = server.requests.lock().unwrap();
    assert_eq!(requests.iter().map(|head| range(head)).collect::<Vec<_>>(), [None, Some(150_000), Some(300_000)]);
    assert!(requests[1].to_lowercase().contains("if-range: \"one\"\r\n"), "{}", requests[1]);
}

#[test]
fn parts_of_different_files_are_never_combined() {
    let lab = DownloadTest::new();
    let sha256 = digest::of(body());
    let server = TestServer::start(|n, head, stream| match n {
        0 => send(stream, "200 OK", "", &[7; 1000], 400_000),
        1 => {
            let from = range(head).unwrap();
            let part = format!("Content-Range: bytes {from}-399999/400000\r\n");
            send(stream, "206 Partial Content", &part, &body()[from..], 400_000 - from)
        }
        _ => {
            assert_eq!(range(head), None);
            send(stream, "200 OK", "", &body(), 400_000)
        }
    });
    lab.get(&wanted(&[server.url()], &sha256)).unwrap();
    assert_eq!((fs::read(lab.path()).unwrap(), server.count()), (body(), 3));

    // One server sends the whole file again, the other the wrong range.
    for (status, headers) in [("200 OK", ""), ("206 Partial Content", "Content-Range: bytes 0-399999/400000\r\n")] {
        let server = TestServer::start(move |n, _, stream| match n {
            0 => send(stream, "200 OK", "", &body()[..1000], 400_000),
            1 => send(stream, status, headers, &body(), 400_000),
            _ => send(stream, "200 OK", "", &body(), 400_000),
        });
        lab.get(&wanted(&[server.url()], &sha256)).unwrap();
        assert_eq!(fs::read(lab.path()).unwrap(), body());
    }
}

#[test]
fn transient_failures_are_retried_up_to_three_attempts() {
    let lab = DownloadTest::new();
    let sha256 = digest::of(body());
    let server = TestServer::start(|n, _, stream| match n {
        // The requested delay is longer than the maximum.
        0 => empty(stream, "429 Too Many Requests", "Retry-After: 86400\r\n"),
        1 => empty(stream, "503 Service Unavailable", ""),
        _ => send(stream, "200 OK", "", &body(), 400_000),
    });
    lab.get(&wanted(&[server.url()], &sha256)).unwrap();
    assert_eq!(server.count(), 3);

    // The first connection is closed without a response; the second is reset within the body.
    let server = TestServer::start(|n, _, stream| match n {
        0 => Ok(()),
        1 => {
            send(stream, "200 OK", "", &body()[..1000], 400_000)?;
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            Ok(())
        }
        _ => send(stream, "200 OK", "", &body(), 400_000),
    });
    lab.get(&wanted(&[server.url()], &sha256)).unwrap();
    assert_eq!(server.count(), 3);

    let lab = DownloadTest::new();
    let server = TestServer::start(|_, _, stream| empty(stream, "502 Bad Gateway", ""));
    let error = lab.refused(&wanted(&[server.url()], &sha256));
    assert!(error.contains("responded with 502 Bad Gateway (3 attempts"), "{error}");
    assert_eq!(server.count(), 3);
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = lab.refused(&wanted(&[parse_url(&format!("http://127.0.0.1:{unused}/x")).unwrap()], &sha256));
    assert!(error.contains("refused") && error.contains("3 attempts"), "{error}");
}

#[test]
fn permanent_failures_are_not_retried_and_the_next_url_is_used() {
    let lab = DownloadTest::new();
    let sha256 = digest::of(body());
    let server = TestServer::start(|_, _, stream| empty(stream, "404 Not Found", ""));
    let error = lab.refused(&wanted(&[server.url()], &sha256));
    assert!(error.ends_with("/f/x-1.whl: the server responded with 404 Not Found"), "{error}");
    assert_eq!(server.count(), 1);
    let good = TestServer::start(|_, _, stream| send(stream, "200 OK", "", &body(), 400_000));
    lab.get(&wanted(&[server.url(), good.url()], &sha256)).unwrap();
    assert_eq!((server.count(), good.count()), (2, 1));
}

#[test]
fn a_file_with_a_wrong_digest_is_deleted() {
    let lab = DownloadTest::new();
    let server = TestServer::start(|_, _, stream| send(stream, "200 OK", "", b"something else", 14));
    let error = lab.refused(&wanted(&[server.url()], &digest::of(body())));
    assert!(error.contains(&format!("has the SHA-256 `{}`, not the pinned", digest::of(b"something else"))), "{error}");
    assert_eq!(server.count(), 1);
}

#[test]
fn redirects_are_limited_in_scheme_and_number() {
    let lab = DownloadTest::new();
    let sha256 = digest::of(body());
    let secret = lab.folder.join("secret");
    fs::write(&secret, body()).unwrap();
    for to in [format!("file://{}", secret.display()), "ftp://127.0.0.1/x".to_owned(), "data:,x".to_owned()] {
        let server = TestServer::start(move |_, _, stream| empty(stream, "302 Found", &format!("Location: {to}\r\n")));
        let error = lab.refused(&wanted(&[server.url()], &sha256));
        assert!(error.contains("302 Found") || error.contains("neither `https:` nor `http:`"), "{error}");
        assert_eq!(server.count(), 1);
    }
    let server = TestServer::start(|_, _, stream| empty(stream, "302 Found", "Location: /f/x-1.whl\r\n"));
    let error = lab.refused(&wanted(&[server.url()], &sha256));
    assert!(error.contains("redirects more than 10 times"), "{error}");
    let url = |text: &str| parse_url(text).unwrap();
    assert!(check_redirect(&url("http://h/"), &[url("https://h/")]).is_err());
    assert!(check_redirect(&url("https://h/"), &[url("http://h/")]).is_ok());
}

#[test]
fn a_login_is_sent_only_to_its_host_and_never_shown() {
    let lab = DownloadTest::new();
    let good = TestServer::start(|_, _, stream| send(stream, "200 OK", "", &body(), 400_000));
    // `localhost` is another host name of the same machine.
    let to = good.url().as_str().replace("127.0.0.1", "localhost");
    let server = TestServer::start(move |n, _, stream| match n {
        0 => empty(stream, "503 Service Unavailable", ""),
        _ => empty(stream, "307 Temporary Redirect", &format!("Location: {to}\r\n")),
    });
    let mut url = server.url();
    url.set_username("me").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    lab.get(&wanted(&[url.clone()], &digest::of(body()))).unwrap();
    let login = |head: &str| head.to_lowercase().contains("authorization: basic");
    assert!(server.requests.lock().unwrap().iter().all(|head| login(head)));
    assert!(!login(&good.requests.lock().unwrap()[0]));
    assert!(!lab.log.lock().unwrap().contains("hunter2"));
    let lab = DownloadTest::new();
    url.set_port(Some(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())).unwrap();
    let error = lab.refused(&wanted(&[url], "0"));
    assert!(!error.contains("hunter2") && !lab.log.lock().unwrap().contains("hunter2"), "{error}");
}

#[test]
fn more_bytes_than_expected_are_an_error() {
    let lab = DownloadTest::new();
    let sha256 = digest::of(body());
    let endless = |_, _: &str, stream: &mut TcpStream| {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[7; 1 << 16])?;
        }
    };
    let server = TestServer::start(endless);
    let error = lab.refused(&wanted(&[server.url()], &sha256));
    assert!(error.contains("the response is larger than 1.00 MiB"), "{error}");
    assert!(fs::metadata(lab.folder.join("download.0")).unwrap().len() <= 1 << 20);
    let server = TestServer::start(endless);
    let error = lab.refused(&DownloadRequest { size: Some(1000), ..wanted(&[server.url()], &sha256) });
    assert!(error.contains("the response is larger than 1000 B"), "{error}");
    assert_eq!(server.count(), 1);

    let lies = |length: u64| {
        TestServer::start(move |_, _, stream| write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))
    };
    let server = lies(1 << 60);
    let error = lab.refused(&wanted(&[server.url()], &sha256));
    assert!(error.contains("more than the maximum of 1.00 MiB"), "{error}");
    for length in [999, 1001] {
        let server = lies(length);
        let error = lab.refused(&DownloadRequest { size: Some(1000), ..wanted(&[server.url()], &sha256) });
        assert!(error.contains(&format!("announces {}, but the file has 1000 B", ui::bytes(length))), "{error}");
    }
    // The response has no `Content-Length` and is too short.
    let server = TestServer::start(|_, _, stream| write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nshort"));
    let error = lab.refused(&DownloadRequest { size: Some(1000), ..wanted(&[server.url()], &sha256) });
    assert!(error.contains("the connection was closed after 5 B of 1000 B (3 attempts"), "{error}");
}

#[test]
fn slow_and_silent_servers_time_out() {
    let drip = |start: &'static str| {
        TestServer::start(move |_, _, stream| {
            write!(stream, "{start}")?;
            loop {
                stream.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let silent = |start: &'static str| {
        TestServer::start(move |_, _, stream| {
            write!(stream, "{start}")?;
            std::thread::sleep(Duration::from_secs(3600));
            Ok(())
        })
    };
    let mut lab = DownloadTest::new();
    lab.limits.period = Duration::from_millis(150);
    let (head, body) = ("HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n");
    for (server, why) in [
        (drip(head), "no response within 150ms"),
        (silent(head), "no response within 150ms"),
        (silent(body), "no data for 150ms"),
        (drip(body), "received in 150ms"),
    ] {
        let error = lab.refused(&wanted(&[server.url()], "0"));
        // On a loaded machine, even the headers can be late.
        let late = error.contains(why) || error.contains("no response within 150ms");
        assert!(late && error.contains("3 attempts"), "{why}: {error}");
    }
    // This server is fast enough but never finishes.
    lab.limits.least = 1;
    lab.limits.period = Duration::from_secs(3600);
    lab.limits.whole = Duration::from_millis(400);
    let error = lab.refused(&wanted(&[drip(body).url()], "0"));
    assert!(error.contains("incomplete after 400ms"), "{error}");
}

#[test]
fn an_interruption_aborts_a_download() {
    let lab = DownloadTest::new();
    let cancel = Cancel::default();
    let interrupt = cancel.clone();
    let server = TestServer::start(move |_, _, stream| {
        send(stream, "200 OK", "", &body()[..1000], 400_000)?;
        interrupt.set();
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    });
    let error = lab.get_until(&wanted(&[server.url()], "0"), &cancel).unwrap_err();
    assert_eq!((error.to_string(), server.count()), ("interrupted".to_owned(), 1));
}

#[test]
fn a_page_is_never_combined_from_two_responses() {
    let lab = DownloadTest::new();
    let server = TestServer::start(|n, _, stream| match n {
        0 => send(stream, "200 OK", "", b"half", 9),
        _ => send(stream, "200 OK", "", b"all of it", 9),
    });
    lab.get(&DownloadRequest { sha256: None, ..wanted(&[server.url()], "") }).unwrap();
    assert_eq!(fs::read(lab.path()).unwrap(), b"all of it");
    assert!(server.requests.lock().unwrap().iter().all(|head| range(head).is_none()));
}

#[test]
fn a_full_disk_is_not_reported_as_a_network_failure() {
    let lab = DownloadTest::new();
    let error = check_room(&lab.folder, u64::MAX - 1).unwrap_err().to_string();
    assert!(error.starts_with("the disk is full: "), "{error}");
    // Writing to `/dev/full` always fails.
    std::os::unix::fs::symlink("/dev/full", lab.folder.join("download.0")).unwrap();
    let server = TestServer::start(|_, _, stream| send(stream, "200 OK", "", &body(), 400_000));
    let error = lab.refused(&wanted(&[server.url()], "0"));
    assert!(error.contains("No space left on device") && !error.contains("network"), "{error}");
    assert_eq!(server.count(), 1);
}

/// Helper that the next test runs as a child process, because a test must not change its own environment.
#[test]
fn download_with_the_environment_of_this_process() {
    let Ok(url) = std::env::var("XTASK_TEST_URL") else { return };
    let lab = DownloadTest::new();
    let client = Client::from_environment().unwrap();
    let progress = DownloadProgress { line: &|_| {}, bytes: &|_, _| {} };
    let sha256 = digest::of(body());
    client.download(&wanted(&[parse_url(&url).unwrap()], &sha256), &lab.path(), &progress, &Cancel::default()).unwrap();
}

#[test]
fn proxies_and_logins_come_from_the_environment() {
    let lab = DownloadTest::new();
    let whole = |_, _: &str, stream: &mut TcpStream| send(stream, "200 OK", "", &body(), 400_000);
    let netrc = lab.folder.join("netrc");
    fs::write(&netrc, "machine index.invalid login me password hunter2\n").unwrap();
    let download = |url: &str, variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["tests::download_with_the_environment_of_this_process", "--exact"]).env("XTASK_TEST_URL", url);
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        let output = command.envs(variables.iter().copied()).env("NETRC", &netrc).output().unwrap();
        assert!(output.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&output.stdout));
    };
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let proxy = TestServer::start(whole);
        download("http://index.invalid/x", &[(name, &format!("http://127.0.0.1:{}", proxy.port))]);
        let requests = proxy.requests.lock().unwrap();
        assert!(requests[0].starts_with("GET http://index.invalid/x HTTP/1.1\r\n"), "{name}: {}", requests[0]);
        assert!(requests[0].to_lowercase().contains("\r\nauthorization: basic "), "{}", requests[0]);
    }
    let (server, proxy) = (TestServer::start(whole), TestServer::start(whole));
    let address = format!("http://127.0.0.1:{}", proxy.port);
    for no_proxy in ["no_proxy", "NO_PROXY"] {
        download(server.url().as_str(), &[("http_proxy", &address), (no_proxy, "example.org,127.0.0.1")]);
    }
    assert_eq!((server.count(), proxy.count()), (2, 0));
}

#[test]
fn a_probe_reports_whether_a_server_responds_with_success() {
    let client = direct_client();
    let good = TestServer::start(|_, _, stream| empty(stream, "200 OK", ""));
    client.probe(&good.url()).unwrap();
    let bad = TestServer::start(|_, _, stream| empty(stream, "404 Not Found", ""));
    assert!(client.probe(&bad.url()).unwrap_err().to_string().contains("404"));
}
