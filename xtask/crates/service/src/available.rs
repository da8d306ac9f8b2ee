//! Finds what a service is started with: the engine, the image, and the server that is used by default.

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::server::Server;
use base::UsageError;
use build::Project;
use build::provision::{self, Needs};
use docker::{Docker, Image};
use matrix::Serve;

/// The engine, which must be on this machine: what is up is reached through its loopback.
pub fn engine(project: &Project, yes: bool) -> Result<Docker> {
    let needs = Needs { platform: project.matrix.platform, docker: true, programs: &[], bootstrap: &|_| false };
    let docker = provision::prepare(&needs, yes, &project.cache, &project.ui, &project.cancel)?;
    let docker = docker.context("no Docker engine: `cargo xtask doctor` says what is missing")?;
    let endpoint = docker.info()?.endpoint;
    ensure!(
        endpoint.starts_with("unix://"),
        "the engine at `{endpoint}` may be another machine, whose loopback is not in reach: run this there"
    );
    let removed = docker.remove_leftovers(project.cache.dir());
    removed.context("cannot remove what an earlier run left in the Docker engine")?;
    Ok(docker)
}

/// How an image's service is started, and the image itself, which must have been built.
pub fn service_of<'p>(project: &'p Project, docker: &Docker, tag: &str) -> Result<(&'p Serve, Image)> {
    let matrix = &project.matrix;
    matrix::select::images(matrix, &[tag.to_owned()])?;
    let mut packages = matrix.image(tag).into_iter().flat_map(|image| matrix.packages_of(image));
    let serve = packages.find_map(|package| package.serve.as_ref());
    let serve = serve
        .ok_or_else(|| anyhow!(UsageError(format!("no package of image `{tag}` has a `serve` in matrix.yaml"))))?;
    Ok((serve, image_of(project, docker, tag)?))
}

/// An image of the matrix, which must have been built.
pub fn image_of(project: &Project, docker: &Docker, tag: &str) -> Result<Image> {
    matrix::select::images(&project.matrix, &[tag.to_owned()])?;
    let name = format!("{}:{tag}", project.matrix.name);
    let image = docker.image(&name)?;
    image.with_context(|| format!("the engine has no `{name}`: `cargo xtask image {tag}` builds it"))
}

pub fn preferred(project: &Project, docker: &Docker) -> Server {
    let offered =
        |image: &str| docker.image(image).is_ok_and(|found| found.is_some()) || docker.check_registry(image).is_ok();
    match &project.matrix.server {
        Some(server) if offered(&server.image) => Server::Image,
        _ => Server::Standin,
    }
}
