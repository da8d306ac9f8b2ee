//! Quick wheels, which `--quick` builds for trying out: how they are compiled, and what images with them say.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::env::StepEnv;
use crate::plan::{Image, Plan, Proof};
use base::UsageError;
use base::ui::quoted;
use wheelfile::{LocalBuild, WheelName};

/// Name of the note of quick wheels and of images with them.
pub const NOTE: &str = "quick";

/// Variables that change how Cargo compiles a package's release profile. Nothing of the package is edited. The
/// optimisation level stays, so that a loop in the extension module does not take several times as long.
const VARIABLES: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    // After a change of one line, only the units with this line are compiled again.
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
];

/// Returns the variables, which are part of the key.
pub fn profile() -> BTreeMap<String, String> {
    VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Returns the note of an image: the packages of its quick wheels, separated by spaces.
pub fn note(image: &Image, env: &StepEnv) -> Result<BTreeMap<String, String>> {
    let mut packages = Vec::new();
    for (package, step) in &image.wheels {
        if WheelName::parse(&env.file(step)?.name)?.local_build() == Some(LocalBuild::Quick) {
            packages.push(package.as_str());
        }
    }
    Ok((!packages.is_empty()).then(|| (NOTE.to_owned(), packages.join(" "))).into_iter().collect())
}

/// Returns the note of the image that a proof checks.
pub fn taken(proof: &Proof, env: &StepEnv) -> Result<Option<(String, String)>> {
    let note = env.need(&proof.image)?.notes.get(NOTE);
    Ok(note.map(|packages| (NOTE.to_owned(), packages.clone())))
}

/// Fails if a plan builds wheels that stay on this machine. `what` says what would give them to others.
pub fn refuse(plan: &Plan, what: &str) -> Result<()> {
    for build in LocalBuild::ALL {
        let steps = plan.steps.iter().filter(|step| step.action.local_build() == Some(build));
        let ids: Vec<&str> = steps.map(|step| step.id.as_str()).collect();
        if ids.is_empty() {
            continue;
        }
        let ids = quoted(ids);
        bail!(UsageError(match build {
            LocalBuild::Quick => format!(
                "`--quick` builds {ids} for trying out only, and {what} would give them to others: leave out `--quick`"
            ),
            LocalBuild::Tsan => format!(
                "{what} would give others wheels that are built with ThreadSanitizer for tests only, {ids}: leave out \
                 the images with `interpreter: tsan`"
            ),
        }));
    }
    Ok(())
}
