//! Starts the Docker engine and waits until it responds.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::cache::Cache;
use crate::doctor::{Fix, engine, read_output, root, systemd};
use base::cancel::Cancel;
use base::platform::Platform;
use base::ui::Ui;
use docker::Docker;

/// Maximum number of starts. A killed engine leaves a pid file, and the next one exits if a process with that id
/// exists.
const STARTS: u32 = 2;
/// Number of lines of the engine's log shown after it exited.
const LINES: usize = 8;

/// State of the engine.
enum Look<T> {
    Answers(T),
    /// It does not respond, for this reason; the flag tells whether starting it can help.
    Silent(String, bool),
}

/// Engine that responds, or one that this user may not access, with the reason.
enum Reached {
    Engine(Box<Docker>),
    Forbidden(String),
}

/// Started engine.
struct Launched {
    /// `None` if systemd failed to start it.
    pid: Option<Pid>,
    log: Log,
}

/// Location of the engine's log.
#[derive(Clone)]
enum Log {
    File(PathBuf),
    Journal,
}

/// Procedure and time limits for starting the engine.
struct BringUp<'a, T> {
    look: &'a dyn Fn() -> Look<T>,
    start: &'a dyn Fn() -> Result<Launched>,
    say: &'a dyn Fn(&str),
    /// Delays before the first and the second start.
    pauses: [Duration; 2],
    /// Time limit for the engine to respond.
    patience: Duration,
}

/// Starts the engine unless it responds, and waits for it. Requires `--yes`.
pub fn start(platform: Platform, cache: &Cache, ui: &Ui, cancel: &Cancel) -> Result<Docker> {
    let log = cache.log("dockerd");
    let look = || match engine(platform) {
        (Some(docker), _) => Look::Answers(Reached::Engine(Box::new(docker))),
        (None, check) => match check.fix {
            Some(Fix::JoinGroup) => Look::Answers(Reached::Forbidden(check.detail)),
            fix => Look::Silent(check.detail, fix == Some(Fix::StartEngine)),
        },
    };
    let start = || {
        ui.say("[doctor] starting the Docker engine");
        if systemd() { start_service() } else { launch(&["dockerd"], !root(), &log) }
    };
    // The package installation may be starting it at this moment.
    let first = if systemd() { Duration::from_secs(3) } else { Duration::ZERO };
    let bring_up = BringUp {
        look: &look,
        start: &start,
        say: &|text| ui.say(text),
        pauses: [first, Duration::from_secs(2)],
        patience: Duration::from_secs(60),
    };
    match bring_up.run(cancel)? {
        Reached::Engine(docker) => Ok(*docker),
        Reached::Forbidden(detail) => join_group(&detail, ui),
    }
}

impl<T> BringUp<'_, T> {
    fn run(&self, cancel: &Cancel) -> Result<T> {
        let began = Instant::now();
        let mut not_before = began + self.pauses[0];
        let (mut launched, mut starts): (Option<Launched>, u32) = (None, 0);
        loop {
            // Check in this order: an engine that exits after this check is noticed in the next round.
            let gone = launched.as_ref().is_some_and(|launched| !launched.is_running());
            let (why, can_start) = match (self.look)() {
                Look::Answers(found) => return Ok(found),
                Look::Silent(why, can_start) => (why, can_start),
            };
            if let Some(exited) = launched.take_if(|_| gone) {
                let lines = exited.log.last_lines();
                if starts == STARTS {
                    bail!("the Docker engine was started {STARTS} times and exited each time:\n{lines}");
                }
                (self.say)(&format!("[doctor] the Docker engine exited; starting it again:\n{lines}"));
                not_before = Instant::now() + self.pauses[1];
            }
            if can_start && launched.is_none() && Instant::now() >= not_before {
                launched = Some((self.start)()?);
                starts += 1;
            }
            if began.elapsed() > self.patience {
                let log = launched.map(|launched| format!("\n{}", launched.log.last_lines())).unwrap_or_default();
                bail!("the Docker engine did not respond within {} s: {why}{log}", self.patience.as_secs());
            }
            cancel.check()?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Launched {
    fn is_running(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        // The state follows the name, which is in parentheses and may contain parentheses itself.
        match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
            // The process has ended and was not reaped yet.
            Some('Z' | 'X') => false,
            Some(_) => true,
            // Processes of other users may be hidden; a signal that is not permitted shows that the process exists.
            None => test_kill_process(pid) != Err(Errno::SRCH),
        }
    }
}

impl Log {
    /// Returns the last lines of the log and its location.
    fn last_lines(&self) -> String {
        let (text, name) = match self {
            Log::File(path) => (
                fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default(),
                path.display().to_string(),
            ),
            Log::Journal => (
                read_output("journalctl", &["-u", "docker", "-n", "8", "--no-pager", "-o", "cat"]).unwrap_or_default(),
                "`journalctl -u docker`".to_owned(),
            ),
        };
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        let shown: String = last.iter().map(|line| format!("    | {line}\n")).collect();
        format!("{shown}    whole log: {name}")
    }
}

/// Starts the engine as a systemd service.
fn start_service() -> Result<Launched> {
    let mut command = Command::new(if root() { "env" } else { "sudo" });
    let status = command.args(["systemctl", "start", "docker"]).status().context("cannot start `systemctl`")?;
    // On success, systemd supervises the service; use this process's id, which always exists.
    let pid = if status.success() { Some(rustix::process::getpid()) } else { None };
    Ok(Launched { pid, log: Log::Journal })
}

/// Starts a program in its own session, so that it survives this process and the terminal.
fn launch(command: &[&str], sudo: bool, log: &Path) -> Result<Launched> {
    let output = File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
    let words = ["setsid", "--fork", "sh", "-c", "echo $$; exec \"$@\" >&2 </dev/null", "sh"];
    let started = Command::new(if sudo { "sudo" } else { "env" })
        .args(words)
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(output)
        .output()
        .with_context(|| format!("cannot start `{}`", command.join(" ")))?;
    let log = Log::File(log.to_owned());
    let pid = String::from_utf8_lossy(&started.stdout).trim().parse().ok().and_then(Pid::from_raw);
    if !started.status.success() || pid.is_none() {
        bail!("cannot start `{}`: {}\n{}", command.join(" "), started.status, log.last_lines());
    }
    Ok(Launched { pid, log })
}

/// Adds the user to the engine's group and runs this command again as a member, because the group would otherwise be
/// effective only after a new login.
fn join_group(detail: &str, ui: &Ui) -> Result<Docker> {
    const TRIED: &str = "XTASK_JOINED_DOCKER_GROUP";
    if std::env::var_os(TRIED).is_some() || root() {
        bail!("{detail}");
    }
    let user = read_output("id", &["-un"])?;
    ui.say(&format!(
        "[doctor] adding the user `{user}` to the group `docker`, as `--yes` allows: members of this group have \
         root privileges on this machine; `sudo gpasswd --delete {user} docker` reverts it"
    ));
    let added = Command::new("sudo").args(["usermod", "-aG", "docker", &user]).status();
    let status = added.context("cannot start `sudo`")?;
    if !status.success() {
        bail!("`sudo usermod -aG docker {user}` failed: {status}");
    }
    let mut again = OsString::from("exec");
    for word in std::env::args_os() {
        again.push(" ");
        again.push(quoted(&word));
    }
    let error = Command::new("sg").args(["docker", "-c"]).arg(again).env(TRIED, "yes").exec();
    Err(anyhow!(error)).context("you were added to the group `docker`: log in again, then run the same command again")
}

/// Quotes a word for a POSIX shell, whatever its encoding. An argument never contains NUL, which cannot be quoted.
fn quoted(word: &OsStr) -> OsString {
    let bytes = shlex::bytes::try_quote(word.as_bytes());
    bytes.map_or_else(|_| word.to_owned(), |bytes| OsString::from_vec(bytes.into_owned()))
}

#[cfg(test)]
mod tests;
