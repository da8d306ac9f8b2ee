//! The environments of the programs that this tool starts.
//!
//! A program gets the variables that its purpose needs and no others: whatever else the caller's environment holds
//! could change a build or a measurement without being part of a key or of a record. docs/environment.md lists what is
//! passed, what is kept out, and which configuration files count.

use std::ffi::{OsStr, OsString};

use xshell::Cmd;

/// What a program is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It measures, or works on local files: no network, no settings of the user.
    Local,
    /// It downloads what is checked by its digest: proxies, authorities and package indexes.
    Download,
    /// Cargo, or what calls it: also where toolchains, crates and registries are.
    Cargo,
    /// The docker client: also which engine is meant.
    Docker,
}

/// Where programs and temporary files are.
const LOCAL: &[&str] = &["PATH", "TMPDIR"];
/// How the network is reached, and as whom.
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
/// Where Python packages and Go modules come from. A final `*` stands for any rest.
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
/// The same for everybody, whatever the caller's language and time zone.
const FIXED: [(&str, &str); 2] = [("LANG", "C.UTF-8"), ("TZ", "UTC")];

/// Gives `command` the environment of its purpose; variables that are to be set besides come after this call.
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

    /// What has changed a build, a measurement or a download in public reports, or could.
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
    fn a_hostile_environment_is_kept_out() {
        for purpose in [Purpose::Local, Purpose::Download, Purpose::Cargo, Purpose::Docker] {
            assert_eq!(names(purpose, HOSTILE), ["LANG", "TZ"], "{purpose:?}");
        }
    }

    #[test]
    fn what_measures_sees_no_proxy_and_no_home() {
        let network = ["HTTP_PROXY", "https_proxy", "HOME", "SSL_CERT_FILE", "PIP_INDEX_URL", "CARGO_HOME"];
        assert_eq!(names(Purpose::Local, &network), ["LANG", "TZ"]);
        assert_eq!(
            names(Purpose::Download, &network),
            ["HTTP_PROXY", "https_proxy", "HOME", "SSL_CERT_FILE", "PIP_INDEX_URL", "LANG", "TZ"]
        );
        assert_eq!(names(Purpose::Cargo, &["CARGO_REGISTRIES_MINE_INDEX", "CARGO_HOME", "PATH"]).len(), 5);
    }

    /// The value of the caller's language is replaced, not added.
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
