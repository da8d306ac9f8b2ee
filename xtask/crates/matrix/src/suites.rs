//! How a package is tested in an image: which client it is, its own tests, and the crashes that are known.

use std::path::Path;

use serde::Deserialize;

use crate::gil::GilState;
use crate::words::{Location, Problem, Word};

/// What `cargo xtask test` needs to know of a package; without it its imports are tested and nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// A Python file with the package's `Adapter` (docker/suites/proving/client.py), relative to `matrix.yaml`.
    /// An adapter connects to a server, so one is started for it.
    pub client: Option<Location>,
    /// The tests that the package's own source brings.
    pub upstream: Option<Upstream>,
    /// Crashes that have been found, and how they are avoided.
    #[serde(default)]
    pub known: Vec<Known>,
}

/// The package's own tests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// A checkout, relative to `matrix.yaml`; without it `--source` names one.
    pub source: Option<Location>,
    /// What of it is taken: the tests and pytest's configuration, never the package itself.
    pub take: Vec<Location>,
    /// Folders with tests, each run in a process of its own; those that a checkout lacks are left out.
    pub folders: Vec<Location>,
    /// A folder with one lock file for each ABI, `<abi>.txt`: pytest and all else that the tests need.
    pub locks: Location,
    /// Without this field the tests need no server, and none is started for them.
    pub env: Option<UpstreamEnv>,
}

/// The names of the variables by which the tests are told where the server is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamEnv {
    pub host: Word,
    pub port: Word,
}

/// A crash that is expected when a precaution is left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub scenario: Word,
    /// The precaution, by the name that the adapter has for it.
    pub without: Word,
    /// Images that promise this can show it.
    pub promise: GilState,
    /// How the process ends; any other failure is no known one.
    pub signal: Word,
    /// What a user does about it.
    pub fix: String,
}

pub fn check(package: &Word, tests: &Tests) -> Result<(), Problem> {
    let Tests { client, upstream, known } = tests;
    let fault =
        |ordinal, field: &str, message| Err(Problem { ordinal, field: format!("packages[].tests.{field}"), message });
    if let Some(Upstream { source: _, take, folders, locks: _, env: _ }) = upstream {
        for path in take.iter().chain(folders) {
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                let message = format!("`{path}` is not a path below the top of a checkout");
                return fault(path.ordinal, "upstream", message);
            }
        }
        for folder in folders {
            if !take.iter().any(|path| Path::new(&**folder).starts_with(&**path)) {
                let message = format!("`{folder}` is in nothing of `take`, so it would not be there");
                return fault(folder.ordinal, "upstream.folders", message);
            }
        }
        if folders.is_empty() {
            return fault(package.ordinal, "upstream.folders", format!("`{package}` names no folder with tests"));
        }
    }
    for Known { scenario, without: _, promise: _, signal, fix } in known {
        if client.is_none() {
            return fault(scenario.ordinal, "known", format!("`{package}` has no `client` that could show it"));
        }
        if !signal.starts_with("SIG") {
            return fault(signal.ordinal, "known[].signal", format!("`{signal}` is no signal, as SIGSEGV is"));
        }
        if fix.trim().is_empty() || fix.chars().any(char::is_control) {
            return fault(scenario.ordinal, "known[].fix", "must say in one line what to do about it".to_owned());
        }
    }
    Ok(())
}
