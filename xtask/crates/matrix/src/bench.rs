//! What `cargo xtask bench` measures: rows of the matrix, configurations of a service, load scripts and metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gil::GilState;
use crate::words::{Location, Word};

/// What is measured.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// What `cargo xtask bench build` measures.
    pub build: Option<BenchBuild>,
    /// What `cargo xtask bench serve` measures.
    pub serve: Option<BenchServe>,
}

/// What `cargo xtask bench build` measures.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BenchBuild {
    /// A package that maturin builds, for the rows about maturin.
    pub maturin: Option<BenchMaturin>,
    /// A package that is built in a container, for the rows about containers.
    pub container: Option<BenchContainer>,
    /// Tag of an image, for the rows about images. It contains each of the packages that are given.
    pub image: Option<Word>,
    /// A package of Python files in a folder (`path`), for the row `image-one-file`.
    pub application: Option<BenchApplication>,
    /// Rows of the table, in the order in which they are measured.
    pub rows: Vec<BenchRow>,
}

/// One row of the table.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BenchRow {
    /// Name of the row, as `--row` takes it.
    pub row: Word,
    /// What is measured. Each kind of measurement is possible once.
    pub measure: Measure,
    /// Target: the time of this tool divided by that of the plain tools is at most this.
    pub ratio: Option<f64>,
    /// Target: this tool takes at most this many seconds.
    pub seconds: Option<f64>,
    /// Minutes that one run of both sides takes on two cores. The sum over the rows is printed before the benchmark.
    #[serde(default)]
    pub minutes: u32,
}

/// Kind of measurement of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Wheels of `maturin` for all its ABIs without a cache, compared with `maturin build`.
    MaturinCold,
    /// The same wheels again, with nothing changed.
    MaturinUnchanged,
    /// The same wheels, with one line changed in the file `touch`.
    MaturinOneLine,
    /// The wheel of `container` without a cache, compared with `pip wheel` in the same container.
    ContainerCold,
    /// The same wheel again, with nothing changed.
    ContainerUnchanged,
    /// `image` from finished wheels without a cache, compared with `docker build`.
    ImageCold,
    /// The same image again, with nothing changed.
    ImageUnchanged,
    /// One line changed in the file `touch` of `maturin`, then `image` with `--quick`, compared with `maturin build
    /// --release` and `docker build`.
    ImageOneLine,
    /// The same without `--quick`.
    ImageOneLineRelease,
    /// One line changed in the file `touch` of `application`, then `image` with `--quick`, compared with `docker build`
    /// and a cache of all layers but the last.
    ImageOneFile,
    /// From an empty cache to the wheels of `maturin` and `container` for the ABI of `container`, compared with the
    /// same steps by hand.
    AllWheels,
    /// From an empty cache to `image` with `--quick`, compared with the same steps by hand.
    Everything,
    /// The same without `--quick`: with an interpreter that is optimised with PGO and LTO on both sides.
    EverythingOptimized,
    /// `cargo xtask plan`, compared with nothing.
    Plan,
    /// Compiling this tool, compared with nothing.
    Tool,
}

impl Measure {
    /// Whether plain tools do the same, so that there is a ratio.
    pub fn compares(self) -> bool {
        !matches!(self, Measure::Plan | Measure::Tool)
    }

    /// The fields of `bench.build` that this measurement needs.
    fn needed_fields(self) -> &'static [&'static str] {
        match self {
            Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine => &["maturin"],
            Measure::ContainerCold | Measure::ContainerUnchanged => &["container"],
            Measure::ImageCold | Measure::ImageUnchanged => &["image"],
            Measure::ImageOneLine | Measure::ImageOneLineRelease => &["maturin", "image"],
            Measure::ImageOneFile => &["application", "image"],
            Measure::AllWheels => &["maturin", "container"],
            Measure::Everything | Measure::EverythingOptimized => &["maturin", "container", "image"],
            Measure::Plan | Measure::Tool => &[],
        }
    }
}

impl BenchBuild {
    /// The packages that are built: those of `maturin` and `container`.
    pub fn packages(&self) -> impl Iterator<Item = &Word> {
        let maturin = self.maturin.iter().map(|maturin| &maturin.package);
        maturin.chain(self.container.iter().map(|container| &container.package))
    }

    /// The first field that `measure` needs and that is not given.
    pub fn missing_field(&self, measure: Measure) -> Option<&'static str> {
        let given = |field: &str| match field {
            "maturin" => self.maturin.is_some(),
            "container" => self.container.is_some(),
            "application" => self.application.is_some(),
            _ => self.image.is_some(),
        };
        measure.needed_fields().iter().find(|field| !given(field)).copied()
    }
}

/// The measured builds with maturin.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BenchMaturin {
    /// Id of a package with `with: maturin`.
    pub package: Word,
    /// ABIs to build for, ids of `abis`.
    pub abis: Vec<Word>,
    /// Source file, relative to the top of the package. The benchmark "one line changed" appends a line to it.
    pub touch: Location,
}

/// The measured build in a container.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BenchContainer {
    /// Id of a package with `with: container`.
    pub package: Word,
    /// ABI to build for: an id of `abis` for which no wheel is published.
    pub abi: Word,
}

/// The package of Python files of which one is changed.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BenchApplication {
    /// Id of a package whose source is a folder.
    pub package: Word,
    /// Python file, relative to the folder of the package. The benchmark appends a line to it.
    pub touch: Location,
}

/// Load tests of services with k6.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BenchServe {
    /// Image of k6 with its digest, for machines on which k6 is not installed.
    pub k6: Location,
    /// Folder, relative to `matrix.yaml`, with a k6 script `<scenario>.js` for each scenario. Its subfolder `k6` has
    /// the Go module that k6 is built from if neither a program nor the image is available.
    pub scripts: Location,
    /// Scenario that runs first. Its requests are not counted.
    pub warmup: Word,
    /// Scenarios to run, in order: `[single, gather]`.
    pub scenarios: Vec<Word>,
    /// The scenario that sends requests at a constant rate (an open loop). It is compared with the first scenario.
    pub open: Option<Word>,
    /// URL path at which the service reports its interpreter and the state of the GIL: `/runtime`.
    pub runtime: Location,
    /// Names of the metrics that the service exports, if it exports any.
    pub metrics: Option<ServerSide>,
    /// YAML file with figures that somebody else measured, relative to `matrix.yaml`. They are shown beside the
    /// measured ones.
    pub original: Option<Location>,
    /// Configurations to measure.
    pub configs: Vec<ServeConfig>,
}

/// A configuration to measure: an image, how it is started, and the clients that are loaded.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServeConfig {
    /// Name of the configuration, for `--config`.
    pub id: Word,
    /// Title in the report, one line.
    pub title: String,
    /// Tag of the image. One of its packages must have `serve`.
    pub image: Word,
    /// Expected GIL state. It is checked before and after each run; in another state nothing is measured.
    pub gil: GilState,
    /// Environment variables, in addition to those of the image.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Clients to load, at least one. Several take turns, request by request.
    pub clients: Vec<Word>,
    /// Switches the stage metrics of the service on, which `metrics.stages` names.
    #[serde(default)]
    pub stages: bool,
}

/// Names of the metrics that a service exports in the Prometheus text format.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServerSide {
    /// URL path of the metrics: `/metrics`.
    pub path: Location,
    /// Label that names the client of a request.
    pub client: Word,
    /// Histogram of the duration of whole requests, in seconds.
    pub requests: Word,
    /// Histograms of the duration of parts of a request, in seconds, by their title in the report:
    /// `{batch read: batch_read_duration_seconds}`.
    #[serde(default)]
    pub parts: BTreeMap<String, Word>,
    /// Metrics of the stages of a call inside a client.
    pub stages: Option<Stages>,
}

/// Metrics of the stages of a call inside a client.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Stages {
    /// Environment variables that switch the metrics on.
    pub env: BTreeMap<String, String>,
    /// Histogram of the duration of a stage, in seconds.
    pub metric: Word,
    /// Label that names the stage.
    pub label: Word,
    /// Names of the stages, in the order in which they happen.
    pub order: Vec<Word>,
    /// What happens in a stage, for the report: `{io: the request and its answer}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meaning: BTreeMap<String, String>,
}

/// Published figures of another measurement, for comparison.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceFigures {
    pub title: String,
    /// Conditions of the measurement, in one sentence.
    pub note: String,
    pub figures: Vec<ReferenceFigure>,
}

/// One figure, identified by the same names as in the records of `bench serve`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceFigure {
    pub config: String,
    /// Empty if the figure does not belong to a client.
    #[serde(default)]
    pub client: String,
    pub scenario: String,
    pub figure: String,
    pub value: f64,
}
