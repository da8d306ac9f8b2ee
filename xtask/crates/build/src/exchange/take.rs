//! Takes results from a registry, after checks that they are what they claim to be.

use anyhow::{Context as _, Result, ensure};

use super::metadata::ResultMetadata;
use super::repository::Repository;
use super::{FILES, STILL, note_name, tag};
use crate::cache::{BuiltImage, Output, StepRecord};
use crate::plan::{Action, Root, Step, Wheel};
use crate::step::{RunContext, StepEnv, root, wheel};
use base::labels;
use docker::{Docker, Image, RegistryImage};

/// Returns why a root file system is not the pinned image.
pub(super) fn unpinned(action: &Action, metadata: &ResultMetadata) -> Option<String> {
    let Action::Root(Root { image: Some(image), .. }) = action else { return None };
    let output = Output { notes: metadata.notes.clone(), ..Output::default() };
    root::fallback_note(image, &output)
}

/// Reports why a result is not used.
pub(super) fn reject<T>(name: &str, id: &str, context: &RunContext, why: &str) -> Result<Option<T>> {
    context.ui.say(&format!("[{id}] `{name}` is rejected and built locally: {why}"));
    Ok(None)
}

/// Pulls an offered result, unless it is for another platform.
pub(super) fn pull(
    from: &Repository,
    offer: &RegistryImage,
    docker: &Docker,
    context: &RunContext,
    on: &(dyn Fn(&str) + Sync),
) -> Result<Result<(String, Image), String>> {
    // Check the platform before pulling gigabytes. Not all registries report it.
    let platform = context.facts.platform.oci();
    if !offer.platforms.is_empty() && !offer.platforms.iter().any(|offered| offered == platform) {
        return Ok(Err(format!("it is for {}, not {platform}", offer.platforms.join(", "))));
    }
    // Pull by digest: the engine verifies the content, and a moved tag has no effect.
    let pinned = format!("{from}@{}", offer.digest);
    docker.pull_within(&pinned, STILL, on, context.cancel)?;
    let image = docker.image(&pinned)?.with_context(|| format!("`{pinned}` is missing right after its pull"))?;
    Ok(Ok((pinned, image)))
}

pub(super) fn take_image(
    from: &Repository,
    docker: &Docker,
    step: &Step,
    offer: &RegistryImage,
    env: &StepEnv,
) -> Result<Option<StepRecord>> {
    let (name, reference) = (from.name(&step.id, env.key), env.reference());
    env.task.waiting(&format!("pulling {name}"));
    let pulled = pull(from, offer, docker, env.context, &|line| env.task.line(line))?;
    let examined = pulled.and_then(|(pinned, image)| {
        let metadata = ResultMetadata::of_image(&image, env.key, env.context.facts.platform, &step.action)
            .map_err(|error| format!("{error:#}"))?;
        Ok((pinned, image, metadata))
    });
    let (pinned, image, metadata) = match examined {
        Ok(found) => found,
        Err(why) => return reject(&name, env.id, env.context, &why),
    };
    if let Some(note) = unpinned(&step.action, &metadata) {
        return reject(&name, env.id, env.context, &note);
    }
    // The image will be tagged locally with this name, which must belong to this project.
    let project = format!("{}/", env.context.repository);
    if let Some(wish) = metadata.name.as_ref().filter(|wish| !wish.starts_with(&project)) {
        return reject(&name, env.id, env.context, &format!("its name would be `{wish}`"));
    }
    for new in [&reference, &name] {
        tag(docker, &pinned, new)?;
    }
    let image = BuiltImage { reference, name: metadata.name, id: image.id, size: image.size };
    let output = Output {
        image: Some(image),
        content: metadata.content,
        notes: metadata.notes,
        taken_from: Some(from.to_string()),
        ..Output::default()
    };
    Ok(Some(StepRecord { id: env.id.to_owned(), key: env.key.to_owned(), seconds: metadata.seconds, output }))
}

/// A pulled wheel passes the same checks as a wheel built locally.
pub(super) fn take_wheel(
    from: &Repository,
    docker: &Docker,
    own: &Wheel,
    offer: &RegistryImage,
    env: &StepEnv,
) -> Result<Option<StepRecord>> {
    let name = from.name(env.id, env.key);
    env.task.waiting(&format!("pulling {name}"));
    let (pinned, image) = match pull(from, offer, docker, env.context, &|line| env.task.line(line))? {
        Ok(pulled) => pulled,
        Err(why) => return reject(&name, env.id, env.context, &why),
    };
    let checked = ResultMetadata::of_files(&image, env.key, env.context.facts.platform).and_then(|metadata| {
        let out = env.scratch.join("out");
        let pulled = env.scratch.join("pulled");
        let names = docker.copy_from_image(&pinned, FILES, &pulled, env.context.cancel)?;
        metadata.accept(&names, &pulled, &out)?;
        let output = Output { taken_from: Some(from.to_string()), ..wheel::keep(own, &out, env)? };
        ensure!(output.files == metadata.files, "its label `{}` lists different files", labels::RESULT_METADATA);
        Ok((metadata.seconds, output))
    });
    match checked {
        Ok((seconds, output)) => {
            tag(docker, &pinned, &name)?;
            Ok(Some(StepRecord { id: env.id.to_owned(), key: env.key.to_owned(), seconds, output }))
        }
        Err(error) => {
            env.context.cancel.check()?;
            reject(&name, env.id, env.context, &format!("{error:#}"))
        }
    }
}

pub(super) fn take_note(
    from: &Repository,
    docker: &Docker,
    step: &Step,
    key: &str,
    context: &RunContext,
) -> Result<Option<StepRecord>> {
    let name = note_name(&from.name(&step.id, key));
    let Some(offer) = docker.registry_image(&name, context.cancel)? else { return Ok(None) };
    let (pinned, image) = match pull(from, &offer, docker, context, &|_| {})? {
        Ok(pulled) => pulled,
        Err(why) => return reject(&name, &step.id, context, &why),
    };
    let metadata = match ResultMetadata::of_files(&image, key, context.facts.platform) {
        Ok(metadata) if metadata.content.is_some() => metadata,
        Ok(_) => return reject(&name, &step.id, context, "it is not a note"),
        Err(error) => return reject(&name, &step.id, context, &format!("{error:#}")),
    };
    if let Some(note) = unpinned(&step.action, &metadata) {
        return reject(&name, &step.id, context, &note);
    }
    tag(docker, &pinned, &name)?;
    // Refers to an image that is not present, so the step counts as not done.
    let elsewhere = BuiltImage { reference: name, name: None, id: String::new(), size: 0 };
    let output =
        Output { image: Some(elsewhere), content: metadata.content, notes: metadata.notes, ..Output::default() };
    Ok(Some(StepRecord { id: step.id.clone(), key: key.to_owned(), seconds: metadata.seconds, output }))
}
