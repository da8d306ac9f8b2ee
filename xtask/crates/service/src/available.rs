//! Finds the engine, the image and the default server for a service.

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::server::ServerChoice;
use base::UsageError;
use build::Project;
use build::provision::{self, Needs};
use docker::{Docker, Image};
use matrix::Serve;

/// Returns the engine, which must run on this machine, because services are reached through the loopback interface.
pub fn engine(project: &Project, yes: bool) -> Result<Docker> {
    let needs = Needs { platform: project.matrix.platform, docker: true, programs: &[], bootstrap: &|_| false };
    let docker = provision::prepare(&needs, yes, &project.cache, &project.ui, &project.cancel)?;
    let docker = docker.context("no Docker engine: run `cargo xtask doctor`")?;
    let endpoint = docker.info()?.endpoint;
    ensure!(
        endpoint.starts_with("unix://"),
        "the engine at `{endpoint}` may be on another machine, whose loopback interface is not reachable: run the command there"
    );
    let removed = docker.remove_leftovers(project.cache.dir());
    removed.context("cannot remove leftovers of an earlier run from the Docker engine")?;
    Ok(docker)
}

/// Returns the service definition of an image, and the image, which must exist.
pub fn service_of<'p>(project: &'p Project, docker: &Docker, tag: &str) -> Result<(&'p Serve, Image)> {
    let matrix = &project.matrix;
    matrix::select::images(matrix, &[tag.to_owned()])?;
    let mut packages = matrix.image(tag).into_iter().flat_map(|image| matrix.packages_of(image));
    let serve = packages.find_map(|package| package.serve.as_ref());
    let serve = serve.ok_or_else(|| {
        anyhow!(UsageError(format!("no package of the image `{tag}` has the field `serve` in matrix.yaml")))
    })?;
    Ok((serve, image_of(project, docker, tag)?))
}

/// Returns an image of the matrix, which must exist in the engine.
pub fn image_of(project: &Project, docker: &Docker, tag: &str) -> Result<Image> {
    matrix::select::images(&project.matrix, &[tag.to_owned()])?;
    let name = format!("{}:{tag}", project.matrix.name);
    let image = docker.image(&name)?;
    image.with_context(|| format!("the engine has no image `{name}`: build it with `cargo xtask image {tag}`"))
}

pub fn preferred(project: &Project, docker: &Docker) -> ServerChoice {
    let offered =
        |image: &str| docker.image(image).is_ok_and(|found| found.is_some()) || docker.check_registry(image).is_ok();
    match &project.matrix.server {
        Some(server) if offered(&server.image) => ServerChoice::Image,
        _ => ServerChoice::Standin,
    }
}

/// Returns the server that a service uses; `None` if it uses no server according to the matrix.
pub fn server_for(
    serve: &Serve,
    tag: &str,
    asked: Option<&ServerChoice>,
    preferred: impl FnOnce() -> ServerChoice,
) -> Result<Option<ServerChoice>> {
    match (&serve.env.server, asked) {
        (None, Some(_)) => bail!(UsageError(format!(
            "the service of `{tag}` uses no server: remove --server, or set the variable for the server's address in \
             `serve.env.server` in matrix.yaml"
        ))),
        (None, None) => Ok(None),
        (Some(_), Some(server)) => Ok(Some(server.clone())),
        (Some(_), None) => Ok(Some(preferred())),
    }
}
