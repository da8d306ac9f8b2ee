//! Runs child processes, logs their output line by line, and terminates their whole process group.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use xshell::Cmd;

use crate::cancel::Cancel;
use crate::cause;
use crate::limits::{self, CapturedOutput, OutputMeter};
use crate::lines::LineBuffer;
use crate::ui::Task;

/// Standard input and callbacks of a child process.
pub struct ProcessIo<'a> {
    /// Text written to standard input.
    pub input: &'a str,
    /// Called about five times per second.
    pub tick: &'a dyn Fn(),
    /// Called with each line of output, in addition to the log.
    pub line: &'a dyn Fn(&str),
}

impl Default for ProcessIo<'_> {
    fn default() -> Self {
        ProcessIo { input: "", tick: &|| {}, line: &|_| {} }
    }
}

/// Error of a program that did not exit with code 0.
#[derive(Debug)]
pub struct CommandFailed {
    program: String,
    status: ExitStatus,
    /// Line of the output that explains the failure.
    cause: Option<String>,
    /// Complete command line, for repeating it.
    pub command: String,
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "`{}` failed with exit code {code}", self.program)?,
            (None, Some(signal)) => write!(f, "`{}` was terminated by signal {signal}", self.program)?,
            (None, None) => write!(f, "`{}` failed", self.program)?,
        }
        self.cause.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for CommandFailed {}

/// Runs `command` until it exits. Standard output and standard error share one pipe, so the log preserves their
/// order.
pub fn run(command: Cmd, task: &Task, cancel: &Cancel) -> Result<()> {
    run_with(command, task, cancel, &ProcessIo::default())
}

/// Like [`run`], with standard input and callbacks.
pub fn run_with(command: Cmd, task: &Task, cancel: &Cancel, io: &ProcessIo) -> Result<()> {
    let running = RunningProcess::start(command, task, false)?;
    running.finish(task, cancel, io, limits::current().output).map(|_| ())
}

/// Runs `command` until it exits and returns its standard output, which is written to the log but not kept in the
/// last lines of the task.
pub fn read(command: Cmd, task: &Task, cancel: &Cancel, input: &str) -> Result<String> {
    let running = RunningProcess::start(command, task, true)?;
    running.finish(task, cancel, &ProcessIo { input, ..ProcessIo::default() }, limits::current().output)
}

/// Maximum capacity of a pipe on Linux in bytes, which bounds what remains to be read after a program exits.
const PIPE: usize = 1 << 20;

/// Output pipe of a program.
struct OutputPipe {
    /// `None` after the end of the stream.
    pipe: Option<PipeReader>,
    lines: LineBuffer,
    /// Whether this is the standard output that [`read`] returns.
    is_captured: bool,
}

/// Running program in its own process group.
struct RunningProcess {
    child: Child,
    program: String,
    command: String,
    streams: Vec<OutputPipe>,
    captured: CapturedOutput,
}

impl RunningProcess {
    fn start(command: Cmd, task: &Task, captured: bool) -> Result<RunningProcess> {
        let shown = command.to_string();
        task.line(&format!("$ {shown}"));
        let mut command = Command::from(command);
        let program = OsString::from(command.get_program()).to_string_lossy().into_owned();
        let what = || format!("cannot start `{program}`: `cargo xtask doctor` says what is missing on this machine");
        let (output, writer) = std::io::pipe().with_context(what)?;
        let stream = |pipe, is_captured| OutputPipe { pipe: Some(pipe), lines: LineBuffer::default(), is_captured };
        let mut streams = vec![stream(output, captured)];
        if captured {
            let (errors, errors_writer) = std::io::pipe().with_context(what)?;
            streams.push(stream(errors, false));
            command.stdout(writer).stderr(errors_writer);
        } else {
            command.stdout(writer.try_clone().with_context(what)?).stderr(writer);
        }
        // With its own process group, the child does not receive the terminal's Ctrl-C; this process terminates the
        // group.
        let child = command.process_group(0).stdin(Stdio::piped()).spawn().with_context(what)?;
        // Dropping the command closes this process's write ends of the pipes.
        drop(command);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        Ok(RunningProcess { child, program, command: shown, streams, captured: CapturedOutput::default() })
    }

    /// Waits for the program, terminates the processes it left behind, and returns the captured output.
    fn finish(mut self, task: &Task, cancel: &Cancel, io: &ProcessIo, limit: u64) -> Result<String> {
        if let Some(mut stdin) = self.child.stdin.take().filter(|_| !io.input.is_empty()) {
            let input = io.input.to_owned();
            // The thread is not joined: a program that does not read its input closes the pipe, and its exit code
            // decides whether that is an error.
            std::thread::spawn(move || {
                let _ = stdin.write_all(input.as_bytes());
            });
        }
        let mut meter = OutputMeter::new(limit);
        let status =
            self.follow(task, cancel, io, &mut meter).with_context(|| format!("`{}` did not finish", self.program));
        let id = self.child.id();
        signal(id, Signal::KILL);
        if status.is_err() {
            // Reap the killed process, which would otherwise remain as a zombie.
            let _ = self.child.wait();
        }
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != id);
        // All output of the program is in the pipes now. Do not read until end of file: a process that left the
        // process group may keep the pipe open indefinitely.
        let drained = self.drain(task, io, &mut meter);
        cancel.check()?;
        let status = status?;
        drained?;
        if !status.success() {
            let cause = cause::find(task.tail().iter().map(String::as_str));
            bail!(CommandFailed { program: file_name(&self.program), status, cause, command: self.command });
        }
        Ok(self.captured.into_text())
    }

    /// Forwards the program's output until it exits.
    fn follow(&mut self, task: &Task, cancel: &Cancel, io: &ProcessIo, meter: &mut OutputMeter) -> Result<ExitStatus> {
        let (mut terminated, mut ticked): (Option<Instant>, Instant) = (None, Instant::now());
        let mut turns = 0_u32;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for a child process")? {
                return Ok(status);
            }
            match terminated {
                None if cancel.is_set() => {
                    signal(self.child.id(), Signal::TERM);
                    terminated = Some(Instant::now());
                }
                Some(since) if since.elapsed() > Duration::from_secs(5) => signal(self.child.id(), Signal::KILL),
                _ => {}
            }
            if ticked.elapsed() > Duration::from_millis(200) {
                (io.tick)();
                ticked = Instant::now();
            }
            turns = turns.saturating_add(1);
            // Poll at short intervals first, so that quick commands return quickly.
            self.read(Duration::from_millis(if turns < 20 { 5 } else { 50 }), task, io, meter)?;
        }
    }

    /// Reads what remains in the pipes after the program exited.
    fn drain(&mut self, task: &Task, io: &ProcessIo, meter: &mut OutputMeter) -> Result<()> {
        let mut left = PIPE * self.streams.len();
        while left > 0 {
            match self.read(Duration::ZERO, task, io, meter)? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        for stream in &mut self.streams {
            stream.pipe = None;
            let is_captured = stream.is_captured;
            stream.lines.finish(&mut |line| pass_on(line, is_captured, task, io));
        }
        Ok(())
    }

    /// Waits up to `timeout` for output, forwards it, and returns the number of bytes read.
    fn read(&mut self, timeout: Duration, task: &Task, io: &ProcessIo, meter: &mut OutputMeter) -> Result<usize> {
        let timeout = Timespec::try_from(timeout).context("cannot wait that long")?;
        let open = self.streams.iter().filter_map(|stream| stream.pipe.as_ref());
        let mut polled: Vec<PollFd> = open.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the output of a program"),
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        let open = self.streams.iter_mut().filter(|stream| stream.pipe.is_some());
        let (mut part, mut total) = ([0; 64 << 10], 0);
        for (stream, _) in open.zip(ready).filter(|(_, ready)| *ready) {
            let Some(pipe) = &mut stream.pipe else { continue };
            let read = match pipe.read(&mut part) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot read the output of a program"),
            };
            if read == 0 {
                stream.pipe = None;
                continue;
            }
            total += read;
            let part = &part[..read];
            let is_captured = stream.is_captured;
            stream.lines.push(part, &mut |line| pass_on(line, is_captured, task, io));
            meter.count(read)?;
            if is_captured {
                self.captured.push(part)?;
            }
        }
        Ok(total)
    }
}

fn pass_on(line: &str, is_captured: bool, task: &Task, io: &ProcessIo) {
    match is_captured {
        true => task.record(line),
        false => task.line(line),
    }
    (io.line)(line);
}

/// Runs `command` with all its output in `log` and returns its wall time. To not disturb the measurement, no pipe is
/// read and a blocking wait is used.
pub fn time(command: Cmd, log: &File, limit: Duration, cancel: &Cancel) -> Result<Duration> {
    let shown = command.to_string();
    let mut command = Command::from(command);
    let program = OsString::from(command.get_program()).to_string_lossy().into_owned();
    command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let id = child.id();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    let (timed_out, too_much_output) = (AtomicBool::new(false), AtomicBool::new(false));
    let most = limits::current().output;
    let (ended, end) = mpsc::channel::<()>();
    let (status, took) = std::thread::scope(|scope| {
        let (timed_out, too_much_output) = (&timed_out, &too_much_output);
        scope.spawn(move || {
            let mut terminated: Option<Instant> = None;
            while end.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                timed_out.store(started.elapsed() > limit, Ordering::Relaxed);
                too_much_output.store(log.metadata().is_ok_and(|log| log.len() > most), Ordering::Relaxed);
                match terminated {
                    None if cancel.is_set()
                        || timed_out.load(Ordering::Relaxed)
                        || too_much_output.load(Ordering::Relaxed) =>
                    {
                        signal(id, Signal::TERM);
                        terminated = Some(Instant::now());
                    }
                    // A program that terminates its own children first needs this much time.
                    Some(since) if since.elapsed() > Duration::from_secs(20) => signal(id, Signal::KILL),
                    _ => {}
                }
            }
        });
        let status = child.wait();
        let took = started.elapsed();
        drop(ended);
        (status, took)
    });
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != id);
    cancel.check()?;
    if timed_out.into_inner() {
        bail!("`{shown}` was stopped after {} s, its time limit", limit.as_secs());
    }
    if too_much_output.into_inner() {
        OutputMeter::new(most).count(usize::MAX).with_context(|| format!("`{program}` did not finish"))?;
    }
    let status = status.context("cannot wait for a child process")?;
    if !status.success() {
        bail!(CommandFailed { program: file_name(&program), status, cause: None, command: shown });
    }
    Ok(took)
}

/// Returns the file name of a program without its folder.
fn file_name(program: &str) -> String {
    program.rsplit('/').next().unwrap_or(program).to_owned()
}

/// Process groups of the running programs, for [`kill_all`].
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Kills all running programs immediately.
pub fn kill_all() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.iter().for_each(|id| signal(*id, Signal::KILL));
}

fn signal(id: u32, signal: Signal) {
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // An error means that the process group no longer exists.
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests;
