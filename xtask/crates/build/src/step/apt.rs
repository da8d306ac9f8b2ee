//! Debian packages on top of an image: the only build that has a network.

use std::path::PathBuf;

use anyhow::Result;
use xshell::{Shell, cmd};

use super::{Env, root, text};
use crate::cache::Output;
use crate::plan::Apt;
use base::digest;
use docker::{Build, Content, ContextFile, Network};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

pub fn run(apt: &Apt, env: &Env) -> Result<Output> {
    let bundle = match ca_bundle() {
        Some(path) => ContextFile { path: "ca.crt".to_owned(), source: Content::File(path), mode: 0o644 },
        None => text("ca.crt", "", 0o644),
    };
    let image = env.build(
        Build {
            dockerfile: env.project_file("docker/builder.Dockerfile")?,
            context: vec![bundle],
            args: [("ROOT".to_owned(), env.image(&apt.base)?.to_owned()), ("APT".to_owned(), apt.packages.join(" "))]
                .into_iter()
                // BuildKit keeps these out of the image's history and of its cache's keys.
                .chain(proxies()?)
                .collect(),
            network: Network::Default,
            ..Build::default()
        },
        None,
    )?;
    let packages = root::packages(&image.reference, env)?;
    Ok(Output {
        image: Some(image),
        content: Some(digest::of(format!("{}\n{packages}", env.key))),
        ..Output::default()
    })
}

/// What apt on this machine knows of where its packages are, one line each, in the words of
/// `apt-get indextargets --format`; nothing on a system without apt.
pub fn index_targets(format: &str) -> Vec<String> {
    let Ok(shell) = Shell::new() else { return Vec::new() };
    let listed =
        cmd!(shell, "apt-get indextargets --format {format} 'Created-By: Packages'").quiet().ignore_stderr().read();
    let mut lines: Vec<String> = listed.unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// The proxy that this machine goes through, for what has a network in a container: that of the environment, else
/// that of the docker client's configuration.
pub fn proxies() -> Result<Vec<(String, String)>> {
    let names = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
    let named = names.iter().filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)));
    let named: Vec<(String, String)> = named.filter(|(_, value)| !value.is_empty()).collect();
    if named.is_empty() { docker::proxies() } else { Ok(named) }
}

/// The authorities that this machine trusts: behind a company proxy HTTPS is signed by one of them.
pub fn ca_bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| path.is_file())
}
