//! What `cargo xtask bench serve` measures: configurations, load scripts, and what the service calls its metrics.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::words::Problem;
use super::{GilState, Location, Matrix, Word};
use base::ui::quoted;

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

pub(super) fn check(matrix: &Matrix, serve: &BenchServe) -> Result<(), Problem> {
    let BenchServe { k6: _, scripts: _, warmup, scenarios, open, runtime, metrics, original: _, configs } = serve;
    let fault = |word: &Word, field: &str, message: String| {
        Err(Problem { ordinal: word.ordinal, field: format!("bench.serve.{field}"), message })
    };
    let mut seen = BTreeSet::from([&**warmup]);
    if let Some(twice) = scenarios.iter().find(|scenario| !seen.insert(scenario)) {
        return fault(twice, "scenarios", format!("`{twice}` is there twice"));
    }
    if let Some(open) = open.as_ref().filter(|open| !scenarios.iter().any(|one| **one == ***open)) {
        return fault(open, "open", format!("`{open}` is none of the scenarios: {}", quoted(scenarios)));
    }
    let ServerSide { path, client: _, requests: _, parts: _, stages } = metrics;
    let Stages { env: _, metric: _, label: _, order: _ } = stages;
    for path in [runtime, path] {
        if !path.starts_with('/') {
            let message = format!("`{path}` is not the path of a URL, which starts with `/`");
            return Err(Problem { ordinal: path.ordinal, field: "bench.serve".to_owned(), message });
        }
    }
    let mut ids = BTreeSet::new();
    for ServeConfig { id, title, image, gil, env, clients, stages: _ } in configs {
        if !ids.insert(&**id) {
            return fault(id, "configs", format!("`{id}` is there twice"));
        }
        if title.trim().is_empty() || title.chars().any(char::is_control) {
            return fault(id, "configs[].title", format!("`{id}` needs a title of one line"));
        }
        let Some(row) = matrix.image(image) else {
            let choices = quoted(matrix.images.iter().map(|image| &image.tag));
            return fault(image, "configs[].image", format!("there is no `{image}`; the choices are {choices}"));
        };
        let service =
            row.packages.iter().filter_map(|id| matrix.package(id)).find_map(|package| package.serve.as_ref());
        let Some(service) = service else {
            return fault(image, "configs[].image", format!("no package of `{image}` has a `serve`"));
        };
        if service.load.is_empty() {
            let message = format!("the service of `{image}` has no `serve.load`, so there is no data to measure with");
            return fault(image, "configs[].image", message);
        }
        let free_threaded = matrix.abi(&row.abi).is_some_and(super::Abi::free_threaded);
        if *gil != GilState::On && !free_threaded {
            return fault(id, "configs[].gil", format!("`{}` always has a GIL: it cannot be {gil}", row.abi));
        }
        if env.keys().any(|name| name.is_empty() || name.contains(['=', ' '])) {
            return fault(id, "configs[].env", format!("`{id}` sets a variable without a proper name"));
        }
        if clients.is_empty() {
            return fault(id, "configs[].clients", format!("`{id}` loads no client"));
        }
    }
    Ok(())
}
