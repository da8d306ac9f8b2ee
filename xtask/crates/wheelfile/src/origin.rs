//! Reads the name and version from a downloaded file's own metadata, independent of its file name.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Result;
use flate2::read::GzDecoder;
use zip::ZipArchive;

use crate::info::values;
use crate::name::{is_release, same_name, same_version};

/// Maximum size of a metadata file, in bytes.
const METADATA_LIMIT: u64 = 8 << 20;

/// DeclaredRelease that a wheel or sdist declares in its metadata.
#[derive(Debug, PartialEq, Eq)]
pub enum DeclaredRelease {
    /// `Name` and `Version`.
    Named(String, String),
    /// Top-level folder `<name>-<version>` of an sdist (PEP 625).
    Folder(String),
}

impl DeclaredRelease {
    pub fn matches(&self, name: &str, version: &str) -> bool {
        match self {
            DeclaredRelease::Named(own, own_version) => same_name(own, name) && same_version(own_version, version),
            DeclaredRelease::Folder(folder) => is_release(folder, name, version),
        }
    }
}

impl std::fmt::Display for DeclaredRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeclaredRelease::Named(name, version) => write!(f, "{name} {version}"),
            DeclaredRelease::Folder(folder) => f.write_str(folder),
        }
    }
}

/// Returns the release that the file at `path` declares; `None` if it is neither a wheel nor an sdist.
///
/// For an sdist, a top-level folder with the wanted name and version is sufficient, because finding PKG-INFO may
/// require unpacking the whole file.
pub fn read_release(path: &Path, name: &str, version: &str) -> Result<Option<DeclaredRelease>> {
    let mut magic = [0; 2];
    File::open(path)?.take(2).read_exact(&mut magic).or_else(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(error),
    })?;
    match &magic {
        b"PK" => Ok(read_metadata(path)?.and_then(|text| named(&text))),
        [0x1f, 0x8b] => of_sdist(path, name, version),
        _ => Ok(None),
    }
}

/// Returns the text of METADATA in the wheel at `path`; `None` if it has none.
pub fn read_metadata(path: &Path) -> Result<Option<String>> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let metadata = |path: &str| matches!(path.split_once(".dist-info/"), Some((top, "METADATA")) if !top.contains('/'));
    let names: Vec<String> = archive.file_names().map(|name| Ok(name?.into_owned())).collect::<Result<_>>()?;
    let Some(member) = names.into_iter().find(|name| metadata(name)) else { return Ok(None) };
    let mut text = String::new();
    archive.by_name(&member)?.take(METADATA_LIMIT).read_to_string(&mut text)?;
    Ok(Some(text))
}

fn of_sdist(path: &Path, name: &str, version: &str) -> Result<Option<DeclaredRelease>> {
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(File::open(path)?)));
    let mut top = None;
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let (folder, file) = path.trim_start_matches("./").split_once('/').unwrap_or((&path, ""));
        let folder = DeclaredRelease::Folder(folder.to_owned());
        if folder.matches(name, version) {
            return Ok(Some(folder));
        }
        if file == "PKG-INFO" {
            let mut text = String::new();
            entry.take(METADATA_LIMIT).read_to_string(&mut text)?;
            return Ok(named(&text));
        }
        top.get_or_insert(folder);
    }
    Ok(top)
}

fn named(metadata: &str) -> Option<DeclaredRelease> {
    let value = |key| values(metadata, key).next().map(str::to_owned);
    Some(DeclaredRelease::Named(value("Name")?, value("Version")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewWheel, write_wheel};
    use fixture::sdist;

    #[test]
    fn releases_are_read_from_wheels_and_sdists() {
        let folder = std::env::temp_dir().join(format!("origin-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("blob");
        let spec = NewWheel {
            distribution: "Demo",
            version: "2026.08.1",
            python: "py3",
            abi: "none",
            platform: "any",
            files: Vec::new(),
        };
        write_wheel(&path, &spec).unwrap();
        let found = read_release(&path, "x", "1").unwrap().unwrap();
        assert_eq!(found.to_string(), "Demo 2026.08.1");
        assert!(
            found.matches("demo", "2026.8.1")
                && !found.matches("demo", "2026.8.2")
                && !found.matches("demos", "2026.8.1")
        );

        sdist(&path, &[("demo-1.0/setup.py", ""), ("demo-1.0/PKG-INFO", "Name: other\nVersion: 3\n")]);
        assert_eq!(read_release(&path, "Demo", "1").unwrap(), Some(DeclaredRelease::Folder("demo-1.0".to_owned())));
        assert_eq!(read_release(&path, "demo", "2").unwrap().unwrap().to_string(), "other 3");
        sdist(&path, &[("demo-1.0/setup.py", "")]);
        assert!(!read_release(&path, "demo", "2").unwrap().unwrap().matches("demo", "2"));

        std::fs::write(&path, "text").unwrap();
        assert_eq!(read_release(&path, "demo", "1").unwrap(), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(read_release(&path, "demo", "1").unwrap(), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
