//! Provides a server for another command: that of a running service, an existing one, or a temporary one.

use anyhow::{Context as _, Result};

use crate::available::preferred;
use crate::running;
use crate::server::ServerChoice;
use crate::stack::Stack;
use build::Project;
use docker::Docker;

/// Server with its network. A server started for this purpose is removed by `give_back` or on drop.
pub struct Borrowed<'a> {
    /// `HOST:PORT`, as seen from containers in `network`.
    pub address: String,
    /// Network in the engine to join; `host` for the host's network.
    pub network: String,
    /// Description for users.
    pub kind: String,
    own: Option<Stack<'a>>,
}

impl<'a> Borrowed<'a> {
    /// Returns the requested server; default: the server of a running service, else the one that `up` would start.
    pub fn open(project: &'a Project, docker: &'a Docker, options: Option<&ServerChoice>) -> Result<Borrowed<'a>> {
        if let Some(ServerChoice::At(address)) = options {
            let (address, kind) = (address.clone(), "given by its address".to_owned());
            return Ok(Borrowed { address, network: "host".to_owned(), kind, own: None });
        }
        if options.is_none()
            && let Some(service) = running::service(project, docker, None)?
        {
            let address = service
                .address
                .context("the running service has no server: run `cargo xtask down`, or use --server HOST:PORT")?;
            let network = service.network.unwrap_or_else(|| "host".to_owned());
            return Ok(Borrowed { kind: format!("that of what is up, {address}"), address, network, own: None });
        }
        let up = Stack::new(project, docker, None)?;
        let server = options.cloned().unwrap_or_else(|| preferred(project, docker));
        up.say(&format!("server: {server}"));
        let kind = match server {
            ServerChoice::Standin => "the stand-in".to_owned(),
            _ => project.matrix.server.as_ref().map(|server| server.image.to_string()).unwrap_or_default(),
        };
        // From here on, it is removed if an error occurs.
        let mut borrowed = Borrowed { address: String::new(), network: up.network.clone(), kind, own: Some(up) };
        if let Some(up) = &borrowed.own {
            docker.create_network(&up.network, &up.labels())?;
            borrowed.address = up.start_server(&server)?;
        }
        Ok(borrowed)
    }

    /// Removes the server if it was started for this purpose.
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
            // Report the original error; the next run removes what is left.
            let _ = own.remove();
        }
    }
}
