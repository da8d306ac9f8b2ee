//! Containers that outlive the command that starts them, and their network; a label finds all of it again.

use std::collections::HashMap;
use std::pin::pin;

use anyhow::{Context as _, Result};
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthStatusEnum, HostConfig, NetworkCreateRequest, NetworkingConfig,
    PortBinding, ResourcesUlimits,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
    LogsOptionsBuilder, StartContainerOptions,
};
use futures_util::StreamExt as _;

use super::{Docker, check_reference};

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
    /// A port that is published on the host's loopback: the container's, the host's.
    pub port: Option<(u16, u16)>,
    /// Makes the root file system read-only, except `/tmp`.
    pub read_only: bool,
    /// By which it is found again.
    pub labels: Vec<(String, String)>,
    /// The processors that it runs on, as `0-1,3`; all of them when `None`.
    pub cpus: Option<&'a str>,
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
    /// Makes a bridge network that is found again by its label.
    pub fn create_network(&self, name: &str, label: (&str, &str)) -> Result<()> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(HashMap::from([(label.0.to_owned(), label.1.to_owned())])),
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
            labels: Some(service.labels.iter().cloned().collect()),
            exposed_ports: service.port.map(|(inside, _)| vec![port(inside)]),
            host_config: Some(HostConfig {
                network_mode: Some(service.network.unwrap_or("host").to_owned()),
                readonly_rootfs: Some(service.read_only),
                tmpfs: service.read_only.then(|| HashMap::from([("/tmp".to_owned(), "rw,mode=1777".to_owned())])),
                port_bindings: service.port.map(|(inside, outside)| {
                    let binding =
                        PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(outside.to_string()) };
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

    /// A label of a container.
    pub fn container_label(&self, name: &str, label: &str) -> Result<Option<String>> {
        let found = self.quick(self.client.inspect_container(name, None::<InspectContainerOptions>));
        let config = found.with_context(|| format!("cannot inspect the container `{name}`"))?.config;
        Ok(config.and_then(|config| config.labels?.remove(label)))
    }

    /// The process of a container, and its address on a network of the engine's.
    pub fn place(&self, name: &str, network: &str) -> Result<(u32, Option<String>)> {
        let found = self.quick(self.client.inspect_container(name, None::<InspectContainerOptions>));
        let found = found.with_context(|| format!("cannot inspect the container `{name}`"))?;
        let process = found.state.and_then(|state| u32::try_from(state.pid?).ok()).unwrap_or_default();
        let networks = found.network_settings.and_then(|settings| settings.networks);
        let address = networks.and_then(|mut networks| networks.remove(network)?.ip_address);
        Ok((process, address.filter(|address| !address.is_empty())))
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
            let mut text = String::new();
            let mut chunks = pin!(self.client.logs(name, Some(options)));
            while let Some(chunk) = chunks.next().await {
                text.push_str(&String::from_utf8_lossy(chunk?.as_ref()));
            }
            Ok(text)
        });
        read.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Names of the containers with a label, running or not.
    pub fn labelled(&self, label: (&str, &str)) -> Result<Vec<String>> {
        let filters = HashMap::from([("label", vec![format!("{}={}", label.0, label.1)])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.quick(self.client.list_containers(Some(options))).context("cannot list containers")?;
        let names = found.into_iter().filter_map(|container| {
            let name = container.names?.into_iter().next()?;
            Some(name.trim_start_matches('/').to_owned())
        });
        Ok(names.collect())
    }

    /// Removes all containers and networks with a label, and returns their names.
    pub fn remove_labelled(&self, label: (&str, &str)) -> Result<Vec<String>> {
        let mut removed = self.labelled(label)?;
        for name in &removed {
            self.remove(name)?;
        }
        let filters = HashMap::from([("label", vec![format!("{}={}", label.0, label.1)])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = self.quick(self.client.list_networks(Some(options))).context("cannot list networks")?;
        for name in networks.into_iter().filter_map(|network| network.name) {
            let gone = self.quick(async {
                match self.client.remove_network(&name).await {
                    Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
                    other => other,
                }
            });
            gone.with_context(|| format!("cannot remove the network `{name}`"))?;
            removed.push(name);
        }
        Ok(removed)
    }
}
