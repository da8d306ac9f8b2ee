//! Takes out of a wheel what would tell of the machine that built it: else no other gives the same bytes.

use std::path::Path;

use anyhow::{Context as _, Result};

/// `source` is where it was built: maturin's bill of materials (SBOM) names crates by their folder.
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
    .with_context(|| format!("cannot take this machine's paths out of `{}`", wheel.display()))
}

/// As Cargo names a crate's folder: `path+file:///some%20where`.
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
