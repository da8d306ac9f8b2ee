//! Checks only the names of a wheel that was checked completely before: for wheels in the cache.

use std::path::Path;

use anyhow::{Result, ensure};

use super::name::WheelName;
use super::tags::{Abi, kind};
use super::{Expect, archive, info};

/// Holds a file name, and the names in the wheel's own WHEEL and METADATA, against what is expected. Nothing
/// else is read: the rest was checked when the wheel was made.
pub fn glance(path: &Path, file_name: &str, expect: &Expect) -> Result<()> {
    let (abi, name) = (Abi::parse(expect.abi)?, WheelName::parse(file_name)?);
    let mut problems = Vec::new();
    kind(&name, file_name, &abi, &mut problems);
    let found = archive::read_info(path, &name, &mut problems)?;
    info::check_names(&found, &name, expect, &mut problems);
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}
