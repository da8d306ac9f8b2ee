//! A plan as GitHub's job matrix: what is printed here, `fromJSON` reads in a workflow.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Action, Plan, Step};

/// Two job matrices; wheels travel as artefacts from the first to the second. GitHub refuses an
/// empty one, so each job asks first whether its matrix has an entry.
#[derive(Debug, Default, Serialize)]
pub struct Jobs {
    wheels: Rows<WheelJob>,
    images: Rows<ImageJob>,
}

#[derive(Debug, Serialize)]
struct Rows<T> {
    include: Vec<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Rows<T> {
        Rows { include: Vec::new() }
    }
}

#[derive(Debug, Serialize)]
struct WheelJob {
    id: String,
    runner: String,
    needs: Vec<String>,
    /// None as long as it depends on what Debian's archive gives.
    key: Option<String>,
    /// What to write after `cargo xtask`, in CI and on a laptop.
    run: String,
    /// Built here; else the vendor's own is taken.
    built: bool,
}

#[derive(Debug, Serialize)]
struct ImageJob {
    id: String,
    runner: String,
    /// The wheels that it is made of, by their rows' ids, whether these run or are there.
    needs: Vec<String>,
    key: Option<String>,
    run: String,
    tag: String,
}

/// What the rows have in common.
pub struct Jobbing<'a> {
    pub runner: &'a str,
    pub quick: bool,
}

/// One row for each wheel and each image that is not `left_out`.
pub fn jobs(
    plan: &Plan,
    keys: &BTreeMap<String, Option<String>>,
    common: &Jobbing,
    left_out: &dyn Fn(&Step) -> bool,
) -> Jobs {
    let mut jobs = Jobs::default();
    let how = if common.quick { " --quick" } else { "" };
    for step in plan.steps.iter().filter(|step| !left_out(step)) {
        let (id, runner) = (step.id.clone(), common.runner.to_owned());
        let key = keys.get(&step.id).cloned().flatten();
        if let Some((package, abi)) = wheel(step) {
            let run = format!("wheels --package {package} --abi {abi}{how}");
            let built = !matches!(step.action, Action::Published(_));
            jobs.wheels.include.push(WheelJob { id, runner, needs: Vec::new(), key, run, built });
        } else if let Action::Proof(proof) = &step.action {
            let run = format!("image {}{how}", proof.tag);
            let needs = wheels_of(plan, &proof.image);
            jobs.images.include.push(ImageJob { id, runner, needs, key, run, tag: proof.tag.clone() });
        }
    }
    jobs
}

/// Package and ABI of a wheel's row.
fn wheel(step: &Step) -> Option<(&str, &str)> {
    match &step.action {
        Action::Maturin(maturin) => Some((&maturin.wheel.package, &maturin.wheel.abi)),
        Action::Container(container) => Some((&container.wheel.package, &container.wheel.abi)),
        Action::Published(published) => Some((&published.package, &published.abi)),
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

fn wheels_of(plan: &Plan, image: &str) -> Vec<String> {
    match plan.step(image).map(|step| &step.action) {
        Some(Action::Image(image)) => image.wheels.values().cloned().collect(),
        _ => Vec::new(),
    }
}
