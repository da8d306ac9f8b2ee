//! The top of `matrix.yaml` and its rows, except packages and benchmarks, which have files of their own.

use std::collections::{BTreeMap, BTreeSet};

use base::platform::Platform;
use serde::Deserialize;

use crate::abi::Abi;
use crate::bench::Bench;
use crate::ci::Ci;
use crate::debian::{AptSet, Root};
use crate::defaults;
use crate::gil::GilState;
use crate::interpreter::InterpreterBuild;
use crate::package::Package;
use crate::tool::{Source, Tool};
use crate::tsan::Tsan;
use crate::words::{Location, Word};

/// The JSON Schema of `matrix.yaml`.
pub const SCHEMA: &str = include_str!("../../../../docs/reference/matrix.schema.json");

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
    /// The Debian file system that every image is based on. The default is Debian bookworm.
    #[serde(default = "defaults::root")]
    pub root: Root,
    /// Sets of Debian packages. Other fields refer to a set by its `id`. The sets of the default interpreters and
    /// `compile`, which has a C compiler, exist without being listed; a set with the same `id` replaces one of them.
    #[serde(default)]
    pub apt: Vec<AptSet>,
    /// Source archives that are downloaded, such as that of CPython. Those of the default interpreters exist without
    /// being listed.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Tools that build and install wheels, for instance `uv` and `maturin`. A version of each exists without being
    /// listed; list a tool to use another version. Tools marked `container: true` serve `with: container`.
    #[serde(default)]
    pub tools: Vec<Tool>,
    /// The CPython ABIs that wheels and images are built for: mappings, or names of default ABIs, as in `[cp314t]`. The
    /// default is `cp311`, `cp314` and `cp314t`; if the list is not empty, only its ABIs exist.
    #[serde(default, deserialize_with = "defaults::abis")]
    #[cfg_attr(test, schemars(with = "Vec<crate::reference::AbiOrName>"))]
    pub abis: Vec<Abi>,
    /// The compilers of images with `interpreter: tsan`. The default is LLVM of Debian bookworm's security updates.
    #[serde(default = "defaults::tsan")]
    pub tsan: Tsan,
    /// Folder with the lock files, relative to `matrix.yaml`. `cargo xtask lock` writes a folder `<id>` for each
    /// package, with `pylock.toml` (run time), `pylock.build.toml` and `pylock.tests.toml` (PEP 751). Without this
    /// field, it is `locks`.
    pub locks: Option<Location>,
    /// The Python packages whose wheels are built or downloaded.
    pub packages: Vec<Package>,
    /// The runtime images that are built. The list may be empty.
    pub images: Vec<Image>,
    /// Settings of the GitHub Actions workflows, and the tools that check the workflows.
    #[serde(default)]
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

/// A runtime image.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Tag of the image, for example `314t`.
    pub tag: Word,
    /// ABI of its interpreter, an id of `abis`.
    pub abi: Word,
    /// How its interpreter is compiled, if not as `interpreter.source.build` of the ABI says. With `tsan`, the packages
    /// are compiled with ThreadSanitizer as well, and `cargo xtask test` reports data races.
    pub interpreter: Option<InterpreterBuild>,
    /// File with the data races that were reviewed, relative to `matrix.yaml`; only for `interpreter: tsan`.
    pub races: Option<Location>,
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

    /// Returns the ABI whose `abi3` wheel serves `abi`; `None` if `abi` has a wheel of its own.
    pub fn abi3_for(&self, package: &Package, abi: &Abi) -> Option<&Abi> {
        let first = self.abi(package.build.abi3.as_deref()?)?;
        let later = !abi.free_threaded() && abi.minor() > first.minor();
        (later && package.published_for(&abi.id).is_none()).then_some(first)
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

    /// Returns whether a wheel of the package is built for an ABI: the vendor publishes none, or an image needs one with
    /// ThreadSanitizer.
    pub fn builds(&self, package: &Package, abi: &Abi) -> bool {
        let instrumented =
            |image: &Image| image.is_instrumented() && image.abi == *abi.id && image.has_package(&package.id);
        package.published_for(&abi.id).is_none() || self.images.iter().any(instrumented)
    }

    /// Returns the sets of Debian packages that the packages of an image need at run time.
    pub fn runtime_sets(&self, image: &Image) -> BTreeSet<&str> {
        self.packages_of(image).filter_map(|package| package.runtime_apt.as_deref()).collect()
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
    /// Whether its interpreter and packages are compiled with ThreadSanitizer.
    pub fn is_instrumented(&self) -> bool {
        self.interpreter == Some(InterpreterBuild::Tsan)
    }

    /// Whether the image contains the package with this id.
    pub fn has_package(&self, id: &str) -> bool {
        self.packages.iter().any(|own| **own == *id)
    }
}
