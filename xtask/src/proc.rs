//! Runs other programs: output to the log line by line, ended with everything they started.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use xshell::Cmd;

use crate::cancel::Cancel;
use crate::ui::Task;

/// What may be said to a program and heard of it while it runs.
pub struct Talk<'a> {
    /// Its standard input.
    pub input: &'a str,
    /// Called five times a second.
    pub tick: &'a dyn Fn(),
    /// Called with each line that it prints, besides the log.
    pub line: &'a (dyn Fn(&str) + Sync),
}

impl Default for Talk<'_> {
    fn default() -> Self {
        Talk { input: "", tick: &|| {}, line: &|_| {} }
    }
}

/// Runs `command` to its end and returns its standard output.
pub fn run(command: Cmd, task: &Task, cancel: &Cancel) -> Result<String> {
    talk(command, task, cancel, &Talk::default())
}

/// The same, in conversation.
pub fn talk(command: Cmd, task: &Task, cancel: &Cancel, talk: &Talk) -> Result<String> {
    let shown = command.to_string();
    task.line(&format!("$ {shown}"));
    let program = shown.split(' ').next().unwrap_or_default().to_owned();
    let mut command = Command::from(command);
    // A group of its own: a terminal's Ctrl-C reaches us alone, and we end the whole group.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| {
        format!("cannot start `{program}`: `cargo xtask doctor` says what is missing on this machine")
    })?;
    let id = child.id();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    if let Some(mut stdin) = child.stdin.take() {
        use std::io::Write;
        // A program that does not read its input closes it; its exit status says whether that was right.
        let _ = stdin.write_all(talk.input.as_bytes());
    }
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let kept = Mutex::new(String::new());
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            each_line(stdout, |line| {
                task.line(line);
                (talk.line)(line);
                if let Ok(mut kept) = kept.lock() {
                    kept.push_str(line);
                    kept.push('\n');
                }
            });
        });
        scope.spawn(|| {
            each_line(stderr, |line| {
                task.line(line);
                (talk.line)(line);
            })
        });
        let status = wait(&mut child, cancel, talk.tick);
        // What it left running would keep the pipes open.
        signal(child.id(), Signal::KILL);
        status
    });
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != id);
    let status = status?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(kept.into_inner().unwrap_or_default())
}

/// Runs `command` with all its output in `log`, and returns the wall time that it took. Nothing else
/// is done meanwhile: no pipe is read, and the end is seen when it comes.
pub fn time(command: Cmd, log: &File, limit: Duration, cancel: &Cancel) -> Result<Duration> {
    let shown = command.to_string();
    let mut command = Command::from(command);
    command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let id = child.id();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    let late = AtomicBool::new(false);
    let (ended, end) = mpsc::channel::<()>();
    let (status, took) = std::thread::scope(|scope| {
        let late = &late;
        scope.spawn(move || {
            let mut asked: Option<Instant> = None;
            while end.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                late.store(started.elapsed() > limit, Ordering::Relaxed);
                match asked {
                    None if cancel.is_set() || late.load(Ordering::Relaxed) => {
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
    let status = status.context("cannot wait for a child process")?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(took)
}

/// The groups of programs under way, for [`kill_all`].
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Ends everything at once, for a person who does not want to wait.
pub fn kill_all() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.iter().for_each(|id| signal(*id, Signal::KILL));
}

fn wait(child: &mut Child, cancel: &Cancel, tick: &dyn Fn()) -> Result<std::process::ExitStatus> {
    let mut asked: Option<Instant> = None;
    let mut beat = 0_u32;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            cancel.check()?;
            return Ok(status);
        }
        match asked {
            None if cancel.is_set() => {
                signal(child.id(), Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > Duration::from_secs(5) => signal(child.id(), Signal::KILL),
            _ => {}
        }
        beat += 1;
        if beat.is_multiple_of(4) {
            tick();
        }
        // Short at first, so that a quick command does not cost a long wait.
        std::thread::sleep(Duration::from_millis(if beat < 20 { 5 } else { 50 }));
    }
}

fn signal(id: u32, signal: Signal) {
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // An error means that the group is gone, which is what was wanted.
        let _ = kill_process_group(group, signal);
    }
}

fn each_line(stream: Option<impl Read>, mut on: impl FnMut(&str)) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        on(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
}
