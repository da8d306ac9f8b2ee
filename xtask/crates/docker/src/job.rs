//! Runs one command in a container that never outlives the call, and brings its files back.

use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    RemoveContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder, WaitContainerOptions,
};

use super::context::stream;
use super::heard::{Heard, processes};
use super::owner::{self, Owner};
use super::plan::Plan;
use super::{Beat, ContextFile, Docker, Lines, Network, STUCK, check_reference};
use base::cancel::Cancel;
use base::limits::{self, Limits, MEMORY_PERCENT};

/// Time to kill and remove a container; whoever pressed Ctrl-C waits for it, even at a hung engine.
const REMOVAL: Duration = Duration::from_secs(30);

/// A command to be run in a container of its own.
#[derive(Clone, Debug, Default)]
pub struct Job<'a> {
    /// Image to run.
    pub image: &'a str,
    /// Command and arguments.
    pub command: Vec<String>,
    /// Environment on top of the image's.
    pub env: Vec<(String, String)>,
    /// User, the image's when `None`.
    pub user: Option<&'a str>,
    /// Network it sees.
    pub network: Network,
    /// Instead of `network`: one of the engine's networks by its name, or `host` for the host's own.
    pub join: Option<&'a str>,
    /// Makes the root filesystem read-only, except `/tmp` and the directories that hold inputs and outputs.
    /// Outputs must then be directories; they are made in advance, writable for everybody, but one directly
    /// below `/` keeps the owner and mode the image gives it (root and 755 when it has none).
    pub read_only: bool,
    /// Files with absolute paths in the container; missing directories above them are made.
    pub inputs: Vec<ContextFile>,
    /// Absolute paths of the files and directories to copy out when it has ended.
    pub outputs: Vec<String>,
    /// The folder of this machine that receives them.
    pub out: Option<&'a Path>,
    /// Whether it builds something: then it may have more processes, and its standard output is passed
    /// on but not returned.
    pub builds: bool,
    /// The capabilities of the kernel that it has, by the names that the engine knows.
    pub capabilities: &'a [&'a str],
    /// Limits other than those of this process.
    pub limits: Option<Limits>,
    /// Working directory, the image's when `None`.
    pub workdir: Option<&'a str>,
    /// Time after which it is killed.
    pub timeout: Option<Duration>,
    /// Entrypoint, the image's when `None`; an empty list for none.
    pub entrypoint: Option<Vec<String>>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// Exit code of the command.
    pub exit: i64,
    /// All it wrote to its standard output, unless it builds something.
    pub stdout: String,
    /// The end of what it wrote to its standard error.
    pub stderr: String,
    /// Names of the files below `out`: relative to the output directory, or the file's own name when the
    /// output is a file.
    pub outputs: Vec<String>,
}

impl Docker {
    /// Runs a job to its end; a command that fails is no error, but a timeout is.
    pub fn run(&self, job: &Job, on: Lines, cancel: &Cancel) -> Result<JobResult> {
        check_reference(job.image)?;
        let plan = Plan::new(job)?;
        let owner = owner::current()?;
        let name = container_name(&owner);
        let limits = job.limits.unwrap_or_else(limits::current);
        let (memory, processes) = (self.memory(&limits)?, processes(job, &limits));
        let body = ContainerCreateBody {
            image: Some(job.image.to_owned()),
            cmd: Some(job.command.clone()),
            env: Some(job.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            user: job.user.map(str::to_owned),
            working_dir: job.workdir.map(str::to_owned),
            // The engine takes an empty list for "as the image says".
            entrypoint: job.entrypoint.clone().map(|e| if e.is_empty() { vec![String::new()] } else { e }),
            tty: Some(false),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(HashMap::from([(base::labels::RUN.to_owned(), owner.id.clone())])),
            volumes: Some(plan.volumes.clone()),
            // The image's own asks a service that does not run here, and takes processor time for it.
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
            host_config: Some(HostConfig {
                network_mode: Some(job.join.unwrap_or(job.network.mode()).to_owned()),
                readonly_rootfs: Some(job.read_only),
                tmpfs: plan.tmpfs.then(|| {
                    // It is part of the container's memory.
                    let size = if memory > 0 { format!(",size={}", memory / 2) } else { String::new() };
                    HashMap::from([("/tmp".to_owned(), format!("rw,exec,mode=1777{size}"))])
                }),
                // What it builds is not trusted. An engine that cannot enforce a limit starts it without.
                memory: i64::try_from(memory).ok().filter(|memory| *memory > 0),
                memory_swap: i64::try_from(memory).ok().filter(|memory| *memory > 0),
                pids_limit: i64::try_from(processes).ok(),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(job.capabilities.iter().map(|name| (*name).to_owned()).collect()),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                // The output is followed here; the engine need not keep a copy on its disk.
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let guard = Guard { docker: self, name: &name };
        let beat = Beat::new();
        let limit = job.timeout.is_none().then_some(STUCK);
        let steps = self.steps(job, plan, Start { name: &name, body, beat: &beat, limits: &limits }, on);
        let result = self.watched(&beat, cancel, limit, steps, || {
            // Arguments may be long, or secret.
            let program = job.entrypoint.iter().flatten().chain(&job.command).next();
            format!("cannot run `{}` in image `{}`", program.map_or("", String::as_str), job.image)
        });
        drop(guard);
        result
    }

    async fn steps(&self, job: &Job<'_>, plan: Plan, start: Start<'_>, on: Lines<'_>) -> Result<JobResult> {
        let Start { name, body, beat, limits } = start;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        match self.client.create_container(Some(options), body).await {
            Ok(_) => {}
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
                bail!("the Docker engine has no such image; pull or build it first")
            }
            Err(error) => return Err(self.explain(error)),
        }
        for (root, listing) in plan.uploads {
            let options = UploadToContainerOptionsBuilder::default().path(&root).build();
            let body = bollard::body_try_stream(stream(beat.clone(), |out| listing.write(out)));
            self.client
                .upload_to_container(name, Some(options), body)
                .await
                .map_err(|error| self.explain(error))
                .context("cannot send the inputs")?;
        }
        let attach = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let mut attached =
            self.client.attach_container(name, Some(attach)).await.map_err(|error| self.explain(error))?;
        self.client.start_container(name, None::<StartContainerOptions>).await.map_err(|error| self.explain(error))?;

        let mut heard = Heard::new(job, limits);
        let ended = async {
            while let Some(chunk) = self.next(&mut attached.output, beat).await? {
                heard.push(chunk, on)?;
            }
            // The output may be closed long before the command ends.
            let mut waited = pin!(self.client.wait_container(name, None::<WaitContainerOptions>));
            match futures_util::StreamExt::next(&mut waited).await {
                Some(Ok(_)) | Some(Err(Error::DockerContainerWaitError { .. })) => Ok(()),
                Some(Err(error)) => Err(self.explain(error)),
                None => Err(self.broken("it ended the answer before the command ended")),
            }
        };
        match job.timeout {
            None => ended.await?,
            Some(limit) => tokio::time::timeout(limit, ended).await.unwrap_or_else(|_| {
                Err(anyhow!(
                    "killed because it ran longer than {limit:?}; look at its output above, or allow more time"
                ))
            })?,
        }
        heard.finish(on);

        let state = self.client.inspect_container(name, None::<InspectContainerOptions>).await;
        let state = state.map_err(|error| self.explain(error))?.state.unwrap_or_default();
        let exit = state.exit_code.context("the Docker engine does not tell the exit code; update it")?;
        if exit != 0 {
            heard.check_limits(job, limits, state.oom_killed.unwrap_or_default())?;
        }
        let mut outputs = Vec::new();
        for path in &job.outputs {
            let out = job.out.context("a job with outputs and no folder for them: this is a bug")?;
            match self
                .copy_out(name, path, (out, limits.files), beat)
                .await
                .with_context(|| format!("cannot copy `{path}` out of the container"))?
            {
                Some(files) => outputs.extend(files),
                None if exit == 0 => {
                    bail!("the command ended well but left no `{path}`; correct the command or the list of outputs")
                }
                None => {}
            }
        }
        let (stdout, stderr) = heard.into_texts();
        Ok(JobResult { exit, stdout, stderr, outputs })
    }

    /// Bytes of memory that a container may use, 0 if the engine does not say what it has.
    fn memory(&self, limits: &Limits) -> Result<u64> {
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

    /// Copies the files below `path` in an image into the folder `out`, without running anything of it, and
    /// returns their names.
    pub fn files(&self, image: &str, path: &str, out: &Path, cancel: &Cancel) -> Result<Vec<String>> {
        check_reference(image)?;
        let owner = owner::current()?;
        let name = container_name(&owner);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // The engine wants one, though it is never started.
            cmd: Some(vec!["none".to_owned()]),
            labels: Some(HashMap::from([(base::labels::RUN.to_owned(), owner.id.clone())])),
            ..ContainerCreateBody::default()
        };
        let guard = Guard { docker: self, name: &name };
        let beat = Beat::new();
        let work = async {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            self.client.create_container(Some(options), body).await.map_err(|error| self.explain(error))?;
            self.copy_out(&name, path, (out, limits::current().files), &beat)
                .await?
                .with_context(|| format!("it has no `{path}`"))
        };
        let files =
            self.watched(&beat, cancel, Some(STUCK), work, || format!("cannot read `{path}` in image `{image}`"));
        drop(guard);
        files
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.within(REMOVAL, async {
            match self.client.remove_container(name, Some(options)).await {
                // It is gone, or somebody else is removing it.
                Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
                other => other,
            }
        }) {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(format!("cannot remove container `{name}`; use `docker rm -f {name}`"))),
        }
    }
}

fn container_name(owner: &Owner) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("xtask-job-{}-{}", owner.name(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes the container, running or not, however the call ends.
struct Guard<'a> {
    docker: &'a Docker,
    name: &'a str,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is found by `remove_leftovers` later.
        let _ = self.docker.remove(self.name);
    }
}

/// What is needed to start the container of a job.
struct Start<'a> {
    name: &'a str,
    body: ContainerCreateBody,
    beat: &'a Beat,
    limits: &'a Limits,
}
