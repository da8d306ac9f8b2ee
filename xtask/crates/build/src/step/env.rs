//! What steps run with, and the calls that several kinds of steps make.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use base::cancel::Cancel;
use base::labels;
use base::ui::{Task, Ui};
use docker::{Build, Content, ContextFile, Docker};

use crate::cache::{Artefact, BuiltImage, Cache, Output};
use crate::facts::Facts;

/// Time of the files that steps write, in seconds since 1970: 1980-01-01, the earliest timestamp in zip files.
pub const EPOCH: u64 = 315_532_800;

/// Data shared by all steps of an execution.
pub struct RunContext<'a> {
    pub cache: &'a Cache,
    pub facts: &'a Facts,
    pub ui: &'a Ui,
    pub cancel: &'a Cancel,
    /// `None` if no step needs the engine or it is not reachable.
    pub docker: Option<&'a Docker>,
    /// Number of parallel steps, and of processors per step.
    pub cores: usize,
    /// Number of processors per step in the engine, which may run on a larger machine.
    pub engine_cores: usize,
    /// Prefix of image names.
    pub repository: &'a str,
    /// Whether the root file system must be the pinned image instead of a fallback.
    pub pinned_root: bool,
}

/// Environment of one step.
pub struct StepEnv<'a> {
    pub id: &'a str,
    pub key: &'a str,
    /// Outputs of the steps that it needs.
    pub needs: BTreeMap<&'a str, &'a Output>,
    /// Empty folder, removed after the step.
    pub scratch: &'a Path,
    pub task: &'a Task,
    pub context: &'a RunContext<'a>,
}

impl StepEnv<'_> {
    pub fn need(&self, id: &str) -> Result<&Output> {
        self.needs
            .get(id)
            .copied()
            .with_context(|| format!("`{id}` is not a dependency of `{}`: this is a bug", self.id))
    }

    /// Returns the reference of the image that the step `id` built.
    pub fn image(&self, id: &str) -> Result<&str> {
        let image = self.need(id)?.image.as_ref();
        Ok(&image.with_context(|| format!("`{id}` created no image: this is a bug"))?.reference)
    }

    /// Returns the only file that the step `id` created.
    pub fn file(&self, id: &str) -> Result<&Artefact> {
        self.need(id)?.files.first().with_context(|| format!("`{id}` created no file: this is a bug"))
    }

    pub fn docker(&self) -> Result<&Docker> {
        self.context.docker.context("no Docker engine: run `cargo xtask doctor`")
    }

    /// Returns the text of a file that runs in containers, such as `docker/base.Dockerfile`.
    pub fn container_file(&self, name: &str) -> Result<&str> {
        self.context
            .facts
            .files
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("`{name}` was not read: this is a bug"))
    }

    /// Returns the image reference for the result of this step.
    pub fn reference(&self) -> String {
        format!("{}/build:{}-{}", self.context.repository, self.id, &self.key[..16])
    }

    /// Returns a cached file as part of a build context.
    pub fn stored(&self, path: &str, file: &Artefact) -> ContextFile {
        ContextFile { path: path.to_owned(), source: Content::File(self.context.cache.blob(&file.sha256)), mode: 0o644 }
    }

    /// Returns the pinned pip with its own file name, which pip requires.
    pub fn pip(&self) -> Result<ContextFile> {
        let pip = self.file("tool-pip").context("`tools` in matrix.yaml has no `pip`")?;
        Ok(self.stored(&pip.name, pip))
    }

    /// Builds an image and names it by this step's key, and `name` for users.
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

/// Returns a file of a build context with this text.
pub fn text(path: &str, text: &str, mode: u32) -> ContextFile {
    ContextFile { path: path.to_owned(), source: Content::Bytes(text.as_bytes().to_vec()), mode }
}
