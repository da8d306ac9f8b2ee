//! Environment markers (PEP 508) of a Linux interpreter. No marker distinguishes free-threaded interpreters.

use std::str::FromStr as _;

use anyhow::{Result, anyhow};
use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree};

use base::platform::Platform;

/// Returns the values of the markers for CPython of this version.
pub fn environment(python: &Version, platform: Platform) -> Result<MarkerEnvironment> {
    let full = python.to_string();
    let short: Vec<String> = python.release().iter().take(2).map(u64::to_string).collect();
    let environment = MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name: "posix",
        platform_machine: platform.machine(),
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: &full,
        python_version: &short.join("."),
        sys_platform: "linux",
    });
    environment.map_err(|error| anyhow!("cannot create the marker environment of Python {full}: {error}"))
}

/// Returns whether a marker applies; none always does.
pub fn applies(marker: Option<&str>, environment: &MarkerEnvironment) -> Result<bool> {
    let Some(text) = marker else { return Ok(true) };
    let marker = MarkerTree::from_str(text).map_err(|error| anyhow!("cannot read the marker `{text}`: {error}"))?;
    Ok(marker.evaluate(environment, &[]))
}
