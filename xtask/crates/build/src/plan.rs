//! A build plan: ordered steps with keys. The printed plan is the executed plan.

mod action;
mod github;
mod ids;
mod print;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use base::digest;

use action::Identity;
pub use action::{
    Action, Apt, Base, Container, Controls, Download, Fetch, Image, Imports, Instrumented, Maturin, Patch, PatchFile,
    Proof, Published, Python, Root, Stable, StepWheel, Tools, Wheel,
};
pub use github::{JobOptions, Jobs, jobs};
pub use ids::{base_id, instrumented_id, locked_id, patched_id, proof_id, sdist_id, wheel_id};
pub use print::{Status, json, text};

/// Part of every key. Increase to invalidate all cached artefacts.
const LAYOUT: u32 = 1;

/// Ordered steps; each comes after the steps it needs.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Whether every step is requested, not only rows and what they need.
    pub whole: bool,
}

/// Unit of work.
#[derive(Debug, Clone)]
pub struct Step {
    /// Id used on the command line, in logs, artefacts and CI jobs.
    pub id: String,
    pub action: Action,
    /// Ids of the steps whose results it uses.
    pub needs: Vec<String>,
    /// Other inputs that can change the result, by name: tool versions, texts of scripts, revision of the code.
    pub inputs: BTreeMap<String, String>,
}

impl Plan {
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// Computes the key of each step. Keys of steps that depend on Debian's archive are `None` until `recorded`
    /// returns the content for the key of the step they depend on.
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

    /// Returns the ids of the steps to execute: all rows, all steps for which `requested` holds, and what they need,
    /// except steps whose dependents are all `available`.
    pub fn wanted(&self, requested: impl Fn(&Step) -> bool, available: impl Fn(&Step) -> bool) -> BTreeSet<&str> {
        let first = self.steps.iter().filter(|step| self.whole || step.action.is_row() || requested(step));
        let mut wanted: BTreeSet<&str> = first.map(|step| step.id.as_str()).collect();
        for step in self.steps.iter().rev() {
            if wanted.contains(step.id.as_str()) && !available(step) {
                wanted.extend(step.needs.iter().map(String::as_str));
            }
        }
        wanted
    }

    /// Returns for each step the time in seconds from its start to the end of its longest chain of dependents.
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
    // Structs, sorted maps and text: serialisation cannot fail and is deterministic.
    digest::of(serde_json::to_vec(&definition).unwrap_or_default())
}
