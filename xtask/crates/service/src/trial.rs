//! A service with its server for just as long as one measurement takes, in fresh containers.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::available::{preferred, service_of};
use crate::http;
use crate::server::Server;
use crate::stack::{Reach, Stack, Start};
use build::Project;
use docker::{Docker, Health};

/// How long an answer of the application may take.
const ANSWER: Duration = Duration::from_secs(30);

/// What is to be measured.
pub struct Ask<'a> {
    pub tag: &'a str,
    /// On top of the image's.
    pub env: &'a [(String, String)],
    pub records: u64,
    /// On this machine's loopback; one that is free if `None`.
    pub port: Option<u16>,
    /// Processors of server and service.
    pub cpus: Option<[&'a str; 2]>,
}

/// What servers are started from: found, or compiled, once for all trials.
pub struct Ready<'a> {
    stack: Stack<'a>,
    pub server: Server,
    image: Option<(String, Vec<String>, u16)>,
}

/// A service that answers. Removed, with its server, when it ends.
pub struct Trial<'a> {
    ready: &'a Ready<'a>,
    /// `HOST:PORT`.
    pub address: String,
    /// Whether the engine forwards each request: the container's own address is not in reach of this machine.
    pub forwarded: bool,
    /// Of server and service.
    pub processes: Vec<u32>,
}

impl<'a> Ready<'a> {
    pub fn find(project: &'a Project, docker: &'a Docker, asked: Option<&Server>) -> Result<Ready<'a>> {
        let stack = Stack::new(project, docker, None)?;
        let server = asked.cloned().unwrap_or_else(|| preferred(project, docker));
        let image = match &server {
            Server::At(_) => None,
            Server::Image | Server::Standin => Some(stack.server_image(&server)?),
        };
        Ok(Ready { stack, server, image })
    }

    /// The id of the server's image, where it has one.
    pub fn digest(&self) -> Result<Option<String>> {
        let Some((image, ..)) = &self.image else { return Ok(None) };
        Ok(self.stack.docker.image(image)?.map(|image| image.id))
    }

    /// Starts server and service and waits until it answers.
    pub fn start(&'a self, ask: &Ask) -> Result<Trial<'a>> {
        // From here on all of it is removed, whatever fails.
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
            // The engine chooses one.
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
        // Forwarding takes time of its own, so the container's address comes first. Of a rootless engine, or one in a
        // virtual machine, it cannot be reached.
        let own = place.address.map(|own| format!("{own}:{}", serve.port));
        let addresses: Vec<String> = own.iter().cloned().chain(loopback).collect();
        trial.address = stack.wait(&addresses, &serve.ready)?;
        trial.forwarded = own.is_some_and(|own| own != trial.address);
        Ok(trial)
    }
}

impl Trial<'_> {
    /// The body of an answer, which must be 200.
    pub fn get(&self, path: &str) -> Result<String> {
        let asked = http::get(&self.address, path, ANSWER).and_then(|(status, body)| {
            ensure!(status == 200, "it answers {status}");
            Ok(body)
        });
        asked.with_context(|| format!("`GET {path}` of the application failed"))
    }

    /// How it has ended, if it has.
    pub fn ended(&self) -> Result<Option<String>> {
        let stack = &self.ready.stack;
        for (name, what) in [(&stack.service, "the application"), (&stack.server, "its server")] {
            if *name == stack.server && self.ready.image.is_none() {
                continue;
            }
            if let Health::Ended(code) = stack.docker.health(name)? {
                return Ok(Some(format!("{what} ended with exit code {code}")));
            }
        }
        Ok(None)
    }

    /// Removes all of it.
    pub fn end(self) -> Result<()> {
        // It is asked again when this is dropped: there is nothing left then.
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        self.ready.stack.remove()
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // The error that led here is the one to report; the next run removes what is left.
        let _ = self.remove();
    }
}

/// A port of this machine's loopback that nobody listens at.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener.context("no port of this machine's loopback is free")?.port())
}
