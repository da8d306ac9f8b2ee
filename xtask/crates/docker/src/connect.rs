//! Finds the engine the docker client would use, and says what is wrong when it cannot be reached.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Docker;
use super::tunnel::Tunnel;
use super::watch::chain;

/// How an endpoint is called that nobody chose.
const DEFAULT: &str = "the default";
/// Time to reach the engine at all.
const CONNECT: Duration = Duration::from_secs(5);
/// Time until it tells its version; an ssh login happens within.
const GREETING: Duration = Duration::from_secs(15);
const GREETING_SSH: Duration = Duration::from_secs(60);
/// Time until the first byte of an answer; the watchdog is stricter, but a build or an import may be silent for long.
const ANSWER: u64 = 24 * 60 * 60;
/// Oldest API with everything used here (Docker 20.10).
const OLDEST_API: (u32, u32) = (1, 41);

/// How the process environment is read, so that tests need not change it.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where an engine is, and how that was found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) tls: Option<Tls>,
    pub(super) origin: String,
}

/// Certificates of a TLS endpoint; those that do not exist are not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Tls {
    fn of(dir: &Path) -> Tls {
        Tls { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") }
    }
}

fn set(env: Env, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

fn config_dir(env: Env) -> Option<PathBuf> {
    set(env, "DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(Path::new(&set(env, "HOME")?).join(".docker")))
}

/// The docker client's `config.json`, null when there is none.
pub(super) fn config(env: Env) -> Result<Value> {
    let Some(path) = config_dir(env).map(|dir| dir.join("config.json")) else {
        return Ok(Value::Null);
    };
    read_json(&path).map(Option::unwrap_or_default)
}

fn read_json(path: &Path) -> Result<Option<Value>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`; check its permissions", path.display()));
        }
    };
    // The text around a syntax error may be a password, so only its place is told.
    let parsed = serde_json::from_slice(&text).map_err(|error| {
        anyhow!(
            "`{}` is no valid JSON (line {}, column {}); repair or remove it",
            path.display(),
            error.line(),
            error.column()
        )
    })?;
    Ok(Some(parsed))
}

/// Decides which engine to use, by the rules of the docker client.
pub(super) fn resolve(env: Env) -> Result<Endpoint> {
    let dir = config_dir(env);
    if let Some(host) = set(env, "DOCKER_HOST") {
        let verify = set(env, "DOCKER_TLS_VERIFY").is_some();
        ensure!(
            verify || set(env, "DOCKER_TLS").is_none(),
            "DOCKER_TLS without DOCKER_TLS_VERIFY would trust any server; set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
        );
        let certs = set(env, "DOCKER_CERT_PATH").map(PathBuf::from).or(dir).unwrap_or_default();
        let tls = (verify || host.starts_with("https://")).then(|| Tls::of(&certs));
        return Ok(Endpoint { host, tls, origin: "DOCKER_HOST".to_owned() });
    }
    let (name, origin) = match set(env, "DOCKER_CONTEXT") {
        Some(name) => (name, "DOCKER_CONTEXT"),
        None => match config(env)?["currentContext"].as_str() {
            Some(name) if !name.is_empty() => (name.to_owned(), "`currentContext` of the docker client"),
            _ => return Ok(local(env)),
        },
    };
    if name == "default" {
        return Ok(local(env));
    }
    let store = dir.unwrap_or_default().join("contexts");
    let hash: String = Sha256::digest(&name).iter().map(|byte| format!("{byte:02x}")).collect();
    let Some(meta) = read_json(&store.join("meta").join(&hash).join("meta.json"))? else {
        bail!(
            "docker context `{name}`, chosen by {origin}, does not exist; choose one of {} (`docker context use NAME`)",
            contexts(&store).iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        );
    };
    let docker = &meta["Endpoints"]["docker"];
    ensure!(
        docker["SkipTLSVerify"].as_bool() != Some(true),
        "docker context `{name}` skips the check of the server's certificate, which is not supported; set its CA with `docker context update {name}`"
    );
    let certs = store.join("tls").join(&hash).join("docker");
    let host = docker["Host"].as_str().unwrap_or_default().to_owned();
    if host.is_empty() {
        return Ok(local(env));
    }
    let tls = (certs.is_dir() || host.starts_with("https://")).then(|| Tls::of(&certs));
    Ok(Endpoint { host, tls, origin: format!("docker context `{name}`") })
}

fn contexts(store: &Path) -> Vec<String> {
    let metas = fs::read_dir(store.join("meta")).into_iter().flatten().flatten();
    let mut names: Vec<String> = metas
        .filter_map(|entry| read_json(&entry.path().join("meta.json")).ok().flatten())
        .filter_map(|meta| meta["Name"].as_str().map(str::to_owned))
        .collect();
    names.push("default".to_owned());
    names.sort();
    names
}

fn local(env: Env) -> Endpoint {
    const SYSTEM: &str = "/var/run/docker.sock";
    let rootless = set(env, "XDG_RUNTIME_DIR").map(|dir| format!("{dir}/docker.sock"));
    let path = match rootless {
        Some(path) if !Path::new(SYSTEM).exists() && Path::new(&path).exists() => path,
        _ => SYSTEM.to_owned(),
    };
    Endpoint { host: format!("unix://{path}"), tls: None, origin: DEFAULT.to_owned() }
}

/// The socket of a local engine that nobody chose otherwise; `None` where the user points elsewhere.
pub fn default_socket() -> Option<PathBuf> {
    let endpoint = resolve(&|name| std::env::var(name).ok()).ok()?;
    (endpoint.origin == DEFAULT).then(|| PathBuf::from(endpoint.host.trim_start_matches("unix://")))
}

impl Docker {
    /// Connects to an endpoint. No API version is agreed on: requests go out without one, and the
    /// engine takes them as of its own newest.
    pub(super) fn open(endpoint: &Endpoint) -> Result<Docker> {
        let docker = Docker::reach(endpoint)?;
        docker.greet(endpoint)?;
        Ok(docker)
    }

    /// The same, without asking what it is, which takes an engine longer than most answers: it starts
    /// other programs to say what they are.
    pub(super) fn reach(endpoint: &Endpoint) -> Result<Docker> {
        let host = endpoint.host.trim_end_matches('/');
        let (scheme, rest) = match host.split_once("://") {
            Some(parts) => parts,
            None if host.starts_with('/') => ("unix", host),
            None => ("tcp", host),
        };
        let origin = &endpoint.origin;
        let mut tunnel = None;
        let client = match scheme {
            "unix" => {
                reach_socket(Path::new(rest), origin)?;
                bollard::Docker::connect_with_unix(rest, ANSWER, API_DEFAULT_VERSION)
            }
            "tcp" | "http" | "https" => {
                let default_port = if endpoint.tls.is_some() { 2376 } else { 2375 };
                let address = authority(rest, default_port)
                    .with_context(|| format!("cannot use the address chosen by {origin}"))?;
                reach_tcp(&address, origin)?;
                match &endpoint.tls {
                    Some(tls) => connect_tls(&address, tls),
                    None => {
                        bollard::Docker::connect_with_http(&format!("tcp://{address}"), ANSWER, API_DEFAULT_VERSION)
                    }
                }
            }
            "ssh" => {
                let opened = Tunnel::open(rest)?;
                let client =
                    bollard::Docker::connect_with_unix(&opened.socket.to_string_lossy(), ANSWER, API_DEFAULT_VERSION);
                tunnel = Some(Arc::new(opened));
                client
            }
            other => bail!(
                "`{other}://`, chosen by {origin}, is no address of a Docker engine this tool can use; use unix://, tcp://, https:// or ssh://"
            ),
        };
        let client = client.map_err(|error| tls_error(error, origin))?;
        // A password in the address must not get into messages.
        let shown = rest
            .rsplit_once('@')
            .map_or(rest.to_owned(), |(user, host)| format!("{}@{host}", user.split(':').next().unwrap_or_default()));
        Ok(Docker { client, endpoint: format!("{scheme}://{shown}"), tunnel, memory: Arc::default() })
    }

    /// Time until the first answer.
    pub(super) fn greeting(&self) -> Duration {
        if self.tunnel.is_some() { GREETING_SSH } else { GREETING }
    }

    fn greet(&self, endpoint: &Endpoint) -> Result<()> {
        let origin = &endpoint.origin;
        let greeting = self.greeting();
        let version = self.block(async {
            match tokio::time::timeout(greeting, self.client.version()).await {
                Ok(answer) => answer.map_err(|error| self.unreachable(error, endpoint)),
                Err(_) => Err(self.stopped().context(format!(
                    "no Docker engine greeted within {} seconds at the address chosen by {origin}",
                    greeting.as_secs()
                ))),
            }
        })?;
        let api = version.api_version.unwrap_or_default();
        let spoken = api.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        ensure!(
            spoken.is_some_and(|spoken: (u32, u32)| spoken >= OLDEST_API),
            "the Docker engine at `{}` speaks API `{api}`, older than {}.{}; install Docker 20.10 or newer",
            self.endpoint,
            OLDEST_API.0,
            OLDEST_API.1
        );
        Ok(())
    }

    fn unreachable(&self, error: Error, endpoint: &Endpoint) -> anyhow::Error {
        let origin = &endpoint.origin;
        if let Some(tunnel) = &self.tunnel {
            // The connection breaks a moment before ssh has ended its message.
            std::thread::sleep(Duration::from_millis(300));
            let said = tunnel.said.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned();
            return anyhow!(
                "cannot reach the Docker engine through `{}`, chosen by {origin}: {}; try `docker -H {} version`",
                self.endpoint,
                if said.is_empty() { "ssh ended without a message" } else { &said },
                self.endpoint
            );
        }
        if endpoint.tls.is_some() && matches!(error, Error::HyperLegacyError { .. }) {
            return tls_error(error, origin);
        }
        match error {
            // A TLS port answers a plain request with status 400.
            Error::DockerResponseServerError { status_code, .. } if status_code != 400 => self.explain(error),
            error => anyhow!(
                "what answers at `{}`, chosen by {origin}, is no Docker engine ({}); if it wants TLS set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
                self.endpoint,
                chain(error).trim()
            ),
        }
    }
}

fn tls_error(error: Error, origin: &str) -> anyhow::Error {
    let error = match error {
        // It repeats its source in its own text.
        Error::HyperLegacyError { err } => anyhow::Error::new(err),
        error => anyhow::Error::new(error),
    };
    error.context(format!(
        "cannot make a TLS connection to the Docker engine chosen by {origin}; check `ca.pem`, `cert.pem` and `key.pem` in DOCKER_CERT_PATH or in the docker context, and that the port speaks TLS"
    ))
}

fn connect_tls(address: &str, tls: &Tls) -> Result<bollard::Docker, Error> {
    // Without a choice rustls panics as soon as another crate brings a second provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The system's authorities are loaded as well; an empty file adds none.
    let ca = if tls.ca.exists() { tls.ca.as_path() } else { Path::new("/dev/null") };
    bollard::Docker::connect_with_ssl(&format!("tcp://{address}"), &tls.key, &tls.cert, ca, ANSWER, API_DEFAULT_VERSION)
}

fn reach_socket(path: &Path, origin: &str) -> Result<()> {
    let Err(error) = UnixStream::connect(path) else {
        return Ok(());
    };
    let shown = path.display();
    bail!(match error.kind() {
        ErrorKind::NotFound => format!(
            "there is no Docker socket `{shown}` (from {origin}); install Docker (`sudo apt install docker.io`) or start it (`sudo systemctl start docker`), or set DOCKER_HOST"
        ),
        ErrorKind::PermissionDenied => format!(
            "no permission for the Docker socket `{shown}` (from {origin}); run `sudo usermod -aG docker $USER`, then log in anew"
        ),
        ErrorKind::ConnectionRefused => format!(
            "nobody listens on the Docker socket `{shown}` (from {origin}): the engine is not running; start it with `sudo systemctl start docker`"
        ),
        _ => format!("cannot connect to the Docker socket `{shown}` (from {origin}): {error}; check `docker info`"),
    })
}

/// `host:port` of what follows a scheme.
fn authority(rest: &str, default_port: u16) -> Result<String> {
    let address = rest.split('/').next().unwrap_or_default();
    ensure!(
        !address.contains('@'),
        "it contains user information, which the Docker engine does not take; remove what is before `@`"
    );
    ensure!(!address.is_empty(), "it names no host; write it as `tcp://host:port`");
    let port =
        address.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    Ok(if port { address.to_owned() } else { format!("{}:{default_port}", address.trim_end_matches(':')) })
}

fn reach_tcp(address: &str, origin: &str) -> Result<()> {
    let try_this = "check the address, that the engine listens there, and the firewall";
    let addresses = address
        .to_socket_addrs()
        .with_context(|| format!("cannot find the host of `{address}` (from {origin}); {try_this}"))?;
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for candidate in addresses {
        match TcpStream::connect_timeout(&candidate, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    match last.kind() {
        ErrorKind::ConnectionRefused => {
            bail!("connection refused at `{address}` (from {origin}): no Docker engine listens there; {try_this}")
        }
        _ => Err(last).with_context(|| format!("cannot reach `{address}` (from {origin}); {try_this}")),
    }
}
