//! Reads from a source distribution how it is built, without running any of its code.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use flate2::read::GzDecoder;
use serde::Deserialize;

/// Maximum size of an unpacked source distribution, in bytes.
const LARGEST: u64 = 1 << 30;

/// Maximum size of a pyproject.toml, in bytes.
const LARGEST_PYPROJECT: u64 = 1 << 20;

/// Programming languages of native code, by the suffix of their files.
const LANGUAGES: [(&str, &str); 9] = [
    ("c", "C"),
    ("cc", "C++"),
    ("cpp", "C++"),
    ("cxx", "C++"),
    ("f", "Fortran"),
    ("f90", "Fortran"),
    ("go", "Go"),
    ("pyx", "Cython"),
    ("rs", "Rust"),
];

/// Folders whose native code is not part of a build.
const SKIPPED: [&str; 7] = ["bench", "benchmarks", "doc", "docs", "examples", "test", "tests"];

/// How a source distribution is built (PEP 517, PEP 518).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSystem {
    /// Importable name, such as `setuptools.build_meta`.
    pub backend: String,
    pub requires: Vec<String>,
    /// Programming languages of the native code; empty if there is none.
    pub languages: BTreeSet<&'static str>,
}

#[derive(Debug, Default, Deserialize)]
struct Pyproject {
    #[serde(rename = "build-system")]
    build_system: Option<Table>,
    project: Option<ProjectTable>,
}

#[derive(Debug, Deserialize)]
struct ProjectTable {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    #[serde(default)]
    requires: Vec<String>,
    build_backend: Option<String>,
}

/// Reads the pyproject.toml and the file names of the `.tar.gz` at `path`.
pub fn of_sdist(path: &Path) -> Result<BuildSystem> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)).take(LARGEST));
    let mut pyproject = None;
    let mut languages = BTreeSet::new();
    for entry in archive.entries()? {
        let entry = entry.context("the archive is damaged or too large")?;
        let name = entry.path()?.to_string_lossy().into_owned();
        // The first folder is `<name>-<version>`.
        let Some((_, name)) = name.trim_start_matches("./").split_once('/') else { continue };
        if name == "pyproject.toml" {
            let mut text = String::new();
            entry.take(LARGEST_PYPROJECT).read_to_string(&mut text).context("cannot read its pyproject.toml")?;
            pyproject = Some(text);
        } else {
            languages.extend(language(name));
        }
    }
    let mut system = parse(pyproject.as_deref().unwrap_or_default())?;
    system.languages = languages;
    Ok(system)
}

/// Parses the text of a pyproject.toml. Without a build backend it is setuptools (PEP 517).
pub fn parse(text: &str) -> Result<BuildSystem> {
    let parsed: Pyproject =
        toml::from_str(text).map_err(|error| anyhow!("its pyproject.toml is invalid: {}", error.message()))?;
    let table =
        parsed.build_system.unwrap_or_else(|| Table { requires: vec!["setuptools".to_owned()], build_backend: None });
    Ok(BuildSystem {
        backend: table.build_backend.unwrap_or_else(|| "setuptools.build_meta:__legacy__".to_owned()),
        requires: table.requires,
        languages: BTreeSet::new(),
    })
}

/// Returns the name of the distribution in the text of a pyproject.toml, if it has one.
pub fn project_name(text: &str) -> Result<Option<String>> {
    let parsed: Pyproject =
        toml::from_str(text).map_err(|error| anyhow!("its pyproject.toml is invalid: {}", error.message()))?;
    Ok(parsed.project.and_then(|project| project.name))
}

fn language(path: &str) -> Option<&'static str> {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    if folders.split('/').any(|folder| SKIPPED.contains(&folder)) {
        return None;
    }
    let (_, suffix) = file.rsplit_once('.')?;
    LANGUAGES.iter().find(|(known, _)| *known == suffix).map(|(_, language)| *language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdist(name: &str, members: &[(&str, &str)]) -> Result<BuildSystem> {
        let path = std::env::temp_dir().join(format!("build-system-{}-{name}", std::process::id()));
        fixture::sdist(&path, members);
        let system = of_sdist(&path);
        std::fs::remove_file(path).unwrap();
        system
    }

    #[test]
    fn backend_requirements_and_languages_are_read() {
        let pyproject =
            "[build-system]\nrequires = ['meson-python', 'Cython>=3']\nbuild-backend = 'mesonpy'\n[tool.x]\n";
        let system = sdist(
            "all",
            &[
                ("demo-1/pyproject.toml", pyproject),
                ("demo-1/vendored/pyproject.toml", "[["),
                ("demo-1/src/a.pyx", ""),
                ("demo-1/src/b.cpp", ""),
                ("demo-1/tests/c.rs", ""),
                ("demo-1/src/d.py", ""),
            ],
        )
        .unwrap();
        let wanted = BuildSystem {
            backend: "mesonpy".to_owned(),
            requires: vec!["meson-python".to_owned(), "Cython>=3".to_owned()],
            languages: ["C++", "Cython"].into(),
        };
        assert_eq!(system, wanted);
    }

    #[test]
    fn without_a_backend_it_is_setuptools() {
        for members in [&[("demo-1/setup.py", "")][..], &[("demo-1/pyproject.toml", "[tool.black]\n")]] {
            let system = sdist("none", members).unwrap();
            assert_eq!(
                (&*system.backend, &*system.requires),
                ("setuptools.build_meta:__legacy__", &["setuptools".to_owned()][..])
            );
        }
    }

    #[test]
    fn invalid_archives_are_errors() {
        let error = format!("{:#}", sdist("invalid", &[("demo-1/pyproject.toml", "[[")]).unwrap_err());
        assert!(error.contains("pyproject.toml is invalid"), "{error}");
        let path = std::env::temp_dir().join(format!("build-system-{}-text", std::process::id()));
        std::fs::write(&path, "text").unwrap();
        assert!(of_sdist(&path).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
