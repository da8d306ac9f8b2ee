//! Describes the machine on which the benchmark runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::usual_tools::docker_client;
use base::git;
use base::ui::bytes;
use build::doctor::read_output;
use docker::Docker;
use matrix::Matrix;

/// Describes processor, memory, kernel, engine and tools in one line. The text is independent of the measured rows,
/// because all rows of a table must come from the same machine.
pub fn describe(matrix: &Matrix) -> String {
    let mut parts = hardware(Docker::connect().ok().as_ref());
    parts.extend(docker_client().and_then(|client| read_output(&client.display().to_string(), &["--version"])));
    parts.extend(read_output("rustc", &["-V"]));
    parts.extend(
        matrix
            .tools
            .iter()
            .filter(|tool| ["maturin", "ziglang", "pip"].contains(&&*tool.name))
            .map(|tool| format!("{} {}", tool.name, tool.version)),
    );
    format!("{}.", parts.join("; "))
}

/// Describes processor, memory, kernel and engine.
pub fn hardware(docker: Option<&Docker>) -> Vec<String> {
    let mut parts = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    parts.push(format!("{cores} cores of {model}"));
    let kib = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    parts.extend(kib.map(|kib| format!("{} of memory", bytes(kib << 10))));
    parts.extend(fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| format!("Linux {}", text.trim())));
    if let Some(info) = docker.and_then(|docker| docker.info().ok()) {
        parts.push(format!("Docker engine {}", info.version));
    }
    parts
}

/// Returns date and commit, with a mark if tracked files differ from the commit.
pub fn when(project: &Path) -> Result<String> {
    let day = read_output("date", &["-u", "+%F"])?;
    let Ok(commit) = git::output(project, &["rev-parse", "--short", "HEAD"]) else {
        return Ok(format!("{day}, no commit"));
    };
    // Changes to the documentation do not affect measurements.
    let mark = if git::changed(project, &["docs"])? { " and changes" } else { "" };
    Ok(format!("{day}, {}{mark}", String::from_utf8_lossy(&commit).trim()))
}

/// Returns the one-minute load average.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// Returns how many bytes the machine has received from other machines since it started. Interfaces that the kernel
/// created in software (loopback, bridges, ends of containers' networks) are not counted.
pub fn received() -> Option<u64> {
    let devices = fs::read_dir("/sys/class/net").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let hardware = devices.filter(|path| path.join("device").exists());
    let bytes = |path: PathBuf| fs::read_to_string(path.join("statistics/rx_bytes")).ok()?.trim().parse().ok();
    hardware.filter_map(bytes).reduce(|sum: u64, bytes: u64| sum + bytes)
}

/// Returns the value of the first line `name : value` in a file of /proc.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns the current time (UTC) for file names.
pub fn file_time() -> Result<String> {
    build::doctor::read_output("date", &["-u", "+%Y%m%dT%H%M%SZ"])
}
