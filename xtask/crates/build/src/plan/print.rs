//! Formats a plan as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Action, Container, Maturin, Plan, Step};
use base::ui;
use wheelfile::LocalBuild;

/// Planned treatment of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Cached,
    /// It is pulled from the registry.
    Pull,
    Build,
    /// It is not available, but no step that runs needs it.
    Unused,
    /// Its key depends on the content of Debian's archive, which an earlier step determines.
    Later,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Cached => "cached",
            Status::Pull => "pull",
            Status::Build => "build",
            Status::Unused => "unused",
            Status::Later => "later",
        }
    }
}

/// Formats one line per step: id, status, start of the key, description.
pub fn text(plan: &Plan, keys: &BTreeMap<String, Option<String>>, status: &dyn Fn(&Step) -> Status) -> String {
    let mut rows = Vec::new();
    let mut count = BTreeMap::new();
    for step in &plan.steps {
        let key = keys.get(&step.id).cloned().flatten();
        let status = status(step);
        *count.entry(status.word()).or_insert(0) += 1;
        let key = key.as_deref().map_or("-", |key| &key[..8]);
        rows.push([step.id.clone(), format!("{:6}", status.word()), key.to_owned(), step.action.describe()]);
    }
    let mut out = ui::columns(&rows, " ", |_| false);
    let counts: Vec<String> = count.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let _ = writeln!(out, "{} steps: {}", plan.steps.len(), counts.join(", "));
    if count.contains_key("later") {
        ui::wrap(&mut out, "", "`later`: the key is unknown until the Debian packages it depends on are installed");
    }
    out
}

/// Returns the plan as a JSON document: `{"schema": 1, "steps": [{id, status, key, needs, action, inputs}]}`.
pub fn json(plan: &Plan, keys: &BTreeMap<String, Option<String>>, status: &dyn Fn(&Step) -> Status) -> Value {
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .map(|step| {
            json!({
                "id": step.id,
                "status": status(step),
                "key": keys.get(&step.id).cloned().flatten(),
                "needs": step.needs,
                "action": step.action,
                "inputs": step.inputs,
            })
        })
        .collect();
    json!({ "schema": 1, "steps": steps })
}

impl Action {
    /// Describes the step in a few words.
    pub fn describe(&self) -> String {
        match self {
            Action::Tools(tools) => format!("install {} pinned tools", tools.tools.len()),
            Action::Fetch(fetch) if fetch.files.len() > 3 => format!("download {} files", fetch.files.len()),
            Action::Fetch(fetch) => {
                let names: Vec<&str> = fetch.files.iter().map(|file| &*file.name).collect();
                format!("download {}", names.join(", "))
            }
            Action::Patch(patch) => {
                format!("apply {} patches: {} {}", patch.patches.len(), patch.package, patch.version)
            }
            Action::Root(root) => format!("Debian {} root file system", root.suite),
            Action::Apt(apt) => format!("install {} Debian packages on {}", apt.packages.len(), apt.base),
            Action::Python(python) => {
                let gil = if python.free_threaded { ", free-threaded" } else { "" };
                let how = python.build.description();
                format!("compile CPython {}{gil}, {how}", python.version)
            }
            Action::Base(base) => format!("base image python:{}", base.tag),
            Action::Maturin(Maturin { wheel, .. }) | Action::Container(Container { wheel, .. }) => {
                let tag = wheel.tag().map(|tag| format!(" {tag}")).unwrap_or_default();
                let how = match self.local_build() {
                    None => "",
                    Some(LocalBuild::Quick) => " (quick)",
                    Some(LocalBuild::Tsan) => " with ThreadSanitizer",
                };
                format!("build {}{tag}{how}", wheel.package)
            }
            Action::Controls(_) => "compile the controls of ThreadSanitizer".to_owned(),
            Action::Published(published) => format!("take the vendor's {}", published.package),
            Action::Stable(stable) => format!("take the abi3 wheel of {}", stable.wheel),
            Action::Image(image) => format!("assemble {}", image.wheels.keys().cloned().collect::<Vec<_>>().join(", ")),
            Action::Proof(proof) => format!("prove GIL {} and tag {}", proof.promise, proof.tag),
        }
    }
}
