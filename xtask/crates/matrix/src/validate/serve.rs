//! Validation of `bench.serve`.

use std::collections::BTreeSet;

use crate::abi::Abi;
use crate::bench::{BenchServe, ServeConfig, ServerSide, Stages};
use crate::gil::GilState;
use crate::schema::Matrix;
use crate::words::{ValidationError, Word};
use base::ui::quoted;

pub(super) fn check(matrix: &Matrix, serve: &BenchServe) -> Result<(), ValidationError> {
    let BenchServe { k6: _, scripts: _, warmup, scenarios, open, runtime, metrics, original: _, configs } = serve;
    let fault = |word: &Word, field: &str, message: String| {
        Err(ValidationError { ordinal: word.ordinal, field: format!("bench.serve.{field}"), message })
    };
    let mut seen = BTreeSet::from([&**warmup]);
    if let Some(twice) = scenarios.iter().find(|scenario| !seen.insert(scenario)) {
        return fault(twice, "scenarios", format!("`{twice}` occurs twice"));
    }
    if let Some(open) = open.as_ref().filter(|open| !scenarios.iter().any(|one| **one == ***open)) {
        return fault(open, "open", format!("`{open}` is not one of the scenarios {}", quoted(scenarios)));
    }
    let measured = metrics.as_ref().map(|ServerSide { path, client: _, requests: _, parts: _, stages }| (path, stages));
    let staged = measured.and_then(|(_, stages)| stages.as_ref());
    if let Some(Stages { env: _, metric, label: _, order, meaning }) = staged {
        if let Some(name) = meaning.keys().find(|name| !order.iter().any(|stage| **stage == ***name)) {
            let message = format!("`{name}` is not one of the stages {}", quoted(order));
            return fault(metric, "metrics.stages.meaning", message);
        }
        if let Some((name, _)) = meaning.iter().find(|(_, text)| text.chars().any(char::is_control)) {
            return fault(metric, "metrics.stages.meaning", format!("`{name}` needs one line of text"));
        }
    }
    let staged = staged.is_some();
    for path in [Some(runtime), measured.map(|(path, _)| path)].into_iter().flatten() {
        if !path.starts_with('/') {
            let message = format!("`{path}` is not a URL path: it must start with `/`");
            return Err(ValidationError { ordinal: path.ordinal, field: "bench.serve".to_owned(), message });
        }
    }
    let mut ids = BTreeSet::new();
    for ServeConfig { id, title, image, gil, env, clients, stages } in configs {
        if !ids.insert(&**id) {
            return fault(id, "configs", format!("`{id}` occurs twice"));
        }
        if title.trim().is_empty() || title.chars().any(char::is_control) {
            return fault(id, "configs[].title", format!("`{id}` needs a one-line title"));
        }
        let Some(row) = matrix.image(image) else {
            let choices = quoted(matrix.images.iter().map(|image| &image.tag));
            return fault(image, "configs[].image", format!("there is no `{image}`; the choices are {choices}"));
        };
        let service = matrix.packages_of(row).find_map(|package| package.serve.as_ref());
        let Some(service) = service else {
            return fault(image, "configs[].image", format!("no package of `{image}` has the field `serve`"));
        };
        if service.env.server.is_some() && service.load.is_empty() {
            let message = format!("the service of `{image}` has no `serve.load`, so there is no data to measure with");
            return fault(image, "configs[].image", message);
        }
        let free_threaded = matrix.abi(&row.abi).is_some_and(Abi::free_threaded);
        if *gil != GilState::On && !free_threaded {
            return fault(id, "configs[].gil", format!("`{}` always has a GIL, so `gil` cannot be `{gil}`", row.abi));
        }
        if env.keys().any(|name| name.is_empty() || name.contains(['=', ' '])) {
            return fault(id, "configs[].env", format!("`{id}` sets a variable with an invalid name"));
        }
        if *stages && !staged {
            return fault(
                id,
                "configs[].stages",
                format!("`{id}` switches stage metrics on, but `metrics.stages` is missing"),
            );
        }
        if clients.is_empty() {
            return fault(id, "configs[].clients", format!("`{id}` must list at least one client"));
        }
    }
    Ok(())
}
