//! Connects to an engine and explains why a connection fails.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error;

use crate::client::{Docker, with_causes};
use crate::endpoint::{self, Endpoint, Tls};
use crate::tunnel::Tunnel;

/// Time limit of a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Seconds until the first byte of an answer. Long, because a build or an import may produce no output for hours; the
/// watchdog in `watch.rs` detects an engine that has stopped.
const ANSWER: u64 = 24 * 60 * 60;
/// Oldest API that has everything used here (Docker 20.10).
const OLDEST_API: (u32, u32) = (1, 41);

impl Docker {
    /// Connects to the engine that the docker client would use: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context
    /// or the local socket, in this order. Checks that a supported engine answers.
    pub fn connect() -> Result<Docker> {
        Docker::open(&endpoint::resolve(&|name| std::env::var(name).ok())?)
    }

    /// Connects like [`Docker::connect`], but does not ask for the engine's version. That request is slow: the engine
    /// runs other programs to find out their versions.
    pub fn connect_unchecked() -> Result<Docker> {
        Docker::open_unchecked(&endpoint::resolve(&|name| std::env::var(name).ok())?)
    }

    /// Connects to an endpoint and checks the engine's version. No API version is negotiated: requests carry none,
    /// and the engine treats them as requests of its newest API.
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Docker> {
        let docker = Docker::open_unchecked(endpoint)?;
        docker.check_version(endpoint)?;
        Ok(docker)
    }

    fn open_unchecked(endpoint: &Endpoint) -> Result<Docker> {
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
                check_socket(Path::new(rest), origin)?;
                bollard::Docker::connect_with_unix(rest, ANSWER, API_DEFAULT_VERSION)
            }
            "tcp" | "http" | "https" => {
                let default_port = if endpoint.tls.is_some() { 2376 } else { 2375 };
                let address = authority(rest, default_port)
                    .with_context(|| format!("cannot use the address chosen by {origin}"))?;
                check_tcp(&address, origin)?;
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
                tunnel = Some(opened);
                client
            }
            other => bail!(
                "`{other}://`, chosen by {origin}, is not a supported address of a Docker engine; use unix://, tcp://, https:// or ssh://"
            ),
        };
        let client = client.map_err(|error| tls_error(error, origin))?;
        // A password in the address must not appear in messages.
        let shown = rest
            .rsplit_once('@')
            .map_or(rest.to_owned(), |(user, host)| format!("{}@{host}", user.split(':').next().unwrap_or_default()));
        Ok(Docker::new(client, format!("{scheme}://{shown}"), tunnel))
    }

    fn check_version(&self, endpoint: &Endpoint) -> Result<()> {
        let origin = &endpoint.origin;
        let limit = self.first_answer_limit();
        let version = self.block(async {
            match tokio::time::timeout(limit, self.client.version()).await {
                Ok(answer) => answer.map_err(|error| self.unreachable(error, endpoint)),
                Err(_) => Err(self.no_answer().context(format!(
                    "no Docker engine answered within {} seconds at the address chosen by {origin}",
                    limit.as_secs()
                ))),
            }
        })?;
        let api = version.api_version.unwrap_or_default();
        let newest = api.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        ensure!(
            newest.is_some_and(|newest: (u32, u32)| newest >= OLDEST_API),
            "the Docker engine at `{}` has API `{api}`, older than {}.{}; install Docker 20.10 or newer",
            self.endpoint,
            OLDEST_API.0,
            OLDEST_API.1
        );
        Ok(())
    }

    /// Explains why no engine answered.
    fn unreachable(&self, error: Error, endpoint: &Endpoint) -> anyhow::Error {
        let origin = &endpoint.origin;
        if let Some(tunnel) = &self.tunnel {
            // The connection breaks shortly before ssh has written its whole message.
            std::thread::sleep(Duration::from_millis(300));
            let message = tunnel.stderr.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned();
            return anyhow!(
                "cannot reach the Docker engine through `{}`, chosen by {origin}: {}; try `docker -H {} version`",
                self.endpoint,
                if message.is_empty() { "ssh ended without a message" } else { &message },
                self.endpoint
            );
        }
        if endpoint.tls.is_some() && matches!(error, Error::HyperLegacyError { .. }) {
            return tls_error(error, origin);
        }
        match error {
            // A TLS port answers a request without TLS with status 400.
            Error::DockerResponseServerError { status_code, .. } if status_code != 400 => self.explain(error),
            error => anyhow!(
                "the server at `{}`, chosen by {origin}, is not a Docker engine ({}); if it requires TLS, set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
                self.endpoint,
                with_causes(error).trim()
            ),
        }
    }
}

fn tls_error(error: Error, origin: &str) -> anyhow::Error {
    let error = match error {
        // Its text repeats its source.
        Error::HyperLegacyError { err } => anyhow::Error::new(err),
        error => anyhow::Error::new(error),
    };
    error.context(format!(
        "cannot open a TLS connection to the Docker engine chosen by {origin}; check `ca.pem`, `cert.pem` and `key.pem` in DOCKER_CERT_PATH or in the docker context, and that the port uses TLS"
    ))
}

fn connect_tls(address: &str, tls: &Tls) -> Result<bollard::Docker, Error> {
    // Without this choice rustls panics if another crate enables a second provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The system's certificate authorities are used in any case; an empty file adds none.
    let ca = if tls.ca.exists() { tls.ca.as_path() } else { Path::new("/dev/null") };
    bollard::Docker::connect_with_ssl(&format!("tcp://{address}"), &tls.key, &tls.cert, ca, ANSWER, API_DEFAULT_VERSION)
}

/// Explains the usual reasons why a local socket cannot be used; the client library has one message for all.
fn check_socket(path: &Path, origin: &str) -> Result<()> {
    let Err(error) = UnixStream::connect(path) else {
        return Ok(());
    };
    let shown = path.display();
    bail!(match error.kind() {
        ErrorKind::NotFound => format!(
            "there is no Docker socket `{shown}` (from {origin}); install Docker (`sudo apt install docker.io`) or start it (`sudo systemctl start docker`), or set DOCKER_HOST"
        ),
        ErrorKind::PermissionDenied => format!(
            "no permission to use the Docker socket `{shown}` (from {origin}); run `sudo usermod -aG docker $USER`, then log in again"
        ),
        ErrorKind::ConnectionRefused => format!(
            "no process listens on the Docker socket `{shown}` (from {origin}): the engine is not running; start it with `sudo systemctl start docker`"
        ),
        _ => format!("cannot connect to the Docker socket `{shown}` (from {origin}): {error}; check `docker info`"),
    })
}

/// Returns `host:port` from the part of an address after its scheme.
fn authority(rest: &str, default_port: u16) -> Result<String> {
    let address = rest.split('/').next().unwrap_or_default();
    ensure!(
        !address.contains('@'),
        "it contains a user name or password, which a Docker engine does not accept; remove everything before `@`"
    );
    ensure!(!address.is_empty(), "it has no host; write it as `tcp://host:port`");
    let port =
        address.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    Ok(if port { address.to_owned() } else { format!("{}:{default_port}", address.trim_end_matches(':')) })
}

/// Explains the usual reasons why a TCP address cannot be reached.
fn check_tcp(address: &str, origin: &str) -> Result<()> {
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
