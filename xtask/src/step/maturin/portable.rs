//! Takes out of a wheel what would tell of the machine that built it: else no other gives the same bytes.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::wheelfile;

/// `source` is where it was built: maturin's bill of materials (SBOM) names crates by their folder.
pub fn make(wheel: &Path, source: &Path) -> Result<()> {
    let from = source.to_string_lossy();
    wheelfile::rewrite(wheel, |name, data| {
        let sbom = name.contains(".dist-info/sboms/");
        match std::str::from_utf8(data) {
            Ok(text) if sbom => text.replace(&*from, "/src").into_bytes(),
            _ => data.to_vec(),
        }
    })
    .with_context(|| format!("cannot take this machine's paths out of `{}`", wheel.display()))
}
