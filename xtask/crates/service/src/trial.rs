//! Runs services with their server in fresh containers for one measurement.

use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::available::{preferred, server_for, service_of};
use crate::http;
use crate::server::ServerChoice;
use crate::stack::{Reach, Stack, Start};
use base::cancel::Cancel;
use build::Project;
use docker::{Docker, Health, Job, JobResult};
use matrix::Serve;

/// Time limit of a response of the application.
const ANSWER: Duration = Duration::from_secs(30);

/// Service to start for a measurement.
pub struct TrialOptions<'a> {
    pub tag: &'a str,
    /// Variables in addition to those of the image.
    pub env: &'a [(String, String)],
    /// Port on the loopback interface; `None` for any free port.
    pub port: Option<u16>,
    /// Processors of the service.
    pub cpus: Option<&'a str>,
}

/// Prepared server image, used for all measurements.
pub struct PreparedServer<'a> {
    stack: Stack<'a>,
    /// `None` if the services use no server.
    pub server: Option<ServerChoice>,
    image: Option<(String, Vec<String>, u16)>,
}

/// Running server, or only a network, for one or several services. Everything is removed on drop.
pub struct Site<'a> {
    stack: &'a Stack<'a>,
    reach: Reach<'a>,
    /// Number of records in each set.
    records: u64,
    /// Whether the server runs in a container.
    contained: bool,
    /// Services whose data has been written.
    loaded: RefCell<Vec<&'a Serve>>,
    /// Number of services that were started.
    started: Cell<usize>,
}

/// Running service of a [`Site`].
pub struct Trial<'a> {
    stack: Stack<'a>,
    contained: bool,
    /// `HOST:PORT`.
    pub address: String,
    /// Whether the engine forwards each request, because the container's address is not reachable from the host.
    pub forwarded: bool,
    /// Process ids of server and service.
    pub processes: Vec<u32>,
}

impl<'a> PreparedServer<'a> {
    /// Prepares the server that the services of the images `tags` use.
    pub fn find(
        project: &'a Project,
        docker: &'a Docker,
        tags: &[&str],
        options: Option<&ServerChoice>,
    ) -> Result<PreparedServer<'a>> {
        let stack = Stack::new(project, docker, None)?;
        let mut server = None;
        for tag in tags {
            let (serve, _) = service_of(project, docker, tag)?;
            server = server_for(serve, tag, options, || preferred(project, docker))?.or(server);
        }
        let image = match &server {
            None | Some(ServerChoice::At(_)) => None,
            Some(server) => Some(stack.server_image(server)?),
        };
        Ok(PreparedServer { stack, server, image })
    }

    /// Returns the id of the server's image, if it has one.
    pub fn digest(&self) -> Result<Option<String>> {
        let Some((image, ..)) = &self.image else { return Ok(None) };
        Ok(self.stack.docker.image(image)?.map(|image| image.id))
    }

    /// Starts the server on the processors `cpus`, for services that need `records` records in each set.
    pub fn open(&'a self, records: u64, cpus: Option<&str>) -> Result<Site<'a>> {
        let stack = &self.stack;
        // From here on, everything is removed if an error occurs.
        let mut site = Site {
            stack,
            reach: Reach { address: None, network: None },
            records,
            contained: self.image.is_some(),
            loaded: RefCell::default(),
            started: Cell::default(),
        };
        if let Some(ServerChoice::At(address)) = &self.server {
            site.reach.address = Some(address.clone());
            return Ok(site);
        }
        stack.docker.create_network(&stack.network, &stack.labels())?;
        site.reach.network = Some(&stack.network);
        if let Some(server) = &self.image {
            site.reach.address = Some(stack.run_server(server, cpus)?);
        }
        Ok(site)
    }
}

impl<'a> Site<'a> {
    /// Starts a service beside those that run already, and waits until it responds.
    pub fn start(&self, ask: &TrialOptions) -> Result<Trial<'a>> {
        let number = self.started.get() + 1;
        self.started.set(number);
        let stack = Stack { service: format!("{}-{number}", self.stack.service), ..self.stack.clone() };
        let (serve, image) = service_of(stack.project, stack.docker, ask.tag)?;
        let loaded = self.loaded.borrow().iter().any(|other| std::ptr::eq(*other, serve));
        if self.records > 0 && !serve.load.is_empty() && !loaded {
            stack.load(serve, &image, &self.reach, self.records)?;
            self.loaded.borrow_mut().push(serve);
        }
        let port = match (ask.port, self.reach.network) {
            // The engine chooses the port.
            (None, Some(_)) => None,
            (None, None) => Some(free_port()?),
            (given, _) => given,
        };
        let start = Start { tag: ask.tag, port, env: ask.env, cpus: ask.cpus, measured: true };
        stack.start_service(&start, serve, &image, &self.reach)?;
        let place = stack.docker.container_info(&stack.service, &stack.network, serve.port)?;
        let mut processes = vec![place.process];
        if self.contained {
            processes.push(stack.docker.container_info(&stack.server, &stack.network, serve.port)?.process);
        }
        let loopback = place.published.or(port).map(|port| format!("127.0.0.1:{port}"));
        // Forwarding takes time, so the container's address is preferred. It is not reachable for a rootless engine
        // or one in a virtual machine.
        let own = place.address.map(|own| format!("{own}:{}", serve.port));
        let addresses: Vec<String> = own.iter().cloned().chain(loopback).collect();
        let address = stack.wait(&addresses, &serve.ready)?;
        let forwarded = own.is_some_and(|own| own != address);
        Ok(Trial { stack, contained: self.contained, address, forwarded, processes })
    }

    /// Removes the server and all services.
    pub fn end(self) -> Result<()> {
        // The drop handler removes them again, which has no effect.
        self.stack.remove()
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        // Report the original error; the next run removes what is left.
        let _ = self.stack.remove();
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
        let stack = &self.stack;
        for (name, what) in [(&stack.service, "the application"), (&stack.server, "its server")] {
            if *name == stack.server && !self.contained {
                continue;
            }
            if let Health::Ended(code) = stack.docker.health(name)? {
                return Ok(Some(format!("{what} exited with code {code}")));
            }
        }
        Ok(None)
    }

    /// Stops the service without ending it, until [`Trial::resume`].
    pub fn pause(&self) -> Result<()> {
        self.stack.docker.pause(&self.stack.service)
    }

    pub fn resume(&self) -> Result<()> {
        self.stack.docker.unpause(&self.stack.service)
    }

    /// Runs a job that sees the processes of the service.
    pub fn beside(&self, job: &Job, cancel: &Cancel) -> Result<JobResult> {
        self.stack.docker.run(&Job { beside: Some(&self.stack.service), ..job.clone() }, &|_| {}, cancel)
    }

    /// Returns the processor time that the service has used since its start, without its server.
    pub fn processor_time(&self) -> Result<Duration> {
        self.stack.docker.processor_time(&self.stack.service)
    }
}

/// Returns a free port on the loopback interface.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener.context("no port on the loopback interface is free")?.port())
}
