//! A server and a service in the engine, started and removed together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::server::Server;
use crate::{http, running, standin};
use base::UsageError;
use build::Project;
use docker::owner::{self, Owner};
use docker::{Docker, Health, Image, PublishedPort, Service};
use matrix::Serve;

/// How long a server may take until it takes data, and a service until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the data may take.
const LOADING: Duration = Duration::from_secs(600);

/// How a service reaches its server.
pub struct Reach<'a> {
    /// `HOST:PORT`; `None` if the service talks to no server.
    pub address: Option<String>,
    /// One of the engine's networks; `None` is this machine's own.
    pub network: Option<&'a str>,
}

impl Reach<'_> {
    /// The variable that tells a service where its server is.
    pub fn variable(&self, serve: &Serve) -> Option<(String, String)> {
        Some((serve.env.server.as_ref()?.to_string(), self.address.clone()?))
    }
}

/// How a service is started.
pub struct Start<'a> {
    pub tag: &'a str,
    /// Where it is on this machine's loopback; at a free port if `None`.
    pub port: Option<u16>,
    /// On top of the image's.
    pub env: &'a [(String, String)],
    pub cpus: Option<&'a str>,
}

/// A server and a service in the engine, by names that no other run uses.
pub struct Stack<'a> {
    pub project: &'a Project,
    pub docker: &'a Docker,
    pub owner: Arc<Owner>,
    /// For `up`: the port by which it is found again.
    pub up: Option<u16>,
    pub repository: String,
    pub network: String,
    pub server: String,
    pub service: String,
    pub loader: String,
}

impl<'a> Stack<'a> {
    /// For `up` the port is part of the names of its containers, else the id of this run.
    pub fn new(project: &'a Project, docker: &'a Docker, up: Option<u16>) -> Result<Stack<'a>> {
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

    pub fn labels(&self) -> Vec<(String, String)> {
        self.up.map(|port| running::labels(&self.repository, port)).unwrap_or_default()
    }

    /// Removes what this run has started, and nothing else.
    pub fn remove(&self) -> Result<()> {
        self.docker.remove_labelled(&[(base::labels::RUN, &self.owner.id)]).map(|_| ())
    }

    pub fn say(&self, line: &str) {
        self.project.ui.say(&format!("[up] {line}"));
    }

    /// Starts the server's container and returns the address that the service reaches it under.
    pub fn start_server(&self, server: &Server) -> Result<String> {
        self.run_server(&self.server_image(server)?, None)
    }

    /// What is started as the server: its image, which the engine has then, its arguments and its port.
    pub fn server_image(&self, server: &Server) -> Result<(String, Vec<String>, u16)> {
        Ok(match (server, &self.project.matrix.server) {
            (Server::Standin, _) => (standin::image(self.project, self.docker)?, standin::command(), standin::PORT),
            (_, Some(named)) => {
                self.docker.image_or_pull(&named.image, &|line| self.say(line), &self.project.cancel)?;
                (named.image.to_string(), Vec::new(), named.port)
            }
            (_, None) => bail!(UsageError("matrix.yaml names no `server`".to_owned())),
        })
    }

    pub fn run_server(
        &self,
        (image, command, port): &(String, Vec<String>, u16),
        cpus: Option<&str>,
    ) -> Result<String> {
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
    pub fn start_service(&self, start: &Start, serve: &Serve, image: &Image, reach: &Reach) -> Result<()> {
        let mut env = vec![(serve.env.labels.to_string(), serde_json::to_string(&image.labels)?)];
        env.extend(reach.variable(serve));
        env.extend_from_slice(start.env);
        let mut labels = self.labels();
        labels.push((base::labels::UP_TAG.to_owned(), start.tag.to_owned()));
        labels.extend(reach.address.iter().map(|address| (base::labels::UP_SERVER.to_owned(), address.clone())));
        match reach.network {
            Some(network) => labels.push((base::labels::UP_NETWORK.to_owned(), network.to_owned())),
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
            port: reach.network.map(|_| PublishedPort { container: serve.port, host: start.port }),
            read_only: true,
            labels,
            cpus: start.cpus,
            ..Service::default()
        })
    }

    /// Runs the loader of the service's image to its end; again while the server does not answer yet.
    pub fn load(&self, serve: &Serve, image: &Image, reach: &Reach, records: u64) -> Result<()> {
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
            self.docker.remove_container(&self.loader)?;
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
    pub fn wait(&self, addresses: &[String], path: &str) -> Result<String> {
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
