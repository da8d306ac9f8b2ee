//! Formats a plan as GitHub job matrices, which workflows parse with `fromJSON`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Action, Container, Plan, Step, StepWheel};

/// Job matrices: wheels, which are passed as artefacts to the images; images; and images in which data races are searched.
/// GitHub rejects an empty matrix, so workflows check whether `include` has an entry.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Jobs {
    wheels: Rows<WheelJob>,
    images: Rows<ImageJob>,
    #[serde(default)]
    races: Rows<RaceJob>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rows<T> {
    include: Vec<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Rows<T> {
        Rows { include: Vec::new() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct WheelJob {
    id: String,
    runner: String,
    needs: Vec<String>,
    /// `None` while it depends on the content of Debian's archive.
    key: Option<String>,
    /// Whether the key is independent of Debian's archive, so that the job must produce this key.
    fixed: bool,
    /// Arguments of `cargo xtask`, in CI and locally.
    run: String,
    /// Whether the wheel is built here; otherwise the vendor's wheel is downloaded.
    built: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImageJob {
    id: String,
    runner: String,
    /// Row ids of the wheels in the image, whether their jobs run or not.
    needs: Vec<String>,
    key: Option<String>,
    fixed: bool,
    run: String,
    tag: String,
    /// Ids of all steps of the image, including its own.
    steps: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RaceJob {
    tag: String,
    runner: String,
}

impl Jobs {
    /// Returns the row ids with the keys that their jobs must produce; `None` if a key may still change.
    pub fn keys(&self) -> BTreeMap<String, Option<String>> {
        let wheels = self.wheels.include.iter().map(|row| (&row.id, row.key.as_ref().filter(|_| row.fixed)));
        let images = self.images.include.iter().map(|row| (&row.id, row.key.as_ref().filter(|_| row.fixed)));
        wheels.chain(images).map(|(id, key)| (id.clone(), key.cloned())).collect()
    }
}

/// Options common to all rows.
pub struct JobOptions<'a> {
    pub runner: &'a str,
    pub quick: bool,
    /// Tags of the images with ThreadSanitizer, which are not part of the plan.
    pub instrumented: Vec<String>,
}

/// Returns one row for each wheel and image that is not `left_out`.
pub fn jobs(
    plan: &Plan,
    keys: &BTreeMap<String, Option<String>>,
    common: &JobOptions,
    left_out: &dyn Fn(&Step) -> bool,
) -> Jobs {
    let mut jobs = Jobs::default();
    let race = |tag: &String| RaceJob { tag: tag.clone(), runner: common.runner.to_owned() };
    jobs.races.include = common.instrumented.iter().map(race).collect();
    let fixed_keys = plan.keys(|_, _| None);
    let how = if common.quick { " --quick" } else { "" };
    for step in plan.steps.iter().filter(|step| !left_out(step)) {
        let (id, runner) = (step.id.clone(), common.runner.to_owned());
        let key = keys.get(&step.id).cloned().flatten();
        let fixed = fixed_keys.get(&step.id).is_some_and(Option::is_some);
        match &step.action {
            // Only its image builds it.
            Action::Container(Container { instrumented: Some(_), .. }) => {}
            Action::Maturin(_) | Action::Container(_) | Action::Published(_) | Action::Stable(_) => {
                let Some(StepWheel { package, abi, built, .. }) = step.action.wheel() else { continue };
                let (run, built) = (format!("wheels --package {package} --abi {abi}{how}"), built.is_some());
                jobs.wheels.include.push(WheelJob { id, runner, needs: Vec::new(), key, fixed, run, built });
            }
            Action::Proof(proof) => {
                let run = format!("image {}{how}", proof.tag);
                let needs = wheels_of(plan, &proof.image);
                let (tag, steps) = (proof.tag.clone(), steps_of(plan, &step.id));
                jobs.images.include.push(ImageJob { id, runner, needs, key, fixed, run, tag, steps });
            }
            // Jobs build these for their rows.
            Action::Tools(_)
            | Action::Fetch(_)
            | Action::Patch(_)
            | Action::Root(_)
            | Action::Apt(_)
            | Action::Python(_)
            | Action::Base(_)
            | Action::Controls(_)
            | Action::Image(_) => {}
        }
    }
    jobs
}

fn wheels_of(plan: &Plan, image: &str) -> Vec<String> {
    let Some(Action::Image(image)) = plan.step(image).map(|step| &step.action) else { return Vec::new() };
    image.wheels.values().cloned().collect()
}

/// Returns the ids of a step and of all steps it depends on, in the order of the plan.
fn steps_of(plan: &Plan, id: &str) -> Vec<String> {
    let mut wanted = BTreeSet::from([id]);
    for step in plan.steps.iter().rev() {
        if wanted.contains(step.id.as_str()) {
            wanted.extend(step.needs.iter().map(String::as_str));
        }
    }
    plan.steps.iter().filter(|step| wanted.contains(step.id.as_str())).map(|step| step.id.clone()).collect()
}
