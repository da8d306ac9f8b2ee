//! What a job prints: passed on line by line, counted, and kept only as far as its caller needs it.

use anyhow::{Result, ensure};
use bollard::container::LogOutput;

use super::{Job, Lines};
use base::limits::{
    CapturedOutput, Limits, MEMORY_PERCENT, MEMORY_VARIABLE, OutputMeter, PROBE_PROCESSES, PROCESSES_VARIABLE,
};
use base::lines::LineBuffer;
use base::ui::bytes;

/// Processes and threads that a job may have.
pub(super) fn processes(job: &Job, limits: &Limits) -> u64 {
    if job.builds { limits.processes } else { limits.processes.min(PROBE_PROCESSES) }
}

/// Bytes of standard error that are kept.
const LAST: usize = 64 << 10;

/// What a job prints.
pub(super) struct Heard {
    meter: OutputMeter,
    /// Lines of standard output and standard error.
    lines: [LineBuffer; 2],
    /// None for a job that builds.
    answer: Option<CapturedOutput>,
    /// The end of standard error.
    last: Vec<u8>,
    /// Whether a line says that no process or thread could be started.
    no_process: bool,
}

impl Heard {
    pub(super) fn new(job: &Job, limits: &Limits) -> Heard {
        Heard {
            meter: OutputMeter::new(limits.output),
            lines: Default::default(),
            answer: (!job.builds).then(CapturedOutput::default),
            last: Vec::new(),
            no_process: false,
        }
    }

    pub(super) fn push(&mut self, chunk: LogOutput, on: Lines) -> Result<()> {
        let is_error = matches!(chunk, LogOutput::StdErr { .. });
        let bytes = chunk.into_bytes();
        let no_process = &mut self.no_process;
        self.lines[usize::from(is_error)].push(&bytes, &mut |line| {
            *no_process |= says_no_process(line);
            on(line);
        });
        self.meter.count(bytes.len())?;
        if is_error {
            self.last.extend_from_slice(&bytes);
            if self.last.len() > 2 * LAST {
                self.last.drain(..self.last.len() - LAST);
            }
        } else if let Some(answer) = &mut self.answer {
            answer.push(&bytes)?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, on: Lines) {
        let no_process = &mut self.no_process;
        for lines in &mut self.lines {
            lines.finish(&mut |line| {
                *no_process |= says_no_process(line);
                on(line);
            });
        }
    }

    /// An error if a limit is the reason why the command failed.
    pub(super) fn check_limits(&self, job: &Job, limits: &Limits, out_of_memory: bool) -> Result<()> {
        let processes = processes(job, limits);
        let memory = match limits.memory {
            Some(memory) => bytes(memory),
            None => format!("{MEMORY_PERCENT} % of the engine's memory"),
        };
        ensure!(
            !out_of_memory,
            "it was ended for want of memory: a container may use {memory}; run fewer jobs (`--jobs`), or set \
             {MEMORY_VARIABLE} to a higher limit"
        );
        ensure!(
            !self.no_process,
            "it could not start another process: a container may have {processes} processes and threads; run fewer \
             jobs (`--jobs`), or set {PROCESSES_VARIABLE} to a higher limit"
        );
        Ok(())
    }

    pub(super) fn into_texts(self) -> (String, String) {
        let stdout = self.answer.map(CapturedOutput::into_text).unwrap_or_default();
        (stdout, String::from_utf8_lossy(&self.last).into_owned())
    }
}

/// Whether a line is the message of a shell or of Python that no process or thread could be started.
fn says_no_process(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["cannot fork", "can't fork", "can't start new thread", "fork: retry", "fork: resource temporarily unavailable"]
        .iter()
        .any(|message| line.contains(message))
}
