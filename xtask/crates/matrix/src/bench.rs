//! What `cargo xtask bench` measures: rows of the matrix, configurations of a service, load scripts and metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gil::GilState;
use crate::words::{Location, Word};

/// The rows of the matrix that stand for all others where something is measured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    pub build: BenchBuild,
    pub serve: Option<BenchServe>,
}

/// What `cargo xtask bench build` measures.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchBuild {
    /// A package that maturin builds, for these ABIs.
    pub maturin: BenchMaturin,
    /// A package that is built in a container, for one ABI.
    pub container: BenchContainer,
    /// The image with just these two.
    pub image: Word,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchMaturin {
    pub package: Word,
    pub abis: Vec<Word>,
    /// The source file, relative to the package's top, that "one line changed" appends a line to.
    pub touch: Location,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchContainer {
    pub package: Word,
    pub abi: Word,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchServe {
    /// k6's own image, with its digest: for machines that have no k6.
    pub k6: Location,
    /// A folder with a script of k6 for each scenario, and a Go module of k6 in its folder `k6`.
    pub scripts: Location,
    /// The scenario that comes first and counts for nothing.
    pub warmup: Word,
    pub scenarios: Vec<Word>,
    /// The one of them whose requests come at a constant rate: held against the first.
    pub open: Option<Word>,
    /// The path that tells interpreter and GIL.
    pub runtime: Location,
    pub metrics: ServerSide,
    /// Another's figures to be shown beside ours, in a YAML file.
    pub original: Option<Location>,
    pub configs: Vec<ServeConfig>,
}

/// What is measured: an image, how it is started, and which of its clients are loaded.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServeConfig {
    pub id: Word,
    /// For people.
    pub title: String,
    pub image: Word,
    /// What must be found, before and after; else it is refused.
    pub gil: GilState,
    /// On top of the image's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// In turn, request by request; one alone has the server for itself.
    pub clients: Vec<Word>,
    /// With the service's own stage metrics.
    #[serde(default)]
    pub stages: bool,
}

/// What the service calls its metrics.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSide {
    /// The path that tells them.
    pub path: Location,
    /// The label with the client.
    pub client: Word,
    /// The histogram of whole requests, in seconds.
    pub requests: Word,
    /// Histograms of parts of them, by what a person calls them.
    pub parts: BTreeMap<String, Word>,
    pub stages: Stages,
}

/// What happens inside a client, one stage after the other.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stages {
    /// What switches them on.
    pub env: BTreeMap<String, String>,
    pub metric: Word,
    /// The label with the stage.
    pub label: Word,
    /// In the order in which they come.
    pub order: Vec<Word>,
}

/// Figures that somebody else has measured.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    pub title: String,
    /// How they were measured, in one sentence.
    pub note: String,
    pub figures: Vec<Theirs>,
}

/// One figure, by the names that ours have.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Theirs {
    pub config: String,
    /// Empty where it is of no client.
    #[serde(default)]
    pub client: String,
    pub scenario: String,
    pub figure: String,
    pub value: f64,
}
