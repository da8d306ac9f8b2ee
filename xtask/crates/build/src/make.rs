//! Builds selected rows: plans, prepares the machine, executes the steps, and writes the manifest and the table.

use std::path::Path;

use anyhow::Result;
use docker::Docker;
use matrix::select::Selection;

use crate::exchange::Exchange;
use crate::facts::Facts;
use crate::manifest::Manifest;
use crate::plan::{Action, Plan, Status};
use crate::step::{RunContext, quick, root};
use crate::{BuildOptions, Project, debian, incoming, report, run};

/// Builds the selected rows, writes the results and the manifest to `wheels`, and prints the table. Fails if any step
/// failed, after writing the other results.
pub fn make(project: &Project, selection: &Selection, options: &BuildOptions, wheels: &Path) -> Result<Manifest> {
    let (plan, facts) = project.plan(selection, options.quick)?;
    for (option, given) in [("--push", options.push.is_some()), ("--stage", options.stage.is_some())] {
        if given {
            quick::refuse(&plan, &format!("`{option}`"))?;
        }
    }
    if let Some(folder) = &options.wheels_from {
        incoming::take(project, folder)?;
    }
    let mut exchange = Exchange::new(options.cache_from.clone(), options.push.clone());
    if let Some(repository) = &options.stage {
        exchange = exchange.stage(repository.clone());
    }
    let pinned_root = options.pinned_root || exchange.pushes();
    let looked = if pinned_root { None } else { all_there(project, &plan, &facts) };
    let all_there = looked.is_some();
    let (docker, engine_cores) = match looked {
        Some(docker) => (docker, project.cores),
        None => {
            let docker = project.prepare(&plan, &facts, options.yes, &exchange)?;
            let cores = project.engine_cores(docker.as_ref());
            (docker, cores)
        }
    };
    if let (false, Some(docker)) = (all_there, &docker)
        && let Some(fallback) = root::fallback(&plan, &project.cache)?
        && fallback.give_up(&project.cache, docker, pinned_root)?
    {
        project.ui.say("[root] the pinned image replaces the fallback that mmdebstrap built");
    }
    let context = RunContext { engine_cores, pinned_root, ..project.context(&facts, docker.as_ref()) };
    debian::check(&project.matrix, &plan, &context, &exchange)?;
    let attempt = run::attempt(&plan, &|_| false, &context, &exchange, options.keep_going);
    // Write the successful results, even if other steps failed.
    let mut manifest = Manifest::of_attempt(&plan, &attempt, &project.matrix.name, wheels);
    let fallback = root::fallback(&plan, &project.cache)?;
    if let Some(fallback) = &fallback {
        manifest.add_note(&plan, root::NOTE, &fallback.note);
    }
    // Other projects may use a folder other than `wheels/`.
    let matrix = (wheels == project.wheels()).then_some(&project.matrix);
    manifest.publish(wheels, matrix, &project.cache)?;
    if !attempt.interrupted {
        report::publish(&manifest, &report::failures(&plan, &attempt))?;
    }
    if fallback.is_some() {
        project.ui.say_once(root::FALLBACK_WARNING);
    }
    attempt.complete()?;
    exchange.end()?;
    Ok(manifest)
}

/// Returns the engine, if needed, in case all requested results are already cached. Then no build tools need to be
/// checked or installed.
fn all_there(project: &Project, plan: &Plan, facts: &Facts) -> Option<Option<Docker>> {
    let images = plan.steps.iter().any(|step| matches!(step.action, Action::Proof(_)));
    let docker = if images && !project.fake { Docker::connect_unchecked().ok() } else { None };
    let nobody = Exchange::new(None, None);
    let (_, status) = run::forecast(plan, &project.context(facts, docker.as_ref()), &nobody);
    let there = |status: &Status| matches!(status, Status::Cached | Status::Unused);
    status.values().all(there).then_some(docker)
}
