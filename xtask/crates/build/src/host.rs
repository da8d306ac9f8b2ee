//! Settings of this machine that containers and downloads need too: apt's mirrors, proxies, certificate authorities.

use std::path::PathBuf;

use anyhow::Result;
use xshell::{Shell, cmd};

/// Returns the package indexes that apt on this machine uses, one line each in the format of
/// `apt-get indextargets --format`. Empty on a system without apt.
pub fn index_targets(format: &str) -> Vec<String> {
    let Ok(shell) = Shell::new() else { return Vec::new() };
    let listed =
        cmd!(shell, "apt-get indextargets --format {format} 'Created-By: Packages'").quiet().ignore_stderr().read();
    let mut lines: Vec<String> = listed.unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Returns the proxy variables for containers with a network: those of the environment, or else those of the docker
/// client's configuration.
pub fn proxies() -> Result<Vec<(String, String)>> {
    let names = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
    let named = names.iter().filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)));
    let named: Vec<(String, String)> = named.filter(|(_, value)| !value.is_empty()).collect();
    if named.is_empty() { docker::proxies() } else { Ok(named) }
}

/// Returns the file with the certificate authorities that this machine trusts. A company proxy may sign HTTPS with one
/// of them.
pub fn ca_bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| path.is_file())
}
