//! Implementations of all kinds of steps: one file per kind, one exhaustive match.

pub mod apt;
pub mod base_image;
pub mod container;
pub mod contents;
pub mod controls;
mod env;
pub mod fake;
pub mod fetch;
pub mod image;
pub mod maturin;
mod messages;
pub mod patch;
pub mod pin;
pub mod proof;
pub mod python;
pub mod quick;
pub mod root;
pub(crate) mod sdist;
mod toolchain;
pub mod tools;
mod wanted;
pub mod wheel;

use anyhow::Result;

use crate::cache::Output;
use crate::plan::Action;
pub use env::{RunContext, StepEnv, text};

/// Executes a step.
pub fn run(action: &Action, env: &StepEnv) -> Result<Output> {
    if let Action::Fetch(fetch) = action {
        pin::check(fetch, env.context)?;
    }
    if env.context.facts.fake {
        return fake::run(action, env);
    }
    match action {
        Action::Tools(tools) => tools::run(tools, env),
        Action::Fetch(fetch) => fetch::run(fetch, env),
        Action::Patch(patch) => patch::run(patch, env),
        Action::Root(root) => root::run(root, env),
        Action::Apt(apt) => apt::run(apt, env),
        Action::Python(python) => python::run(python, env),
        Action::Base(base) => base_image::run(base, env),
        Action::Maturin(maturin) => maturin::run(maturin, env),
        Action::Container(container) => container::run(container, env),
        Action::Controls(controls) => controls::run(controls, env),
        Action::Published(published) => wheel::published(published, env),
        Action::Stable(stable) => wheel::stable(stable, env),
        Action::Image(image) => image::run(image, env),
        Action::Proof(proof) => proof::run(proof, env),
    }
}

/// Returns the revisions of the code that affects the result of a step, for its key.
pub fn revision(action: &Action) -> String {
    let (own, wheel) = match action {
        Action::Tools(_) => (tools::REVISION, None),
        Action::Fetch(_) => (fetch::REVISION, None),
        Action::Patch(_) => (patch::REVISION, None),
        Action::Root(_) => (root::REVISION, None),
        Action::Apt(_) => (apt::REVISION, None),
        Action::Python(_) => (python::REVISION, None),
        Action::Base(_) => (base_image::REVISION, None),
        Action::Maturin(_) => (maturin::REVISION, Some(wheel::REVISION)),
        Action::Container(_) => (container::REVISION, Some(wheel::REVISION)),
        Action::Controls(_) => (controls::REVISION, None),
        Action::Published(_) | Action::Stable(_) => (wheel::REVISION, None),
        Action::Image(_) => (image::REVISION, None),
        Action::Proof(_) => (proof::REVISION, None),
    };
    match wheel {
        Some(wheel) => format!("{own}, wheel {wheel}"),
        None => own.to_string(),
    }
}

#[cfg(test)]
mod layers;
#[cfg(test)]
mod revisions;
