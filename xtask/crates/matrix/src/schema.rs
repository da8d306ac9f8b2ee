//! The top of `matrix.yaml` and its rows, except packages and benchmarks, which have files of their own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::bench::Bench;
use crate::ci::Ci;
use crate::gil::GilState;
use crate::package::Package;
use crate::tool::Tool;
use crate::words::{AptName, Digest, Location, Version, Word};

/// All of `matrix.yaml`, validated.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Repository that the images are named after: `<name>:<tag>`.
    pub name: Word,
    pub root: Root,
    pub apt: Vec<AptSet>,
    pub sources: Vec<Source>,
    pub tools: Vec<Tool>,
    pub abis: Vec<Abi>,
    pub packages: Vec<Package>,
    pub images: Vec<Image>,
    /// What the workflows run on, check with and publish.
    pub ci: Ci,
    /// What `cargo xtask bench` measures.
    pub bench: Option<Bench>,
    /// What the services of the images talk to when somebody tries them.
    pub server: Option<Server>,
}

/// A database server's own image, for `up`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// With its digest.
    pub image: Location,
    /// The TCP port that it listens on.
    pub port: u16,
}

/// The Debian file system under every image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Debian's code name, as mmdebstrap takes it.
    pub suite: Word,
    /// glibc of that suite, `major.minor`: no wheel may ask for more.
    pub glibc: Version,
    /// A slim image of the same suite, with its digest, preferred where a registry is in reach.
    pub image: Option<Location>,
}

/// Debian packages under one name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AptSet {
    pub id: Word,
    #[serde(default)]
    pub include: Vec<Word>,
    #[serde(default)]
    pub packages: Vec<AptName>,
}

/// A file that is downloaded, from the first place that has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub id: Word,
    pub sha256: Digest,
    /// URLs, or `debian:<path>` for a path on the Debian mirror that apt is set up with.
    pub from: Vec<Location>,
}

/// A CPython ABI.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// The ABI tag of PEP 425, `cp314t` for instance; compared for equality only.
    pub id: Word,
    /// CPython's version; its first two numbers must be those of the tag.
    pub python: Version,
    pub interpreter: Interpreter,
}

/// Where the interpreter of an ABI comes from: exactly one of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpreter {
    pub distribution: Option<Distribution>,
    pub source: Option<FromSource>,
}

/// Debian's own interpreter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    pub runtime_apt: Word,
    pub devel_apt: Word,
}

/// CPython compiled here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromSource {
    pub archive: Word,
    pub build_apt: Word,
    pub runtime_apt: Word,
    /// PGO and LTO; `--quick` turns it off for one invocation.
    pub optimize: bool,
}

/// A runtime image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub tag: Word,
    pub abi: Word,
    pub packages: Vec<Word>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
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

    pub fn source(&self, id: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == *id)
    }

    /// The Debian packages of a set, those of the sets it includes first, each once.
    pub fn apt_packages(&self, id: &str) -> Vec<String> {
        let names = self.apt_sets(id).into_iter().flat_map(|set| set.packages.iter().map(|name| name.to_string()));
        let mut packages: Vec<String> = names.collect();
        let mut seen = BTreeSet::new();
        packages.retain(|name| seen.insert(name.clone()));
        packages
    }

    /// A set and the sets that it includes, each once and after those that it includes itself.
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

impl Abi {
    /// Whether this ABI is that of a free-threaded build (PEP 703): its tag ends in `t`.
    pub fn free_threaded(&self) -> bool {
        self.id.ends_with('t')
    }

    /// `3.14t`: what the interpreter's own command is called after `python`.
    pub fn interpreter_name(&self) -> String {
        let mut parts = self.python.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let suffix = if self.free_threaded() { "t" } else { "" };
        format!("{major}.{minor}{suffix}")
    }

    /// `3.14.5t-slim`: the tag of the base image.
    pub fn base_tag(&self) -> String {
        let suffix = if self.free_threaded() { "t" } else { "" };
        format!("{}{suffix}-slim", self.python)
    }
}
