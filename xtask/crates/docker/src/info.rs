//! Facts about the engine.

use anyhow::{Context as _, Result};

use crate::client::{Docker, unsigned};
use base::limits::{Limits, MEMORY_PERCENT};

/// Description of an engine.
#[derive(Clone, Debug)]
pub struct EngineInfo {
    /// Its address, for example `unix:///var/run/docker.sock`.
    pub endpoint: String,
    /// Version of the engine.
    pub version: String,
    /// Newest API version that it supports.
    pub api: String,
    /// For example `linux/amd64`.
    pub os_arch: String,
    /// Number of processors that it may use.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Folder of its data, on its own host.
    pub root_dir: String,
}

impl Docker {
    /// Reads the description of the engine.
    pub fn info(&self) -> Result<EngineInfo> {
        let what = || "cannot read the description of the Docker engine".to_owned();
        let version = self.request(self.client.version()).with_context(what)?;
        let info = self.request(self.client.info()).with_context(what)?;
        Ok(EngineInfo {
            endpoint: self.endpoint.clone(),
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            os_arch: format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default()),
            cpus: unsigned(info.ncpu),
            memory: unsigned(info.mem_total),
            root_dir: info.docker_root_dir.unwrap_or_default(),
        })
    }

    /// Returns the bytes of memory that one container may use, 0 if the engine does not report its memory.
    pub(crate) fn container_memory(&self, limits: &Limits) -> Result<u64> {
        if let Some(memory) = limits.memory {
            return Ok(memory);
        }
        let total = match self.memory.get() {
            Some(total) => *total,
            None => {
                let total = self.info()?.memory;
                *self.memory.get_or_init(|| total)
            }
        };
        Ok(total / 100 * MEMORY_PERCENT)
    }
}
