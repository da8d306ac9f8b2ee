//! `cargo xtask doctor`: checks what is installed on this machine, and how to install what is missing.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::cache::Cache;
use crate::host::{self, ca_bundle};
use base::cancel::Cancel;
use base::platform::Platform;
use base::ui::{self, bytes};
use docker::Docker;
use matrix::Matrix;

/// Approximate disk space in bytes for building all images from scratch.
const DISK: u64 = 12 << 30;

/// Result of one check.
#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    pub state: CheckState,
    pub detail: String,
    pub fix: Option<Fix>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    Fine,
    /// Builds may work.
    Doubtful,
    Missing,
}

/// Remedy for a missing requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Install Debian packages.
    Apt(Vec<&'static str>),
    StartEngine,
    /// Join the group whose members may access the Docker engine.
    JoinGroup,
    /// Instruction for the user.
    Person(String),
}

impl Fix {
    fn command(&self) -> String {
        match self {
            Fix::Apt(packages) => {
                format!("{0}apt-get update && {0}apt-get install -y {1}", sudo(), packages.join(" "))
            }
            Fix::JoinGroup => "sudo usermod -aG docker $USER, then log in again".to_owned(),
            Fix::StartEngine if systemd() => format!("{}systemctl start docker", sudo()),
            Fix::StartEngine => format!("{}dockerd &", sudo()),
            Fix::Person(text) => text.clone(),
        }
    }
}

/// Checks the programs that steps on the host need.
pub fn programs() -> Vec<Check> {
    vec![program("tar", "tar"), program("cc", "build-essential"), venv()]
}

/// Checks the programs for building a root file system if no registry is reachable.
pub fn mmdebstrap() -> Check {
    let mut check = program("mmdebstrap", "mmdebstrap");
    // On other systems than Debian, the keys for verifying Debian's packages may be missing.
    if !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        check.state = CheckState::Missing;
        check.detail = "with Debian's keyring".to_owned();
        check.fix = Some(Fix::Apt(vec!["mmdebstrap", "debian-archive-keyring"]));
    }
    check
}

pub fn program(name: &'static str, package: &'static str) -> Check {
    match which::which(name) {
        Ok(path) => Check { name, state: CheckState::Fine, detail: path.display().to_string(), fix: None },
        Err(_) => Check {
            name,
            state: CheckState::Missing,
            detail: "not in PATH".to_owned(),
            fix: Some(Fix::Apt(vec![package])),
        },
    }
}

fn venv() -> Check {
    let script = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))";
    match read_output("python3", &["-c", script]) {
        Ok(version) => Check { name: "python3 venv", state: CheckState::Fine, detail: version, fix: None },
        Err(_) => Check {
            name: "python3 venv",
            state: CheckState::Missing,
            detail: "python3 with the modules venv and ensurepip".to_owned(),
            fix: Some(Fix::Apt(vec!["python3", "python3-venv"])),
        },
    }
}

/// Connects to the Docker engine. The check describes the engine or the problem.
pub fn engine(platform: Platform) -> (Option<Docker>, Check) {
    let name = "Docker engine";
    match Docker::connect().and_then(|docker| docker.info().map(|info| (docker, info))) {
        Ok((_, info)) if info.os_arch != platform.oci() => {
            let detail =
                format!("the engine at {} is {}, but images are for {}", info.endpoint, info.os_arch, platform.oci());
            let fix = Fix::Person(format!("point DOCKER_HOST at an engine on {}", platform.oci()));
            (None, Check { name, state: CheckState::Missing, detail, fix: Some(fix) })
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
            (Some(docker), Check { name, state: CheckState::Fine, detail, fix: None })
        }
        Err(error) => {
            let check = Check { name, state: CheckState::Missing, detail: format!("{error:#}"), fix: engine_fix() };
            (None, check)
        }
    }
}

/// Connects to the Docker engine. The error describes the problem as the check of [`engine`] does.
pub fn connect(platform: Platform) -> Result<Docker> {
    let (docker, check) = engine(platform);
    docker.ok_or_else(|| anyhow!(check.detail))
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
        // The socket accepts connections, so the error message describes the problem.
        _ => None,
    }
}

/// Prints the table of all checks, also of what `init` has written to `folder`. Fails if something is missing.
pub fn run(cache: &Cache, matrix: &Matrix, folder: &Path, cancel: &Cancel) -> Result<()> {
    let mut checks = all(cache, matrix);
    checks.extend(schema(folder));
    cancel.check()?;
    ui::print_result(&table(&checks))?;
    match checks.iter().filter(|check| check.state == CheckState::Missing).count() {
        0 => Ok(()),
        n => bail!("{n} missing; `--yes` on `wheels`, `image` and `ci` installs and starts what it can"),
    }
}

/// Runs all checks of `cargo xtask doctor`.
fn all(cache: &Cache, matrix: &Matrix) -> Vec<Check> {
    let (docker, engine) = engine(matrix.platform);
    let mut checks = vec![engine];
    checks.extend(programs());
    checks.push(mmdebstrap());
    checks.push(program("git", "git"));
    checks.push(match read_output("rustc", &["-V"]) {
        Ok(version) => Check { name: "rustc", state: CheckState::Fine, detail: version, fix: None },
        Err(error) => Check {
            name: "rustc",
            state: CheckState::Missing,
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
        Some(path) => {
            Check { name: "CA bundle", state: CheckState::Fine, detail: path.display().to_string(), fix: None }
        }
        None => Check {
            name: "CA bundle",
            state: CheckState::Doubtful,
            detail: "none found".to_owned(),
            fix: Some(Fix::Apt(vec!["ca-certificates"])),
        },
    });
    if let (Some(docker), Some(image)) = (&docker, matrix.root.image.as_deref()) {
        let name = "image registry";
        checks.push(match docker.check_registry(image) {
            Ok(()) => Check { name, state: CheckState::Fine, detail: format!("has {image}"), fix: None },
            // No remedy is needed: mmdebstrap is the fallback.
            Err(error) => Check {
                name,
                state: CheckState::Doubtful,
                detail: format!("not reachable, mmdebstrap is used instead: {}", error.root_cause()),
                fix: None,
            },
        });
    }
    checks.push(reached("crates", read_output("cargo", &["info", "--quiet", "anyhow"])));
    checks.push(match read_output("python3", &["-m", "pip", "--version"]) {
        Ok(_) => {
            reached("Python packages", read_output("python3", &["-m", "pip", "--quiet", "index", "versions", "pip"]))
        }
        Err(_) => Check {
            name: "Python packages",
            state: CheckState::Doubtful,
            detail: "checked later with the pip of the tools".to_owned(),
            fix: None,
        },
    });
    checks.push(debian_mirror());
    checks
}

/// Compares the schema that `init` has written to the folder with that of this program.
fn schema(folder: &Path) -> Option<Check> {
    const FILE: &str = "matrix.schema.json";
    let text = std::fs::read_to_string(folder.join(FILE)).ok()?;
    let current = text == base::program::with_command(matrix::SCHEMA);
    Some(match current {
        true => Check { name: "schema", state: CheckState::Fine, detail: format!("{FILE} is current"), fix: None },
        false => Check {
            name: "schema",
            state: CheckState::Doubtful,
            detail: format!("{FILE} is of another version of this program"),
            fix: Some(Fix::Person(base::program::with_command("`cargo xtask init --schema`").into_owned())),
        },
    })
}

fn disk(name: &'static str, folder: &Path) -> Check {
    let Some(free) = base::disk::free(folder) else {
        return Check {
            name,
            state: CheckState::Doubtful,
            detail: format!("cannot read the free space of `{}`", folder.display()),
            fix: None,
        };
    };
    let detail = format!("{} free at {}", bytes(free), folder.display());
    if free >= DISK {
        return Check { name, state: CheckState::Fine, detail, fix: None };
    }
    let fix = Fix::Person(format!("free some space: building all images needs about {}", bytes(DISK)));
    Check { name, state: CheckState::Doubtful, detail, fix: Some(fix) }
}

fn reached<T>(name: &'static str, probed: Result<T>) -> Check {
    match probed {
        Ok(_) => Check { name, state: CheckState::Fine, detail: "in reach".to_owned(), fix: None },
        Err(error) => Check {
            name,
            state: CheckState::Doubtful,
            detail: format!("not reachable: {error:#}"),
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
        None => {
            Check { name, state: CheckState::Doubtful, detail: "apt has no mirror configured".to_owned(), fix: None }
        }
    }
}

/// Runs a command and returns its standard output. The error is the last line of its standard error.
pub fn read_output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        // Without timeouts, these commands could hang for minutes on a network that drops packets.
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
        bail!("{}", text.trim().lines().last().unwrap_or("it failed without a message"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Formats the checks as a table, with the remedies of failed checks.
pub fn table(checks: &[Check]) -> String {
    let mut rows = Vec::new();
    for check in checks {
        let mark = match check.state {
            CheckState::Fine => "ok",
            CheckState::Doubtful => "?",
            CheckState::Missing => "MISSING",
        };
        rows.push([mark, check.name, &check.detail].map(str::to_owned));
        if let Some(fix) = &check.fix {
            rows.push([String::new(), String::new(), format!("-> {}", fix.command())]);
        }
    }
    ui::columns(&rows, "  ", |_| false)
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

#[cfg(test)]
mod tests {
    use fixture::Folder;

    use super::*;

    #[test]
    fn the_schema_of_another_version_is_noticed() {
        let folder = Folder::new("schema");
        assert!(schema(&folder.0).is_none(), "`init` was not used here");
        folder.write("matrix.schema.json", &base::program::with_command(matrix::SCHEMA));
        assert_eq!(schema(&folder.0).unwrap().state, CheckState::Fine);
        folder.write("matrix.schema.json", "{}");
        assert!(table(&[schema(&folder.0).unwrap()]).contains("init --schema"));
    }
}
