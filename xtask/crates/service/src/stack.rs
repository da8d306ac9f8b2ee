//! Starts and removes a server and a service in the engine together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::server::ServerChoice;
use crate::{http, running, standin};
use base::UsageError;
use build::Project;
use docker::owner::{self, Owner};
use docker::{Docker, Health, Image, PublishedPort, Service};
use matrix::Serve;

/// Time limit for the server to accept data, and for the service to become ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time limit for writing the data.
const LOADING: Duration = Duration::from_secs(600);

/// Network path from a service to its server.
pub struct Reach<'a> {
    /// `HOST:PORT`; `None` if the service uses no server.
    pub address: Option<String>,
    /// Network in the engine; `None` for the host's network.
    pub network: Option<&'a str>,
}

impl Reach<'_> {
    /// Returns the environment variable that contains the server's address.
    pub fn variable(&self, serve: &Serve) -> Option<(String, String)> {
        Some((serve.env.server.as_ref()?.to_string(), self.address.clone()?))
    }
}

/// Start options of a service.
pub struct Start<'a> {
    pub tag: &'a str,
    /// Port on the loopback interface; `None` for any free port.
    pub port: Option<u16>,
    /// Variables in addition to those of the image.
    pub env: &'a [(String, String)],
    pub cpus: Option<&'a str>,
    /// Switches the image's health check off, whose processor time would be measured as the service's.
    pub measured: bool,
}

/// Server and service in the engine, with names that no other run uses.
#[derive(Clone)]
pub struct Stack<'a> {
    pub project: &'a Project,
    pub docker: &'a Docker,
    pub owner: Arc<Owner>,
    /// Port that identifies the services of `up`.
    pub up: Option<u16>,
    pub repository: String,
    pub network: String,
    pub server: String,
    pub service: String,
    pub loader: String,
}

impl<'a> Stack<'a> {
    /// Creates unique names. For `up` they contain the port, otherwise the id of this run.
    pub fn new(project: &'a Project, docker: &'a Docker, up: Option<u16>) -> Result<Stack<'a>> {
        let owner = owner::current()?;
        let repository = project.matrix.name.to_string();
        let own = |part: &str| format!("{repository}-{part}-{}", owner.name());
        let name = |part: &str| up.map_or_else(|| own(part), |port| format!("{repository}-{part}-{port}"));
        Ok(Stack {
            project,
            docker,
            // Names of networks are not unique in the engine.
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

    /// Removes everything that this run started.
    pub fn remove(&self) -> Result<()> {
        self.docker.remove_labelled(&[(base::labels::RUN, &self.owner.id)]).map(|_| ())
    }

    pub fn say(&self, line: &str) {
        self.project.ui.say(&format!("[up] {line}"));
    }

    /// Starts the server and returns its address from the view of the service.
    pub fn start_server(&self, server: &ServerChoice) -> Result<String> {
        self.run_server(&self.server_image(server)?, None)
    }

    /// Returns the image of the server, which is pulled if necessary, with its arguments and port.
    pub fn server_image(&self, server: &ServerChoice) -> Result<(String, Vec<String>, u16)> {
        Ok(match (server, &self.project.matrix.server) {
            (ServerChoice::Standin, _) => {
                let (name, port) = standin::named_by(&self.project.matrix)?;
                (standin::image(self.project, self.docker, name)?, standin::command(port), port)
            }
            (_, Some(named)) => {
                self.docker.image_or_pull(&named.image, &|line| self.say(line), &self.project.cancel)?;
                (named.image.to_string(), Vec::new(), named.port)
            }
            (_, None) => bail!(UsageError("matrix.yaml has no `server`".to_owned())),
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

    /// Starts the service. Without a network, it listens at `start.port` of the host.
    pub fn start_service(&self, start: &Start, serve: &Serve, image: &Image, reach: &Reach) -> Result<()> {
        let mut env = vec![(serve.env.labels.to_string(), serde_json::to_string(&image.labels)?)];
        env.extend(reach.variable(serve));
        env.extend_from_slice(start.env);
        let mut labels = self.labels();
        labels.push((base::labels::UP_TAG.to_owned(), start.tag.to_owned()));
        labels.extend(reach.address.iter().map(|address| (base::labels::UP_SERVER.to_owned(), address.clone())));
        match reach.network {
            Some(network) => labels.push((base::labels::UP_NETWORK.to_owned(), network.to_owned())),
            // On the host's network, the service itself binds the port; elsewhere the engine publishes it.
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
            no_health_check: start.measured,
            ..Service::default()
        })
    }

    /// Runs the loader of the service's image until it exits. Repeats while the server does not respond yet.
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

    /// Waits until the service is ready and returns the first of its `addresses` that responds. Fails with its last
    /// lines if the service exits.
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
                    bail!("`{}` exited with code {code}:\n    | {}", self.service, last());
                }
                ensure!(begun.elapsed() < PATIENCE, "it is not ready after {PATIENCE:?}:\n    | {}", last());
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        waited()
            .with_context(|| format!("`GET {path}` at {} does not respond with status 200", addresses.join(" and ")))
    }
}
