//! What would run, in order, with keys: the same value is printed and executed.

mod github;
mod ids;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use serde::Serialize;

use crate::lock::Pin;
use base::digest;
use matrix::{GilState, InterpreterBuild, Serve, Tool};

pub use github::{Jobbing, Jobs, jobs};
pub use ids::{locked_id, proof_id, sdist_id, wheel_id};
pub use print::{Status, json, text};

/// Part of every key: a new layout of steps or outputs makes all earlier artefacts strangers.
const LAYOUT: u32 = 1;

/// Steps in an order in which each comes after those that it needs.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Not only the rows of the tables are asked for, but every step.
    pub whole: bool,
}

/// One unit of work.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name everywhere: command line, log lines, log file, artefacts, CI job.
    pub id: String,
    pub action: Action,
    /// The ids of the steps whose outputs it uses.
    pub needs: Vec<String>,
    /// What else can change the result, by name: tool versions, the text of scripts, our own code.
    pub inputs: BTreeMap<String, String>,
}

/// The kinds of work.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    Tools(Tools),
    Fetch(Fetch),
    Root(Root),
    Apt(Apt),
    Python(Python),
    Base(Base),
    Maturin(Maturin),
    Container(Container),
    Published(Published),
    Image(Image),
    Proof(Proof),
}

/// The private environment with the pinned tools.
#[derive(Debug, Clone, Serialize)]
pub struct Tools {
    pub tools: Vec<Tool>,
}

/// Downloads, each with its digest.
#[derive(Debug, Clone, Serialize)]
pub struct Fetch {
    pub files: Vec<Download>,
}

/// One pinned file.
#[derive(Debug, Clone, Serialize)]
pub struct Download {
    /// What to call it; files of the index keep the name that they have there.
    pub name: String,
    pub sha256: String,
    /// Places to try in turn; none means the package index, looked up by digest.
    pub from: Vec<String>,
    /// Where the digest is written.
    #[serde(skip)]
    pub origin: Origin,
}

/// Where something is written that a step takes from the project, for its errors; not part of a key.
#[derive(Debug, Clone, Default)]
pub enum Origin {
    #[default]
    Unknown,
    /// The scalar of this number in the matrix.
    Matrix(usize),
    /// `file:line` of another file.
    File(String),
}

/// What must be importable where a package is installed. It changes no wheel and is not part of a key.
#[derive(Debug, Clone, Default)]
pub struct Imports {
    /// Names of modules, each with the number of its scalar in the matrix.
    pub names: Vec<(String, usize)>,
    /// The wheels of the package's lock file, which may bring the modules.
    pub locked: Vec<Pin>,
}

/// The Debian root file system as an image.
#[derive(Debug, Clone, Serialize)]
pub struct Root {
    pub suite: String,
    pub image: Option<String>,
}

/// Debian packages on top of an image.
#[derive(Debug, Clone, Serialize)]
pub struct Apt {
    pub base: String,
    pub packages: Vec<String>,
}

/// CPython compiled, with headers.
#[derive(Debug, Clone, Serialize)]
pub struct Python {
    pub version: String,
    pub free_threaded: bool,
    pub build: InterpreterBuild,
    pub builder: String,
    pub archive: String,
}

/// `python:<version>[t]-slim`.
#[derive(Debug, Clone, Serialize)]
pub struct Base {
    pub repository: String,
    pub tag: String,
    pub version: String,
    /// Debian's interpreter (no `python`) or ours.
    pub python: Option<String>,
    pub runtime: String,
    pub build: InterpreterBuild,
}

/// A wheel built on the host.
#[derive(Debug, Clone, Serialize)]
pub struct Maturin {
    pub wheel: Wheel,
    /// The tools that reach its bytes.
    pub tools: Vec<Tool>,
    /// The command of the interpreter, as maturin knows it: `python3.14t`.
    pub interpreter: String,
    /// The most crates that may be compiled at a time, where the package limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<NonZeroUsize>,
    /// All ABIs of the matrix, whose folders get the same names in what is compiled.
    #[serde(skip)]
    pub abis: Vec<String>,
}

/// A wheel built in a container.
#[derive(Debug, Clone, Serialize)]
pub struct Container {
    pub wheel: Wheel,
    /// The command of the interpreter in the image: `python3.14t`.
    pub python: String,
    pub devel: String,
    pub requires: String,
    /// The most compilers that may run at a time, where the package limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<NonZeroUsize>,
    /// Whether debug information stays in the wheel.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub debug_info: bool,
}

/// What every built wheel has.
#[derive(Debug, Clone, Serialize)]
pub struct Wheel {
    pub package: String,
    pub version: Option<String>,
    pub abi: String,
    pub platform: String,
    pub glibc: String,
    /// The fetch step of its sdist, or none for a working copy.
    pub sdist: Option<String>,
    /// The content digest of its working copy.
    pub working_copy: Option<String>,
    /// The working copy's folder; where it lies does not change what comes out of it.
    #[serde(skip)]
    pub folder: Option<std::path::PathBuf>,
    #[serde(skip)]
    pub imports: Imports,
}

/// A wheel that the vendor publishes.
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

/// A runtime image, not yet proven.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    pub repository: String,
    pub tag: String,
    pub abi: String,
    pub base: String,
    /// Package to step.
    pub wheels: BTreeMap<String, String>,
    /// The steps that fetch what the packages need at run time.
    pub locked: Vec<String>,
    pub serve: Option<Serve>,
    pub env: BTreeMap<String, String>,
}

/// The proof of what an image promises; only then does it get its tag.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    pub repository: String,
    pub tag: String,
    pub image: String,
    pub imports: Vec<String>,
    pub promise: GilState,
}

/// What stands for a step in the keys of those that need it.
enum Identity {
    /// Its own key.
    Key,
    /// What it recorded of the outside world when it ran.
    Recorded,
    /// Known beforehand.
    Known(String),
}

/// The wheel that a step makes or takes from its vendor.
#[derive(Debug, Clone, Copy)]
pub struct StepWheel<'a> {
    pub package: &'a str,
    pub version: Option<&'a str>,
    pub abi: &'a str,
    pub imports: &'a Imports,
    /// The definition of a wheel that is built here; none for a wheel that the vendor publishes.
    pub built: Option<&'a Wheel>,
}

impl Action {
    /// The wheel that a step of this kind makes.
    pub fn wheel(&self) -> Option<StepWheel<'_>> {
        match self {
            Action::Maturin(Maturin { wheel, .. }) | Action::Container(Container { wheel, .. }) => Some(StepWheel {
                package: &wheel.package,
                version: wheel.version.as_deref(),
                abi: &wheel.abi,
                imports: &wheel.imports,
                built: Some(wheel),
            }),
            Action::Published(Published { package, version, abi, imports, .. }) => {
                Some(StepWheel { package, version: version.as_deref(), abi, imports, built: None })
            }
            Action::Tools(_)
            | Action::Fetch(_)
            | Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Base(_)
            | Action::Image(_)
            | Action::Proof(_) => None,
        }
    }

    /// What the closing table calls the artefact of a row, and its tag.
    pub fn row_name(&self) -> Option<(&str, &str)> {
        match self {
            Action::Maturin(_) | Action::Container(_) | Action::Published(_) => {
                self.wheel().map(|wheel| (wheel.package, wheel.abi))
            }
            Action::Base(base) => Some(("python", &base.tag)),
            Action::Proof(proof) => Some(("image", &proof.tag)),
            Action::Tools(_)
            | Action::Fetch(_)
            | Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Image(_) => None,
        }
    }

    fn identity(&self) -> Identity {
        match self {
            Action::Root(_) | Action::Apt(_) => Identity::Recorded,
            // Whoever uses a tool names its pin in its own definition.
            Action::Tools(_) => Identity::Known(String::new()),
            Action::Fetch(fetch) => {
                let digests: Vec<&str> = fetch.files.iter().map(|file| &*file.sha256).collect();
                Identity::Known(digest::of(digests.join("\n")))
            }
            Action::Python(_)
            | Action::Base(_)
            | Action::Maturin(_)
            | Action::Container(_)
            | Action::Published(_)
            | Action::Image(_)
            | Action::Proof(_) => Identity::Key,
        }
    }

    /// Whether a step of this kind talks to the Docker engine.
    pub fn needs_docker(&self) -> bool {
        match self {
            Action::Tools(_) | Action::Fetch(_) | Action::Maturin(_) | Action::Published(_) => false,
            Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Base(_)
            | Action::Container(_)
            | Action::Image(_)
            | Action::Proof(_) => true,
        }
    }

    /// Whether it makes a row of the tables: what people ask for, be it needed for another step or not.
    pub fn is_row(&self) -> bool {
        self.row_name().is_some()
    }

    /// Whether its result stands for it in the keys of others, which are not known before.
    pub fn is_recorded(&self) -> bool {
        matches!(self.identity(), Identity::Recorded)
    }

    /// About how many seconds it takes on two cores: only the order of waiting steps depends on it.
    fn weight(&self) -> u32 {
        match self {
            Action::Tools(_) => 10,
            Action::Fetch(_) | Action::Published(_) => 2,
            Action::Root(_) => 30,
            Action::Apt(_) => 25,
            Action::Python(python) => python.build.seconds(),
            Action::Base(_) | Action::Image(_) | Action::Proof(_) => 10,
            Action::Maturin(_) => 270,
            Action::Container(_) => 60,
        }
    }
}

impl Plan {
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The key of each step, where it is known yet: a step downstream of Debian's archive has a key
    /// only when what the archive gave is on record. `recorded` answers a key with that record.
    pub fn keys(&self, recorded: impl Fn(&Step, &str) -> Option<String>) -> BTreeMap<String, Option<String>> {
        let mut keys: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut identities: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for step in &self.steps {
            let needs: Option<BTreeMap<&str, String>> =
                step.needs.iter().map(|need| Some((need.as_str(), identities.get(need.as_str())?.clone()?))).collect();
            let key = needs.map(|needs| key(step, &needs));
            let identity = match step.action.identity() {
                Identity::Key => key.clone(),
                Identity::Recorded => key.as_deref().and_then(|key| recorded(step, key)),
                Identity::Known(text) => Some(text),
            };
            identities.insert(&step.id, identity);
            keys.insert(step.id.clone(), key);
        }
        keys
    }

    /// The ids of the steps that are asked for: each row, each that is `asked` for besides, and what
    /// one of them needs, unless that one is `there` without it.
    pub fn wanted(&self, asked: impl Fn(&Step) -> bool, there: impl Fn(&Step) -> bool) -> BTreeSet<&str> {
        let first = self.steps.iter().filter(|step| self.whole || step.action.is_row() || asked(step));
        let mut wanted: BTreeSet<&str> = first.map(|step| step.id.as_str()).collect();
        for step in self.steps.iter().rev() {
            if wanted.contains(step.id.as_str()) && !there(step) {
                wanted.extend(step.needs.iter().map(String::as_str));
            }
        }
        wanted
    }

    /// For each step the seconds from its start to the end of all that waits for it.
    pub fn urgency(&self) -> BTreeMap<&str, u32> {
        let mut urgency: BTreeMap<&str, u32> = BTreeMap::new();
        for step in self.steps.iter().rev() {
            let own = urgency.get(step.id.as_str()).copied().unwrap_or(0) + step.action.weight();
            urgency.insert(&step.id, own);
            for need in &step.needs {
                let known = urgency.entry(need.as_str()).or_insert(0);
                *known = own.max(*known);
            }
        }
        urgency
    }
}

fn key(step: &Step, needs: &BTreeMap<&str, String>) -> String {
    #[derive(Serialize)]
    struct Definition<'a> {
        layout: u32,
        action: &'a Action,
        inputs: &'a BTreeMap<String, String>,
        needs: &'a BTreeMap<&'a str, String>,
    }
    let definition = Definition { layout: LAYOUT, action: &step.action, inputs: &step.inputs, needs };
    // Structs, sorted maps and text: serialisation cannot fail and always comes out the same.
    digest::of(serde_json::to_vec(&definition).unwrap_or_default())
}
