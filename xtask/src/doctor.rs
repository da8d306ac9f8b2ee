//! What this machine has and lacks, all at once, each with the way to get it; `--yes` takes that way.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::cache::Cache;
use crate::docker::Docker;
use crate::step::apt::ca_bundle;
use crate::ui::{Ui, bytes};

/// A cold build of all images needs about this much, in bytes.
const DISK: u64 = 12 << 30;

/// One thing that was looked at.
#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub detail: String,
    pub fix: Option<Fix>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Fine,
    /// Work is possible, or may be.
    Doubtful,
    Missing,
}

/// The way to get something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Debian packages.
    Apt(Vec<&'static str>),
    StartEngine,
    /// Something that a person must do.
    Person(String),
}

impl Fix {
    fn command(&self) -> String {
        match self {
            Fix::Apt(packages) => format!("{}apt-get install -y {}", sudo(), packages.join(" ")),
            Fix::StartEngine if systemd() => format!("{}systemctl start docker", sudo()),
            Fix::StartEngine => format!("{}dockerd &", sudo()),
            Fix::Person(text) => text.clone(),
        }
    }
}

/// The programs that work on the host needs.
pub fn programs(docker: bool) -> Vec<Check> {
    let mut checks = vec![program("curl", "curl"), program("tar", "tar"), program("cc", "build-essential"), venv()];
    if docker {
        let mut check = program("mmdebstrap", "mmdebstrap");
        // The keys that the root's packages are checked with, which a system other than Debian lacks.
        if !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
            check.state = State::Missing;
            check.fix = Some(Fix::Apt(vec!["mmdebstrap", "debian-archive-keyring"]));
        }
        checks.push(check);
    }
    checks
}

fn program(name: &'static str, package: &'static str) -> Check {
    match which::which(name) {
        Ok(path) => Check { name, state: State::Fine, detail: path.display().to_string(), fix: None },
        Err(_) => {
            Check { name, state: State::Missing, detail: "not in PATH".to_owned(), fix: Some(Fix::Apt(vec![package])) }
        }
    }
}

fn venv() -> Check {
    let script = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))";
    match said("python3", &["-c", script]) {
        Ok(version) => Check { name: "python3 venv", state: State::Fine, detail: version, fix: None },
        Err(_) => Check {
            name: "python3 venv",
            state: State::Missing,
            detail: "python3 with the modules venv and ensurepip".to_owned(),
            fix: Some(Fix::Apt(vec!["python3", "python3-venv"])),
        },
    }
}

/// The engine: connected, or what stands in the way.
pub fn engine() -> (Option<Docker>, Check) {
    let name = "Docker engine";
    match Docker::connect().and_then(|docker| docker.info().map(|info| (docker, info))) {
        Ok((_, info)) if info.os_arch != "linux/amd64" => {
            let detail = format!("the engine at {} is {}, but images are for linux/amd64", info.endpoint, info.os_arch);
            let fix = Fix::Person("point DOCKER_HOST at an engine on x86-64".to_owned());
            (None, Check { name, state: State::Missing, detail, fix: Some(fix) })
        }
        Ok((docker, info)) => {
            let detail = format!(
                "{} (API {}), {} processors, {}, at {}",
                info.version,
                info.api,
                info.cpus,
                bytes(info.memory),
                info.endpoint
            );
            (Some(docker), Check { name, state: State::Fine, detail, fix: None })
        }
        Err(error) => {
            let remote = ["DOCKER_HOST", "DOCKER_CONTEXT"].iter().any(|var| std::env::var_os(var).is_some());
            let installed = which::which("dockerd").is_ok();
            let denied = format!("{error:#}").contains("permission");
            let fix = if remote || denied {
                None
            } else if installed {
                Some(Fix::StartEngine)
            } else {
                Some(Fix::Apt(vec!["docker.io"]))
            };
            (None, Check { name, state: State::Missing, detail: format!("{error:#}"), fix })
        }
    }
}

/// Everything that `cargo xtask doctor` shows.
pub fn all(cache: &Cache, root_image: Option<&str>) -> Vec<Check> {
    let (docker, engine) = engine();
    let mut checks = vec![engine];
    checks.extend(programs(true));
    checks.push(program("git", "git"));
    checks.push(match said("rustc", &["-V"]) {
        Ok(version) => Check { name: "rustc", state: State::Fine, detail: version, fix: None },
        Err(error) => Check {
            name: "rustc",
            state: State::Missing,
            detail: format!("{error:#}"),
            fix: Some(Fix::Person("install Rust with rustup".to_owned())),
        },
    });
    checks.push(disk("disk, cache", cache.dir()));
    if let Some(info) = docker.as_ref().and_then(|docker| docker.info().ok())
        && Path::new(&info.root_dir).exists()
    {
        checks.push(disk("disk, engine", Path::new(&info.root_dir)));
    }
    checks.push(match ca_bundle() {
        Some(path) => Check { name: "CA bundle", state: State::Fine, detail: path.display().to_string(), fix: None },
        None => Check {
            name: "CA bundle",
            state: State::Doubtful,
            detail: "none found".to_owned(),
            fix: Some(Fix::Apt(vec!["ca-certificates"])),
        },
    });
    if let (Some(docker), Some(image)) = (&docker, root_image) {
        let name = "image registry";
        checks.push(match docker.offered(image) {
            Ok(()) => Check { name, state: State::Fine, detail: format!("has {image}"), fix: None },
            // Nothing to mend: mmdebstrap stands in.
            Err(error) => Check {
                name,
                state: State::Doubtful,
                detail: format!("not in reach, mmdebstrap will do: {error:#}"),
                fix: None,
            },
        });
    }
    checks.push(reach("crates", "cargo", &["info", "--quiet", "anyhow"]));
    checks.push(match said("python3", &["-m", "pip", "--version"]) {
        Ok(_) => reach("Python packages", "python3", &["-m", "pip", "--quiet", "index", "versions", "pip"]),
        Err(_) => Check {
            name: "Python packages",
            state: State::Doubtful,
            detail: "asked when the tools bring their own pip".to_owned(),
            fix: None,
        },
    });
    checks.push(debian_mirror());
    checks
}

fn disk(name: &'static str, folder: &Path) -> Check {
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return Check { name, state: State::Doubtful, detail: format!("cannot ask `{}`", folder.display()), fix: None };
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let detail = format!("{} free at {}", bytes(free), folder.display());
    if free >= DISK {
        return Check { name, state: State::Fine, detail, fix: None };
    }
    let fix = Fix::Person(format!("free some space: all images from nothing need about {}", bytes(DISK)));
    Check { name, state: State::Doubtful, detail, fix: Some(fix) }
}

fn reach(name: &'static str, program: &str, args: &[&str]) -> Check {
    match said(program, args) {
        Ok(_) => Check { name, state: State::Fine, detail: "in reach".to_owned(), fix: None },
        Err(error) => Check {
            name,
            state: State::Doubtful,
            detail: format!("not in reach: {error:#}"),
            fix: Some(Fix::Person("check the network and the proxy settings".to_owned())),
        },
    }
}

fn debian_mirror() -> Check {
    let name = "Debian packages";
    let sites =
        said("apt-get", &["indextargets", "--format", "$(BASE_URI)", "Created-By: Packages"]).unwrap_or_default();
    match sites.lines().find(|site| site.starts_with("http")).map(|site| format!("{site}InRelease")) {
        Some(site) => reach(
            name,
            "curl",
            &["--fail", "--silent", "--show-error", "--head", "--location", "--max-time", "10", &site],
        ),
        None => Check { name, state: State::Doubtful, detail: "apt names no mirror".to_owned(), fix: None },
    }
}

/// What a command prints, or the last line of what it complains about.
fn said(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{program}`"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{}", text.trim().lines().last().unwrap_or("it failed without a word"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The checks as a table; each that is not fine with its remedy below it.
pub fn table(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        let mark = match check.state {
            State::Fine => "ok     ",
            State::Doubtful => "?      ",
            State::Missing => "MISSING",
        };
        let _ = writeln!(out, "{mark}  {:16} {}", check.name, check.detail);
        if let Some(fix) = &check.fix {
            let _ = writeln!(out, "                          -> {}", fix.command());
        }
    }
    out
}

/// Makes sure that what is needed is there: installs and starts it with `yes`, else says all that is missing.
pub fn prepare(docker: bool, yes: bool, cache: &Cache, ui: &Ui) -> Result<Option<Docker>> {
    let mut missing: Vec<Check> = programs(docker).into_iter().filter(|check| check.state == State::Missing).collect();
    let mut connected = None;
    if docker {
        let (found, check) = engine();
        connected = found;
        missing.extend((check.state == State::Missing).then_some(check));
    }
    if missing.is_empty() {
        return Ok(connected);
    }
    let person = missing.iter().any(|check| !matches!(check.fix, Some(Fix::Apt(_) | Fix::StartEngine)));
    if !yes || person {
        let hint = if person { "" } else { "\nor let `--yes` do it" };
        return Err(anyhow!("this machine lacks something:\n{}{hint}", table(&missing).trim_end()));
    }
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|check| match &check.fix {
            Some(Fix::Apt(packages)) => Some(packages.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    if !packages.is_empty() {
        install(&packages, cache, ui)?;
    }
    if docker && connected.is_none() {
        connected = Some(start_engine(cache, ui)?);
    }
    Ok(connected)
}

fn install(packages: &[&str], cache: &Cache, ui: &Ui) -> Result<()> {
    ui.say(&format!("[doctor] installing {}", packages.join(", ")));
    let log = cache.log("doctor");
    for arguments in [vec!["update"], [&["install", "-y"], packages].concat()] {
        let command = format!("{}apt-get {}", sudo(), arguments.join(" "));
        let output = privileged("apt-get").args(&arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start `{command}`"))?;
        let text = [output.stdout, output.stderr].concat();
        std::fs::write(&log, &text).with_context(|| format!("cannot write `{}`", log.display()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&text);
            let last = text.trim().lines().last().unwrap_or_default().to_owned();
            bail!("`{command}` failed: {last}\nwhole log: {}\nrun it by hand, then try again", log.display());
        }
    }
    Ok(())
}

fn start_engine(cache: &Cache, ui: &Ui) -> Result<Docker> {
    let log = cache.log("dockerd");
    // The package may have started it already.
    if let (Some(docker), _) = engine() {
        return Ok(docker);
    }
    ui.say("[doctor] starting the Docker engine");
    if systemd() {
        privileged("systemctl").args(["start", "docker"]).status().context("cannot start `systemctl`")?;
    } else {
        let output = std::fs::File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
        // In a session of its own: it must outlive this process and the terminal.
        privileged("setsid")
            .args(["--fork", "dockerd"])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .context("cannot start `setsid --fork dockerd`")?;
    }
    let started = Instant::now();
    loop {
        let (docker, check) = engine();
        if let Some(docker) = docker {
            return Ok(docker);
        }
        if started.elapsed() > Duration::from_secs(60) {
            bail!("the Docker engine did not start within 60 s: {}; its log: {}", check.detail, log.display());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn privileged(program: &str) -> Command {
    let mut command = Command::new(if root() { program } else { "sudo" });
    if !root() {
        command.arg(program);
    }
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn sudo() -> &'static str {
    if root() { "" } else { "sudo " }
}

fn systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}
