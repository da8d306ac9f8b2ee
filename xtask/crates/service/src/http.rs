//! Minimal HTTP GET for health checks of a service on this machine.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Maximum size of a response in bytes.
const MOST: usize = 64 << 20;
/// Connection timeout: an unroutable address does not respond at all.
const CONNECT: Duration = Duration::from_secs(2);
/// Time limit of one request of a health check.
const CHECK: Duration = Duration::from_secs(5);

/// Sends `GET <path>` to `HOST:PORT` and returns status and body. The whole response must arrive within `limit`.
pub fn get(address: &str, path: &str, limit: Duration) -> Result<(u16, String)> {
    let begun = Instant::now();
    let left = || {
        let left = limit.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
        left.with_context(|| format!("the response is incomplete after {limit:?}"))
    };
    let at = address.to_socket_addrs()?.next().with_context(|| format!("`{address}` is not an address"))?;
    let mut stream = TcpStream::connect_timeout(&at, CONNECT.min(limit))?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        // Set per read, because a service that sends single bytes must not extend the limit.
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("the response is incomplete after {limit:?}")
            }
            Err(error) => return Err(error.into()),
        }
        ensure!(answer.len() <= MOST, "the response is longer than {MOST} bytes");
    }
    let answer = String::from_utf8(answer).context("the response is not text")?;
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok()).context("the response is not HTTP")?;
    Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

/// Returns the first address that responds with status 200, if any.
pub fn first_ready(addresses: &[String], path: &str) -> Option<String> {
    let ready = |address: &&String| get(address, path, CHECK).is_ok_and(|(status, _)| status == 200);
    addresses.iter().find(ready)?;
    // Check again from the start: the service may have become ready after an earlier address was checked.
    addresses.iter().find(ready).cloned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Sends `answer` on each connection, then calls `after` with the connection.
    fn serve(answer: &'static str, after: fn(TcpStream)) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
                after(stream);
            }
        });
        address
    }

    #[test]
    fn responses_are_parsed() {
        let address = serve("HTTP/1.1 503 No\r\nA: b\r\n\r\nbody", drop);
        assert_eq!(get(&address, "/", CHECK).unwrap(), (503, "body".to_owned()));
        let address = serve("SSH-2.0\r\n", drop);
        assert!(get(&address, "/", CHECK).unwrap_err().to_string().contains("not HTTP"));
    }

    /// The service never closes the connection.
    #[test]
    fn a_slow_service_does_not_extend_the_limit() {
        let address = serve("HTTP/1.0 200 OK\r\n\r\n", |mut stream| {
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let error = get(&address, "/", Duration::from_millis(300)).unwrap_err();
        assert!(format!("{error:#}").contains("incomplete"), "{error:#}");
    }

    #[test]
    fn the_first_responding_address_is_used() {
        let own = serve("HTTP/1.0 200 OK\r\n\r\n", drop);
        let forwarded = serve("HTTP/1.0 200 OK\r\n\r\n", drop);
        // No service listens there, like the address of a container in a rootless engine.
        let unreachable = "127.0.0.1:1".to_owned();
        let first = |addresses: [&String; 2]| first_ready(&addresses.map(String::clone), "/ready");
        assert_eq!(first([&own, &forwarded]), Some(own.clone()));
        assert_eq!(first([&unreachable, &forwarded]), Some(forwarded));
        assert_eq!(first([&unreachable, &unreachable]), None);
    }
}
