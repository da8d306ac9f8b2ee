//! `up`, `load-data` and `down`: an image's service with a server and data, to try it and to measure it.

mod http;
mod standin;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::docker::{Docker, Health, Image, Service};
use crate::matrix::Serve;
use crate::provision::{self, Needs};
use crate::{Project, Wrong, ui};

/// On every container and network of it, with the repository's name.
const LABEL: &str = "dev.wheel-matrix.up";
/// How long a server may take until it takes data, and a service until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the data may take.
const LOADING: Duration = Duration::from_secs(600);

/// What the service talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The image that the matrix names.
    Image,
    /// The project's own in-memory server: a development aid.
    Standin,
    /// One that runs already, as `HOST:PORT`.
    At(String),
}

impl FromStr for Server {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Server> {
        match text {
            "image" => Ok(Server::Image),
            "standin" => Ok(Server::Standin),
            address => {
                let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
                let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && host.chars().all(plain));
                ensure!(
                    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)),
                    "`{address}` is neither `image` nor `standin` nor HOST:PORT"
                );
                Ok(Server::At(address.to_owned()))
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Image => f.write_str("the image of the matrix"),
            Server::Standin => f.write_str("STAND-IN (in memory, a development aid: its speed says nothing)"),
            Server::At(address) => f.write_str(address),
        }
    }
}

/// What `up` was asked for.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// Tag of an image in the matrix that has been built
    #[arg(value_name = "TAG")]
    pub tag: String,
    /// `image`, `standin` or HOST:PORT; by default the image of the matrix where a registry is in reach, else the stand-in
    #[arg(long, value_name = "SERVER")]
    pub server: Option<Server>,
    /// Records in each set; 0 loads none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub records: u64,
    /// Port on this machine's loopback
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// Install and start what is missing, with apt, as root or through sudo
    #[arg(long)]
    pub yes: bool,
}

pub fn up(project: &Project, asked: &Up) -> Result<()> {
    let running = Stack::start(project, asked)?;
    ui::out(&format!(
        "{}:{} with {}\n  http://127.0.0.1:{}\n  stop it with `cargo xtask down`\n",
        project.matrix.name, asked.tag, running.server, asked.port
    ))
}

/// Everything that `up` has started; stays when this is dropped.
pub struct Stack {
    pub server: Server,
}

impl Stack {
    /// Starts server and service, loads the data and waits until requests are answered; on failure all of it is removed.
    pub fn start(project: &Project, asked: &Up) -> Result<Stack> {
        let docker = engine(project, asked.yes)?;
        let here = Place::new(project);
        let (serve, image) = service_of(project, &docker, &asked.tag)?;
        if !docker.labelled(here.label())?.is_empty() {
            bail!("something is up already: `cargo xtask down` removes it");
        }
        let server = match &asked.server {
            Some(server) => server.clone(),
            None => preferred(project, &docker),
        };
        let started = here.bring_up(project, &docker, asked, &server, serve, &image);
        if let Err(error) = started {
            return Err(match docker.remove_labelled(here.label()) {
                Ok(_) => error,
                Err(left) => error.context(format!("and what was started could not be removed: {left:#}")),
            });
        }
        Ok(Stack { server })
    }
}

pub fn down(project: &Project) -> Result<()> {
    let docker = Docker::connect()?;
    let removed = docker.remove_labelled(Place::new(project).label())?;
    ui::out(&match removed.is_empty() {
        true => "nothing was up\n".to_owned(),
        false => format!("removed {}\n", ui::quoted(removed)),
    })
}

/// Writes the records into the server of what is up, or into another.
pub fn load(project: &Project, records: u64, server: Option<&str>, tag: Option<&str>) -> Result<()> {
    let docker = engine(project, false)?;
    let here = Place::new(project);
    let up = docker.labelled(here.label())?.contains(&here.service);
    let (tag, address, network) = match (server, up) {
        (None, false) => bail!(Wrong("nothing is up: `cargo xtask up <TAG>` first, or name --server and --tag".into())),
        (None, true) => {
            let tag = docker.container_label(&here.service, TAG)?.context("the running service has no tag")?;
            let address =
                docker.container_label(&here.service, ADDRESS)?.context("the running service has no server")?;
            let network = docker.container_label(&here.service, NETWORK)?;
            (tag, address, network)
        }
        (Some(address), _) => {
            let tag = tag.ok_or_else(|| anyhow!(Wrong("--server needs --tag, whose image writes the data".into())))?;
            (tag.to_owned(), address.to_owned(), None)
        }
    };
    let (serve, image) = service_of(project, &docker, &tag)?;
    here.load(project, &docker, serve, &image, &address, network.as_deref(), records)
}

/// What is remembered on the service's container.
const TAG: &str = "dev.wheel-matrix.up.tag";
const ADDRESS: &str = "dev.wheel-matrix.up.server";
const NETWORK: &str = "dev.wheel-matrix.up.network";

/// The names of one stack, which are those of the matrix: there is one at a time.
struct Place {
    repository: String,
    network: String,
    server: String,
    service: String,
    loader: String,
}

impl Place {
    fn new(project: &Project) -> Place {
        let repository = project.matrix.name.to_string();
        let name = |part: &str| format!("{repository}-{part}");
        Place {
            network: name("net"),
            server: name("server"),
            service: name("service"),
            loader: name("load-data"),
            repository,
        }
    }

    fn label(&self) -> (&str, &str) {
        (LABEL, &self.repository)
    }

    fn labels(&self) -> Vec<(String, String)> {
        vec![(LABEL.to_owned(), self.repository.clone())]
    }

    fn bring_up(
        &self,
        project: &Project,
        docker: &Docker,
        asked: &Up,
        server: &Server,
        serve: &Serve,
        image: &Image,
    ) -> Result<()> {
        let say = |line: &str| project.ui.say(&format!("[up] {line}"));
        say(&format!("server: {server}"));
        let network = match server {
            // It may announce any address, its own loopback too: the service sees what this machine sees.
            Server::At(_) => None,
            Server::Image | Server::Standin => {
                docker.create_network(&self.network, self.label())?;
                Some(self.network.as_str())
            }
        };
        let address = match server {
            Server::At(address) => address.clone(),
            Server::Image | Server::Standin => self.start_server(project, docker, server)?,
        };
        if asked.records > 0 {
            self.load(project, docker, serve, image, &address, network, asked.records)?;
        }
        say(&format!("starting {}:{}", self.repository, asked.tag));
        let mut env = vec![
            (serve.env.server.to_string(), address.clone()),
            (serve.env.labels.to_string(), serde_json::to_string(&image.labels)?),
        ];
        if network.is_none() {
            // On the host's network it is bound here, elsewhere by the published port.
            env.push((serve.env.host.to_string(), "127.0.0.1".to_owned()));
            env.push((serve.env.port.to_string(), asked.port.to_string()));
        }
        let mut labels = self.labels();
        labels.extend([(TAG.to_owned(), asked.tag.clone()), (ADDRESS.to_owned(), address)]);
        labels.extend(network.map(|network| (NETWORK.to_owned(), network.to_owned())));
        docker.start(&Service {
            name: &self.service,
            image: &image.id,
            env,
            network,
            port: network.map(|_| (serve.port, asked.port)),
            read_only: true,
            labels,
            ..Service::default()
        })?;
        let ready = || http::status(asked.port, &serve.ready).is_ok_and(|status| status == 200);
        self.wait(project, docker, &self.service, PATIENCE, "answers requests", ready)
            .with_context(|| format!("`GET {}` on port {} does not answer 200", serve.ready, asked.port))
    }

    /// Starts the server's container and returns the address that the service reaches it under.
    fn start_server(&self, project: &Project, docker: &Docker, server: &Server) -> Result<String> {
        let named = project.matrix.server.as_ref();
        let (image, command, port) = match server {
            Server::Standin => {
                let image = standin::image(project, docker)?;
                (image, standin::command(), standin::PORT)
            }
            _ => {
                let named = named.ok_or_else(|| anyhow!(Wrong("matrix.yaml names no `server`".to_owned())))?;
                if docker.image(&named.image)?.is_none() {
                    docker.pull(&named.image, &|line| project.ui.say(&format!("[up] {line}")), &project.cancel)?;
                }
                (named.image.to_string(), Vec::new(), named.port)
            }
        };
        docker.start(&Service {
            name: &self.server,
            image: &image,
            command,
            network: Some(&self.network),
            labels: self.labels(),
            ..Service::default()
        })?;
        Ok(format!("{}:{port}", self.server))
    }

    /// Runs the loader of the service's image to its end; again while the server does not answer yet.
    #[allow(clippy::too_many_arguments)]
    fn load(
        &self,
        project: &Project,
        docker: &Docker,
        serve: &Serve,
        image: &Image,
        address: &str,
        network: Option<&str>,
        records: u64,
    ) -> Result<()> {
        project.ui.say(&format!("[up] writing {records} records into each set"));
        let mut command = serve.load.clone();
        command.extend(["--records".to_owned(), records.to_string()]);
        let begun = Instant::now();
        loop {
            docker.start(&Service {
                name: &self.loader,
                image: &image.id,
                command: command.clone(),
                env: vec![(serve.env.server.to_string(), address.to_owned())],
                network,
                labels: self.labels(),
                read_only: true,
                ..Service::default()
            })?;
            let ended = self.ended(project, docker);
            let said = docker.last_lines(&self.loader, 5).join("\n    | ");
            docker.remove(&self.loader)?;
            match ended? {
                0 => return Ok(()),
                _ if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(500)),
                code => bail!("writing the data failed with exit code {code}:\n    | {said}"),
            }
        }
    }

    fn ended(&self, project: &Project, docker: &Docker) -> Result<i64> {
        let begun = Instant::now();
        loop {
            project.cancel.check()?;
            if let Health::Ended(code) = docker.health(&self.loader)? {
                return Ok(code);
            }
            ensure!(begun.elapsed() < LOADING, "writing the data took longer than {LOADING:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until `ready`; a container that ends before that is an error with its last lines.
    fn wait(
        &self,
        project: &Project,
        docker: &Docker,
        name: &str,
        limit: Duration,
        what: &str,
        ready: impl Fn() -> bool,
    ) -> Result<()> {
        let begun = Instant::now();
        while !ready() {
            project.cancel.check()?;
            let last = || docker.last_lines(name, 15).join("\n    | ");
            if let Health::Ended(code) = docker.health(name)? {
                bail!("`{name}` ended with exit code {code}:\n    | {}", last());
            }
            ensure!(begun.elapsed() < limit, "after {limit:?} `{name}` is not one that {what}:\n    | {}", last());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// The engine, which must be on this machine: what is up is reached through its loopback.
fn engine(project: &Project, yes: bool) -> Result<Docker> {
    let needs = Needs { docker: true, programs: &[], bootstrap: &|_| false };
    let docker = provision::prepare(&needs, yes, &project.cache, &project.ui, &project.cancel)?;
    let docker = docker.context("no Docker engine: `cargo xtask doctor` says what is missing")?;
    let endpoint = docker.info()?.endpoint;
    ensure!(
        endpoint.starts_with("unix://"),
        "the engine at `{endpoint}` may be another machine, whose loopback is not in reach: run this there"
    );
    Ok(docker)
}

/// How an image's service is started, and the image itself, which must have been built.
fn service_of<'p>(project: &'p Project, docker: &Docker, tag: &str) -> Result<(&'p Serve, Image)> {
    let matrix = &project.matrix;
    crate::select::images(matrix, &[tag.to_owned()])?;
    let packages = matrix.image(tag).into_iter().flat_map(|image| &image.packages);
    let serve = packages.filter_map(|id| matrix.package(id)).find_map(|package| package.serve.as_ref());
    let serve =
        serve.ok_or_else(|| anyhow!(Wrong(format!("no package of image `{tag}` has a `serve` in matrix.yaml"))))?;
    let name = format!("{}:{tag}", matrix.name);
    let image = docker.image(&name)?;
    let image = image.with_context(|| format!("the engine has no `{name}`: `cargo xtask image {tag}` builds it"))?;
    Ok((serve, image))
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
    fn servers_are_told_apart() {
        assert_eq!("image".parse::<Server>().unwrap(), Server::Image);
        assert_eq!("standin".parse::<Server>().unwrap(), Server::Standin);
        assert_eq!("[::1]:3000".parse::<Server>().unwrap(), Server::At("[::1]:3000".to_owned()));
        for wrong in ["", "host", ":3000", "host:0", "host:99999", "a b:3000", "standin "] {
            assert!(wrong.parse::<Server>().unwrap_err().to_string().contains("HOST:PORT"), "{wrong}");
        }
    }
}
