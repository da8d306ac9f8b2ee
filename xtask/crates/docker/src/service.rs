//! Containers that run beside the command that starts them, and their network; labels find all of it again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;

use anyhow::{Context as _, Result};
use bollard::models::{
    ContainerCreateBody, ContainerSummaryStateEnum, EndpointSettings, HealthStatusEnum, HostConfig,
    NetworkCreateRequest, NetworkingConfig, PortBinding, ResourcesUlimits,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
    LogsOptionsBuilder, StartContainerOptions,
};
use futures_util::StreamExt as _;

use super::{Docker, LineBuffer, check_reference, owner};

/// Files and connections that a service may have open.
const FILES: i64 = 20_000;

/// A container that is left running.
#[derive(Clone, Debug, Default)]
pub struct Service<'a> {
    /// Its name in the engine, and on its network.
    pub name: &'a str,
    pub image: &'a str,
    /// The image's when empty.
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    /// The network that it joins; the host's own when `None`.
    pub network: Option<&'a str>,
    /// A port that is published on the host's loopback: the container's, and the host's, else one that is free.
    pub port: Option<(u16, Option<u16>)>,
    /// Makes the root file system read-only, except `/tmp`.
    pub read_only: bool,
    /// By which it is found again, besides that of this run.
    pub labels: Vec<(String, String)>,
    /// The processors that it runs on, as `0-1,3`; all of them when `None`.
    pub cpus: Option<&'a str>,
}

/// A container that was found by its labels.
#[derive(Clone, Debug)]
pub struct Labelled {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// It ran, and does not run any more.
    pub ended: bool,
}

/// Where a container is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its first process; 0 if it does not run.
    pub process: u32,
    /// Its address on the engine's network.
    pub address: Option<String>,
    /// The port of the host's loopback that leads to it.
    pub published: Option<u16>,
}

/// How a service is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Starting,
    Healthy,
    /// It runs, but its own check fails.
    Unhealthy,
    /// It has ended, with this exit code.
    Ended(i64),
}

impl Docker {
    /// Makes a bridge network that belongs to this run.
    pub fn create_network(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(owned(labels)?),
            ..NetworkCreateRequest::default()
        };
        self.quick(self.client.create_network(request)).with_context(|| format!("cannot make the network `{name}`"))?;
        Ok(())
    }

    /// Starts a service.
    pub fn start(&self, service: &Service) -> Result<()> {
        check_reference(service.image)?;
        let name = service.name;
        let port = |number: u16| format!("{number}/tcp");
        let body = ContainerCreateBody {
            image: Some(service.image.to_owned()),
            cmd: (!service.command.is_empty()).then(|| service.command.clone()),
            env: Some(service.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            labels: Some(owned(&service.labels)?),
            exposed_ports: service.port.map(|(inside, _)| vec![port(inside)]),
            host_config: Some(HostConfig {
                network_mode: Some(service.network.unwrap_or("host").to_owned()),
                readonly_rootfs: Some(service.read_only),
                tmpfs: service.read_only.then(|| HashMap::from([("/tmp".to_owned(), "rw,mode=1777".to_owned())])),
                port_bindings: service.port.map(|(inside, outside)| {
                    let host_port = outside.map(|outside| outside.to_string()).unwrap_or_default();
                    let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host_port) };
                    HashMap::from([(port(inside), Some(vec![binding]))])
                }),
                // The real server refuses to start with fewer than 15,000 open files.
                ulimits: Some(vec![ResourcesUlimits {
                    name: Some("nofile".to_owned()),
                    soft: Some(FILES),
                    hard: Some(FILES),
                }]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                cpuset_cpus: service.cpus.map(str::to_owned),
                ..HostConfig::default()
            }),
            networking_config: service.network.map(|network| NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network.to_owned(), EndpointSettings::default())])),
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        self.quick(self.client.create_container(Some(options), body))
            .and_then(|_| self.quick(self.client.start_container(name, None::<StartContainerOptions>)))
            .with_context(|| format!("cannot start the container `{name}` from `{}`", service.image))
    }

    /// Where a container is, on a network of the engine's and by its published port.
    pub fn place(&self, name: &str, network: &str, port: u16) -> Result<Place> {
        let found = self.quick(self.client.inspect_container(name, None::<InspectContainerOptions>));
        let found = found.with_context(|| format!("cannot inspect the container `{name}`"))?;
        let settings = found.network_settings.unwrap_or_default();
        let address = settings.networks.and_then(|mut networks| networks.remove(network)?.ip_address);
        let bindings = settings.ports.and_then(|mut ports| ports.remove(&format!("{port}/tcp"))?);
        Ok(Place {
            process: found.state.and_then(|state| u32::try_from(state.pid?).ok()).unwrap_or_default(),
            address: address.filter(|address| !address.is_empty()),
            published: bindings.and_then(|bindings| bindings.into_iter().find_map(|one| one.host_port?.parse().ok())),
        })
    }

    pub fn health(&self, name: &str) -> Result<Health> {
        let found = self.quick(self.client.inspect_container(name, None::<InspectContainerOptions>));
        let state = found.with_context(|| format!("cannot inspect the container `{name}`"))?.state.unwrap_or_default();
        if !state.running.unwrap_or_default() {
            return Ok(Health::Ended(state.exit_code.unwrap_or(-1)));
        }
        Ok(match state.health.and_then(|health| health.status) {
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
            _ => Health::Healthy,
        })
    }

    /// The last lines that a service wrote, for an error's message.
    pub fn last_lines(&self, name: &str, lines: usize) -> Vec<String> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let read = self.quick(async {
            // A line may be as long as the service likes: the buffer keeps the start of it only.
            let (mut buffer, mut last) = (LineBuffer::default(), VecDeque::new());
            let mut keep = |line: &str| {
                if last.len() == lines {
                    last.pop_front();
                }
                last.push_back(line.to_owned());
            };
            let mut chunks = pin!(self.client.logs(name, Some(options)));
            while let Some(chunk) = chunks.next().await {
                buffer.push(chunk?.as_ref(), &mut keep);
            }
            buffer.finish(&mut keep);
            Ok(last)
        });
        read.unwrap_or_default().into()
    }

    /// The containers that have all of these labels, running or not.
    pub fn labelled(&self, labels: &[(&str, &str)]) -> Result<Vec<Labelled>> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters(labels)).build();
        let found = self.quick(self.client.list_containers(Some(options))).context("cannot list containers")?;
        let named = found.into_iter().filter_map(|container| {
            let name = container.names?.into_iter().next()?;
            Some(Labelled {
                name: name.trim_start_matches('/').to_owned(),
                labels: container.labels.unwrap_or_default().into_iter().collect(),
                ended: matches!(
                    container.state,
                    Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD)
                ),
            })
        });
        Ok(named.collect())
    }

    /// Removes the containers and networks that have all of these labels, and returns their names.
    pub fn remove_labelled(&self, labels: &[(&str, &str)]) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for container in self.labelled(labels)? {
            self.remove(&container.name)?;
            removed.push(container.name);
        }
        let options = ListNetworksOptionsBuilder::default().filters(&filters(labels)).build();
        let networks = self.quick(self.client.list_networks(Some(options))).context("cannot list networks")?;
        for network in networks {
            // By its id: names of networks may be given twice.
            if let (Some(id), Some(name)) = (network.id, network.name) {
                self.remove_network(&id)?;
                removed.push(name);
            }
        }
        Ok(removed)
    }
}

fn filters(labels: &[(&str, &str)]) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", labels.iter().map(|(name, value)| format!("{name}={value}")).collect())])
}

/// Labels, with that of this run.
fn owned(labels: &[(String, String)]) -> Result<HashMap<String, String>> {
    let run = (base::labels::RUN.to_owned(), owner::current()?.id.clone());
    Ok(labels.iter().cloned().chain([run]).collect())
}
