//! What each kind of step does; one file a kind, one exhaustive match.

pub mod apt;
pub mod base_image;
pub mod container;
pub mod fake;
pub mod fetch;
pub mod image;
pub mod maturin;
pub mod patch;
pub mod pin;
pub mod proof;
pub mod python;
pub mod root;
pub mod tools;
pub mod wheel;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cache::{Artefact, BuiltImage, Cache, Output};
use crate::facts::Facts;
use crate::plan::Action;
use base::cancel::Cancel;
use base::labels;
use base::ui::{Task, Ui};
use docker::{Build, Content, ContextFile, Docker};

/// What all steps of an execution share.
pub struct Context<'a> {
    pub cache: &'a Cache,
    pub facts: &'a Facts,
    pub ui: &'a Ui,
    pub cancel: &'a Cancel,
    /// None where no step needs it, or where none can be reached.
    pub docker: Option<&'a Docker>,
    /// How many steps run side by side, and what each may use.
    pub cores: usize,
    /// What a step may use in the engine, which may be on a bigger machine.
    pub engine_cores: usize,
    /// Image names start with this.
    pub repository: &'a str,
    /// The root file system must be the pinned image: no fallback is built.
    pub pinned_root: bool,
}

/// What one step runs with.
pub struct Env<'a> {
    pub id: &'a str,
    pub key: &'a str,
    /// The outputs of the steps that it needs.
    pub needs: BTreeMap<&'a str, &'a Output>,
    /// An empty folder, gone when the step has ended.
    pub scratch: &'a Path,
    pub task: &'a Task,
    pub context: &'a Context<'a>,
}

/// Runs one step.
pub fn run(action: &Action, env: &Env) -> Result<Output> {
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
        Action::Published(published) => wheel::published(published, env),
        Action::Image(image) => image::run(image, env),
        Action::Proof(proof) => proof::run(proof, env),
    }
}

/// The revisions of the code that makes the result of a step, for its key.
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
        Action::Published(_) => (wheel::REVISION, None),
        Action::Image(_) => (image::REVISION, None),
        Action::Proof(_) => (proof::REVISION, None),
    };
    match wheel {
        Some(wheel) => format!("{own}, wheel {wheel}"),
        None => own.to_string(),
    }
}

impl Env<'_> {
    pub fn need(&self, id: &str) -> Result<&Output> {
        self.needs
            .get(id)
            .copied()
            .with_context(|| format!("`{id}` is not among what `{}` needs: this is a bug", self.id))
    }

    /// The reference of the image that the step `id` made.
    pub fn image(&self, id: &str) -> Result<&str> {
        let image = self.need(id)?.image.as_ref();
        Ok(&image.with_context(|| format!("`{id}` made no image: this is a bug"))?.reference)
    }

    /// The only file that the step `id` made.
    pub fn file(&self, id: &str) -> Result<&Artefact> {
        self.need(id)?.files.first().with_context(|| format!("`{id}` made no file: this is a bug"))
    }

    pub fn docker(&self) -> Result<&Docker> {
        self.context.docker.context("no Docker engine: `cargo xtask doctor` says what is missing")
    }

    /// The text of a file below `docker/`.
    pub fn project_file(&self, name: &str) -> Result<&str> {
        self.context
            .facts
            .files
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("`{name}` was not read: this is a bug"))
    }

    /// The name under which the engine keeps what this step makes.
    pub fn reference(&self) -> String {
        format!("{}/build:{}-{}", self.context.repository, self.id, &self.key[..16])
    }

    /// A stored file as part of a build context.
    pub fn stored(&self, path: &str, file: &Artefact) -> ContextFile {
        ContextFile { path: path.to_owned(), source: Content::File(self.context.cache.blob(&file.sha256)), mode: 0o644 }
    }

    /// The pinned pip, under its own file name, as pip itself demands.
    pub fn pip(&self) -> Result<ContextFile> {
        let pip = self.file("tool-pip").context("`tools` in matrix.yaml has no `pip`")?;
        Ok(self.stored(&pip.name, pip))
    }

    /// Builds an image under the name of this step's key, and under `name` for people.
    pub fn build(&self, mut build: Build, name: Option<String>) -> Result<BuiltImage> {
        let docker = self.docker()?;
        let reference = self.reference();
        build.tags.push(reference.clone());
        build.tags.extend(name.clone());
        build.labels.insert(labels::KEY.to_owned(), self.key.to_owned());
        let id = docker.build(&build, &|line| self.task.line(line), self.context.cancel)?;
        let size = docker.image(&reference)?.map_or(0, |image| image.size);
        Ok(BuiltImage { reference, id, size, name })
    }
}

/// A file of a build context from text.
pub fn text(path: &str, text: &str, mode: u32) -> ContextFile {
    ContextFile { path: path.to_owned(), source: Content::Bytes(text.as_bytes().to_vec()), mode }
}

#[cfg(test)]
mod layers;
#[cfg(test)]
mod revisions;
