//! Finds the registry credentials that `docker login` has stored.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use serde_json::Value;

use crate::client::OnLine;
use crate::endpoint;

/// The name under which the docker client stores the credentials of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// Time limit of a credential helper.
const HELPER_LIMIT: Duration = Duration::from_secs(60);

/// Finds the credentials for the registry of an image; `None` for anonymous access.
pub fn find(reference: &str, on_line: OnLine) -> Option<DockerCredentials> {
    let server = server(reference);
    let config = match endpoint::read_config(&|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            on_line(&format!("continuing without registry credentials: {error:#}"));
            return None;
        }
    };
    let helper = config["credHelpers"][&server].as_str().or(config["credsStore"].as_str());
    if let Some(helper) = helper.filter(|helper| !helper.is_empty()) {
        match ask_helper(helper, &server) {
            Ok(Some(found)) => return Some(found),
            Ok(None) => {}
            Err(why) => {
                on_line(&format!("cannot get credentials for `{server}` from `docker-credential-{helper}`: {why}"))
            }
        }
    }
    let (_, entry) = config["auths"].as_object()?.iter().find(|(name, _)| same_server(name, &server))?;
    from_config(entry, &server)
}

/// Returns the name under which the docker client stores the credentials for an image's registry.
fn server(reference: &str) -> String {
    match reference.split_once('/') {
        Some(("docker.io" | "index.docker.io" | "registry-1.docker.io", _)) | None => HUB.to_owned(),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.to_owned(),
        Some(_) => HUB.to_owned(),
    }
}

/// Compares names of servers. Older clients stored `https://registry/v1/` instead of `registry`.
fn same_server(name: &str, server: &str) -> bool {
    let host = |text: &str| {
        let text = text.trim_start_matches("https://").trim_start_matches("http://");
        text.split('/').next().unwrap_or_default().to_owned()
    };
    name == server || host(name) == host(server)
}

/// Reads an entry of `auths` in `config.json`.
fn from_config(entry: &Value, server: &str) -> Option<DockerCredentials> {
    let text = |key: &str| entry[key].as_str().filter(|v| !v.is_empty()).map(str::to_owned);
    let decoded = text("auth").and_then(|auth| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(auth).ok()?;
        let (name, password) = String::from_utf8(bytes)
            .ok()?
            .trim_end_matches('\0')
            .split_once(':')
            .map(|(n, p)| (n.to_owned(), p.to_owned()))?;
        Some((name, password))
    });
    let (username, password) = match decoded {
        Some((name, password)) => (Some(name), Some(password).filter(|p| !p.is_empty())),
        None => (text("username"), text("password")),
    };
    let identitytoken = text("identitytoken");
    let registrytoken = text("registrytoken");
    if password.is_none() && identitytoken.is_none() && registrytoken.is_none() {
        return None;
    }
    Some(DockerCredentials {
        username,
        password,
        identitytoken,
        registrytoken,
        serveraddress: Some(server.to_owned()),
        ..DockerCredentials::default()
    })
}

/// Gets credentials from a credential helper. Its output is secret and never part of an error.
fn ask_helper(helper: &str, server: &str) -> Result<Option<DockerCredentials>, String> {
    if helper.contains('/') {
        return Err("the name of a credential helper cannot contain `/`".to_owned());
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start it: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input reports its error by its exit status.
        let _ = stdin.write_all(server.as_bytes());
    }
    // A helper may open a window that the user does not see.
    let started = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if started.elapsed() > HELPER_LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("no answer within {} s", HELPER_LIMIT.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let absent = String::from_utf8_lossy(&output.stdout).contains("credentials not found");
        return if absent { Ok(None) } else { Err(output.status.to_string()) };
    }
    let answer: Value = serde_json::from_slice(&output.stdout).map_err(|_| "its answer is not JSON".to_owned())?;
    let secret = answer["Secret"].as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let username = answer["Username"].as_str().unwrap_or_default().to_owned();
    let Some(secret) = secret else {
        return Ok(None);
    };
    let mut found = DockerCredentials { serveraddress: Some(server.to_owned()), ..DockerCredentials::default() };
    if username == "<token>" {
        found.identitytoken = Some(secret);
    } else {
        (found.username, found.password) = (Some(username), Some(secret));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_an_image_is_found() {
        assert_eq!(server("debian:12"), "https://index.docker.io/v1/");
        assert_eq!(server("me/x"), "https://index.docker.io/v1/");
        assert_eq!(server("ghcr.io/me/x"), "ghcr.io");
        assert_eq!(server("localhost:5/x"), "localhost:5");
    }
}
