//! Carries the engine's HTTP over the user's own `ssh`, which the client library cannot do without a second ssh set-up.

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

/// A private socket whose every connection is carried by `ssh HOST docker system dial-stdio`, as the docker client does it, so that the user's ssh configuration, agent and known hosts apply.
pub(super) struct Tunnel {
    dir: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) said: Arc<Mutex<String>>,
}

impl Tunnel {
    pub(super) fn open(rest: &str) -> Result<Tunnel> {
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, String::new()),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-@:[]%+".contains(c);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        // ssh would take a leading dash for an option, and the remote shell reads the path.
        ensure!(
            !host.is_empty()
                && !host.starts_with('-')
                && authority.chars().all(plain)
                && path.chars().all(|c| plain(c) || c == '/'),
            "the ssh address of the Docker engine cannot be used; write it as `ssh://user@host:port`"
        );
        ensure!(
            !user.is_some_and(|user| user.contains(':')),
            "the ssh address of the Docker engine contains a password, which ssh does not take; use a key"
        );
        // ssh itself reads ports and IPv6 addresses in a URL.
        let target = format!("ssh://{authority}");
        let mut remote = String::from("docker");
        if !path.is_empty() {
            remote.push_str(&format!(" --host unix://{path}"));
        }
        remote.push_str(" system dial-stdio");

        let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let dir = std::env::temp_dir().join(format!("docker-ssh-{}-{stamp:x}", std::process::id()));
        let failed =
            || format!("cannot make the socket for ssh in `{}`; set TMPDIR to a writable directory", dir.display());
        DirBuilder::new().mode(0o700).create(&dir).with_context(failed)?;
        let socket = dir.join("docker.sock");
        let said = Arc::new(Mutex::new(String::new()));
        let tunnel = Tunnel { dir: dir.clone(), socket: socket.clone(), said: Arc::clone(&said) };
        let listener = UnixListener::bind(&socket).with_context(failed)?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (target, remote, said) = (target.clone(), remote.clone(), Arc::clone(&said));
                thread::spawn(move || {
                    if let Err(error) = carry(stream, &target, &remote, &said) {
                        *said.lock().unwrap_or_else(PoisonError::into_inner) = format!("cannot run `ssh`: {error}");
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

/// Hands one connection to an `ssh` of its own. It gets the socket itself: copying through pipes with
/// `io::copy` hangs, for `splice` keeps a pipe locked while it waits for the socket.
fn carry(stream: UnixStream, target: &str, remote: &str, said: &Mutex<String>) -> io::Result<()> {
    let input = OwnedFd::from(stream.try_clone()?);
    let mut child = Command::new("ssh")
        .args(["-T", "-o", "ConnectTimeout=30", "--", target, remote])
        .stdin(input)
        .stdout(OwnedFd::from(stream))
        .stderr(Stdio::piped())
        .spawn()?;
    let mut text = Vec::new();
    // The rest must be read as well, or ssh would wait for it.
    if let Some(mut pipe) = child.stderr.take() {
        let mut begin = pipe.by_ref().take(4096);
        let _ = begin.read_to_end(&mut text);
        *said.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(&text).into_owned();
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    child.wait().map(|_| ())
}
