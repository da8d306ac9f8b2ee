//! How a package is tested in an image: which client it is, its own tests, and the crashes that are known.

use std::fmt;
use std::path::Path;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer as _, SeqAccess, Visitor};

use crate::gil::GilState;
use crate::words::{Location, Requirement, ValidationError, Word};

/// How `cargo xtask test` tests a package.
#[derive(Debug, Clone, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// Python file with an `Adapter` for the package (docker/suites/proving/client.py), relative to `matrix.yaml`.
    /// A server is started for it.
    pub client: Option<Location>,
    /// Folders with tests for pytest in the package's own source, as one name or a list: `tests`. The source is the
    /// sdist, the working copy, or the checkout that `--source` names. The tests, `conftest.py` and the configuration
    /// of pytest beside them are copied into the container, but not the package itself.
    pub pytest: Option<Folders>,
    /// The tests in the package's own source, if they need more than `pytest` says.
    pub upstream: Option<Upstream>,
    /// What the package's own tests need, as in PEP 508: `[pytest>=9, hypothesis]`. Without this field: pytest, and the
    /// first of the dependency groups `test`, `tests`, `testing` and `dev`, or of the extras of these names, that the
    /// package has. They are locked by `cargo xtask lock`.
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// Known crashes, and how they are avoided.
    #[serde(default)]
    pub known: Vec<Known>,
}

/// One folder or several.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(untagged))]
pub enum Folders {
    /// One folder.
    One(Location),
    /// Several folders.
    Several(Vec<Location>),
}

impl Folders {
    /// Returns all folders.
    pub fn all(&self) -> &[Location] {
        match self {
            Folders::One(folder) => std::slice::from_ref(folder),
            Folders::Several(folders) => folders,
        }
    }
}

impl<'de> Deserialize<'de> for Folders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Folders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a folder or a list of folders")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Folders, E> {
                Location::deserialize(text.into_deserializer()).map(Folders::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Folders, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Folders::Several)
            }
        }
        // `serde(untagged)` would lose the positions of the names.
        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// The tests in a package's own source.
#[derive(Debug, Clone, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Folder with a checkout, relative to `matrix.yaml`. Without it, `--source` names one.
    pub source: Option<Location>,
    /// Files and folders of the checkout that are copied into the container: the tests and the configuration of
    /// pytest, but not the package itself.
    pub take: Vec<Location>,
    /// Folders with tests, below those of `take`. Each runs in a process of its own. Folders that the checkout does
    /// not have are skipped.
    pub folders: Vec<Location>,
    /// Names of the environment variables with the address of the server. Without this field no server is started.
    pub env: Option<UpstreamEnv>,
}

/// Names of the environment variables with the address of the server.
#[derive(Debug, Clone, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpstreamEnv {
    /// Variable for the host name.
    pub host: Word,
    /// Variable for the TCP port.
    pub port: Word,
}

/// A crash that is expected if a precaution is left out.
#[derive(Debug, Clone, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Storm scenario that shows the failure.
    pub scenario: Word,
    /// The precaution that avoids the failure, by its name in the adapter. The scenario runs once more without it.
    /// Without this field no precaution is known, and the scenario itself may fail.
    pub without: Option<Word>,
    /// The failure can only happen in images with this `gil`.
    pub promise: GilState,
    /// Signal that ends the process: `SIGSEGV`. Without this field the scenario reports a wrong result. Any other
    /// failure is reported as a new one.
    pub signal: Option<Word>,
    /// How users avoid the failure, in one line.
    pub fix: String,
}

pub fn check(package: &Word, tests: &Tests) -> Result<(), ValidationError> {
    let Tests { client, pytest, upstream, requires: _, known } = tests;
    let fault = |ordinal, field: &str, message| {
        Err(ValidationError { ordinal, field: format!("packages[].tests.{field}"), message })
    };
    if let Some(folders) = pytest {
        if upstream.is_some() {
            let message = format!("`{package}` has both `pytest` and `upstream`: remove one of them");
            return fault(package.ordinal, "pytest", message);
        }
        if folders.all().is_empty() {
            return fault(package.ordinal, "pytest", format!("`{package}` must list at least one folder with tests"));
        }
        for path in folders.all() {
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                let message = format!("`{path}` is not a relative path inside the source of `{package}`");
                return fault(path.ordinal, "pytest", message);
            }
        }
    }
    if let Some(Upstream { source: _, take, folders, env: _ }) = upstream {
        for path in take.iter().chain(folders) {
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                let message = format!("`{path}` is not a relative path inside a checkout");
                return fault(path.ordinal, "upstream", message);
            }
        }
        for folder in folders {
            if !take.iter().any(|path| Path::new(&**folder).starts_with(&**path)) {
                let message = format!("`{folder}` is not inside any path of `take`, so it would not be copied");
                return fault(folder.ordinal, "upstream.folders", message);
            }
        }
        if folders.is_empty() {
            return fault(
                package.ordinal,
                "upstream.folders",
                format!("`{package}` must list at least one folder with tests"),
            );
        }
    }
    for Known { scenario, without: _, promise: _, signal, fix } in known {
        if client.is_none() {
            return fault(scenario.ordinal, "known", format!("`{package}` needs a `client` to reproduce the crash"));
        }
        if let Some(signal) = signal
            && !signal.starts_with("SIG")
        {
            return fault(
                signal.ordinal,
                "known[].signal",
                format!("`{signal}` is not the name of a signal, such as SIGSEGV"),
            );
        }
        if fix.trim().is_empty() || fix.chars().any(char::is_control) {
            return fault(
                scenario.ordinal,
                "known[].fix",
                "must be one line that describes how to avoid the crash".to_owned(),
            );
        }
    }
    Ok(())
}
