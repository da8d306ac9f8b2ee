//! The commands `up`, `load-data` and `down`.

use anyhow::{Result, anyhow, bail};

use crate::available::{engine, preferred, server_for, service_of};
use crate::running;
use crate::server::ServerChoice;
use crate::stack::{Reach, Stack, Start};
use base::{UsageError, ui};
use build::Project;
use docker::{Docker, Image};
use matrix::Serve;

/// Options of `cargo xtask up`.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// Tag of an image in the matrix that has been built
    #[arg(value_name = "TAG")]
    pub tag: String,
    /// `image`, `standin` or HOST:PORT; default: the server image of the matrix, or the stand-in if no registry is
    /// reachable
    #[arg(long, value_name = "SERVER")]
    pub server: Option<ServerChoice>,
    /// Number of records in each set; 0 loads no data
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub records: u64,
    /// Port on the loopback interface
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// Install and start what is missing with apt, as root or with sudo
    #[arg(long)]
    pub yes: bool,
}

pub fn up(project: &Project, options: &Up) -> Result<()> {
    let docker = engine(project, options.yes)?;
    let (serve, image) = service_of(project, &docker, &options.tag)?;
    let waiting = || project.ui.say(&format!("[up] waiting for another `up` for port {} to finish", options.port));
    let _lock = project.cache.lock(&format!("up-{}.lock", options.port), &project.cancel, waiting)?;
    running::make_room(project, &docker, options.port)?;
    let stack = Stack::new(project, &docker, Some(options.port))?;
    let server = server_for(serve, &options.tag, options.server.as_ref(), || preferred(project, &docker))?;
    let started = start(&stack, options, server.as_ref(), serve, &image).and_then(|()| stack.owner.keep());
    if let Err(error) = started {
        return Err(match stack.remove() {
            Ok(()) => error,
            Err(left) => error.context(format!("cannot remove the started containers: {left:#}")),
        });
    }
    let with = server.map(|server| format!(" with {server}")).unwrap_or_default();
    ui::print_result(&format!(
        "{}:{}{with}\n  http://127.0.0.1:{}\n  stop it with `cargo xtask down`\n",
        project.matrix.name, options.tag, options.port
    ))
}

/// Starts the server, writes the data, starts the service, and waits until it is ready.
fn start(stack: &Stack, options: &Up, server: Option<&ServerChoice>, serve: &Serve, image: &Image) -> Result<()> {
    if let Some(server) = server {
        stack.say(&format!("server: {server}"));
    }
    let reach = match server {
        // The address may be on the loopback interface, so the service uses the host's network.
        Some(ServerChoice::At(address)) => Reach { address: Some(address.clone()), network: None },
        server => {
            stack.docker.create_network(&stack.network, &stack.labels())?;
            let address = server.map(|server| stack.start_server(server)).transpose()?;
            Reach { address, network: Some(&stack.network) }
        }
    };
    if options.records > 0 && !serve.load.is_empty() {
        stack.say(&format!("writing {} records into each set", options.records));
        stack.load(serve, image, &reach, options.records)?;
    }
    stack.say(&format!("starting {}:{}", stack.repository, options.tag));
    let start = Start { tag: &options.tag, port: Some(options.port), env: &[], cpus: None, measured: false };
    stack.start_service(&start, serve, image, &reach)?;
    stack.wait(&[format!("127.0.0.1:{}", options.port)], &serve.ready).map(|_| ())
}

pub fn down(project: &Project, port: Option<u16>) -> Result<()> {
    let docker = Docker::connect()?;
    docker.remove_leftovers(project.cache.dir())?;
    let removed = running::remove(project, &docker, port)?;
    ui::print_result(&match removed.is_empty() {
        true => "no services were up\n".to_owned(),
        false => format!("removed {}\n", ui::quoted(removed)),
    })
}

/// Options of `cargo xtask load-data`.
#[derive(Debug, clap::Args)]
pub struct LoadData {
    /// Number of records in each set
    #[arg(long, value_name = "N", default_value_t = 1000)]
    records: u64,
    /// HOST:PORT of a server; default: the server started by `up`
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Image whose clients write the records, if no service is up
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Port of the service, if several are up
    #[arg(long, value_name = "PORT", conflicts_with = "server")]
    port: Option<u16>,
}

/// Writes records to the server of the running service, or to another server.
pub fn load(project: &Project, options: &LoadData) -> Result<()> {
    let docker = engine(project, false)?;
    let (tag, address, network) = match &options.server {
        Some(address) => {
            let tag = options.tag.clone();
            let tag = tag
                .ok_or_else(|| anyhow!(UsageError("--server requires --tag, the image that writes the data".into())))?;
            (tag, Some(address.clone()), None)
        }
        None => match running::service(project, &docker, options.port)? {
            Some(service) => (service.tag, service.address, service.network),
            None => bail!(UsageError(
                "no service is up: run `cargo xtask up <TAG>`, or specify a server and an image with --server and --tag"
                    .into()
            )),
        },
    };
    let (serve, image) = service_of(project, &docker, &tag)?;
    if serve.load.is_empty() {
        bail!(UsageError(format!(
            "the service of `{tag}` has no `serve.load` in matrix.yaml: there is no data to write"
        )));
    }
    let stack = Stack::new(project, &docker, None)?;
    stack.say(&format!("writing {} records into each set", options.records));
    stack.load(serve, &image, &Reach { address, network: network.as_deref() }, options.records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_is_started_for_a_service_without_one() {
        let text = fixture::MATRIX;
        let mut matrix = matrix::Matrix::parse(text, "matrix.yaml").unwrap();
        let app = matrix.packages.iter_mut().find(|package| package.id == *"demo-app").unwrap();
        let serve = app.serve.as_mut().unwrap();
        let standin = || ServerChoice::Standin;
        let image = ServerChoice::Image;
        assert_eq!(server_for(serve, "314t", None, standin).unwrap(), Some(ServerChoice::Standin));
        assert_eq!(server_for(serve, "314t", Some(&image), standin).unwrap(), Some(ServerChoice::Image));

        serve.env.server = None;
        let nothing = || -> ServerChoice { panic!("no server must be searched") };
        assert_eq!(server_for(serve, "314t", None, nothing).unwrap(), None);
        let error = server_for(serve, "314t", Some(&image), nothing).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("`serve.env.server`"), "{error}");
        let reach = Reach { address: None, network: None };
        assert_eq!(reach.variable(serve), None);
    }
}
