//! Finds the address of the engine that the docker client would use.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Origin of an endpoint that no setting chose.
const DEFAULT: &str = "the default";

/// Reads a variable of the environment; tests pass a function of their own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Address of an engine, and the setting it comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As in `DOCKER_HOST`, for example `unix:///var/run/docker.sock`.
    pub host: String,
    pub tls: Option<Tls>,
    /// Name of the setting, for error messages.
    pub origin: String,
}

/// Certificate files of a TLS endpoint; files that do not exist are not used.
#[derive(Debug, PartialEq, Eq)]
pub struct Tls {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    fn in_folder(dir: &Path) -> Tls {
        Tls { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") }
    }
}

/// Reads a variable; an empty one counts as not set.
fn variable(env: Env, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

fn config_dir(env: Env) -> Option<PathBuf> {
    variable(env, "DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable(env, "HOME")?).join(".docker")))
}

/// Reads the docker client's `config.json`; `null` if the file does not exist.
pub fn read_config(env: Env) -> Result<Value> {
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
    // The text around a syntax error may be a password, so the message has only the position.
    let parsed = serde_json::from_slice(&text).map_err(|error| {
        anyhow!(
            "`{}` is not valid JSON (line {}, column {}); repair or remove it",
            path.display(),
            error.line(),
            error.column()
        )
    })?;
    Ok(Some(parsed))
}

/// Finds the engine to use, by the rules of the docker client.
pub fn resolve(env: Env) -> Result<Endpoint> {
    let dir = config_dir(env);
    if let Some(host) = variable(env, "DOCKER_HOST") {
        let verify = variable(env, "DOCKER_TLS_VERIFY").is_some();
        ensure!(
            verify || variable(env, "DOCKER_TLS").is_none(),
            "DOCKER_TLS without DOCKER_TLS_VERIFY would trust any server; set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
        );
        let certs = variable(env, "DOCKER_CERT_PATH").map(PathBuf::from).or(dir).unwrap_or_default();
        let tls = (verify || host.starts_with("https://")).then(|| Tls::in_folder(&certs));
        return Ok(Endpoint { host, tls, origin: "DOCKER_HOST".to_owned() });
    }
    let (name, origin) = match variable(env, "DOCKER_CONTEXT") {
        Some(name) => (name, "DOCKER_CONTEXT"),
        None => match read_config(env)?["currentContext"].as_str() {
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
        "docker context `{name}` turns off the verification of the server's certificate, which is not supported; set a CA with `docker context update {name}`"
    );
    let certs = store.join("tls").join(&hash).join("docker");
    let host = docker["Host"].as_str().unwrap_or_default().to_owned();
    if host.is_empty() {
        return Ok(local(env));
    }
    let tls = (certs.is_dir() || host.starts_with("https://")).then(|| Tls::in_folder(&certs));
    Ok(Endpoint { host, tls, origin: format!("docker context `{name}`") })
}

/// Lists the names of all docker contexts.
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

/// Returns the endpoint of the local engine: the system's socket, or that of a rootless engine if only that exists.
fn local(env: Env) -> Endpoint {
    const SYSTEM: &str = "/var/run/docker.sock";
    let rootless = variable(env, "XDG_RUNTIME_DIR").map(|dir| format!("{dir}/docker.sock"));
    let path = match rootless {
        Some(path) if !Path::new(SYSTEM).exists() && Path::new(&path).exists() => path,
        _ => SYSTEM.to_owned(),
    };
    Endpoint { host: format!("unix://{path}"), tls: None, origin: DEFAULT.to_owned() }
}

/// Returns the socket of the local engine, or `None` if the user has chosen another endpoint.
pub fn default_socket() -> Option<PathBuf> {
    let endpoint = resolve(&|name| std::env::var(name).ok()).ok()?;
    (endpoint.origin == DEFAULT).then(|| PathBuf::from(endpoint.host.trim_start_matches("unix://")))
}
