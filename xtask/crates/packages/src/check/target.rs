//! Interpreter and platform that wheels are looked for.

use std::str::FromStr as _;

use anyhow::{Context as _, Result, anyhow};
use base::UsageError;
use base::platform::Platform;
use build::markers;
use matrix::Matrix;
use pep440_rs::Version;
use pep508_rs::MarkerEnvironment;
use wheelfile::{TargetInterpreter, parse_glibc};

/// ABI that is checked without one in `matrix.yaml` and on the command line.
const DEFAULT_ABI: &str = "cp314t";

/// ABI of an interpreter, on a platform.
pub struct CheckTarget {
    /// `cp314t`
    pub abi: String,
    pub python: Version,
    pub platform: Platform,
    pub glibc: (u32, u32),
    pub markers: MarkerEnvironment,
}

impl CheckTarget {
    pub fn new(abi: &str, matrix: &Matrix) -> Result<CheckTarget> {
        let glibc = parse_glibc(&matrix.root.glibc).context("the glibc version of the matrix is invalid")?;
        let interpreter = TargetInterpreter { abi, machine: matrix.platform.machine(), glibc };
        let minor = interpreter
            .python_minor()
            .map_err(|error| anyhow!(UsageError(format!("--abi: {error}; examples: `cp314t`, `cp315t`, `cp314`"))))?;
        let python = match matrix.abi(abi) {
            // Debian's `3.11`, whose patch version is not known here.
            Some(abi) if abi.python.matches('.').count() > 1 => abi.python.to_string(),
            _ => format!("3.{minor}.0"),
        };
        let python = Version::from_str(&python).map_err(|error| anyhow!("`{python}` is not a version: {error}"))?;
        let markers = markers::environment(&python, matrix.platform)?;
        Ok(CheckTarget { abi: abi.to_owned(), python, platform: matrix.platform, glibc, markers })
    }

    pub fn free_threaded(&self) -> bool {
        self.abi.ends_with('t')
    }

    pub fn interpreter(&self) -> TargetInterpreter<'_> {
        TargetInterpreter { abi: &self.abi, machine: self.platform.machine(), glibc: self.glibc }
    }

    /// `Python 3.14`
    pub fn python_name(&self) -> String {
        let release: Vec<String> = self.python.release().iter().take(2).map(u64::to_string).collect();
        format!("Python {}", release.join("."))
    }

    /// `linux/amd64 with glibc 2.36`
    pub fn platform_name(&self) -> String {
        let (major, minor) = self.glibc;
        format!("{} with glibc {major}.{minor}", self.platform.oci())
    }
}

/// Returns the targets of the command line, by default the free-threaded ABIs of the matrix.
pub fn targets(matrix: &Matrix, abis: &[String]) -> Result<Vec<CheckTarget>> {
    let threaded = || matrix.abis.iter().filter(|abi| abi.free_threaded()).map(|abi| abi.id.to_string());
    let mut chosen = if abis.is_empty() { threaded().collect() } else { abis.to_vec() };
    if chosen.is_empty() {
        chosen.push(DEFAULT_ABI.to_owned());
    }
    let mut seen = Vec::new();
    chosen.retain(|abi| {
        !seen.contains(abi) && {
            seen.push(abi.clone());
            true
        }
    });
    chosen.iter().map(|abi| CheckTarget::new(abi, matrix)).collect()
}
