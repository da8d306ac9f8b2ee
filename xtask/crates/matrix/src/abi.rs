//! The CPython ABIs and their interpreters.

use serde::Deserialize;

use crate::interpreter::InterpreterBuild;
use crate::words::{Version, Word};

/// A CPython ABI and its interpreter.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// ABI tag (PEP 425): `cp311`, `cp314`, or with a `t` at the end for the free-threaded build, `cp314t`.
    pub id: Word,
    /// CPython version. Its first two numbers must match the tag.
    pub python: Version,
    /// Where the interpreter comes from.
    pub interpreter: Interpreter,
}

/// Where the interpreter of an ABI comes from: exactly one of the two fields is set.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [{"required": ["distribution"]}, {"required": ["source"]}])))]
#[serde(deny_unknown_fields)]
pub struct Interpreter {
    /// Installs Debian's interpreter. Debian has none for free-threaded ABIs.
    pub distribution: Option<Distribution>,
    /// Compiles CPython.
    pub source: Option<FromSource>,
}

/// An interpreter that is installed from Debian.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Id of the set in `apt` with the interpreter, for images.
    pub runtime_apt: Word,
    /// Id of the set in `apt` with the headers and `venv`, for builds.
    pub devel_apt: Word,
}

/// An interpreter that is compiled from source.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FromSource {
    /// Id of the archive in `sources`.
    pub archive: Word,
    /// Id of the set in `apt` that compiling needs.
    pub build_apt: Word,
    /// Id of the set in `apt` that the compiled interpreter needs at run time.
    pub runtime_apt: Word,
    /// How the interpreter of images is compiled. Wheels are built with a plain one, which has the same headers
    /// and configuration; `--quick` takes the plain one for images, too.
    pub build: InterpreterBuild,
}

impl Abi {
    /// Returns whether this is the ABI of a free-threaded build (PEP 703): its tag ends in `t`.
    pub fn free_threaded(&self) -> bool {
        self.id.ends_with('t')
    }

    /// Returns the minor version of Python 3: 14 for `cp314t`.
    pub fn minor(&self) -> Option<u32> {
        self.id.trim_start_matches("cp3").trim_end_matches('t').parse().ok()
    }

    /// Returns the suffix of the interpreter's command after `python`, such as `3.14t`.
    pub fn interpreter_name(&self) -> String {
        let mut parts = self.python.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let suffix = if self.free_threaded() { "t" } else { "" };
        format!("{major}.{minor}{suffix}")
    }

    /// Returns the tag of the base image, such as `3.14.7t-slim`; `3.14.7t-tsan-slim` if its interpreter is compiled in
    /// another way than `interpreter.source.build` says.
    pub fn base_tag(&self, other: Option<InterpreterBuild>) -> String {
        let free = if self.free_threaded() { "t" } else { "" };
        let build = other.map(|build| format!("-{}", build.as_str())).unwrap_or_default();
        format!("{}{free}{build}-slim", self.python)
    }
}
