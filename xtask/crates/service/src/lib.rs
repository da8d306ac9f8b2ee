//! `up`, `load-data` and `down`: an image's service with a server and data, to try it and to measure it.

mod borrow;
mod http;
mod running;
mod server;
mod standin;
mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use base::{UsageError, ui};
pub use borrow::Borrowed;
use build::Project;
use build::provision::{self, Needs};
use docker::owner::{self, Owner};
use docker::{Docker, Health, Image, Service};
use matrix::Serve;
use running::label;
pub use server::Server;
pub use trial::{Ask, Ready, Trial};

/// How long a server may take until it takes data, and a service until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the data may take.
const LOADING: Duration = Duration::from_secs(600);

/// What `up` was asked for.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// Tag of an image in the matrix that has been built
    #[arg(value_name = "TAG")]
    pub tag: String,
    /// `image`, `standin` or HOST:PORT; default: the server image of the matrix, or the stand-in if no registry is
    /// reachable
    #[arg(long, value_name = "SERVER")]
    pub server: Option<Server>,
    /// Number of records in each set; 0 loads no data
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub records: u64,
    /// Port on the loopback interface
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// Install and start what is missing with apt, as root or with sudo
    #[arg(long)]
    pub yes: bool,
}

pub fn up(project: &Project, asked: &Up) -> Result<()> {
    let docker = engine(project, asked.yes)?;
    let (serve, image) = service_of(project, &docker, &asked.tag)?;
    let waiting = || project.ui.say(&format!("[up] waits until another `up` for port {} has ended", asked.port));
    let _lock = project.cache.lock(&format!("up-{}.lock", asked.port), &project.cancel, waiting)?;
    running::make_room(project, &docker, asked.port)?;
    let stack = Stack::new(project, &docker, Some(asked.port))?;
    let server = server_for(serve, asked, || preferred(project, &docker))?;
    let started = stack.start(asked, server.as_ref(), serve, &image).and_then(|()| stack.owner.keep());
    if let Err(error) = started {
        return Err(match stack.remove() {
            Ok(()) => error,
            Err(left) => error.context(format!("and what was started could not be removed: {left:#}")),
        });
    }
    let with = server.map(|server| format!(" with {server}")).unwrap_or_default();
    ui::out(&format!(
        "{}:{}{with}\n  http://127.0.0.1:{}\n  stop it with `cargo xtask down`\n",
        project.matrix.name, asked.tag, asked.port
    ))
}

/// The server that `up` starts or uses; none if the matrix does not say that the service talks to one.
fn server_for(serve: &Serve, asked: &Up, preferred: impl FnOnce() -> Server) -> Result<Option<Server>> {
    match (&serve.env.server, &asked.server) {
        (None, Some(_)) => bail!(UsageError(format!(
            "the service of `{}` talks to no server: leave --server out, or name the variable with the server's \
             address in `serve.env.server` in matrix.yaml",
            asked.tag
        ))),
        (None, None) => Ok(None),
        (Some(_), Some(server)) => Ok(Some(server.clone())),
        (Some(_), None) => Ok(Some(preferred())),
    }
}

pub fn down(project: &Project, port: Option<u16>) -> Result<()> {
    let docker = Docker::connect()?;
    docker.remove_leftovers(project.cache.dir())?;
    let removed = running::remove(project, &docker, port)?;
    ui::out(&match removed.is_empty() {
        true => "nothing was up\n".to_owned(),
        false => format!("removed {}\n", ui::quoted(removed)),
    })
}

/// What `load-data` was asked for.
#[derive(Debug, clap::Args)]
pub struct LoadData {
    /// Number of records in each set
    #[arg(long, value_name = "N", default_value_t = 1000)]
    records: u64,
    /// HOST:PORT of a server; default: the server started by `up`
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Image whose clients write the records, if no service is up
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Port of the service, if several are up
    #[arg(long, value_name = "PORT", conflicts_with = "server")]
    port: Option<u16>,
}

/// Writes the records into the server of what is up, or into another.
pub fn load(project: &Project, asked: &LoadData) -> Result<()> {
    let docker = engine(project, false)?;
    let (tag, address, network) = match &asked.server {
        Some(address) => {
            let tag = asked.tag.clone();
            let tag =
                tag.ok_or_else(|| anyhow!(UsageError("--server needs --tag, whose image writes the data".into())))?;
            (tag, Some(address.clone()), None)
        }
        None => match running::service(project, &docker, asked.port)? {
            Some(service) => (service.tag, service.address, service.network),
            None => bail!(UsageError(
                "nothing is up: `cargo xtask up <TAG>` first, or name a server and an image with --server and --tag"
                    .into()
            )),
        },
    };
    let (serve, image) = service_of(project, &docker, &tag)?;
    if serve.load.is_empty() {
        bail!(UsageError(format!(
            "the service of `{tag}` has no `serve.load` in matrix.yaml: it has no data to write"
        )));
    }
    let stack = Stack::new(project, &docker, None)?;
    stack.say(&format!("writing {} records into each set", asked.records));
    stack.load(serve, &image, &Reach { address, network: network.as_deref() }, asked.records)
}

/// How a service reaches its server.
struct Reach<'a> {
    /// `HOST:PORT`; `None` if the service talks to no server.
    address: Option<String>,
    /// One of the engine's networks; `None` is this machine's own.
    network: Option<&'a str>,
}

impl Reach<'_> {
    /// The variable that tells a service where its server is.
    fn variable(&self, serve: &Serve) -> Option<(String, String)> {
        Some((serve.env.server.as_ref()?.to_string(), self.address.clone()?))
    }
}

/// How a service is started.
struct Start<'a> {
    tag: &'a str,
    /// Where it is on this machine's loopback; at a free port if `None`.
    port: Option<u16>,
    /// On top of the image's.
    env: &'a [(String, String)],
    cpus: Option<&'a str>,
}

/// A server and a service in the engine, by names that no other run uses.
struct Stack<'a> {
    project: &'a Project,
    docker: &'a Docker,
    owner: Arc<Owner>,
    /// For `up`: the port by which it is found again.
    up: Option<u16>,
    repository: String,
    network: String,
    server: String,
    service: String,
    loader: String,
}

impl<'a> Stack<'a> {
    /// For `up` the port is part of the names of its containers, else the id of this run.
    fn new(project: &'a Project, docker: &'a Docker, up: Option<u16>) -> Result<Stack<'a>> {
        let owner = owner::current()?;
        let repository = project.matrix.name.to_string();
        let own = |part: &str| format!("{repository}-{part}-{}", owner.name());
        let name = |part: &str| up.map_or_else(|| own(part), |port| format!("{repository}-{part}-{port}"));
        Ok(Stack {
            project,
            docker,
            // The engine lets two networks have one name.
            network: own("net"),
            server: name("server"),
            service: name("service"),
            loader: own("load-data"),
            repository,
            up,
            owner,
        })
    }

    fn labels(&self) -> Vec<(String, String)> {
        self.up.map(|port| running::labels(&self.repository, port)).unwrap_or_default()
    }

    /// Removes what this run has started, and nothing else.
    fn remove(&self) -> Result<()> {
        self.docker.remove_labelled(&[(owner::LABEL, &self.owner.id)]).map(|_| ())
    }

    fn say(&self, line: &str) {
        self.project.ui.say(&format!("[up] {line}"));
    }

    fn start(&self, asked: &Up, server: Option<&Server>, serve: &Serve, image: &Image) -> Result<()> {
        if let Some(server) = server {
            self.say(&format!("server: {server}"));
        }
        let reach = match server {
            // It may announce any address, its own loopback too: the service sees what this machine sees.
            Some(Server::At(address)) => Reach { address: Some(address.clone()), network: None },
            server => {
                self.docker.create_network(&self.network, &self.labels())?;
                let address = server.map(|server| self.start_server(server)).transpose()?;
                Reach { address, network: Some(&self.network) }
            }
        };
        if asked.records > 0 && !serve.load.is_empty() {
            self.say(&format!("writing {} records into each set", asked.records));
            self.load(serve, image, &reach, asked.records)?;
        }
        self.say(&format!("starting {}:{}", self.repository, asked.tag));
        let start = Start { tag: &asked.tag, port: Some(asked.port), env: &[], cpus: None };
        self.start_service(&start, serve, image, &reach)?;
        self.wait(&[format!("127.0.0.1:{}", asked.port)], &serve.ready).map(|_| ())
    }

    /// Starts the server's container and returns the address that the service reaches it under.
    fn start_server(&self, server: &Server) -> Result<String> {
        self.run_server(&self.server_image(server)?, None)
    }

    /// What is started as the server: its image, which the engine has then, its arguments and its port.
    fn server_image(&self, server: &Server) -> Result<(String, Vec<String>, u16)> {
        Ok(match (server, &self.project.matrix.server) {
            (Server::Standin, _) => (standin::image(self.project, self.docker)?, standin::command(), standin::PORT),
            (_, Some(named)) => {
                if self.docker.image(&named.image)?.is_none() {
                    self.docker.pull(&named.image, &|line| self.say(line), &self.project.cancel)?;
                }
                (named.image.to_string(), Vec::new(), named.port)
            }
            (_, None) => bail!(UsageError("matrix.yaml names no `server`".to_owned())),
        })
    }

    fn run_server(&self, (image, command, port): &(String, Vec<String>, u16), cpus: Option<&str>) -> Result<String> {
        self.docker.start(&Service {
            name: &self.server,
            image,
            command: command.clone(),
            network: Some(&self.network),
            labels: self.labels(),
            cpus,
            ..Service::default()
        })?;
        Ok(format!("{}:{port}", self.server))
    }

    /// Starts the service; where it joins no network, `start.port` says where it listens.
    fn start_service(&self, start: &Start, serve: &Serve, image: &Image, reach: &Reach) -> Result<()> {
        let mut env = vec![(serve.env.labels.to_string(), serde_json::to_string(&image.labels)?)];
        env.extend(reach.variable(serve));
        env.extend_from_slice(start.env);
        let mut labels = self.labels();
        labels.push((label::TAG.to_owned(), start.tag.to_owned()));
        labels.extend(reach.address.iter().map(|address| (label::SERVER.to_owned(), address.clone())));
        match reach.network {
            Some(network) => labels.push((label::NETWORK.to_owned(), network.to_owned())),
            // On this machine's own network it is bound here, elsewhere by the published port.
            None => env.extend([
                (serve.env.host.to_string(), "127.0.0.1".to_owned()),
                (serve.env.port.to_string(), start.port.unwrap_or(serve.port).to_string()),
            ]),
        }
        self.docker.start(&Service {
            name: &self.service,
            image: &image.id,
            env,
            network: reach.network,
            port: reach.network.map(|_| (serve.port, start.port)),
            read_only: true,
            labels,
            cpus: start.cpus,
            ..Service::default()
        })
    }

    /// Runs the loader of the service's image to its end; again while the server does not answer yet.
    fn load(&self, serve: &Serve, image: &Image, reach: &Reach, records: u64) -> Result<()> {
        let mut command = serve.load.clone();
        command.extend(["--records".to_owned(), records.to_string()]);
        let begun = Instant::now();
        loop {
            self.docker.start(&Service {
                name: &self.loader,
                image: &image.id,
                command: command.clone(),
                env: reach.variable(serve).into_iter().collect(),
                network: reach.network,
                labels: self.labels(),
                read_only: true,
                ..Service::default()
            })?;
            let ended = self.loaded();
            let said = self.docker.last_lines(&self.loader, 5).join("\n    | ");
            self.docker.remove(&self.loader)?;
            match ended? {
                0 => return Ok(()),
                _ if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(500)),
                code => bail!("writing the data failed with exit code {code}:\n    | {said}"),
            }
        }
    }

    fn loaded(&self) -> Result<i64> {
        let begun = Instant::now();
        loop {
            self.project.cancel.check()?;
            if let Health::Ended(code) = self.docker.health(&self.loader)? {
                return Ok(code);
            }
            ensure!(begun.elapsed() < LOADING, "writing the data took longer than {LOADING:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the service is ready, and returns the first of its `addresses` that answers; a service that
    /// ends before is an error with its last lines.
    fn wait(&self, addresses: &[String], path: &str) -> Result<String> {
        let begun = Instant::now();
        let waited = || {
            loop {
                if let Some(address) = http::first_ready(addresses, path) {
                    return Ok(address);
                }
                self.project.cancel.check()?;
                let last = || self.docker.last_lines(&self.service, 15).join("\n    | ");
                if let Health::Ended(code) = self.docker.health(&self.service)? {
                    bail!("`{}` ended with exit code {code}:\n    | {}", self.service, last());
                }
                ensure!(begun.elapsed() < PATIENCE, "it is not ready after {PATIENCE:?}:\n    | {}", last());
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        waited().with_context(|| format!("`GET {path}` at {} does not answer 200", addresses.join(" and ")))
    }
}

/// The engine, which must be on this machine: what is up is reached through its loopback.
pub fn engine(project: &Project, yes: bool) -> Result<Docker> {
    let needs = Needs { docker: true, programs: &[], bootstrap: &|_| false };
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
fn service_of<'p>(project: &'p Project, docker: &Docker, tag: &str) -> Result<(&'p Serve, Image)> {
    let matrix = &project.matrix;
    matrix::select::images(matrix, &[tag.to_owned()])?;
    let packages = matrix.image(tag).into_iter().flat_map(|image| &image.packages);
    let serve = packages.filter_map(|id| matrix.package(id)).find_map(|package| package.serve.as_ref());
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

fn preferred(project: &Project, docker: &Docker) -> Server {
    let offered = |image: &str| docker.image(image).is_ok_and(|found| found.is_some()) || docker.offered(image).is_ok();
    match &project.matrix.server {
        Some(server) if offered(&server.image) => Server::Image,
        _ => Server::Standin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_a_server_gets_none() {
        let text = fixture::MATRIX;
        let mut matrix = matrix::Matrix::parse(text, "matrix.yaml").unwrap();
        let app = matrix.packages.iter_mut().find(|package| package.id == *"benchmark-app").unwrap();
        let serve = app.serve.as_mut().unwrap();
        let asked = |server| Up { tag: "314t".to_owned(), server, records: 1000, port: 8000, yes: false };
        let standin = || Server::Standin;
        assert_eq!(server_for(serve, &asked(None), standin).unwrap(), Some(Server::Standin));
        assert_eq!(server_for(serve, &asked(Some(Server::Image)), standin).unwrap(), Some(Server::Image));

        serve.env.server = None;
        let nothing = || -> Server { panic!("no server may be looked for") };
        assert_eq!(server_for(serve, &asked(None), nothing).unwrap(), None);
        let error = server_for(serve, &asked(Some(Server::Standin)), nothing).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("`serve.env.server`"), "{error}");
        let reach = Reach { address: None, network: None };
        assert_eq!(reach.variable(serve), None);
    }
}
