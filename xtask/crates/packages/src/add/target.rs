//! Finds out where a package comes from, what its vendor publishes, and how it is built.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result, anyhow, bail};

use base::platform::Platform;
use base::{UsageError, ui};
use build::Project;
use build::build_system::{self, BuildSystem};
use build::index::{self, File, Release};
use matrix::{Abi, Builder, Matrix};
use pep440_rs::VersionSpecifiers;
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};
use wheelfile::{TargetInterpreter, WheelName, normalise};

/// Size in bytes of the largest wheel of a vendor that is downloaded only to compare its contents.
const LARGEST_COMPARED: u64 = 100 << 20;

/// What is to be added.
#[derive(Debug, Clone)]
pub struct Target {
    /// Normalised name of the distribution.
    pub id: String,
    pub source: Source,
    pub builder: Builder,
    /// Build backend (PEP 517), such as `setuptools.build_meta`.
    pub backend: String,
    /// Whether the build needs the Rust compiler in the container.
    pub rust: bool,
    /// ABIs with a wheel on the index, with the digest of the wheel.
    pub published: Vec<(String, String)>,
    /// Wheel of the vendor to compare a wheel with that is built.
    pub vendors_wheel: Option<File>,
}

/// Where the source comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Index {
        version: String,
        sha256: String,
    },
    /// Path relative to the matrix.
    Folder(String),
}

impl Target {
    /// Reads what the folder or the package index says.
    pub fn find(project: &Project, what: &str) -> Result<Target> {
        let path = Path::new(what);
        match path.is_dir() || what.contains('/') || what.starts_with('.') {
            true => Target::in_folder(project, path),
            false => Target::on_index(project, what),
        }
    }

    fn in_folder(project: &Project, path: &Path) -> Result<Target> {
        let folder = path
            .canonicalize()
            .map_err(|error| anyhow!(UsageError(format!("there is no folder `{}`: {error}", path.display()))))?;
        let text = match fs::read_to_string(folder.join("pyproject.toml")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read `{}/pyproject.toml`", folder.display()))?,
        };
        if text.is_empty() && !folder.join("setup.py").is_file() {
            return Err(anyhow!(UsageError(format!(
                "`{}` has neither a pyproject.toml nor a setup.py: name the folder that has one",
                path.display()
            ))));
        }
        let system = build_system::parse(&text)?;
        let named = || folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = build_system::project_name(&text)?.or_else(|| setup_name(&folder)).unwrap_or_else(named);
        let id = normalise(&name);
        let relative = relative(&project.folder.canonicalize()?, &folder);
        let source = relative.to_str().context("the path of the folder is not UTF-8")?.to_owned();
        Ok(Target {
            id,
            source: Source::Folder(source),
            builder: builder(&system.backend),
            backend: system.backend.clone(),
            rust: needs_rust(&system),
            published: Vec::new(),
            vendors_wheel: None,
        })
    }

    fn on_index(project: &Project, what: &str) -> Result<Target> {
        let (name, versions) = name_and_versions(what)?;
        let name = name.as_str();
        let url = index::index_url(&project.tools()?.join("bin/python"))?;
        let task = project.ui.start("add", &format!("look up {name}"), &project.cache.log("add"));
        task.open_log()?;
        let scratch = project.cache.scratch("add")?;
        let found = index::with_index(&url, scratch.path(), &task, &project.cancel, |index| {
            let files = index.project(name)?.ok_or_else(|| {
                anyhow!(UsageError(format!("the package index has no project `{name}`: check the spelling")))
            })?;
            let release = files.newest_of(|version| versions.contains(version)).ok_or_else(|| {
                let known: Vec<String> =
                    files.releases.iter().rev().take(5).map(|release| release.version.to_string()).collect();
                anyhow!(UsageError(format!(
                    "`{name}` has no usable release {versions}; the newest are {}",
                    ui::quoted(known)
                )))
            })?;
            let published = published(&project.matrix, release);
            let vendors_wheel = vendors_wheel(&project.matrix, release).cloned();
            let Some(sdist) = release.sdist() else {
                bail!(
                    "`{name}` {} has no source distribution on the package index, so it cannot be built: ask its \
                     vendor for wheels, or add a checkout by its path",
                    release.version
                );
            };
            if !sdist.name.ends_with(".tar.gz") {
                bail!(
                    "the source distribution of `{name}` {} is `{}`, but only .tar.gz can be built: choose a version with \
                     one, or add an unpacked copy by its path",
                    release.version,
                    sdist.name
                );
            }
            let path = index.scratch.join("sdist");
            index.download(sdist, &path)?;
            let system = build_system::of_sdist(&path).with_context(|| format!("cannot read `{}`", sdist.name))?;
            Ok(Target {
                id: normalise(name),
                source: Source::Index { version: release.version.to_string(), sha256: sdist.sha256.clone() },
                builder: builder(&system.backend),
                backend: system.backend.clone(),
                rust: needs_rust(&system),
                published,
                vendors_wheel,
            })
        });
        task.end(if found.is_ok() { "ok" } else { "FAILED" });
        found
    }
}

/// Parses `NAME` with optional version specifiers (PEP 440): `demo==1.2`, `demo<3`.
pub fn name_and_versions(what: &str) -> Result<(String, VersionSpecifiers)> {
    let parsed = Requirement::<VerbatimUrl>::from_str(what).ok();
    let plain = parsed.filter(|parsed| parsed.extras.is_empty() && parsed.marker.is_true());
    match plain.map(|parsed| (parsed.name.to_string(), parsed.version_or_url)) {
        Some((name, None)) => Ok((name, VersionSpecifiers::default())),
        Some((name, Some(VersionOrUrl::VersionSpecifier(versions)))) => Ok((name, versions)),
        _ => Err(anyhow!(UsageError(format!(
            "`{what}` is neither NAME with versions, such as `demo` or `demo==1.2`, nor an existing folder"
        )))),
    }
}

/// Returns whether the package is built by setuptools-rust.
pub fn needs_rust(system: &BuildSystem) -> bool {
    let name =
        |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).next().map(normalise);
    system.requires.iter().any(|text| name(text).as_deref() == Some("setuptools-rust"))
}

/// Returns the best published wheel for each ABI of the matrix that has one.
fn published(matrix: &Matrix, release: &Release) -> Vec<(String, String)> {
    let glibc = wheelfile::parse_glibc(&matrix.root.glibc).unwrap_or_default();
    let platform: Platform = matrix.platform;
    let best = |abi: &Abi| {
        let interpreter = TargetInterpreter { abi: &abi.id, machine: platform.machine(), glibc };
        let fits = release.wheels().filter(|(file, _)| !file.yanked);
        let fits = fits.filter_map(|(file, name)| Some((interpreter.fit(name)?, file)));
        fits.max_by_key(|(fit, _)| *fit).map(|(_, file)| (abi.id.to_string(), file.sha256.clone()))
    };
    matrix.abis.iter().filter_map(best).collect()
}

/// Returns the vendor's wheel with native code for the newest Python on this platform, of whatever ABI.
fn vendors_wheel<'r>(matrix: &Matrix, release: &'r Release) -> Option<&'r File> {
    let native = release.wheels().filter(|(file, name)| {
        let small = file.size.is_none_or(|size| size <= LARGEST_COMPARED);
        small && !file.yanked && name.suits_machine(matrix.platform.machine())
    });
    let minor = |name: &WheelName| name.python.iter().filter_map(|tag| tag.strip_prefix("cp3")?.parse().ok()).max();
    let versions = native.filter_map(|(file, name)| Some((minor(name)?, file)));
    versions.max_by_key(|(minor, _): &(u32, _)| *minor).map(|(_, file)| file)
}

/// Returns the builder for a build backend (PEP 517).
pub fn builder(backend: &str) -> Builder {
    match backend.split([':', '.']).next() {
        Some("maturin") => Builder::Maturin,
        _ => Builder::Container,
    }
}

/// Returns the name in setup.cfg or setup.py, if it is written as `name = …` there. The files are not executed.
fn setup_name(folder: &Path) -> Option<String> {
    ["setup.cfg", "setup.py"].iter().find_map(|file| assigned_name(&fs::read_to_string(folder.join(file)).ok()?))
}

fn assigned_name(text: &str) -> Option<String> {
    let quotes = |c: char| c == '"' || c == '\'';
    let mut values = text.match_indices("name").filter_map(|(at, _)| {
        let word = text[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || "(,".contains(c));
        let value = text[at + "name".len()..].trim_start().strip_prefix('=')?.trim_start();
        let value = value.trim_start_matches(quotes);
        let name: String = value.chars().take_while(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        (word && index::is_project_name(&name)).then_some(name)
    });
    values.next()
}

/// Returns the path of `to` relative to the folder `from`; both are absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to.components().skip(common)).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_versions() {
        let parsed = |what| name_and_versions(what).map(|(name, versions)| (name, versions.to_string())).ok();
        let some = |name: &str, versions: &str| Some((name.to_owned(), versions.to_owned()));
        assert_eq!(parsed("My_Demo"), some("my-demo", ""));
        assert_eq!(parsed("demo==1.2"), some("demo", "==1.2"));
        assert_eq!(parsed("demo<3,>=1"), some("demo", ">=1, <3"));
        for bad in
            ["a b", ">=1", "", "demo[extra]", "demo @ https://host.example/demo.tar.gz", "demo; python_version<'3'"]
        {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_matrix() {
        let path = |from: &str, to: &str| relative(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(path("/a/b", "/a/c/d"), "../c/d");
        assert_eq!(path("/a/b", "/a/b/c"), "c");
        assert_eq!(path("/a", "/a"), ".");
    }

    #[test]
    fn the_name_in_setup_files_is_found() {
        let name = |text: &str| assigned_name(text);
        assert_eq!(
            name("from setuptools import setup\nsetup(name='my-demo', version='1')").as_deref(),
            Some("my-demo")
        );
        assert_eq!(name("[metadata]\nname = my.demo\n").as_deref(), Some("my.demo"));
        assert_eq!(name("setup(packages=[], filename='x', name = \"a_b\")").as_deref(), Some("a_b"));
        assert_eq!(name("setup(**arguments)"), None);
    }

    #[test]
    fn the_backend_decides_about_the_builder() {
        assert_eq!(builder("maturin"), Builder::Maturin);
        for backend in ["setuptools.build_meta:__legacy__", "mesonpy", "scikit_build_core.build", "hatchling.build"] {
            assert_eq!(builder(backend), Builder::Container);
        }
    }
}
