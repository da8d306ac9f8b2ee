//! Description of a job: one command that runs in a container of its own.

use std::path::Path;
use std::time::Duration;

use crate::context::ContextFile;
use crate::network::Network;
use base::limits::{Limits, PROBE_PROCESSES};

/// A command, and the container in which it runs.
#[derive(Clone, Debug, Default)]
pub struct Job<'a> {
    /// Image to run.
    pub image: &'a str,
    /// Command and arguments.
    pub command: Vec<String>,
    /// Variables in addition to those of the image.
    pub env: Vec<(String, String)>,
    /// User; the image's if `None`.
    pub user: Option<&'a str>,
    /// Its network.
    pub network: Network,
    /// Replaces `network`: the name of a network of the engine, or `host` for the host's network.
    pub join: Option<&'a str>,
    /// Makes the root file system read-only, except `/tmp` and the directories of inputs and outputs. Outputs must
    /// then be directories. They are created before the start, writable for all users; but a directory directly below
    /// `/` keeps the owner and mode that it has in the image (root and 755 if it is not in the image).
    pub read_only: bool,
    /// Files to send, with absolute paths in the container. Missing directories above them are created.
    pub inputs: Vec<ContextFile>,
    /// Absolute paths of the files and directories to copy out of the container after the end of the command.
    pub outputs: Vec<String>,
    /// The folder on this machine that receives the outputs.
    pub out: Option<&'a Path>,
    /// Whether the command builds something. If so, it may have more processes, and its standard output is passed on
    /// line by line but not returned.
    pub builds: bool,
    /// Capabilities of the kernel (capabilities(7)), as the engine names them, for example `SYS_ADMIN`.
    pub capabilities: &'a [&'a str],
    /// Name of a container whose process namespace the job shares: it sees the processes there.
    pub beside: Option<&'a str>,
    /// Limits; those of this process if `None`.
    pub limits: Option<Limits>,
    /// Working directory; the image's if `None`.
    pub workdir: Option<&'a str>,
    /// Time after which the command is killed.
    pub timeout: Option<Duration>,
    /// Entry point; the image's if `None`, no entry point if empty.
    pub entrypoint: Option<Vec<String>>,
}

/// Result of a job whose command has ended.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// Exit code of the command.
    pub exit: i64,
    /// Its whole standard output; empty for a job that builds something.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
    /// Names of the files in `out`: relative to the output directory, or the file's own name if the output is a file.
    pub outputs: Vec<String>,
}

impl Job<'_> {
    /// Number of processes and threads that the job may have.
    pub(crate) fn max_processes(&self, limits: &Limits) -> u64 {
        if self.builds { limits.processes } else { limits.processes.min(PROBE_PROCESSES) }
    }
}
