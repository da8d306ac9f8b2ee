//! `--yes`: installs and starts what a plan needs; without it, says all that is missing and changes nothing.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use xshell::{Shell, cmd};

use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::docker::Docker;
use crate::doctor::{Check, Fix, State, engine, mmdebstrap, program, programs, root, said, systemd, table};
use crate::ui::Ui;
use crate::{failure, proc};

/// What a plan needs of the machine.
pub struct Needs<'a> {
    pub docker: bool,
    /// Programs that only some commands need, with their Debian packages.
    pub programs: &'a [(&'static str, &'static str)],
    /// Whether a root file system must be bootstrapped, as far as this engine is concerned.
    pub bootstrap: &'a dyn Fn(&Docker) -> bool,
}

/// Makes sure that what is needed is there: installs and starts it with `yes`, else says all that is missing.
pub fn prepare(needs: &Needs, yes: bool, cache: &Cache, ui: &Ui, cancel: &Cancel) -> Result<Option<Docker>> {
    let mut missing: Vec<Check> = programs();
    missing.extend(needs.programs.iter().map(|(name, package)| program(name, package)));
    let mut connected = None;
    if needs.docker {
        let (found, check) = engine();
        missing.push(check);
        let bootstrap = mmdebstrap();
        if bootstrap.state == State::Missing && found.as_ref().is_none_or(|docker| (needs.bootstrap)(docker)) {
            missing.push(bootstrap);
        }
        connected = found;
    }
    // A check that Ctrl-C ended has found nothing missing.
    cancel.check()?;
    missing.retain(|check| check.state == State::Missing);
    if missing.is_empty() {
        return Ok(connected);
    }
    let person = missing.iter().any(|check| matches!(check.fix, None | Some(Fix::Person(_))));
    if !yes || person {
        let hint = if person { "" } else { "\nor let `--yes` do it" };
        return Err(anyhow!("this machine lacks something:\n{}{hint}", table(&missing).trim_end()));
    }
    if !root() {
        // Asks for the password here, where it can be typed.
        let allowed = Command::new("sudo").arg("-v").status().context("cannot start `sudo`: run this as root")?;
        if !allowed.success() {
            bail!("sudo refused: run these by hand, then try again:\n{}", table(&missing).trim_end());
        }
    }
    let mut packages = Vec::new();
    for check in &missing {
        if let Some(Fix::Apt(names)) = &check.fix {
            packages.extend(names.iter().copied());
        }
    }
    if !packages.is_empty() {
        install(&packages, cache, ui, cancel)?;
    }
    if needs.docker && connected.is_none() {
        connected = Some(start_engine(cache, ui, cancel)?);
    }
    Ok(connected)
}

fn install(packages: &[&str], cache: &Cache, ui: &Ui, cancel: &Cancel) -> Result<()> {
    let task = ui.start("doctor", &format!("install {}", packages.join(", ")), &cache.log("doctor"));
    task.open_log()?;
    let shell = Shell::new()?;
    let program: &[&str] = if root() { &["env"] } else { &["sudo", "-n", "env"] };
    let (program, before) = (program[0], &program[1..]);
    let apt = |arguments: &[&str]| {
        proc::run(
            cmd!(shell, "{program} {before...} DEBIAN_FRONTEND=noninteractive apt-get {arguments...}"),
            &task,
            cancel,
        )
    };
    let installed = apt(&["update"]).and_then(|()| apt(&[&["install", "-y"], packages].concat()));
    let done = installed.map_err(|error| anyhow!("{}", failure::explain(&error, &task)));
    task.end(if done.is_ok() { "ok" } else { "FAILED" });
    done
}

fn start_engine(cache: &Cache, ui: &Ui, cancel: &Cancel) -> Result<Docker> {
    let log = cache.log("dockerd");
    let started = Instant::now();
    let mut asked = false;
    loop {
        let (docker, check) = engine();
        if let Some(docker) = docker {
            return Ok(docker);
        }
        match check.fix {
            Some(Fix::JoinGroup) => return join_group(&check.detail),
            // The package may be starting it at this moment.
            Some(Fix::StartEngine) if !asked && (started.elapsed() > Duration::from_secs(3) || !systemd()) => {
                ui.say("[doctor] starting the Docker engine");
                start(&log)?;
                asked = true;
            }
            _ => {}
        }
        if started.elapsed() > Duration::from_secs(60) {
            bail!("the Docker engine did not start within 60 s: {}; see {}", check.detail, engine_log(&log));
        }
        cancel.check()?;
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn start(log: &Path) -> Result<()> {
    let mut command = Command::new(if root() { "env" } else { "sudo" });
    let (shown, command) = if systemd() {
        ("systemctl start docker", command.args(["systemctl", "start", "docker"]))
    } else {
        let output = File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        // In a session of its own: it must outlive this process and the terminal.
        let command = command.args(["setsid", "--fork", "dockerd"]).stdin(Stdio::null());
        ("dockerd", command.stdout(output.try_clone()?).stderr(output))
    };
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}; see {}", engine_log(log));
    }
    Ok(())
}

fn engine_log(log: &Path) -> String {
    if systemd() { "`journalctl -u docker`".to_owned() } else { format!("its log, {}", log.display()) }
}

/// Puts the user into the engine's group and goes on as a member of it, which else took a new login.
fn join_group(detail: &str) -> Result<Docker> {
    const TRIED: &str = "XTASK_JOINED_DOCKER_GROUP";
    let user = said("id", &["-un"])?;
    if std::env::var_os(TRIED).is_some() || root() {
        bail!("{detail}");
    }
    let status =
        Command::new("sudo").args(["usermod", "-aG", "docker", &user]).status().context("cannot start `sudo`")?;
    if !status.success() {
        bail!("`sudo usermod -aG docker {user}` failed: {status}");
    }
    let quote = |text: String| format!("'{}'", text.replace('\'', "'\\''"));
    let again: Vec<String> = std::env::args().map(quote).collect();
    let error =
        Command::new("sg").args(["docker", "-c", &format!("exec {}", again.join(" "))]).env(TRIED, "yes").exec();
    Err(anyhow!(error)).context("you are in the group `docker` now: log in anew, then run the same command again")
}
