//! Containers that keep running after the call that starts them. They are found again by their labels.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;

use anyhow::{Context as _, Result};
use bollard::models::{
    ContainerCreateBody, ContainerSummaryStateEnum, EndpointSettings, HealthConfig, HealthStatusEnum, HostConfig,
    NetworkingConfig, PortBinding, ResourcesUlimits,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
    LogsOptionsBuilder, StartContainerOptions,
};
use futures_util::StreamExt as _;

use crate::client::Docker;
use crate::owner;
use crate::reference::check_reference;
use base::lines::LineBuffer;

/// Number of files and connections that a service may have open.
const OPEN_FILES: i64 = 20_000;

/// A container that keeps running.
#[derive(Clone, Debug, Default)]
pub struct Service<'a> {
    /// Its name in the engine, and its host name on its network.
    pub name: &'a str,
    pub image: &'a str,
    /// Command; the image's if empty.
    pub command: Vec<String>,
    /// Variables in addition to those of the image.
    pub env: Vec<(String, String)>,
    /// Name of its network; the host's network if `None`.
    pub network: Option<&'a str>,
    /// A port that is published on the host's loopback interface.
    pub port: Option<PublishedPort>,
    /// Makes the root file system read-only, except `/tmp`.
    pub read_only: bool,
    /// Labels in addition to that of this run.
    pub labels: Vec<(String, String)>,
    /// The processors that it may use, for example `0-1,3`; all if `None`.
    pub cpus: Option<&'a str>,
    /// Switches the health check of the image off.
    pub no_health_check: bool,
}

/// A TCP port of a container that is published on the host's loopback interface.
#[derive(Clone, Copy, Debug)]
pub struct PublishedPort {
    /// Port in the container.
    pub container: u16,
    /// Port on the host; a free one if `None`.
    pub host: Option<u16>,
}

/// A container that was found by its labels.
#[derive(Clone, Debug)]
pub struct LabelledContainer {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Whether it has been started and has ended.
    pub ended: bool,
}

/// Process and addresses of a container.
#[derive(Clone, Debug, Default)]
pub struct ContainerInfo {
    /// Process id of its first process; 0 if it is not running.
    pub process: u32,
    /// Its IP address on its network.
    pub address: Option<String>,
    /// The port on the host's loopback interface that is forwarded to it.
    pub published: Option<u16>,
}

/// Health of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Starting,
    Healthy,
    /// It is running, but its health check fails.
    Unhealthy,
    /// It has ended with this exit code.
    Ended(i64),
}

impl Docker {
    /// Starts a service.
    pub fn start(&self, service: &Service) -> Result<()> {
        check_reference(service.image)?;
        let name = service.name;
        let port = |number: u16| format!("{number}/tcp");
        let body = ContainerCreateBody {
            image: Some(service.image.to_owned()),
            cmd: (!service.command.is_empty()).then(|| service.command.clone()),
            env: Some(service.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            labels: Some(owner::with_run_label(&service.labels)?),
            healthcheck: service
                .no_health_check
                .then(|| HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
            exposed_ports: service.port.map(|published| vec![port(published.container)]),
            host_config: Some(HostConfig {
                network_mode: Some(service.network.unwrap_or("host").to_owned()),
                readonly_rootfs: Some(service.read_only),
                tmpfs: service.read_only.then(|| HashMap::from([("/tmp".to_owned(), "rw,mode=1777".to_owned())])),
                port_bindings: service.port.map(|published| {
                    let host_port = published.host.map(|port| port.to_string()).unwrap_or_default();
                    let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host_port) };
                    HashMap::from([(port(published.container), Some(vec![binding]))])
                }),
                // Database servers may refuse to start with the usual limit; one requires 15,000 open files.
                ulimits: Some(vec![ResourcesUlimits {
                    name: Some("nofile".to_owned()),
                    soft: Some(OPEN_FILES),
                    hard: Some(OPEN_FILES),
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
        self.request(self.client.create_container(Some(options), body))
            .and_then(|_| self.request(self.client.start_container(name, None::<StartContainerOptions>)))
            .with_context(|| format!("cannot start the container `{name}` from `{}`", service.image))
    }

    /// Finds the process of a container, its address on a network, and the host port to which `port` is published.
    pub fn container_info(&self, name: &str, network: &str, port: u16) -> Result<ContainerInfo> {
        let found = self.request(self.client.inspect_container(name, None::<InspectContainerOptions>));
        let found = found.with_context(|| format!("cannot inspect the container `{name}`"))?;
        let settings = found.network_settings.unwrap_or_default();
        let address = settings.networks.and_then(|mut networks| networks.remove(network)?.ip_address);
        let bindings = settings.ports.and_then(|mut ports| ports.remove(&format!("{port}/tcp"))?);
        Ok(ContainerInfo {
            process: found.state.and_then(|state| u32::try_from(state.pid?).ok()).unwrap_or_default(),
            address: address.filter(|address| !address.is_empty()),
            published: bindings.and_then(|bindings| bindings.into_iter().find_map(|one| one.host_port?.parse().ok())),
        })
    }

    /// Returns the health of a service. A running service without a health check counts as healthy.
    pub fn health(&self, name: &str) -> Result<Health> {
        let found = self.request(self.client.inspect_container(name, None::<InspectContainerOptions>));
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

    /// Returns the last lines of a service's output, for an error message.
    pub fn last_lines(&self, name: &str, lines: usize) -> Vec<String> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let read = self.request(async {
            // A line may have any length; the buffer keeps only its start.
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

    /// Lists the containers that have all of these labels, running or not.
    pub fn labelled_containers(&self, labels: &[(&str, &str)]) -> Result<Vec<LabelledContainer>> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters(labels)).build();
        let found = self.request(self.client.list_containers(Some(options))).context("cannot list containers")?;
        let named = found.into_iter().filter_map(|container| {
            let name = container.names?.into_iter().next()?;
            Some(LabelledContainer {
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
        for container in self.labelled_containers(labels)? {
            self.remove_container(&container.name)?;
            removed.push(container.name);
        }
        let options = ListNetworksOptionsBuilder::default().filters(&filters(labels)).build();
        let networks = self.request(self.client.list_networks(Some(options))).context("cannot list networks")?;
        for network in networks {
            // By the id, because two networks can have the same name.
            if let (Some(id), Some(name)) = (network.id, network.name) {
                self.remove_network(&id)?;
                removed.push(name);
            }
        }
        Ok(removed)
    }
}

/// The engine's filter for containers or networks that have all of these labels.
fn filters(labels: &[(&str, &str)]) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", labels.iter().map(|(name, value)| format!("{name}={value}")).collect())])
}
