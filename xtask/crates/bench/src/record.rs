//! Result folder with the measurements, conditions and order of runs. Reports use only this folder, so it can be
//! moved and reports can be regenerated.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::prometheus::Series;
use build::cache;
use matrix::{GilState, ReferenceFigures, ServeConfig, ServerSide, Stages};

pub const FILE: &str = "manifest.json";
/// Increase if older readers could misinterpret the file.
const SCHEMA: u32 = 1;

/// Contents of `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    /// Date and commit of the tool.
    pub when: String,
    /// Description of the machine.
    pub machine: String,
    /// Seed of the random order.
    pub seed: u64,
    pub load: Load,
    pub server: MeasuredServer,
    pub k6: K6,
    /// SHA-256 of the load scripts, by file name.
    pub scripts: BTreeMap<String, String>,
    /// Processors of server, application and load generator; `None` if there were too few.
    pub pinned: Option<[String; 3]>,
    /// Warnings shown before the results.
    pub warnings: Vec<String>,
    pub configs: Vec<Config>,
    /// Names of the application's metrics, if it has any.
    pub metrics: Option<ServerSide>,
    /// Published reference figures, shown next to the results.
    pub original: Option<ReferenceFigures>,
    /// Configurations of all planned runs in random order.
    pub order: Vec<String>,
    /// How the number of rounds was decided, if not by `load.repeat` alone.
    #[serde(default)]
    pub sequential: Option<Sequential>,
    /// Numbers of users and processors of scaling runs.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// Completed runs in order.
    pub runs: Vec<Run>,
    /// What the threads did in a further run of each configuration, which is not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Profile>,
    /// Reason why there are fewer runs than in `order`.
    pub ended: Option<String>,
}

/// Parameters of the load generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub repeat: u16,
    /// Duration of each scenario in seconds.
    pub seconds: u64,
    /// Number of virtual users in closed-loop scenarios.
    pub vus: u16,
    /// Request rate of the open-loop scenario, per second.
    pub rate: u16,
    /// Number of records in each set.
    pub records: u64,
    pub scenarios: Vec<String>,
    /// Name of the open-loop scenario.
    pub open: Option<String>,
    /// Duration of a slice in seconds, if the configurations of a round are loaded in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<u64>,
}

/// Two-stage design by Stein (1945): the variance of the first rounds decides how many rounds there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequential {
    /// Intended half-width of the interval of processor time per request, as a share.
    pub precision: f64,
    /// Number of rounds whose variance decides.
    pub first: u16,
    /// Largest number of rounds.
    pub most: u16,
    /// Number of rounds that the precision needs; `None` before the first rounds are complete.
    pub needed: Option<u64>,
}

/// Plan of scaling runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    pub users: Vec<u16>,
    /// Numbers of processors of the service.
    pub cpus: Vec<u16>,
    /// Processors that the service may have.
    pub processors: Vec<u16>,
}

impl Scale {
    /// Returns the processors for a service with `cpus` of them, as a list. They are the last ones, because the first
    /// one often serves the interrupts.
    pub fn cpuset(&self, cpus: u16) -> String {
        let own = &self.processors[self.processors.len().saturating_sub(usize::from(cpus))..];
        own.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Server used by the application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredServer {
    /// Description for users.
    pub kind: String,
    /// Id of its image, if it ran in a container of the benchmark.
    pub image: Option<String>,
    /// Whether it is the stand-in, which is not suitable for performance measurements.
    pub standin: bool,
}

/// Load generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct K6 {
    pub version: String,
    /// Origin: path or image.
    pub from: String,
    /// SHA-256 of the program, or id of the image.
    pub digest: String,
}

/// Configuration with the properties of its image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Configuration in the matrix.
    pub asked: ServeConfig,
    /// Id of the image.
    pub digest: String,
    /// Key of the step that built the image.
    pub key: String,
    /// Whether the interpreter was compiled with PGO and LTO.
    pub optimized: bool,
    /// Versions of the packages in the image.
    pub packages: BTreeMap<String, String>,
    /// ABI of the interpreter. This field and the next ones are `None` in records of versions that lacked them.
    #[serde(default)]
    pub abi: Option<String>,
    /// How the interpreter was compiled.
    #[serde(default)]
    pub interpreter: Option<String>,
    /// Packages that were built with `--quick`; empty if none was.
    #[serde(default)]
    pub quick: Option<String>,
    /// Environment variables that the matrix sets: those of the image and those of the configuration.
    #[serde(default)]
    pub variables: Option<BTreeMap<String, String>>,
}

/// One run of a configuration in fresh containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Position in the order and name of the configuration.
    pub id: String,
    pub config: String,
    /// Number of the round, from 1; 0 in records of versions that did not write it.
    #[serde(default)]
    pub round: u16,
    /// Start time in seconds since 1970.
    pub began: u64,
    /// Runtime information reported by the application before and after the run.
    pub before: Option<Runtime>,
    pub after: Option<Runtime>,
    pub phases: Vec<Phase>,
    /// Number of processors of the service in a scaling run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u16>,
    /// Whether the engine forwarded each request, because the container's address was not reachable.
    #[serde(default)]
    pub forwarded: bool,
    /// Reason why the run does not count.
    pub failed: Option<String>,
}

/// Response of `/runtime`.
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
    /// Duration in seconds.
    pub seconds: f64,
    /// Numbers of completed iterations, and of iterations that the load generator could not start in time.
    pub iterations: u64,
    pub dropped: u64,
    /// File with all requests, and its SHA-256.
    pub samples: String,
    pub sha256: String,
    /// Metrics that the application counted during the scenario.
    pub server: Vec<Series>,
    pub machine: Machine,
    /// Processor time that the container of the service used, in seconds; `None` if it was not recorded.
    #[serde(default)]
    pub cpu: Option<f64>,
    /// Parts of the scenario, between which other configurations were loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slice>,
    /// Number of users in a scaling run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<u16>,
}

/// Part of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Start time in seconds since 1970.
    pub began: f64,
    pub seconds: f64,
    /// Number of responses with status 200.
    pub answered: u64,
    /// Processor time in seconds.
    pub cpu: f64,
}

/// Load of the machine during the scenario, as shares of all processors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub busy: f64,
    /// Share of it used by other processes.
    pub other: f64,
    pub steal: f64,
    /// How often a processor or the cgroup was throttled; `None` if not counted.
    pub throttled: Option<u64>,
    /// Load average of the last minute at the end; `None` if it was not recorded.
    #[serde(default)]
    pub load: Option<f64>,
}

/// What the threads of a service did under load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub config: String,
    pub scenario: String,
    /// Stacks of threads, or why there are none.
    pub stacks: Result<Stacks, String>,
}

/// Sampled stacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stacks {
    /// What read them.
    pub tool: String,
    /// How often all threads were looked at.
    pub looks: u64,
    /// Number of threads or processes that could not be read at a look.
    pub failed: u64,
    /// Number of running threads at all looks together.
    pub running: u64,
    /// Number of threads that waited for the GIL at all looks together; `None` if they were not counted.
    pub gil_waits: Option<u64>,
    /// File with the stacks of the running threads, and its SHA-256.
    pub file: String,
    pub sha256: String,
}

impl Runtime {
    /// Returns why the state differs from the expected GIL state; `None` if it matches.
    pub fn refuse(&self, claimed: GilState) -> Option<String> {
        let found = match (self.gil, self.forced_off) {
            (true, _) => GilState::On,
            (false, false) => GilState::Off,
            (false, true) => GilState::ForcedOff,
        };
        (found != claimed).then(|| format!("the GIL is {found}, but {claimed} was expected"))
    }
}

/// What is known of a measurement before it begins; the fields are those of [`Record`].
pub struct Setup {
    pub when: String,
    pub machine: String,
    pub seed: u64,
    pub load: Load,
    pub server: MeasuredServer,
    pub k6: K6,
    pub scripts: BTreeMap<String, String>,
    pub configs: Vec<Config>,
    pub metrics: Option<ServerSide>,
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
            sequential: None,
            scale: None,
            runs: Vec::new(),
            profiles: Vec::new(),
            ended: None,
        }
    }

    pub fn read(folder: &Path) -> Result<Record> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read `{}`: specify a folder written by `cargo xtask bench serve`", path.display())
        })?;
        let schema = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|value| value["schema"].as_u64());
        if schema != Some(u64::from(SCHEMA)) {
            bail!("`{}` was written by another version of this tool: the supported schema is {SCHEMA}", path.display());
        }
        serde_json::from_str(&text).with_context(|| format!("`{}` is damaged", path.display()))
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        cache::write(&folder.join(FILE), text.as_bytes())
    }

    /// Returns the runs that count.
    pub fn complete(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.failed.is_none())
    }

    /// Describes what is missing; `None` if all runs are complete.
    pub fn incomplete(&self) -> Option<String> {
        let failed: Vec<String> = self
            .runs
            .iter()
            .filter_map(|run| Some(format!("run {} is not counted: {}", run.id, run.failed.as_ref()?)))
            .collect();
        let counted = self.complete().count();
        (counted < self.order.len()).then(|| {
            let ended = self.ended.iter().map(|why| format!("it ended early: {why}"));
            let why: Vec<String> = ended.chain(failed).collect();
            format!("{counted} of {} runs are complete. {}", self.order.len(), why.join("; "))
        })
    }

    /// Returns the metrics of stages inside a client, if the application has any.
    pub fn stages(&self) -> Option<&Stages> {
        self.metrics.as_ref()?.stages.as_ref()
    }

    /// Returns the names of the measured parts of a request.
    pub fn parts(&self) -> Vec<&String> {
        self.metrics.iter().flat_map(|metrics| metrics.parts.keys()).collect()
    }

    /// Returns the number of runs in a round.
    pub fn round_size(&self) -> usize {
        (self.configs.len() * self.scale.as_ref().map_or(1, |scale| scale.cpus.len())).max(1)
    }

    pub fn config(&self, id: &str) -> Option<&Config> {
        self.configs.iter().find(|config| config.asked.id == *id)
    }
}
