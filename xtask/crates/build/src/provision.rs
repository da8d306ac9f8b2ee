//! Installs and starts what a plan needs (`--yes`), or lists everything that is missing.

mod engine;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use xshell::{Shell, cmd};

use crate::cache::Cache;
use crate::doctor;
use crate::doctor::{Check, CheckState, Fix, mmdebstrap, program, programs, root, table};
use base::cancel::Cancel;
use base::platform::Platform;
use base::ui::Ui;
use base::{failure, proc};
use docker::Docker;

/// Seconds to wait for other programs that install packages, such as unattended upgrades.
const LOCK_TIMEOUT: u64 = 600;

/// Requirements of a plan.
pub struct Needs<'a> {
    /// Required platform of the engine.
    pub platform: Platform,
    pub docker: bool,
    /// Programs that only some commands need, with their Debian packages.
    pub programs: &'a [(&'static str, &'static str)],
    /// Returns whether a root file system must be bootstrapped with this engine.
    pub bootstrap: &'a dyn Fn(&Docker) -> bool,
}

/// Checks the requirements. With `yes`, installs and starts what is missing, otherwise fails with a list.
pub fn prepare(needs: &Needs, yes: bool, cache: &Cache, ui: &Ui, cancel: &Cancel) -> Result<Option<Docker>> {
    let mut missing: Vec<Check> = programs();
    missing.extend(needs.programs.iter().map(|(name, package)| program(name, package)));
    let mut connected = None;
    if needs.docker {
        let (found, check) = doctor::engine(needs.platform);
        missing.push(check);
        let bootstrap = mmdebstrap();
        if bootstrap.state == CheckState::Missing && found.as_ref().is_none_or(|docker| (needs.bootstrap)(docker)) {
            missing.push(bootstrap);
        }
        connected = found;
    }
    // An interrupted check did not find anything missing.
    cancel.check()?;
    missing.retain(|check| check.state == CheckState::Missing);
    if missing.is_empty() {
        return Ok(connected);
    }
    let person = missing.iter().any(|check| matches!(check.fix, None | Some(Fix::Person(_))));
    if !yes || person {
        let hint = if person { "" } else { "\nor use `--yes` to do this automatically" };
        return Err(anyhow!("requirements are missing on this machine:\n{}{hint}", table(&missing).trim_end()));
    }
    if !root() {
        // Ask for the password now, while the terminal is free.
        let allowed =
            Command::new("sudo").arg("-v").status().context("cannot start `sudo`: run this command as root")?;
        if !allowed.success() {
            bail!("sudo failed: run these commands manually, then try again:\n{}", table(&missing).trim_end());
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
        connected = Some(engine::start(needs.platform, cache, ui, cancel)?);
    }
    Ok(connected)
}

fn install(packages: &[&str], cache: &Cache, ui: &Ui, cancel: &Cancel) -> Result<()> {
    let task = ui.start("doctor", &format!("install {}", packages.join(", ")), &cache.log("doctor"));
    task.open_log()?;
    let shell = Shell::new()?;
    let program: &[&str] = if root() { &["env"] } else { &["sudo", "-n", "env"] };
    let (program, before) = (program[0], &program[1..]);
    let lock = format!("DPkg::Lock::Timeout={LOCK_TIMEOUT}");
    let apt = |arguments: &[&str]| {
        // Use English messages, because they are parsed below.
        let settings = ["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"];
        let command = cmd!(shell, "{program} {before...} {settings...} apt-get -o {lock} {arguments...}");
        proc::run(command, &task, cancel)
    };
    let waiting = || task.waiting("waiting for another program to release the lock of apt");
    let updated = update(&|| apt(&["update"]), &waiting, Duration::from_secs(2), cancel);
    let installed = updated.and_then(|()| apt(&[&["install", "-y"], packages].concat()));
    let done = installed.map_err(|error| anyhow!("{}", failure::explain(&error, &task)));
    task.end(if done.is_ok() { "ok" } else { "FAILED" });
    done
}

/// Runs `apt-get update` and repeats it while another program holds the lock of the package lists; apt itself waits
/// only for the lock of dpkg.
fn update(update: &dyn Fn() -> Result<()>, waiting: &dyn Fn(), pause: Duration, cancel: &Cancel) -> Result<()> {
    let began = Instant::now();
    loop {
        let Err(error) = update() else { return Ok(()) };
        let text = format!("{error:#}");
        let locked = ["Could not get lock", "Unable to lock directory"].iter().any(|part| text.contains(part));
        if !locked || began.elapsed() > Duration::from_secs(LOCK_TIMEOUT) {
            return Err(error);
        }
        waiting();
        cancel.check()?;
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use anyhow::{Result, bail};

    use super::update;
    use base::cancel::Cancel;

    /// Runs `update` with a first call that fails with `error`. Returns the number of calls and the result.
    fn updates(error: &str) -> (u32, Result<()>) {
        let calls = Cell::new(0);
        let call = || {
            calls.set(calls.get() + 1);
            if calls.get() == 1 {
                bail!("`env` failed with exit code 100: {error}")
            }
            Ok(())
        };
        let result = update(&call, &|| {}, Duration::ZERO, &Cancel::default());
        (calls.get(), result)
    }

    #[test]
    fn update_waits_for_other_users_of_apt() {
        let (calls, result) = updates("E: Unable to lock directory /var/lib/apt/lists/");
        assert_eq!((calls, result.is_ok()), (2, true));
        let (calls, result) = updates("E: The repository has no Release file.");
        assert_eq!((calls, result.is_ok()), (1, false));
    }
}
