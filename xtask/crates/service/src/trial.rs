//! Runs a service with its server in fresh containers for one measurement.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::available::{preferred, service_of};
use crate::http;
use crate::server::ServerChoice;
use crate::stack::{Reach, Stack, Start};
use build::Project;
use docker::{Docker, Health};

/// Time limit of a response of the application.
const ANSWER: Duration = Duration::from_secs(30);

/// Service to start for a measurement.
pub struct TrialOptions<'a> {
    pub tag: &'a str,
    /// Variables in addition to those of the image.
    pub env: &'a [(String, String)],
    pub records: u64,
    /// Port on the loopback interface; `None` for any free port.
    pub port: Option<u16>,
    /// Processors of server and service.
    pub cpus: Option<[&'a str; 2]>,
}

/// Prepared server image, used for all trials.
pub struct PreparedServer<'a> {
    stack: Stack<'a>,
    pub server: ServerChoice,
    image: Option<(String, Vec<String>, u16)>,
}

/// Running service. It is removed with its server on drop.
pub struct Trial<'a> {
    ready: &'a PreparedServer<'a>,
    /// `HOST:PORT`.
    pub address: String,
    /// Whether the engine forwards each request, because the container's address is not reachable from the host.
    pub forwarded: bool,
    /// Process ids of server and service.
    pub processes: Vec<u32>,
}

impl<'a> PreparedServer<'a> {
    pub fn find(
        project: &'a Project,
        docker: &'a Docker,
        options: Option<&ServerChoice>,
    ) -> Result<PreparedServer<'a>> {
        let stack = Stack::new(project, docker, None)?;
        let server = options.cloned().unwrap_or_else(|| preferred(project, docker));
        let image = match &server {
            ServerChoice::At(_) => None,
            ServerChoice::Image | ServerChoice::Standin => Some(stack.server_image(&server)?),
        };
        Ok(PreparedServer { stack, server, image })
    }

    /// Returns the id of the server's image, if it has one.
    pub fn digest(&self) -> Result<Option<String>> {
        let Some((image, ..)) = &self.image else { return Ok(None) };
        Ok(self.stack.docker.image(image)?.map(|image| image.id))
    }

    /// Starts server and service and waits until the service responds.
    pub fn start(&'a self, ask: &TrialOptions) -> Result<Trial<'a>> {
        // From here on, everything is removed if an error occurs.
        let mut trial = Trial { ready: self, address: String::new(), forwarded: false, processes: Vec::new() };
        let (stack, docker) = (&self.stack, self.stack.docker);
        let (serve, image) = service_of(stack.project, docker, ask.tag)?;
        let reach = match (&self.image, &self.server) {
            (Some(server), _) => {
                docker.create_network(&stack.network, &stack.labels())?;
                let address = stack.run_server(server, ask.cpus.map(|[server, _]| server))?;
                Reach { address: Some(address), network: Some(&stack.network) }
            }
            (None, server) => Reach { address: Some(server.to_string()), network: None },
        };
        if ask.records > 0 {
            stack.load(serve, &image, &reach, ask.records)?;
        }
        let port = match (ask.port, reach.network) {
            // The engine chooses the port.
            (None, Some(_)) => None,
            (None, None) => Some(free_port()?),
            (given, _) => given,
        };
        let start = Start { tag: ask.tag, port, env: ask.env, cpus: ask.cpus.map(|[_, service]| service) };
        stack.start_service(&start, serve, &image, &reach)?;
        let place = docker.container_info(&stack.service, &stack.network, serve.port)?;
        trial.processes.push(place.process);
        if self.image.is_some() {
            trial.processes.push(docker.container_info(&stack.server, &stack.network, serve.port)?.process);
        }
        let loopback = place.published.or(port).map(|port| format!("127.0.0.1:{port}"));
        // Forwarding takes time, so the container's address is preferred. It is not reachable for a rootless engine
        // or one in a virtual machine.
        let own = place.address.map(|own| format!("{own}:{}", serve.port));
        let addresses: Vec<String> = own.iter().cloned().chain(loopback).collect();
        trial.address = stack.wait(&addresses, &serve.ready)?;
        trial.forwarded = own.is_some_and(|own| own != trial.address);
        Ok(trial)
    }
}

impl Trial<'_> {
    /// Returns the body of a response, whose status must be 200.
    pub fn get(&self, path: &str) -> Result<String> {
        let options = http::get(&self.address, path, ANSWER).and_then(|(status, body)| {
            ensure!(status == 200, "it responds with status {status}");
            Ok(body)
        });
        options.with_context(|| format!("`GET {path}` of the application failed"))
    }

    /// Returns how the server or service exited, if one did.
    pub fn ended(&self) -> Result<Option<String>> {
        let stack = &self.ready.stack;
        for (name, what) in [(&stack.service, "the application"), (&stack.server, "its server")] {
            if *name == stack.server && self.ready.image.is_none() {
                continue;
            }
            if let Health::Ended(code) = stack.docker.health(name)? {
                return Ok(Some(format!("{what} exited with code {code}")));
            }
        }
        Ok(None)
    }

    /// Removes service and server.
    pub fn end(self) -> Result<()> {
        // The drop handler removes them again, which has no effect.
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        self.ready.stack.remove()
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // Report the original error; the next run removes what is left.
        let _ = self.remove();
    }
}

/// Returns a free port on the loopback interface.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener.context("no port on the loopback interface is free")?.port())
}
