//! Names and removal of the containers that run one job.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bollard::errors::Error;
use bollard::query_parameters::RemoveContainerOptionsBuilder;

use crate::client::Docker;
use crate::owner::Owner;

/// Time limit of killing and removing a container. After Ctrl-C the user waits this long for a hung engine.
const REMOVAL: Duration = Duration::from_secs(30);

/// Returns a name that no other container of this run or of another has.
pub fn unique_name(owner: &Owner) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("xtask-job-{}-{}", owner.name(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes a container when it is dropped, running or not.
pub struct RemoveOnDrop<'a> {
    pub docker: &'a Docker,
    pub name: &'a str,
}

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        // A later run removes what cannot be removed now: `remove_leftovers`.
        let _ = self.docker.remove_container(self.name);
    }
}

impl Docker {
    /// Kills and removes a container, by its name or id. A container that does not exist is not an error.
    pub fn remove_container(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removed = self.request_within(REMOVAL, async {
            match self.client.remove_container(name, Some(options)).await {
                // It does not exist, or another process is removing it.
                Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
                other => other,
            }
        });
        removed.with_context(|| format!("cannot remove container `{name}`; use `docker rm -f {name}`"))
    }
}
