//! Runs other programs: their output goes to the log line by line, and when a program ends, what it
//! started is ended as well.

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
use crate::limits::{self, Answer, OutputMeter};
use crate::lines::LineBuffer;
use crate::ui::Task;

/// What a program gets to read, and what is called while it runs.
pub struct Talk<'a> {
    /// Its standard input.
    pub input: &'a str,
    /// Called five times a second.
    pub tick: &'a dyn Fn(),
    /// Called with each line that it prints, besides the log.
    pub line: &'a dyn Fn(&str),
}

impl Default for Talk<'_> {
    fn default() -> Self {
        Talk { input: "", tick: &|| {}, line: &|_| {} }
    }
}

/// A program that did not end with exit code 0.
#[derive(Debug)]
pub struct Failed {
    program: String,
    status: ExitStatus,
    /// The line of its output that says why.
    cause: Option<String>,
    /// The whole command, to repeat it.
    pub command: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "`{}` failed with exit code {code}", self.program)?,
            (None, Some(signal)) => write!(f, "`{}` was ended by signal {signal}", self.program)?,
            (None, None) => write!(f, "`{}` failed", self.program)?,
        }
        self.cause.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Failed {}

/// Runs `command` to its end. Standard output and standard error share one pipe, so that the log has
/// their lines in the order in which they were written.
pub fn run(command: Cmd, task: &Task, cancel: &Cancel) -> Result<()> {
    talk(command, task, cancel, &Talk::default())
}

/// The same with an input, and with functions that are called meanwhile.
pub fn talk(command: Cmd, task: &Task, cancel: &Cancel, talk: &Talk) -> Result<()> {
    let running = Running::start(command, task, false)?;
    running.finish(task, cancel, talk, limits::current().output).map(|_| ())
}

/// Runs `command` to its end and returns its standard output, which is in the log but not among the
/// last lines of the task.
pub fn read(command: Cmd, task: &Task, cancel: &Cancel, input: &str) -> Result<String> {
    let running = Running::start(command, task, true)?;
    running.finish(task, cancel, &Talk { input, ..Talk::default() }, limits::current().output)
}

/// Bytes that a pipe can hold on Linux, at most: after the end of a program no more of it is left to read.
const PIPE: usize = 1 << 20;

/// A pipe from a program.
struct Stream {
    /// None at its end.
    pipe: Option<PipeReader>,
    lines: LineBuffer,
    /// Whether it is the answer that [`read`] returns.
    is_answer: bool,
}

/// A program that runs, in a process group of its own.
struct Running {
    child: Child,
    program: String,
    command: String,
    streams: Vec<Stream>,
    answer: Answer,
}

impl Running {
    fn start(command: Cmd, task: &Task, answer: bool) -> Result<Running> {
        let shown = command.to_string();
        task.line(&format!("$ {shown}"));
        let mut command = Command::from(command);
        let program = OsString::from(command.get_program()).to_string_lossy().into_owned();
        let what = || format!("cannot start `{program}`: `cargo xtask doctor` says what is missing on this machine");
        let (output, writer) = std::io::pipe().with_context(what)?;
        let stream = |pipe, is_answer| Stream { pipe: Some(pipe), lines: LineBuffer::default(), is_answer };
        let mut streams = vec![stream(output, answer)];
        if answer {
            let (errors, errors_writer) = std::io::pipe().with_context(what)?;
            streams.push(stream(errors, false));
            command.stdout(writer).stderr(errors_writer);
        } else {
            command.stdout(writer.try_clone().with_context(what)?).stderr(writer);
        }
        // A group of its own: a terminal's Ctrl-C reaches us alone, and we end the whole group.
        let child = command.process_group(0).stdin(Stdio::piped()).spawn().with_context(what)?;
        // Dropping the command closes this process's ends of the pipes for writing.
        drop(command);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        Ok(Running { child, program, command: shown, streams, answer: Answer::default() })
    }

    /// Waits for the end, ends what the program has started and left, and returns the answer.
    fn finish(mut self, task: &Task, cancel: &Cancel, talk: &Talk, limit: u64) -> Result<String> {
        if let Some(mut stdin) = self.child.stdin.take().filter(|_| !talk.input.is_empty()) {
            let input = talk.input.to_owned();
            // On a thread that nobody waits for: a program that does not read its input closes it, and
            // its exit code says whether that was right.
            std::thread::spawn(move || {
                let _ = stdin.write_all(input.as_bytes());
            });
        }
        let mut meter = OutputMeter::new(limit);
        let status =
            self.follow(task, cancel, talk, &mut meter).with_context(|| format!("`{}` is not finished", self.program));
        let id = self.child.id();
        signal(id, Signal::KILL);
        if status.is_err() {
            // Killed, it ends soon; without this it would stay as a zombie.
            let _ = self.child.wait();
        }
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != id);
        // Every byte that the program wrote is in the pipes by now. A process that left its group may
        // still write to them, for ever: it is not waited for.
        let drained = self.drain(task, talk, &mut meter);
        cancel.check()?;
        let status = status?;
        drained?;
        if !status.success() {
            let cause = cause::find(task.tail().iter().map(String::as_str));
            bail!(Failed { program: file_name(&self.program), status, cause, command: self.command });
        }
        Ok(self.answer.into_text())
    }

    /// Passes on what the program prints until it ends.
    fn follow(&mut self, task: &Task, cancel: &Cancel, talk: &Talk, meter: &mut OutputMeter) -> Result<ExitStatus> {
        let (mut asked, mut ticked): (Option<Instant>, Instant) = (None, Instant::now());
        let mut turns = 0_u32;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for a child process")? {
                return Ok(status);
            }
            match asked {
                None if cancel.is_set() => {
                    signal(self.child.id(), Signal::TERM);
                    asked = Some(Instant::now());
                }
                Some(since) if since.elapsed() > Duration::from_secs(5) => signal(self.child.id(), Signal::KILL),
                _ => {}
            }
            if ticked.elapsed() > Duration::from_millis(200) {
                (talk.tick)();
                ticked = Instant::now();
            }
            turns = turns.saturating_add(1);
            // Short at first, so that a quick command does not cost a long wait.
            self.read(Duration::from_millis(if turns < 20 { 5 } else { 50 }), task, talk, meter)?;
        }
    }

    /// Reads what is in the pipes after the end of the program.
    fn drain(&mut self, task: &Task, talk: &Talk, meter: &mut OutputMeter) -> Result<()> {
        let mut left = PIPE * self.streams.len();
        while left > 0 {
            match self.read(Duration::ZERO, task, talk, meter)? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        for stream in &mut self.streams {
            stream.pipe = None;
            let is_answer = stream.is_answer;
            stream.lines.finish(&mut |line| pass_on(line, is_answer, task, talk));
        }
        Ok(())
    }

    /// Waits until there is something to read, for `timeout` at most, reads it, and returns how much.
    fn read(&mut self, timeout: Duration, task: &Task, talk: &Talk, meter: &mut OutputMeter) -> Result<usize> {
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
            let is_answer = stream.is_answer;
            stream.lines.push(part, &mut |line| pass_on(line, is_answer, task, talk));
            meter.count(read)?;
            if is_answer {
                self.answer.push(part)?;
            }
        }
        Ok(total)
    }
}

fn pass_on(line: &str, is_answer: bool, task: &Task, talk: &Talk) {
    match is_answer {
        true => task.record(line),
        false => task.line(line),
    }
    (talk.line)(line);
}

/// Runs `command` with all its output in `log`, and returns the wall time that it took. Nothing else
/// is done meanwhile: no pipe is read, and the end is seen when it comes.
pub fn time(command: Cmd, log: &File, limit: Duration, cancel: &Cancel) -> Result<Duration> {
    let shown = command.to_string();
    let mut command = Command::from(command);
    let program = OsString::from(command.get_program()).to_string_lossy().into_owned();
    command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let id = child.id();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    let (late, wordy) = (AtomicBool::new(false), AtomicBool::new(false));
    let most = limits::current().output;
    let (ended, end) = mpsc::channel::<()>();
    let (status, took) = std::thread::scope(|scope| {
        let (late, wordy) = (&late, &wordy);
        scope.spawn(move || {
            let mut asked: Option<Instant> = None;
            while end.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                late.store(started.elapsed() > limit, Ordering::Relaxed);
                wordy.store(log.metadata().is_ok_and(|log| log.len() > most), Ordering::Relaxed);
                match asked {
                    None if cancel.is_set() || late.load(Ordering::Relaxed) || wordy.load(Ordering::Relaxed) => {
                        signal(id, Signal::TERM);
                        asked = Some(Instant::now());
                    }
                    // A program that ends others first needs longer than one that runs alone.
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
    if late.into_inner() {
        bail!("`{shown}` was ended after {} s, which is more than it may take", limit.as_secs());
    }
    if wordy.into_inner() {
        OutputMeter::new(most).count(usize::MAX).with_context(|| format!("`{program}` is not finished"))?;
    }
    let status = status.context("cannot wait for a child process")?;
    if !status.success() {
        bail!(Failed { program: file_name(&program), status, cause: None, command: shown });
    }
    Ok(took)
}

/// The name of a program without its folder, which the whole command has.
fn file_name(program: &str) -> String {
    program.rsplit('/').next().unwrap_or(program).to_owned()
}

/// The groups of the programs that run, for [`kill_all`].
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Ends everything at once, for a person who does not want to wait.
pub fn kill_all() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.iter().for_each(|id| signal(*id, Signal::KILL));
}

fn signal(id: u32, signal: Signal) {
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // An error means that the group is gone, which is what was wanted.
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests;
