//! The top of `matrix.yaml` and its rows, except packages and benchmarks, which have files of their own.

use std::collections::{BTreeMap, BTreeSet};

use base::platform::Platform;
use serde::Deserialize;

use crate::bench::Bench;
use crate::ci::Ci;
use crate::gil::GilState;
use crate::interpreter::InterpreterBuild;
use crate::package::Package;
use crate::tool::Tool;
use crate::words::{AptName, Digest, Location, Version, Word};

/// The whole of `matrix.yaml`: every Python ABI, package and image, and every pinned input.
///
/// Values that YAML would read as something else than text stand in quotes: `"on"`, `"off"`, `"3.11"`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Repository name of the images, in lower case. An image is called `<name>:<tag>`.
    pub name: Word,
    /// What wheels and images are built for, `linux/amd64` for instance. All digests in the matrix are those of files
    /// for this platform.
    #[serde(default, deserialize_with = "crate::words::platform")]
    #[cfg_attr(test, schemars(with = "crate::reference::PlatformName"))]
    pub platform: Platform,
    /// The Debian file system that every image is based on.
    pub root: Root,
    /// Sets of Debian packages. Other fields refer to a set by its `id`.
    pub apt: Vec<AptSet>,
    /// Source archives that are downloaded, such as that of CPython.
    pub sources: Vec<Source>,
    /// Tools that build and install wheels. Required are `uv` and `pip` for images, `maturin`, `ziglang` and `pip`
    /// for `with: maturin`, and `auditwheel` and `uv`, marked `container: true`, for `with: container`.
    pub tools: Vec<Tool>,
    /// The CPython ABIs that wheels and images are built for.
    pub abis: Vec<Abi>,
    /// The Python packages whose wheels are built or downloaded.
    pub packages: Vec<Package>,
    /// The runtime images that are built. The list may be empty.
    pub images: Vec<Image>,
    /// Settings of the GitHub Actions workflows, and the tools that check this project itself.
    pub ci: Ci,
    /// What `cargo xtask bench build` and `cargo xtask bench serve` measure.
    pub bench: Option<Bench>,
    /// The server that `cargo xtask up`, `test` and `bench serve` start for services and clients to talk to.
    pub server: Option<Server>,
}

/// The image of a server, for example of a database.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The image with its digest: `name:tag@sha256:<64 hexadecimal digits>`.
    pub image: Location,
    /// TCP port that the server listens on.
    pub port: u16,
    /// Cargo package of this workspace with a server that can take the image's place, for machines without a
    /// registry: a program of the same name that takes `--listen ADDRESS:PORT`.
    pub standin: Option<Word>,
}

/// The Debian file system that every image is based on.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Code name of the Debian release, for example `bookworm`.
    pub suite: Word,
    /// glibc version of that release as `major.minor`, for example `"2.36"`. Wheels that need a newer one are refused.
    pub glibc: Version,
    /// Debian's slim image of the same release, with its digest. If no registry can be reached, or without this
    /// field, mmdebstrap builds the file system from Debian's packages.
    pub image: Option<Location>,
}

/// A set of Debian packages.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AptSet {
    /// Name of the set, for example `cpython-build`.
    pub id: Word,
    /// Ids of other sets whose packages belong to this set too.
    #[serde(default)]
    pub include: Vec<Word>,
    /// Names of Debian packages, each with an optional version: `libssl-dev`, `libssl-dev=3.0.17-1`.
    #[serde(default)]
    pub packages: Vec<AptName>,
}

/// A source archive, downloaded from the first location that has it.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name of the archive, for example `cpython-3.14.5`.
    pub id: Word,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Locations that are tried in order: URLs, or `debian:<path>` for a path on the Debian mirror that apt is
    /// configured with.
    pub from: Vec<Location>,
}

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

/// A runtime image.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Tag of the image, for example `314t`.
    pub tag: Word,
    /// ABI of its interpreter, an id of `abis`.
    pub abi: Word,
    /// Packages to install, ids of `packages`.
    pub packages: Vec<Word>,
    /// Environment variables of the image: `{PYTHON_GIL: "0"}`. Values must not contain quotes, `$` or `\`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The GIL state that the image promises. An image that is in another state is not tagged.
    pub gil: GilState,
}

impl Matrix {
    pub fn abi(&self, id: &str) -> Option<&Abi> {
        self.abis.iter().find(|abi| abi.id == *id)
    }

    pub fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.id == *id)
    }

    pub fn image(&self, tag: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.tag == *tag)
    }

    /// Returns the packages of an image.
    pub fn packages_of<'m>(&'m self, image: &Image) -> impl Iterator<Item = &'m Package> {
        image.packages.iter().filter_map(|id| self.package(id))
    }

    pub fn source(&self, id: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == *id)
    }

    /// Returns the Debian packages of a set without duplicates; those of included sets come first.
    pub fn apt_packages(&self, id: &str) -> Vec<String> {
        let names = self.apt_sets(id).into_iter().flat_map(|set| set.packages.iter().map(|name| name.to_string()));
        let mut packages: Vec<String> = names.collect();
        let mut seen = BTreeSet::new();
        packages.retain(|name| seen.insert(name.clone()));
        packages
    }

    /// Returns a set and the sets it includes, without duplicates; included sets come first.
    pub fn apt_sets(&self, id: &str) -> Vec<&AptSet> {
        let mut sets = Vec::new();
        self.add_apt_sets(id, &mut BTreeSet::new(), &mut sets);
        sets
    }

    fn add_apt_sets<'m>(&'m self, id: &str, seen: &mut BTreeSet<&'m str>, sets: &mut Vec<&'m AptSet>) {
        let Some(set) = self.apt.iter().find(|set| set.id == *id).filter(|set| seen.insert(&set.id)) else { return };
        for included in &set.include {
            self.add_apt_sets(included, seen, sets);
        }
        sets.push(set);
    }
}

impl Image {
    /// Whether the image contains the package with this id.
    pub fn has_package(&self, id: &str) -> bool {
        self.packages.iter().any(|own| **own == *id)
    }
}

impl Abi {
    /// Returns whether this is the ABI of a free-threaded build (PEP 703): its tag ends in `t`.
    pub fn free_threaded(&self) -> bool {
        self.id.ends_with('t')
    }

    /// Returns the suffix of the interpreter's command after `python`, such as `3.14t`.
    pub fn interpreter_name(&self) -> String {
        let mut parts = self.python.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let suffix = if self.free_threaded() { "t" } else { "" };
        format!("{major}.{minor}{suffix}")
    }

    /// Returns the tag of the base image, such as `3.14.5t-slim`.
    pub fn base_tag(&self) -> String {
        let suffix = if self.free_threaded() { "t" } else { "" };
        format!("{}{suffix}-slim", self.python)
    }
}
