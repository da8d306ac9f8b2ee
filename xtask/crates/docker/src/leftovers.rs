//! Removes containers and networks that killed runs have left in the engine.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptionsBuilder};

use crate::client::Docker;
use crate::owner::{self, State};
use base::labels;

impl Docker {
    /// Removes the containers and networks of dead runs that were registered in the cache folder; returns their number.
    pub fn remove_leftovers(&self, cache: &Path) -> Result<usize> {
        let folder = owner::folder(cache);
        if fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none()) {
            return Ok(0);
        }
        let mut states: BTreeMap<String, bool> = BTreeMap::new();
        let mut dead = |labels: Option<&HashMap<String, String>>| {
            let Some(id) = labels.and_then(|labels| labels.get(labels::RUN)) else { return false };
            *states.entry(id.clone()).or_insert_with(|| owner::state(&folder, id) == State::Dead)
        };
        let mut removed = 0;
        let filters = HashMap::from([("label", vec![labels::RUN])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.request(self.client.list_containers(Some(options))).context("cannot list containers")?;
        for container in found {
            if let (true, Some(id)) = (dead(container.labels.as_ref()), container.id) {
                self.remove_container(&id)?;
                removed += 1;
            }
        }
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found = self.request(self.client.list_networks(Some(options))).context("cannot list networks")?;
        for network in found {
            if let (true, Some(id)) = (dead(network.labels.as_ref()), network.id) {
                self.remove_network(&id)?;
                removed += 1;
            }
        }
        owner::remove_old_files(&folder);
        Ok(removed)
    }
}
