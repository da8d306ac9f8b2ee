//! Removes paths of the build machine from a wheel, so that other machines build the same bytes.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Removes the paths from a wheel built in `source`. maturin's SBOM names crates by their folder.
pub fn make(wheel: &Path, source: &Path) -> Result<()> {
    let from = source.to_string_lossy();
    let url = as_in_url(&from);
    wheelfile::rewrite(wheel, |name, data| {
        let sbom = name.contains(".dist-info/sboms/");
        match std::str::from_utf8(data) {
            Ok(text) if sbom => text.replace(&*from, "/src").replace(&url, "/src").into_bytes(),
            _ => data.to_vec(),
        }
    })
    .with_context(|| format!("cannot remove the paths of this machine from `{}`", wheel.display()))
}

/// Encodes a path like Cargo does in package ids: `path+file:///some%20where`.
fn as_in_url(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>?`{}%^|".contains(&byte);
    let escaped = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_are_escaped_as_in_urls() {
        assert_eq!(super::as_in_url("/a b/ü#1/c-d_e.f"), "/a%20b/%C3%BC%231/c-d_e.f");
    }
}
