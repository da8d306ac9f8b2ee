//! Forwards connections to an engine on another machine through the user's own `ssh`.
//!
//! The client library could do this only with an ssh configuration of its own.

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

/// A private Unix socket. Each connection to it is forwarded by a process `ssh HOST docker system dial-stdio`, as in
/// the docker client, so the user's ssh configuration, agent and known hosts apply.
pub struct Tunnel {
    dir: PathBuf,
    /// Path of the socket.
    pub socket: PathBuf,
    /// What the last ssh process wrote to its standard error.
    pub stderr: Arc<Mutex<String>>,
}

impl Tunnel {
    /// Opens a tunnel to `[user@]host[:port][/socket]`, the part of an `ssh://` address after the scheme.
    pub fn open(rest: &str) -> Result<Tunnel> {
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, String::new()),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:[]%+".contains(c);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        // ssh would read a leading dash as an option, and the remote shell interprets the path.
        ensure!(
            !host.is_empty()
                && !host.starts_with('-')
                && authority.chars().all(allowed)
                && path.chars().all(|c| allowed(c) || c == '/'),
            "the ssh address of the Docker engine is not valid; write it as `ssh://user@host:port`"
        );
        ensure!(
            !user.is_some_and(|user| user.contains(':')),
            "the ssh address of the Docker engine contains a password, which ssh does not accept; use a key"
        );
        // ssh itself parses the port and IPv6 addresses of a URL.
        let target = format!("ssh://{authority}");
        let mut remote = String::from("docker");
        if !path.is_empty() {
            remote.push_str(&format!(" --host unix://{path}"));
        }
        remote.push_str(" system dial-stdio");

        let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let dir = std::env::temp_dir().join(format!("docker-ssh-{}-{stamp:x}", std::process::id()));
        let failed =
            || format!("cannot create the socket for ssh in `{}`; set TMPDIR to a writable directory", dir.display());
        DirBuilder::new().mode(0o700).create(&dir).with_context(failed)?;
        let socket = dir.join("docker.sock");
        let stderr = Arc::new(Mutex::new(String::new()));
        let tunnel = Tunnel { dir: dir.clone(), socket: socket.clone(), stderr: Arc::clone(&stderr) };
        let listener = UnixListener::bind(&socket).with_context(failed)?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (target, remote, stderr) = (target.clone(), remote.clone(), Arc::clone(&stderr));
                thread::spawn(move || {
                    if let Err(error) = forward(stream, &target, &remote, &stderr) {
                        *stderr.lock().unwrap_or_else(PoisonError::into_inner) = format!("cannot run `ssh`: {error}");
                    }
                });
            }
        });
        Ok(tunnel)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Starts an `ssh` process for one connection. The process gets the socket itself as input and output: copying
/// through pipes with `io::copy` hangs, because `splice` keeps a pipe locked while it waits for the socket.
fn forward(stream: UnixStream, target: &str, remote: &str, stderr: &Mutex<String>) -> io::Result<()> {
    let input = OwnedFd::from(stream.try_clone()?);
    let mut child = Command::new("ssh")
        .args(["-T", "-o", "ConnectTimeout=30", "--", target, remote])
        .stdin(input)
        .stdout(OwnedFd::from(stream))
        .stderr(Stdio::piped())
        .spawn()?;
    let mut text = Vec::new();
    // Standard error is read to its end: ssh would block on a full pipe.
    if let Some(mut pipe) = child.stderr.take() {
        let mut begin = pipe.by_ref().take(4096);
        let _ = begin.read_to_end(&mut text);
        *stderr.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(&text).into_owned();
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    child.wait().map(|_| ())
}
