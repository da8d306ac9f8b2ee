//! Runs a job in a container that never outlives the call, and copies its outputs out of the container.

use std::collections::HashMap;
use std::pin::pin;

use anyhow::{Context as _, Result, anyhow, bail};
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
    UploadToContainerOptionsBuilder, WaitContainerOptions,
};
use futures_util::StreamExt as _;

use crate::activity::Activity;
use crate::client::{Docker, OnLine};
use crate::container::{self, RemoveOnDrop};
use crate::context::stream;
use crate::copy::Destination;
use crate::job::{Job, JobResult};
use crate::job_files::JobFiles;
use crate::job_output::JobOutput;
use crate::owner;
use crate::reference::check_reference;
use crate::watch::{STUCK, Watch};
use base::cancel::Cancel;
use base::limits::{self, Limits};

/// The container of a job that is about to start.
struct Container<'a> {
    name: &'a str,
    body: ContainerCreateBody,
    activity: &'a Activity,
    limits: &'a Limits,
}

impl Docker {
    /// Runs a job and waits for its end. The container is always removed. A command that fails is not an error, but a
    /// timeout is.
    pub fn run(&self, job: &Job, on_line: OnLine, cancel: &Cancel) -> Result<JobResult> {
        check_reference(job.image)?;
        let files = JobFiles::new(job)?;
        let owner = owner::current()?;
        let name = container::unique_name(&owner);
        let limits = job.limits.unwrap_or_else(limits::current);
        let memory = self.container_memory(&limits)?;
        let body = container_body(job, &files, &limits, memory)?;
        let guard = RemoveOnDrop { docker: self, name: &name };
        let activity = Activity::new();
        // A job with a timeout may be idle until then.
        let idle_limit = job.timeout.is_none().then_some(STUCK);
        let container = Container { name: &name, body, activity: &activity, limits: &limits };
        let work = self.run_container(job, files, container, on_line);
        let result = self.watched(Watch { activity: &activity, cancel, idle_limit }, work, || {
            // Without the arguments, which may be long or secret.
            let program = job.entrypoint.iter().flatten().chain(&job.command).next();
            format!("cannot run `{}` in image `{}`", program.map_or("", String::as_str), job.image)
        });
        drop(guard);
        result
    }

    async fn run_container(
        &self,
        job: &Job<'_>,
        files: JobFiles,
        container: Container<'_>,
        on_line: OnLine<'_>,
    ) -> Result<JobResult> {
        let Container { name, body, activity, limits } = container;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        match self.client.create_container(Some(options), body).await {
            Ok(_) => {}
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
                bail!("the Docker engine does not have this image; pull or build it first")
            }
            Err(error) => return Err(self.explain(error)),
        }
        for (root, list) in files.uploads {
            let options = UploadToContainerOptionsBuilder::default().path(&root).build();
            let body = bollard::body_try_stream(stream(activity.clone(), |out| list.write(out)));
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

        let mut output = JobOutput::new(job, limits);
        let ended = async {
            while let Some(chunk) = self.next_answer(&mut attached.output, activity).await? {
                output.push(chunk, on_line)?;
            }
            // A command may close its output long before it ends.
            let mut waited = pin!(self.client.wait_container(name, None::<WaitContainerOptions>));
            match waited.next().await {
                Some(Ok(_)) | Some(Err(Error::DockerContainerWaitError { .. })) => Ok(()),
                Some(Err(error)) => Err(self.explain(error)),
                None => Err(self.connection_closed("the answer ended before the command ended")),
            }
        };
        match job.timeout {
            None => ended.await?,
            Some(limit) => tokio::time::timeout(limit, ended).await.unwrap_or_else(|_| {
                Err(anyhow!("killed because it ran longer than {limit:?}; read its output above, or allow more time"))
            })?,
        }
        output.finish(on_line);

        let state = self.client.inspect_container(name, None::<InspectContainerOptions>).await;
        let state = state.map_err(|error| self.explain(error))?.state.unwrap_or_default();
        let exit = state.exit_code.context("the Docker engine did not report the exit code; update the engine")?;
        if exit != 0 {
            output.check_limits(job, limits, state.oom_killed.unwrap_or_default())?;
        }
        let mut outputs = Vec::new();
        for path in &job.outputs {
            let folder = job.out.context("a job has outputs and no folder for them: this is a bug")?;
            let destination = Destination { folder, max_bytes: limits.files };
            match self
                .copy_from_container(name, path, destination, activity)
                .await
                .with_context(|| format!("cannot copy `{path}` out of the container"))?
            {
                Some(files) => outputs.extend(files),
                None if exit == 0 => {
                    bail!(
                        "the command succeeded but did not create `{path}`; correct the command or the list of outputs"
                    )
                }
                None => {}
            }
        }
        let (stdout, stderr) = output.into_texts();
        Ok(JobResult { exit, stdout, stderr, outputs })
    }
}

/// Translates a job into the engine's description of a container; `memory` is in bytes, 0 for no limit.
fn container_body(job: &Job, files: &JobFiles, limits: &Limits, memory: u64) -> Result<ContainerCreateBody> {
    Ok(ContainerCreateBody {
        image: Some(job.image.to_owned()),
        cmd: Some(job.command.clone()),
        env: Some(job.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        user: job.user.map(str::to_owned),
        working_dir: job.workdir.map(str::to_owned),
        // The engine reads an empty list as the entry point of the image.
        entrypoint: job.entrypoint.clone().map(|e| if e.is_empty() { vec![String::new()] } else { e }),
        tty: Some(false),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(owner::with_run_label(&[])?),
        volumes: Some(files.volumes.clone()),
        // The image's health check would ask a service that does not run here.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(HostConfig {
            network_mode: Some(job.join.unwrap_or(job.network.mode()).to_owned()),
            readonly_rootfs: Some(job.read_only),
            tmpfs: files.tmpfs.then(|| {
                // The files in /tmp count as memory of the container.
                let size = if memory > 0 { format!(",size={}", memory / 2) } else { String::new() };
                HashMap::from([("/tmp".to_owned(), format!("rw,exec,mode=1777{size}"))])
            }),
            // The command may be untrusted code. An engine that cannot enforce a limit ignores it.
            memory: i64::try_from(memory).ok().filter(|memory| *memory > 0),
            memory_swap: i64::try_from(memory).ok().filter(|memory| *memory > 0),
            pids_limit: i64::try_from(job.max_processes(limits)).ok(),
            pid_mode: job.beside.map(|name| format!("container:{name}")),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(job.capabilities.iter().map(|name| (*name).to_owned()).collect()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            // The output is read from the connection; the engine does not store a copy.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}
