//! A folder of results: what was measured, on what, in which order. Reports are drawn from it alone, so it
//! can be moved, kept and drawn again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::prometheus::Series;
use build::cache;
use matrix::{GilState, ReferenceFigures, ServeConfig, ServerSide};

pub const FILE: &str = "manifest.json";
/// Grows when a reader of an older one could be misled.
const SCHEMA: u32 = 1;

/// `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    /// Day and commit of the tool.
    pub when: String,
    /// What it was measured on.
    pub machine: String,
    /// From which the order was drawn.
    pub seed: u64,
    pub load: Load,
    pub server: Server,
    pub k6: K6,
    /// SHA-256 of the load scripts, by file name.
    pub scripts: BTreeMap<String, String>,
    /// Processors of server, application and load generator; none where there were too few.
    pub pinned: Option<[String; 3]>,
    /// What a reader must know before any number.
    pub warnings: Vec<String>,
    pub configs: Vec<Config>,
    /// What the application's own metrics are called.
    pub metrics: ServerSide,
    /// Another's figures, shown beside ours.
    pub original: Option<ReferenceFigures>,
    /// Every run that is to be, by configuration, in the order that was drawn.
    pub order: Vec<String>,
    /// In the order in which they were run.
    pub runs: Vec<Run>,
    /// Why there are fewer runs than in `order`.
    pub ended: Option<String>,
}

/// What was asked of the load generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub repeat: u16,
    /// Of each scenario, in seconds.
    pub seconds: u64,
    /// Users that each wait for their answer.
    pub vus: u16,
    /// Requests per second that wait for nobody.
    pub rate: u16,
    /// In each set.
    pub records: u64,
    pub scenarios: Vec<String>,
    /// The one of them that was made with `rate`.
    pub open: Option<String>,
}

/// What the application talked to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// For people.
    pub kind: String,
    /// Its image's id, where it ran in a container of ours.
    pub image: Option<String>,
    /// A development aid, whose speed says nothing.
    pub standin: bool,
}

/// The load generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct K6 {
    pub version: String,
    /// Where it was found.
    pub from: String,
    /// SHA-256 of the program, or the image's id.
    pub digest: String,
}

/// A configuration as it was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// As the matrix has it.
    pub asked: ServeConfig,
    /// The id of the image.
    pub digest: String,
    /// The step's key that it was built by.
    pub key: String,
    /// Whether the interpreter was compiled with PGO and LTO.
    pub optimized: bool,
    /// Versions of what is in it, by package.
    pub packages: BTreeMap<String, String>,
}

/// One configuration, measured once, in fresh containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Its number in the order, its configuration.
    pub id: String,
    pub config: String,
    /// Seconds since 1970 when it began.
    pub began: u64,
    /// What the application said of itself before and after.
    pub before: Option<Runtime>,
    pub after: Option<Runtime>,
    pub phases: Vec<Phase>,
    /// Whether the engine forwarded each request, because the container's own address was not in reach.
    #[serde(default)]
    pub forwarded: bool,
    /// Why it counts for nothing.
    pub failed: Option<String>,
}

/// Of `/runtime`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Runtime {
    pub python: String,
    pub gil: bool,
    pub forced_off: bool,
    pub versions: BTreeMap<String, String>,
}

/// One scenario of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phase {
    pub scenario: String,
    /// That it lasted.
    pub seconds: f64,
    /// Iterations that were ended, and those that the load generator could not begin in time.
    pub iterations: u64,
    pub dropped: u64,
    /// The file with all requests, and its SHA-256.
    pub samples: String,
    pub sha256: String,
    /// What the application counted meanwhile.
    pub server: Vec<Series>,
    pub machine: Machine,
}

/// What else the machine did meanwhile: shares of all processors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub busy: f64,
    /// Of that, what is none of ours.
    pub other: f64,
    pub steal: f64,
    /// How often a processor or the group that we run in was slowed down; none where nobody counts it.
    pub throttled: Option<u64>,
}

impl Runtime {
    /// Why this is not what a configuration claims.
    pub fn refuse(&self, claimed: GilState) -> Option<String> {
        let found = match (self.gil, self.forced_off) {
            (true, _) => GilState::On,
            (false, false) => GilState::Off,
            (false, true) => GilState::ForcedOff,
        };
        (found != claimed).then(|| format!("the GIL is {found}, and {claimed} was claimed"))
    }
}

/// What is known of a measurement before it begins; the fields are those of [`Record`].
pub struct Setup {
    pub when: String,
    pub machine: String,
    pub seed: u64,
    pub load: Load,
    pub server: Server,
    pub k6: K6,
    pub scripts: BTreeMap<String, String>,
    pub configs: Vec<Config>,
    pub metrics: ServerSide,
    pub original: Option<ReferenceFigures>,
    pub order: Vec<String>,
}

impl Record {
    /// Returns the record of a measurement that has not begun.
    pub fn new(setup: Setup) -> Record {
        let Setup { when, machine, seed, load, server, k6, scripts, configs, metrics, original, order } = setup;
        Record {
            schema: SCHEMA,
            when,
            machine,
            seed,
            load,
            server,
            k6,
            scripts,
            pinned: None,
            warnings: Vec::new(),
            configs,
            metrics,
            original,
            order,
            runs: Vec::new(),
            ended: None,
        }
    }

    pub fn read(folder: &Path) -> Result<Record> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read `{}`: name a folder that `cargo xtask bench serve` has written", path.display())
        })?;
        let schema = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|value| value["schema"].as_u64());
        if schema != Some(u64::from(SCHEMA)) {
            bail!("`{}` is of another version of this tool: this one reads schema {SCHEMA}", path.display());
        }
        serde_json::from_str(&text).with_context(|| format!("`{}` is damaged", path.display()))
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        cache::write(&folder.join(FILE), text.as_bytes())
    }

    /// The runs that count.
    pub fn complete(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.failed.is_none())
    }

    /// What is missing, in words; `None` when all was measured.
    pub fn incomplete(&self) -> Option<String> {
        let failed: Vec<String> = self
            .runs
            .iter()
            .filter_map(|run| Some(format!("run {} counts for nothing: {}", run.id, run.failed.as_ref()?)))
            .collect();
        let counted = self.complete().count();
        (counted < self.order.len()).then(|| {
            let ended = self.ended.iter().map(|why| format!("it ended early: {why}"));
            let why: Vec<String> = ended.chain(failed).collect();
            format!("{counted} of {} runs are complete. {}", self.order.len(), why.join("; "))
        })
    }

    pub fn config(&self, id: &str) -> Option<&Config> {
        self.configs.iter().find(|config| config.asked.id == *id)
    }
}
