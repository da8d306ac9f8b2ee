//! Environments of the programs that this tool starts.
//!
//! A program receives only the variables that its purpose needs. Any other variable of the caller could change a
//! build or a measurement without being part of a key or a record. docs/environment.md lists the variables that are
//! passed and removed, and the configuration files that are read.

use std::ffi::{OsStr, OsString};

use xshell::Cmd;

/// Purpose of a program, which determines its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Measurements and work on local files: no network settings, no user settings.
    Local,
    /// Downloads that are verified by digest: proxies, certificate authorities and package indexes.
    Download,
    /// Cargo and programs that call it: like `Download`, and the locations of toolchains, crates and registries.
    Cargo,
    /// The docker client: like `Download`, and the address of the engine.
    Docker,
}

/// Locations of programs and temporary files.
const LOCAL: &[&str] = &["PATH", "TMPDIR"];
/// Network access and credentials.
const NETWORK: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "NETRC",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
];
/// Sources of Python packages and Go modules. A final `*` matches any suffix.
const INDEXES: &[&str] = &[
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_TRUSTED_HOST",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_PROXY",
    "PIP_KEYRING_PROVIDER",
    "PIP_CONFIG_FILE",
    "PIP_CACHE_DIR",
    "PIP_RETRIES",
    "PIP_TIMEOUT",
    "PIP_DEFAULT_TIMEOUT",
    "GOPROXY",
    "GONOPROXY",
    "GOPRIVATE",
    "GOSUMDB",
    "GONOSUMDB",
    "GOINSECURE",
    "GOAUTH",
    "GOPATH",
    "GOMODCACHE",
    "GOCACHE",
];
const CARGO: &[&str] = &[
    "CARGO",
    "CARGO_HOME",
    "CARGO_HTTP_*",
    "CARGO_NET_*",
    "CARGO_REGISTRY_*",
    "CARGO_REGISTRIES_*",
    "CARGO_SOURCE_*",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUSTUP_DIST_SERVER",
];
const DOCKER: &[&str] = &[
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
];
/// Variables with a fixed value, independent of the caller's language and time zone.
const FIXED: [(&str, &str); 2] = [("LANG", "C.UTF-8"), ("TZ", "UTC")];

/// Sets the environment of `command` for a purpose. Set further variables after this call.
pub fn apply<'a>(command: Cmd<'a>, purpose: Purpose) -> Cmd<'a> {
    command.env_clear().envs(chosen(purpose, std::env::vars_os()))
}

fn chosen(purpose: Purpose, caller: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let lists: &[&[&str]] = match purpose {
        Purpose::Local => &[LOCAL],
        Purpose::Download => &[LOCAL, NETWORK, INDEXES],
        Purpose::Cargo => &[LOCAL, NETWORK, CARGO],
        Purpose::Docker => &[LOCAL, NETWORK, DOCKER],
    };
    let passed = |name: &OsStr| {
        name.to_str().is_some_and(|name| {
            lists.iter().copied().flatten().any(|known| match known.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == *known,
            })
        })
    };
    let fixed = FIXED.map(|(name, value)| (name.into(), value.into()));
    caller.filter(|(name, _)| passed(name)).chain(fixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables that are known to change a build, a measurement or a download.
    const HOSTILE: &[&str] = &[
        "K6_VUS",
        "K6_OUT",
        "XDG_CONFIG_HOME",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_PROFILE_RELEASE_LTO",
        "CARGO_TARGET_DIR",
        "RUSTC_WRAPPER",
        "CC",
        "CFLAGS",
        "LDFLAGS",
        "GOFLAGS",
        "GOENV",
        "GOAMD64",
        "GODEBUG",
        "GOGC",
        "PIP_TARGET",
        "PIP_USER",
        "PIP_PREFIX",
        "PIP_CONSTRAINT",
        "PIP_REQUIREMENT",
        "UV_EXCLUDE_NEWER",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "PYTHONOPTIMIZE",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "TAR_OPTIONS",
        "GIT_DIR",
        "BUILDKIT_PROGRESS",
        "DOCKER_BUILDKIT",
        "SOURCE_DATE_EPOCH",
        "LC_ALL",
        "APT_CONFIG",
        "MALLOC_ARENA_MAX",
    ];

    fn names(purpose: Purpose, caller: &[&str]) -> Vec<String> {
        let caller = caller.iter().map(|name| (name.into(), "x".into()));
        chosen(purpose, caller).iter().map(|(name, _)| name.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn hostile_variables_are_removed() {
        for purpose in [Purpose::Local, Purpose::Download, Purpose::Cargo, Purpose::Docker] {
            assert_eq!(names(purpose, HOSTILE), ["LANG", "TZ"], "{purpose:?}");
        }
    }

    #[test]
    fn measurements_get_no_proxy_and_no_home() {
        let network = ["HTTP_PROXY", "https_proxy", "HOME", "SSL_CERT_FILE", "PIP_INDEX_URL", "CARGO_HOME"];
        assert_eq!(names(Purpose::Local, &network), ["LANG", "TZ"]);
        assert_eq!(
            names(Purpose::Download, &network),
            ["HTTP_PROXY", "https_proxy", "HOME", "SSL_CERT_FILE", "PIP_INDEX_URL", "LANG", "TZ"]
        );
        assert_eq!(names(Purpose::Cargo, &["CARGO_REGISTRIES_MINE_INDEX", "CARGO_HOME", "PATH"]).len(), 5);
    }

    /// The caller's value is replaced, not added as a second entry.
    #[test]
    fn language_and_time_zone_are_fixed() {
        assert_eq!(names(Purpose::Docker, &["LANG", "TZ", "PATH"]), ["PATH", "LANG", "TZ"]);
    }

    #[test]
    fn the_documentation_names_every_variable() {
        let text = include_str!("../../../../docs/environment.md");
        for name in [LOCAL, NETWORK, INDEXES, CARGO, DOCKER].concat() {
            assert!(text.contains(&format!("`{name}`")), "docs/environment.md does not name `{name}`");
        }
    }
}
