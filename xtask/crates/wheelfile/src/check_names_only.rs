//! Quick check of wheels in the cache, which were checked completely when they were stored.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::expected::ExpectedWheel;
use crate::name::WheelName;
use crate::tags::{CpythonAbi, kind};
use crate::{archive, info};

/// Checks the file name and the names in WHEEL and METADATA. The rest of the wheel is not read.
pub fn check_names_only(path: &Path, file_name: &str, expect: &ExpectedWheel) -> Result<()> {
    let (abi, name) = (CpythonAbi::parse(expect.abi)?, WheelName::parse(file_name)?);
    let mut problems = Vec::new();
    kind(&name, file_name, &abi, &mut problems);
    let found = archive::read_info(path, &name, &mut problems)?;
    info::check_names(&found, &name, expect, &mut problems);
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}
