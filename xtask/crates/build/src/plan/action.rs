//! The kinds of steps and their definitions, which are serialised into keys.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::origin::Origin;
use base::digest;
use matrix::{AUTO, GilState, InterpreterBuild, Serve, Tool};
use serde::Serialize;
use wheelfile::LocalBuild;

use crate::lock::Pin;

/// Kind of work with its parameters.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    Tools(Tools),
    Fetch(Fetch),
    Patch(Patch),
    Root(Root),
    Apt(Apt),
    Python(Python),
    Base(Base),
    Maturin(Maturin),
    Container(Container),
    Controls(Controls),
    Published(Published),
    Stable(Stable),
    Image(Image),
    Proof(Proof),
}

/// Python environment with the pinned tools.
#[derive(Debug, Clone, Serialize)]
pub struct Tools {
    pub tools: Vec<Tool>,
}

/// Downloads with digests.
#[derive(Debug, Clone, Serialize)]
pub struct Fetch {
    pub files: Vec<Download>,
}

/// Pinned file.
#[derive(Debug, Clone, Serialize)]
pub struct Download {
    /// File name. Files of the package index keep their name there.
    pub name: String,
    pub sha256: String,
    /// URLs to try in order. If empty, the file is found in the package index by its digest.
    pub from: Vec<String>,
    /// Position of the digest, for errors.
    #[serde(skip)]
    pub origin: Origin,
}

/// Modules that must be importable with a package. They do not affect the wheel and are not part of a key.
#[derive(Debug, Clone, Default)]
pub struct Imports {
    /// Names of modules with the ordinals of their scalars in the matrix.
    pub names: Vec<(String, usize)>,
    /// Wheels of the package's lock file, which may provide the modules.
    pub locked: Vec<Pin>,
}

/// An sdist with patches applied.
#[derive(Debug, Clone, Serialize)]
pub struct Patch {
    pub package: String,
    /// The version that the patched source must have.
    pub version: String,
    /// The step that fetches the sdist.
    pub sdist: String,
    /// In the order in which they are applied.
    pub patches: Vec<PatchFile>,
}

/// One file of a series of patches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatchFile {
    pub name: String,
    pub sha256: String,
    /// The text, which its digest stands for in the key.
    #[serde(skip)]
    pub text: String,
}

/// Debian root file system image.
#[derive(Debug, Clone, Serialize)]
pub struct Root {
    pub suite: String,
    pub image: Option<String>,
}

/// Installation of Debian packages on top of an image.
#[derive(Debug, Clone, Serialize)]
pub struct Apt {
    pub base: String,
    pub packages: Vec<String>,
}

/// CPython compiled from source, with headers.
#[derive(Debug, Clone, Serialize)]
pub struct Python {
    pub version: String,
    pub free_threaded: bool,
    pub build: InterpreterBuild,
    pub builder: String,
    pub archive: String,
    /// Major version of LLVM that compiles it, for `InterpreterBuild::Tsan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llvm: Option<String>,
}

/// Base image `python:<version>[t]-slim`.
#[derive(Debug, Clone, Serialize)]
pub struct Base {
    pub repository: String,
    pub tag: String,
    pub version: String,
    /// Step that compiles the interpreter; `None` for Debian's interpreter.
    pub python: Option<String>,
    pub runtime: String,
    pub build: InterpreterBuild,
}

/// Wheel built on the host with maturin.
#[derive(Debug, Clone, Serialize)]
pub struct Maturin {
    pub wheel: Wheel,
    /// Tools that affect the bytes of the wheel.
    pub tools: Vec<Tool>,
    /// Command of the interpreter, as maturin expects it: `python3.14t`.
    pub interpreter: String,
    /// Maximum number of crates compiled in parallel, if the package limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<NonZeroUsize>,
    /// Variables that replace settings of the package's release profile in a wheel for trying out (`--quick`); empty
    /// for other wheels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub profile: BTreeMap<String, String>,
    /// All ABIs of the matrix. Their folders get the same names in the compiled code.
    #[serde(skip)]
    pub abis: Vec<String>,
}

/// Wheel built in a container.
#[derive(Debug, Clone, Serialize)]
pub struct Container {
    pub wheel: Wheel,
    /// Command of the interpreter in the image: `python3.14t`.
    pub python: String,
    pub devel: String,
    pub requires: String,
    /// Maximum number of parallel compilers, if the package limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<NonZeroUsize>,
    /// Whether the build has the Rust compiler of this machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rust: bool,
    /// Settings for the build backend (PEP 517).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config_settings: BTreeMap<String, Vec<String>>,
    /// Whether the wheel keeps its debug information.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub debug_info: bool,
    /// Compiles the wheel with ThreadSanitizer. The compilers are those of the image then, also that for Rust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instrumented: Option<Instrumented>,
}

/// How a wheel is compiled with ThreadSanitizer.
#[derive(Debug, Clone, Serialize)]
pub struct Instrumented {
    /// Major version of LLVM.
    pub llvm: String,
    /// What the table shows in place of the ABI: `cp314t-tsan`.
    #[serde(skip)]
    pub label: String,
}

/// Libraries with and without data races, which show whether ThreadSanitizer finds races in an image.
#[derive(Debug, Clone, Serialize)]
pub struct Controls {
    /// Step of the image with the compilers.
    pub compilers: String,
    /// Major version of LLVM.
    pub llvm: String,
}

/// Common properties of built wheels.
#[derive(Debug, Clone, Serialize)]
pub struct Wheel {
    pub package: String,
    /// The name of the distribution, where it is not that of the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    pub version: Option<String>,
    pub abi: String,
    /// The platform tag, or `auto` if it is determined after the build.
    pub platform: String,
    pub glibc: String,
    /// Folder in the source that is built, if it is not the top folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdirectory: Option<String>,
    /// Environment variables for the build.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// rustup toolchain that compiles it, if it is not that of this tool. The compiler's version is in the key.
    #[serde(skip)]
    pub toolchain: Option<String>,
    /// Fetch step of the sdist; `None` for a working copy.
    pub sdist: Option<String>,
    /// Content digest of the working copy.
    pub working_copy: Option<String>,
    /// Folder of the working copy. It does not affect the result.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
    #[serde(skip)]
    pub imports: Imports,
}

/// Wheel that the vendor publishes.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    pub package: String,
    pub version: Option<String>,
    pub abi: String,
    pub glibc: String,
    pub fetch: String,
    #[serde(skip)]
    pub imports: Imports,
}

/// Wheel with modules of the stable ABI that was built for an earlier ABI.
#[derive(Debug, Clone, Serialize)]
pub struct Stable {
    pub package: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    pub version: Option<String>,
    pub abi: String,
    pub glibc: String,
    /// Step that makes the wheel.
    pub wheel: String,
    #[serde(skip)]
    pub imports: Imports,
}

/// Runtime image before its checks.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    pub repository: String,
    pub tag: String,
    pub abi: String,
    pub base: String,
    /// Wheel steps by package.
    pub wheels: BTreeMap<String, String>,
    /// Steps that fetch the run-time requirements of the packages.
    pub locked: Vec<String>,
    pub serve: Option<Serve>,
    pub env: BTreeMap<String, String>,
}

/// Check of an image's promises. Only a proven image gets its tag.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    pub repository: String,
    pub tag: String,
    pub image: String,
    pub imports: Vec<String>,
    pub promise: GilState,
}

/// Value that represents a step in the keys of dependent steps.
pub(super) enum Identity {
    /// The step's own key.
    Key,
    /// Content recorded when the step ran.
    Recorded,
    /// Fixed value.
    Known(String),
}

/// The wheel that a step makes or takes from its vendor.
#[derive(Debug, Clone, Copy)]
pub struct StepWheel<'a> {
    pub package: &'a str,
    /// The name of the distribution, as in the wheel.
    pub distribution: &'a str,
    pub version: Option<&'a str>,
    pub abi: &'a str,
    pub imports: &'a Imports,
    /// The definition of a wheel that the step builds; none for a wheel that it takes from the vendor or another step.
    pub built: Option<&'a Wheel>,
}

impl Wheel {
    /// The name of the distribution, as in the wheel.
    pub fn distribution(&self) -> &str {
        self.distribution.as_deref().unwrap_or(&self.package)
    }

    /// The platform tag that the wheel must have; `None` if it is determined after the build.
    pub fn tag(&self) -> Option<&str> {
        (self.platform != AUTO).then_some(&self.platform)
    }

    /// The folder to build, where `source` has the whole source.
    pub fn project_folder(&self, source: &Path) -> PathBuf {
        self.subdirectory.as_ref().map_or_else(|| source.to_owned(), |folder| source.join(folder))
    }
}

impl Container {
    /// How the wheel is compiled, if it is not for others.
    pub fn local_build(&self) -> Option<LocalBuild> {
        self.instrumented.is_some().then_some(LocalBuild::Tsan)
    }
}

impl Maturin {
    /// Whether the wheel is compiled for trying out.
    pub fn is_quick(&self) -> bool {
        !self.profile.is_empty()
    }
}

impl Action {
    /// The wheel that a step of this kind makes.
    pub fn wheel(&self) -> Option<StepWheel<'_>> {
        match self {
            Action::Maturin(Maturin { wheel, .. }) | Action::Container(Container { wheel, .. }) => Some(StepWheel {
                package: &wheel.package,
                distribution: wheel.distribution(),
                version: wheel.version.as_deref(),
                abi: &wheel.abi,
                imports: &wheel.imports,
                built: Some(wheel),
            }),
            Action::Published(Published { package, version, abi, imports, .. }) => Some(StepWheel {
                package,
                distribution: package,
                version: version.as_deref(),
                abi,
                imports,
                built: None,
            }),
            Action::Stable(Stable { package, distribution, version, abi, imports, .. }) => Some(StepWheel {
                package,
                distribution: distribution.as_deref().unwrap_or(package),
                version: version.as_deref(),
                abi,
                imports,
                built: None,
            }),
            Action::Tools(_)
            | Action::Fetch(_)
            | Action::Patch(_)
            | Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Base(_)
            | Action::Controls(_)
            | Action::Image(_)
            | Action::Proof(_) => None,
        }
    }

    /// How the step compiles a wheel, if it is not for others.
    pub fn local_build(&self) -> Option<LocalBuild> {
        match self {
            Action::Maturin(maturin) => maturin.is_quick().then_some(LocalBuild::Quick),
            Action::Container(container) => container.local_build(),
            Action::Tools(_)
            | Action::Fetch(_)
            | Action::Patch(_)
            | Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Base(_)
            | Action::Controls(_)
            | Action::Published(_)
            | Action::Stable(_)
            | Action::Image(_)
            | Action::Proof(_) => None,
        }
    }

    /// What the closing table calls the artefact of a row, and its tag.
    pub fn row_name(&self) -> Option<(&str, &str)> {
        match self {
            Action::Container(Container { wheel, instrumented: Some(instrumented), .. }) => {
                Some((&wheel.package, &instrumented.label))
            }
            Action::Maturin(_) | Action::Container(_) | Action::Published(_) | Action::Stable(_) => {
                self.wheel().map(|wheel| (wheel.package, wheel.abi))
            }
            Action::Base(base) => Some(("python", &base.tag)),
            Action::Proof(proof) => Some(("image", &proof.tag)),
            Action::Tools(_)
            | Action::Fetch(_)
            | Action::Patch(_)
            | Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Controls(_)
            | Action::Image(_) => None,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        match self {
            Action::Root(_) | Action::Apt(_) => Identity::Recorded,
            // Steps that use a tool include its pin in their own definition.
            Action::Tools(_) => Identity::Known(String::new()),
            Action::Fetch(fetch) => {
                let digests: Vec<&str> = fetch.files.iter().map(|file| &*file.sha256).collect();
                Identity::Known(digest::of(digests.join("\n")))
            }
            Action::Patch(_)
            | Action::Python(_)
            | Action::Base(_)
            | Action::Maturin(_)
            | Action::Container(_)
            | Action::Controls(_)
            | Action::Published(_)
            | Action::Stable(_)
            | Action::Image(_)
            | Action::Proof(_) => Identity::Key,
        }
    }

    /// Returns whether steps of this kind use the Docker engine.
    pub fn needs_docker(&self) -> bool {
        match self {
            Action::Tools(_)
            | Action::Fetch(_)
            | Action::Patch(_)
            | Action::Maturin(_)
            | Action::Published(_)
            | Action::Stable(_) => false,
            Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Base(_)
            | Action::Container(_)
            | Action::Controls(_)
            | Action::Image(_)
            | Action::Proof(_) => true,
        }
    }

    /// Returns whether the step builds a row, which users request by name.
    pub fn is_row(&self) -> bool {
        self.row_name().is_some()
    }

    /// Returns whether recorded content represents the step in other keys, which are unknown before it ran.
    pub fn is_recorded(&self) -> bool {
        matches!(self.identity(), Identity::Recorded)
    }

    /// Returns the approximate duration in seconds on two cores. It affects only the order of execution.
    pub(super) fn weight(&self) -> u32 {
        match self {
            Action::Tools(_) => 10,
            Action::Fetch(_) | Action::Patch(_) | Action::Published(_) | Action::Stable(_) => 2,
            Action::Root(_) => 30,
            Action::Apt(_) => 25,
            Action::Python(python) => python.build.seconds(),
            Action::Base(_) | Action::Image(_) | Action::Proof(_) => 10,
            Action::Maturin(_) => 270,
            Action::Container(Container { instrumented: Some(_), rust: true, .. }) => 500,
            Action::Container(Container { instrumented: Some(_), .. }) | Action::Controls(_) => 90,
            Action::Container(_) => 60,
        }
    }
}
