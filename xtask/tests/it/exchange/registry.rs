//! Debian's `docker-registry` on loopback, a proxy that breaks connections to it off, and a second engine.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::wait_until;

/// The password `secret`, in the format of `htpasswd -B`.
pub const HTPASSWD: &str = "me:$2b$04$sTaXPknGZnHJe5OTR96byeJWdWb26iWuV42GNKb/CRimGRDXSTgXW\n";

/// Registry that is stopped after the test.
pub struct Registry {
    pub server: Child,
    pub port: u16,
    pub store: PathBuf,
}

impl Registry {
    pub fn start(folder: &Path, login: bool) -> Registry {
        let store = folder.join("registry");
        fs::create_dir_all(&store).unwrap();
        let passwords = folder.join("htpasswd");
        fs::write(&passwords, HTPASSWD).unwrap();
        let file = folder.join("registry.yml");
        // It cannot choose a free port itself, and another program may take the port in the meantime.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\"}}\n",
                store.display()
            );
            if login {
                config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display()));
            }
            fs::write(&file, config).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut server = command.spawn().unwrap_or_else(|error| {
                panic!("cannot start `docker-registry`: {error}: `sudo apt-get install docker-registry`")
            });
            wait_until("docker-registry does not listen", || {
                server.try_wait().unwrap().is_some() || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if server.try_wait().unwrap().is_none() {
                return Registry { server, port, store };
            }
        }
        panic!("docker-registry ends at once");
    }

    pub fn repository(&self) -> String {
        format!("127.0.0.1:{}/team/cache", self.port)
    }

    /// Returns the tag of the image that the step `id` built.
    pub fn tag(&self, id: &str) -> Option<String> {
        let tags = self.store.join("docker/registry/v2/repositories/team/cache/_manifests/tags");
        let names = fs::read_dir(tags).into_iter().flatten().flatten();
        names
            .map(|entry| entry.file_name().into_string().unwrap())
            .find(|tag| tag.starts_with(&format!("{id}-")) && !tag.ends_with(".note"))
    }

    pub fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Second engine with its own socket and network, and a registry with the same storage.
pub struct SecondEngine {
    pub engine: Child,
    pub registry: Option<Child>,
    pub socket: String,
}

impl SecondEngine {
    pub fn start(folder: &Path, registry: &Registry) -> SecondEngine {
        let socket = format!("unix://{}/docker.sock", folder.display());
        let at = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
        // A separate network namespace, so that the bridge of the other engine is not affected.
        let script = "ip link set lo up; exec dockerd \"$@\"";
        let log = fs::File::create(folder.join("dockerd.log")).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-euc", script, "sh", "--host", &socket])
            .args([at("data-root", "data"), at("exec-root", "exec"), at("pidfile", "docker.pid")])
            .args(["--containerd-namespace=second", "--containerd-plugins-namespace=second-plugins"])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        let engine = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut second = SecondEngine { engine, registry: None, socket };
        wait_until("dockerd does not answer", || {
            let log = || fs::read_to_string(folder.join("dockerd.log")).unwrap_or_default();
            assert!(second.engine.try_wait().unwrap().is_none(), "dockerd ended: {}", log());
            second.docker(&["version"]).status.success()
        });
        let net = format!("--net=/proc/{}/ns/net", second.engine.id());
        let mut command = Command::new("nsenter");
        command.args([&net, "docker-registry", "serve"]).arg(registry.store.with_file_name("registry.yml"));
        second.registry =
            Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        second
    }

    pub fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("docker").args(["--host", &self.socket]).args(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        if let Some(registry) = &mut self.registry {
            let _ = registry.kill();
            let _ = registry.wait();
        }
        // On this signal the engine stops what it has started.
        let _ = Command::new("kill").arg(self.engine.id().to_string()).status();
        let asked = Instant::now();
        while matches!(self.engine.try_wait(), Ok(None)) && asked.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

/// Starts a proxy for a registry that aborts certain requests, and returns its port.
pub fn breaks_off(port: u16, breaks: impl Fn(&str) -> bool + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let breaks = Arc::new(breaks);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let breaks = breaks.clone();
            std::thread::spawn(move || relay(client, port, &*breaks));
        }
    });
    own
}

/// Forwards one request and its response, then closes the connection.
pub fn relay(mut client: TcpStream, port: u16, breaks: &dyn Fn(&str) -> bool) -> Option<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(client.try_clone().ok()?);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    if breaks(&head) {
        return None;
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).ok()
}
