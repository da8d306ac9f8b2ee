//! Reads the compile time of each crate from the report of `cargo build --timings`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Returns the compile time of each crate in seconds.
pub fn crates(report: &Path) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(report).with_context(|| format!("cannot read `{}`", report.display()))?;
    units(&text).with_context(|| format!("`{}` has no times", report.display()))
}

pub fn units(report: &str) -> Result<BTreeMap<String, f64>> {
    let start = report.split_once("const UNIT_DATA = ").context("there is no `UNIT_DATA`")?.1;
    let unit = serde_json::Deserializer::from_str(start).into_iter::<serde_json::Value>().next();
    let list = unit.context("`UNIT_DATA` is empty")??;
    let mut crates = BTreeMap::new();
    for unit in list.as_array().into_iter().flatten() {
        let (Some(name), Some(seconds)) = (unit["name"].as_str(), unit["duration"].as_f64()) else {
            bail!("a unit without name or duration");
        };
        *crates.entry(name.to_owned()).or_insert(0.0) += seconds;
    }
    Ok(crates)
}
