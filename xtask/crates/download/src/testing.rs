//! HTTP test server and a client for it.

#![allow(clippy::unwrap_used, reason = "only compiled for tests")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;

use crate::address::parse_url;
use crate::client::Client;
use crate::request::DownloadLimits;

/// Returns the default limits with short delays.
pub fn short_limits() -> DownloadLimits {
    let pauses = vec![Duration::from_millis(1); 2];
    DownloadLimits { pauses, longest_pause: Duration::from_millis(20), ..DownloadLimits::default() }
}

/// Returns a client without proxies, independent of the environment.
pub fn direct_client() -> Client {
    Client::new(reqwest::Client::builder().no_proxy(), short_limits(), Vec::new()).unwrap()
}

/// HTTP server on the loopback interface. A function of the connection's number answers the first request of each
/// connection.
pub struct TestServer {
    pub port: u16,
    /// Headers of all requests, in order.
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl TestServer {
    pub fn start(
        response: impl Fn(usize, &str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (response, seen, count) = (Arc::new(response), requests.clone(), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (response, seen, count) = (response.clone(), seen.clone(), count.clone());
                std::thread::spawn(move || {
                    let mut head = String::new();
                    let mut lines = BufReader::new(stream.try_clone().unwrap());
                    while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).is_ok_and(|n| n > 0) {}
                    seen.lock().unwrap().push(head.clone());
                    // The client may close the connection early.
                    let _ = response(count.fetch_add(1, Ordering::SeqCst), &head, &mut stream);
                });
            }
        });
        TestServer { port, requests }
    }

    pub fn url(&self) -> Url {
        parse_url(&format!("http://127.0.0.1:{}/f/x-1.whl", self.port)).unwrap()
    }

    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

/// Sends a response whose `Content-Length` may differ from the length of the body.
pub fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8], length: usize) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n")?;
    stream.write_all(body)
}

pub fn empty(stream: &mut TcpStream, status: &str, headers: &str) -> io::Result<()> {
    send(stream, status, headers, b"", 0)
}
