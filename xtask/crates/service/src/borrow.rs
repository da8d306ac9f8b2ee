//! A server for another command: that of what is up, one that runs anyway, or one for just as long as it takes.

use anyhow::{Context as _, Result};

use crate::available::preferred;
use crate::running;
use crate::server::Server;
use crate::stack::Stack;
use build::Project;
use docker::Docker;

/// A server, and how it is reached. What was started for it is removed when it is given back.
pub struct Borrowed<'a> {
    /// `HOST:PORT`, as a container in `network` reaches it.
    pub address: String,
    /// The engine's network to join; `host` for this machine's own.
    pub network: String,
    /// What it is, for people.
    pub kind: String,
    own: Option<Stack<'a>>,
}

impl<'a> Borrowed<'a> {
    /// The server that is asked for; by default that of what is up, else the one that `up` would start.
    pub fn open(project: &'a Project, docker: &'a Docker, asked: Option<&Server>) -> Result<Borrowed<'a>> {
        if let Some(Server::At(address)) = asked {
            let (address, kind) = (address.clone(), "given by its address".to_owned());
            return Ok(Borrowed { address, network: "host".to_owned(), kind, own: None });
        }
        if asked.is_none()
            && let Some(service) = running::service(project, docker, None)?
        {
            let address = service
                .address
                .context("the service that is up has no server: `cargo xtask down` first, or use --server HOST:PORT")?;
            let network = service.network.unwrap_or_else(|| "host".to_owned());
            return Ok(Borrowed { kind: format!("that of what is up, {address}"), address, network, own: None });
        }
        let up = Stack::new(project, docker, None)?;
        let server = asked.cloned().unwrap_or_else(|| preferred(project, docker));
        up.say(&format!("server: {server}"));
        let kind = match server {
            Server::Standin => "the stand-in".to_owned(),
            _ => project.matrix.server.as_ref().map(|server| server.image.to_string()).unwrap_or_default(),
        };
        // From here on it is given back, whatever fails.
        let mut borrowed = Borrowed { address: String::new(), network: up.network.clone(), kind, own: Some(up) };
        if let Some(up) = &borrowed.own {
            docker.create_network(&up.network, &up.labels())?;
            borrowed.address = up.start_server(&server)?;
        }
        Ok(borrowed)
    }

    /// Removes what was started for it.
    pub fn give_back(mut self) -> Result<()> {
        match self.own.take() {
            Some(own) => own.remove(),
            None => Ok(()),
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            // The error that led here is the one to report; the next run removes what is left.
            let _ = own.remove();
        }
    }
}
