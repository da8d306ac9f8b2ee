//! Collects the output of a job: passes on each line, counts the bytes, and keeps what the caller needs.

use anyhow::{Result, ensure};
use bollard::container::LogOutput;

use crate::client::OnLine;
use crate::job::Job;
use base::limits::{CapturedOutput, Limits, MEMORY_PERCENT, MEMORY_VARIABLE, OutputMeter, PROCESSES_VARIABLE};
use base::lines::LineBuffer;
use base::ui::bytes;

/// Number of bytes of standard error that are kept.
const KEPT: usize = 64 << 10;

/// The output of a job.
pub struct JobOutput {
    meter: OutputMeter,
    /// Unfinished lines of standard output and standard error.
    lines: [LineBuffer; 2],
    /// Standard output; `None` for a job that builds something.
    stdout: Option<CapturedOutput>,
    /// The end of standard error.
    stderr: Vec<u8>,
    /// Whether a line reports that no process or thread could be started.
    no_process: bool,
}

impl JobOutput {
    pub fn new(job: &Job, limits: &Limits) -> JobOutput {
        JobOutput {
            meter: OutputMeter::new(limits.output),
            lines: Default::default(),
            stdout: (!job.builds).then(CapturedOutput::default),
            stderr: Vec::new(),
            no_process: false,
        }
    }

    /// Adds a part of the output; fails if the job has printed too much.
    pub fn push(&mut self, chunk: LogOutput, on_line: OnLine) -> Result<()> {
        let is_error = matches!(chunk, LogOutput::StdErr { .. });
        let bytes = chunk.into_bytes();
        let no_process = &mut self.no_process;
        self.lines[usize::from(is_error)].push(&bytes, &mut |line| {
            *no_process |= reports_no_process(line);
            on_line(line);
        });
        self.meter.count(bytes.len())?;
        if is_error {
            self.stderr.extend_from_slice(&bytes);
            if self.stderr.len() > 2 * KEPT {
                self.stderr.drain(..self.stderr.len() - KEPT);
            }
        } else if let Some(stdout) = &mut self.stdout {
            stdout.push(&bytes)?;
        }
        Ok(())
    }

    /// Passes on the last lines, which may have no line feed.
    pub fn finish(&mut self, on_line: OnLine) {
        let no_process = &mut self.no_process;
        for lines in &mut self.lines {
            lines.finish(&mut |line| {
                *no_process |= reports_no_process(line);
                on_line(line);
            });
        }
    }

    /// Returns an error if the command failed because it reached a limit.
    pub fn check_limits(&self, job: &Job, limits: &Limits, out_of_memory: bool) -> Result<()> {
        let processes = job.max_processes(limits);
        let memory = match limits.memory {
            Some(memory) => bytes(memory),
            None => format!("{MEMORY_PERCENT} % of the engine's memory"),
        };
        ensure!(
            !out_of_memory,
            "the command was killed because it used too much memory: a container may use {memory}; run fewer jobs (`--jobs`), or set \
             {MEMORY_VARIABLE} to a higher limit"
        );
        ensure!(
            !self.no_process,
            "the command could not start another process: a container may have {processes} processes and threads; run fewer \
             jobs (`--jobs`), or set {PROCESSES_VARIABLE} to a higher limit"
        );
        Ok(())
    }

    /// Returns standard output and the end of standard error.
    pub fn into_texts(self) -> (String, String) {
        let stdout = self.stdout.map(CapturedOutput::into_text).unwrap_or_default();
        (stdout, String::from_utf8_lossy(&self.stderr).into_owned())
    }
}

/// Whether a line is the message of a shell or of Python for a process or thread that could not be started.
fn reports_no_process(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["cannot fork", "can't fork", "can't start new thread", "fork: retry", "fork: resource temporarily unavailable"]
        .iter()
        .any(|message| line.contains(message))
}
