//! Common parts of all wheel steps: unpacking sources, checking wheels, and downloading published wheels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::env::{RunContext, StepEnv};
use super::{patch, quick, sdist};
use crate::cache::{Artefact, Cache, Output, StepRecord};
use crate::origin::Origin;
use crate::plan::{Action, Published, Stable, StepWheel, Wheel};
use base::ui::quoted;
use base::working_copy;
use wheelfile::{ExpectedWheel, Importable, LocalBuild, WheelName};

/// Part of the key of every wheel. Increase it if a code change can change which wheels are accepted.
pub const REVISION: u32 = 1;

/// Takes the wheel that was built for an earlier ABI.
pub fn stable(step: &Stable, env: &StepEnv) -> Result<Output> {
    let expect = ExpectedWheel {
        distribution: step.distribution.as_deref().unwrap_or(&step.package),
        version: step.version.as_deref(),
        abi: &step.abi,
        platform: None,
        max_glibc: wheelfile::parse_glibc(&step.glibc),
    };
    let (file, report) = taken(&step.wheel, &expect, env).with_context(|| {
        format!(
            "the wheel of `{}` does not serve `{}` too, as `build.abi3` of `{}` in matrix.yaml says",
            step.wheel, step.abi, step.package
        )
    })?;
    let notes = notes(&report, &format!("taken from {}", step.wheel));
    Ok(Output { files: vec![file], notes, ..Output::default() })
}

/// Checks the file that another step made or fetched.
fn taken(id: &str, expect: &ExpectedWheel, env: &StepEnv) -> Result<(Artefact, wheelfile::WheelReport)> {
    let file = env.file(id)?;
    let path = env.scratch.join(&file.name);
    std::fs::hard_link(env.context.cache.blob(&file.sha256), &path)
        .or_else(|_| std::fs::copy(env.context.cache.blob(&file.sha256), &path).map(|_| ()))?;
    Ok((file.clone(), wheelfile::check(&path, expect)?))
}

/// Downloads the wheel that the vendor publishes.
pub fn published(step: &Published, env: &StepEnv) -> Result<Output> {
    let expect = ExpectedWheel {
        distribution: &step.package,
        version: step.version.as_deref(),
        abi: &step.abi,
        platform: None,
        max_glibc: wheelfile::parse_glibc(&step.glibc),
    };
    let (file, report) = taken(&step.fetch, &expect, env)?;
    Ok(Output { files: vec![file], notes: notes(&report, "published by the vendor"), ..Output::default() })
}

/// Gives the wheels in `out` a build tag.
pub fn mark(out: &Path, build: LocalBuild) -> Result<()> {
    for entry in std::fs::read_dir(out).context("the build did not create a folder with a wheel")? {
        wheelfile::mark(&entry?.path(), build)?;
    }
    Ok(())
}

/// Checks the only wheel in `out` and moves it to the cache.
pub fn keep(wheel: &Wheel, out: &Path, env: &StepEnv) -> Result<Output> {
    let mut wheels: Vec<PathBuf> = std::fs::read_dir(out)
        .context("the build did not create a folder with a wheel")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .collect();
    let (Some(path), true) = (wheels.pop(), wheels.is_empty()) else {
        bail!("the build of `{}` created {} wheels instead of one", wheel.package, wheels.len());
    };
    let expect = ExpectedWheel {
        distribution: wheel.distribution(),
        version: wheel.version.as_deref(),
        abi: &wheel.abi,
        platform: wheel.tag(),
        max_glibc: wheelfile::parse_glibc(&wheel.glibc),
    };
    let report = wheelfile::check(&path, &expect)?;
    let vague = |tag: &&String| !tag.starts_with("manylinux") && *tag != "any";
    if let Some(tag) = report.name.platform.iter().find(vague) {
        bail!("the platform tag `{tag}` of `{}` names no version of glibc (PEP 600)", report.file_name);
    }
    let file = env.context.cache.take(&path, &report.file_name)?;
    let mut notes = notes(&report, "built from source");
    if let Some(sdist) = &wheel.sdist
        && let Some(patches) = env.needs.get(sdist.as_str()).and_then(|sdist| sdist.notes.get(patch::NOTE))
    {
        notes.insert(patch::NOTE.to_owned(), patches.clone());
    }
    Ok(Output { files: vec![file], notes, ..Output::default() })
}

fn notes(report: &wheelfile::WheelReport, made_by: &str) -> BTreeMap<String, String> {
    let glibc = report.glibc.map_or("none".to_owned(), |(major, minor)| format!("{major}.{minor}"));
    let modules: Vec<&str> = report.extensions.iter().map(|extension| extension.module.as_str()).collect();
    let mut notes = BTreeMap::from([
        ("made by".to_owned(), made_by.to_owned()),
        ("version".to_owned(), report.name.version.clone()),
        ("glibc".to_owned(), glibc),
        ("extension modules".to_owned(), modules.join(" ")),
    ]);
    notes.extend(report.name.local_build().map(|build| (quick::NOTE.to_owned(), build.description().to_owned())));
    notes
}

/// Checks that a record contains a wheel of the step's package, version and ABI.
pub fn recognise(action: &Action, record: &StepRecord, cache: &Cache) -> Result<()> {
    let Some(StepWheel { distribution, version, abi, .. }) = action.wheel() else { return Ok(()) };
    let [file] = record.output.files.as_slice() else { bail!("not one wheel but {}", record.output.files.len()) };
    let expect = ExpectedWheel { distribution, version, abi, platform: None, max_glibc: None };
    wheelfile::check_names_only(&cache.blob(&file.sha256), &file.name, &expect)
}

/// Checks that a wheel contains the modules listed in the matrix. A module may also be in a wheel of the package's
/// lock file; if one of these is not cached, the check of the image decides.
pub fn check_imports(action: &Action, record: &StepRecord, context: &RunContext) -> Result<()> {
    let Some(StepWheel { imports, .. }) = action.wheel() else { return Ok(()) };
    let [file] = record.output.files.as_slice() else { return Ok(()) };
    let name = WheelName::parse(&file.name)?;
    let mut modules = Importable::default();
    modules.add(&context.cache.blob(&file.sha256), &name.distribution, &name.version)?;
    let choices = quoted(modules.top_levels());
    if imports.names.iter().all(|(module, _)| modules.has(module)) {
        return Ok(());
    }
    for pin in &imports.locked {
        let blob = context.cache.blob(&pin.sha256);
        if !blob.is_file() {
            return Ok(());
        }
        modules.add(&blob, &pin.name, &pin.version)?;
    }
    let Some((module, ordinal)) = imports.names.iter().find(|(module, _)| !modules.has(module)) else { return Ok(()) };
    bail!(
        "[{}] {}: packages[].import: `{}` has no module `{module}`; its modules are {choices}",
        record.id,
        context.facts.place(&Origin::Matrix(*ordinal)),
        file.name
    )
}

/// Unpacks the whole source into `folder`, which is emptied first.
pub fn unpack(wheel: &Wheel, folder: &Path, env: &StepEnv) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty `{}`", folder.display()))?;
    }
    std::fs::create_dir_all(folder)?;
    if let Some(sdist) = &wheel.sdist {
        return sdist::unpack(env.file(sdist)?, folder, env);
    }
    let from = wheel.folder.as_deref().context("a wheel without a source: this is a bug")?;
    for name in working_copy::list_folder(from)? {
        let to = folder.join(&name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(from.join(&name), &to).with_context(|| format!("cannot copy `{}`", name.display()))?;
    }
    unchanged(wheel, from)
}

/// Fails if the working copy changed after planning, because the key was computed from the earlier content.
pub fn unchanged(wheel: &Wheel, from: &Path) -> Result<()> {
    let now = working_copy::digest_folder(from)?;
    if wheel.working_copy.as_deref() != Some(&now) {
        bail!("`{}` was changed while it was being read: run the command again", from.display());
    }
    Ok(())
}
