//! Finds services started by `up` by the labels of their containers. There is at most one per port.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};

use base::{UsageError, labels, ui};
use build::Project;
use docker::{Docker, LabelledContainer, owner};

/// Returns the labels of all containers and networks of `up`.
pub fn labels(repository: &str, port: u16) -> Vec<(String, String)> {
    [(labels::UP, repository.to_owned()), (labels::UP_PORT, port.to_string()), (labels::UP_USER, user())]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
}

fn user() -> String {
    rustix::process::geteuid().as_raw().to_string()
}

/// Containers of one call of `up`.
#[derive(Debug, Default)]
struct Running {
    port: u16,
    user: String,
    /// Id of the run that started them.
    run: String,
    /// `None` while `up` is still starting it; the server is started and filled first.
    service: Option<Service>,
}

/// Service started by `up`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub tag: String,
    /// `HOST:PORT` of its server, if it uses one.
    pub address: Option<String>,
    /// Network of service and server in the engine; `None` for the host's network.
    pub network: Option<String>,
    ended: bool,
}

/// Returns all running services of this project, of all users.
fn all(project: &Project, docker: &Docker) -> Result<Vec<Running>> {
    Ok(grouped(docker.labelled_containers(&[(labels::UP, &project.matrix.name)])?))
}

fn grouped(containers: Vec<LabelledContainer>) -> Vec<Running> {
    let mut found: BTreeMap<String, Running> = BTreeMap::new();
    for container in containers {
        let label = |name: &str| container.labels.get(name).cloned();
        let (Some(run), Some(user)) = (label(labels::RUN), label(labels::UP_USER)) else { continue };
        let Some(port) = label(labels::UP_PORT).and_then(|port| port.parse().ok()) else { continue };
        let running = found.entry(run.clone()).or_insert(Running { port, user, run, service: None });
        if let Some(tag) = label(labels::UP_TAG) {
            let (address, network) = (label(labels::UP_SERVER), label(labels::UP_NETWORK));
            running.service = Some(Service { tag, address, network, ended: container.ended });
        }
    }
    found.into_values().collect()
}

/// Checks that the port is unused. Removes a service of this user that has exited.
pub fn make_room(project: &Project, docker: &Docker, port: u16) -> Result<()> {
    for running in all(project, docker)?.into_iter().filter(|running| running.port == port) {
        match &running.service {
            Some(service) if service.ended && running.user == user() => {
                project.ui.say(&format!("[up] removing the service at port {port}, which has exited"));
                docker.remove_labelled(&[(labels::RUN, &running.run)])?;
            }
            _ if running.user != user() => bail!(
                "the user with id {} already has a service up at port {port}: choose another port with --port",
                running.user
            ),
            Some(service) => bail!(
                "`{}` is already up at port {port}: remove it with `cargo xtask down --port {port}`, or choose another port with --port",
                service.tag
            ),
            None => bail!(
                "another `up` is starting a service at port {port}; if it was killed, run `cargo xtask down --port {port}` \
                 to remove its containers"
            ),
        }
    }
    Ok(())
}

/// Removes this user's services, or the one at `port`, and returns the names of the removed containers and networks.
pub fn remove(project: &Project, docker: &Docker, port: Option<u16>) -> Result<Vec<String>> {
    let folder = owner::folder(project.cache.dir());
    let chosen = |running: &Running| running.user == user() && port.is_none_or(|port| port == running.port);
    for running in all(project, docker)?.iter().filter(|running| chosen(running)) {
        if owner::state(&folder, &running.run) == owner::State::Alive {
            bail!("an `up` for port {} is still starting: wait for it or interrupt it", running.port);
        }
    }
    let (user, port) = (user(), port.map(|port| port.to_string()));
    let mut labels = vec![(labels::UP, &*project.matrix.name), (labels::UP_USER, &user)];
    labels.extend(port.as_deref().map(|port| (labels::UP_PORT, port)));
    docker.remove_labelled(&labels)
}

/// Returns the service of this user, or the one at `port`. Fails if the choice is ambiguous.
pub fn service(project: &Project, docker: &Docker, port: Option<u16>) -> Result<Option<Service>> {
    one(all(project, docker)?, &user(), port)
}

fn one(all: Vec<Running>, user: &str, port: Option<u16>) -> Result<Option<Service>> {
    let mine = all.into_iter().filter(|running| running.user == user);
    let mut found: Vec<(u16, Service)> =
        mine.filter_map(|running| Some((running.port, running.service.filter(|service| !service.ended)?))).collect();
    found.retain(|(at, _)| port.is_none_or(|port| port == *at));
    match (found.len(), port) {
        (0, Some(port)) => Err(anyhow!(UsageError(format!("no service is up at port {port}")))),
        (0 | 1, _) => Ok(found.pop().map(|(_, service)| service)),
        _ => {
            found.sort_by_key(|(port, _)| *port);
            let ports = ui::quoted(found.iter().map(|(port, _)| port));
            Err(anyhow!(UsageError(format!(
                "several services are up, at ports {ports}: \
                 select one with `load-data --port`, or a server with `--server HOST:PORT`"
            ))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(run: &str, port: &str, more: &[(&str, &str)], ended: bool) -> LabelledContainer {
        let labels = [(labels::RUN, run), (labels::UP, "x"), (labels::UP_PORT, port), (labels::UP_USER, "7")];
        let labels = labels.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LabelledContainer { name: format!("x-{run}-{port}"), labels: labels.collect(), ended }
    }

    const SERVICE: [(&str, &str); 3] =
        [(labels::UP_TAG, "314t"), (labels::UP_SERVER, "s:3000"), (labels::UP_NETWORK, "n")];

    #[test]
    fn the_selected_service_is_found() {
        let first = || vec![container("a", "8000", &[], false), container("a", "8000", &SERVICE, false)];
        let second = || container("b", "8001", &SERVICE, false);
        let ask =
            |containers: Vec<LabelledContainer>, user: &str, port: Option<u16>| one(grouped(containers), user, port);
        let service = ask(first(), "7", None).unwrap().unwrap();
        assert_eq!((service.tag.as_str(), service.address.as_deref()), ("314t", Some("s:3000")));
        assert_eq!(service.network.as_deref(), Some("n"));
        // Services of other users, services being started and exited services do not count.
        assert_eq!(ask(first(), "8", None).unwrap(), None);
        assert_eq!(ask(vec![container("a", "8000", &[], false)], "7", None).unwrap(), None);
        assert_eq!(ask(vec![container("a", "8000", &SERVICE, true)], "7", None).unwrap(), None);
        let both = || first().into_iter().chain([second()]).collect::<Vec<_>>();
        let error = ask(both(), "7", None).unwrap_err().to_string();
        assert!(error.contains("`8000`, `8001`"), "{error}");
        assert!(ask(both(), "7", Some(8001)).unwrap().is_some());
        assert!(ask(both(), "7", Some(8002)).is_err());
    }
}
