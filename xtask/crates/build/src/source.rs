//! The source of a package, unpacked, for commands that read it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::cache::Scratch;
use crate::exchange::Exchange;
use crate::plan::{self, Action, Step};
use crate::{Project, planner, run};
use base::environment::{self, Purpose};
use base::working_copy;
use matrix::Package;

/// Source of a package in a folder, which is removed on drop unless it is a working copy.
pub struct UnpackedSource {
    pub top: PathBuf,
    /// Files relative to the top, sorted.
    pub files: Vec<PathBuf>,
    _scratch: Option<Scratch>,
}

/// Returns the sources of packages, in the same order. Sdists are downloaded if they are not cached, and patched.
pub fn unpack(project: &Project, packages: &[&Package]) -> Result<Vec<UnpackedSource>> {
    let facts = project.facts(false)?;
    let plan = planner::sources(&project.matrix, packages, &facts);
    let asked = |step: &Step| matches!(step.action, Action::Fetch(_) | Action::Patch(_));
    let context = project.context(&facts, None);
    let made = run::execute_with(&plan, &asked, &context, &Exchange::new(None, None))?;
    let mut sources = Vec::new();
    for package in packages {
        if let Some(top) = package.working_copy(&project.folder) {
            sources.push(UnpackedSource { files: working_copy::list_folder(&top)?, top, _scratch: None });
            continue;
        }
        let id = match package.build.patches {
            Some(_) => plan::patched_id(&package.id),
            None => plan::sdist_id(package.distribution()),
        };
        let file = made.get(&id).and_then(|outcome| outcome.record.output.files.first());
        let file = file.with_context(|| format!("`{id}` made no file: this is a bug"))?;
        let scratch = project.cache.scratch(&format!("source-{}", package.id))?;
        let (archive, top) = (project.cache.blob(&file.sha256), scratch.path().to_owned());
        let shell = Shell::new()?;
        let unpack = cmd!(shell, "tar -xzf {archive} -C {top} --strip-components=1 --no-same-owner");
        environment::apply(unpack, Purpose::Local)
            .quiet()
            .run()
            .with_context(|| format!("cannot unpack `{}`, the source of `{}`", file.name, package.id))?;
        let mut files = Vec::new();
        working_copy::walk(&top, Path::new(""), &mut files)?;
        files.sort();
        sources.push(UnpackedSource { top, files, _scratch: Some(scratch) });
    }
    Ok(sources)
}
