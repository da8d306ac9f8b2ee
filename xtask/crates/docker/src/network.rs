//! Networks of the engine.

use anyhow::{Context as _, Result};
use bollard::errors::Error;
use bollard::models::NetworkCreateRequest;

use crate::client::Docker;
use crate::owner;

/// The network of a build step or a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Only the loopback interface.
    None,
    /// The engine's default bridge.
    #[default]
    Default,
}

impl Network {
    /// The engine's name for it.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Network::None => "none",
            Network::Default => "default",
        }
    }
}

impl Docker {
    /// Creates a bridge network that belongs to this run.
    pub fn create_network(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(owner::with_run_label(labels)?),
            ..NetworkCreateRequest::default()
        };
        self.request(self.client.create_network(request))
            .with_context(|| format!("cannot create the network `{name}`"))?;
        Ok(())
    }

    /// Removes a network, by its name or id. A network that does not exist is not an error.
    pub(crate) fn remove_network(&self, name: &str) -> Result<()> {
        let removed = self.request(async {
            match self.client.remove_network(name).await {
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
                other => other,
            }
        });
        removed.with_context(|| format!("cannot remove the network `{name}`"))
    }
}
