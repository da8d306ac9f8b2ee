//! What this machine has and lacks, all at once, each with the way to get it.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::host::{self, ca_bundle};
use base::cancel::Cancel;
use base::platform::Platform;
use base::ui::{self, bytes};
use docker::Docker;
use matrix::Matrix;

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
    /// The group whose members may talk to the engine.
    JoinGroup,
    /// Something that a person must do.
    Person(String),
}

impl Fix {
    fn command(&self) -> String {
        match self {
            Fix::Apt(packages) => {
                format!("{0}apt-get update && {0}apt-get install -y {1}", sudo(), packages.join(" "))
            }
            Fix::JoinGroup => "sudo usermod -aG docker $USER, then log in anew".to_owned(),
            Fix::StartEngine if systemd() => format!("{}systemctl start docker", sudo()),
            Fix::StartEngine => format!("{}dockerd &", sudo()),
            Fix::Person(text) => text.clone(),
        }
    }
}

/// The programs that work on the host needs.
pub fn programs() -> Vec<Check> {
    vec![program("tar", "tar"), program("cc", "build-essential"), venv()]
}

/// What makes a root file system where no registry has one.
pub fn mmdebstrap() -> Check {
    let mut check = program("mmdebstrap", "mmdebstrap");
    // The keys that Debian's packages are checked with, which another system lacks.
    if !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        check.state = State::Missing;
        check.detail = "with Debian's keyring".to_owned();
        check.fix = Some(Fix::Apt(vec!["mmdebstrap", "debian-archive-keyring"]));
    }
    check
}

pub fn program(name: &'static str, package: &'static str) -> Check {
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
pub fn engine(platform: Platform) -> (Option<Docker>, Check) {
    let name = "Docker engine";
    match Docker::connect().and_then(|docker| docker.info().map(|info| (docker, info))) {
        Ok((_, info)) if info.os_arch != platform.oci() => {
            let detail =
                format!("the engine at {} is {}, but images are for {}", info.endpoint, info.os_arch, platform.oci());
            let fix = Fix::Person(format!("point DOCKER_HOST at an engine on {}", platform.oci()));
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
            let check = Check { name, state: State::Missing, detail: format!("{error:#}"), fix: engine_fix() };
            (None, check)
        }
    }
}

fn engine_fix() -> Option<Fix> {
    let Some(socket) = docker::default_socket() else {
        return Some(Fix::Person("correct or unset DOCKER_HOST, DOCKER_CONTEXT or `docker context use`".to_owned()));
    };
    match UnixStream::connect(&socket).map_err(|error| error.kind()) {
        Err(ErrorKind::PermissionDenied) => Some(Fix::JoinGroup),
        Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused) if which::which("dockerd").is_ok() => {
            Some(Fix::StartEngine)
        }
        Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Some(Fix::Apt(vec!["docker.io"])),
        // Something answers there, and the error says what is wrong with it.
        _ => None,
    }
}

/// `cargo xtask doctor`: prints the table of all checks. An error if something is missing.
pub fn run(cache: &Cache, matrix: &Matrix, cancel: &Cancel) -> Result<()> {
    let checks = all(cache, matrix);
    cancel.check()?;
    ui::print_result(&table(&checks))?;
    match checks.iter().filter(|check| check.state == State::Missing).count() {
        0 => Ok(()),
        n => bail!("{n} missing; `--yes` on `wheels`, `image` and `ci` installs and starts what it can"),
    }
}

/// Everything that `cargo xtask doctor` shows.
fn all(cache: &Cache, matrix: &Matrix) -> Vec<Check> {
    let (docker, engine) = engine(matrix.platform);
    let mut checks = vec![engine];
    checks.extend(programs());
    checks.push(mmdebstrap());
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
    if let (Some(docker), Some(image)) = (&docker, matrix.root.image.as_deref()) {
        let name = "image registry";
        checks.push(match docker.check_registry(image) {
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
    checks.push(reached("crates", said("cargo", &["info", "--quiet", "anyhow"])));
    checks.push(match said("python3", &["-m", "pip", "--version"]) {
        Ok(_) => reached("Python packages", said("python3", &["-m", "pip", "--quiet", "index", "versions", "pip"])),
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
    let Some(free) = base::disk::free(folder) else {
        return Check { name, state: State::Doubtful, detail: format!("cannot ask `{}`", folder.display()), fix: None };
    };
    let detail = format!("{} free at {}", bytes(free), folder.display());
    if free >= DISK {
        return Check { name, state: State::Fine, detail, fix: None };
    }
    let fix = Fix::Person(format!("free some space: all images from nothing need about {}", bytes(DISK)));
    Check { name, state: State::Doubtful, detail, fix: Some(fix) }
}

fn reached<T>(name: &'static str, probed: Result<T>) -> Check {
    match probed {
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
    let sites = host::index_targets("$(BASE_URI)");
    match sites.iter().find(|site| site.starts_with("http")).map(|site| format!("{site}InRelease")) {
        Some(site) => {
            let probed = download::parse_url(&site).and_then(|url| download::Client::from_environment()?.probe(&url));
            reached(name, probed)
        }
        None => Check { name, state: State::Doubtful, detail: "apt names no mirror".to_owned(), fix: None },
    }
}

/// What a command prints, or the last line of what it complains about.
pub fn said(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        // Asked of a network that swallows everything, they would not come back for minutes.
        .envs([
            ("CARGO_HTTP_TIMEOUT", "10"),
            ("CARGO_NET_RETRY", "0"),
            ("PIP_DEFAULT_TIMEOUT", "10"),
            ("PIP_RETRIES", "0"),
        ])
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

pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn sudo() -> &'static str {
    if root() { "" } else { "sudo " }
}

pub fn systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}
