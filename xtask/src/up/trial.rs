//! A service with its server for just as long as one measurement takes, in fresh containers.

use anyhow::{Context as _, Result, ensure};

use super::{Reach, Server, Stack, Start, http, preferred, service_of};
use crate::Project;
use crate::docker::{Docker, Health};

/// What is to be measured.
pub struct Ask<'a> {
    pub tag: &'a str,
    /// On top of the image's.
    pub env: &'a [(String, String)],
    pub records: u64,
    pub port: u16,
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
    /// `HOST:PORT`, without a proxy between.
    pub address: String,
    /// Of server and service.
    pub processes: Vec<u32>,
}

impl<'a> Ready<'a> {
    pub fn find(project: &'a Project, docker: &'a Docker, asked: Option<&Server>) -> Result<Ready<'a>> {
        let stack = Stack::new(project, docker);
        ensure!(
            docker.labelled(stack.label())?.is_empty(),
            "something is up already, or a measurement was killed: `cargo xtask down` removes it"
        );
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
        let mut trial = Trial { ready: self, address: String::new(), processes: Vec::new() };
        let (stack, docker) = (&self.stack, self.stack.docker);
        let (serve, image) = service_of(stack.project, docker, ask.tag)?;
        let reach = match (&self.image, &self.server) {
            (Some(server), _) => {
                docker.create_network(&stack.network, stack.label())?;
                let address = stack.run_server(server, ask.cpus.map(|[server, _]| server))?;
                Reach { address: Some(address), network: Some(&stack.network) }
            }
            (None, server) => Reach { address: Some(server.to_string()), network: None },
        };
        if ask.records > 0 {
            stack.load(serve, &image, &reach, ask.records)?;
        }
        let start = Start { tag: ask.tag, port: ask.port, env: ask.env, cpus: ask.cpus.map(|[_, service]| service) };
        stack.start_service(&start, serve, &image, &reach)?;
        let (process, own) = docker.place(&stack.service, &stack.network)?;
        trial.processes.push(process);
        if self.image.is_some() {
            trial.processes.push(docker.place(&stack.server, &stack.network)?.0);
        }
        trial.address = match own {
            // Past the engine's proxy, which takes time of its own.
            Some(own) => format!("{own}:{}", serve.port),
            None => format!("127.0.0.1:{}", ask.port),
        };
        stack.wait(&trial.address, &serve.ready)?;
        Ok(trial)
    }
}

impl Trial<'_> {
    /// The body of an answer, which must be 200.
    pub fn get(&self, path: &str) -> Result<String> {
        let asked = http::get(&self.address, path).and_then(|(status, body)| {
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
        let stack = &self.ready.stack;
        stack.docker.remove_labelled(stack.label()).map(|_| ())
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // Whoever could be told is told of a worse error already; `down` finds what is left.
        let _ = self.remove();
    }
}
