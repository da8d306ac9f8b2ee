//! Everything impure that planning needs, read once, so that a plan is a function of its inputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::digest;
use crate::matrix::{Builder, Matrix};

/// What the command line and the machine say.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The folder of `matrix.yaml`.
    pub project: PathBuf,
    /// `--quick`: interpreters without PGO and LTO.
    pub quick: bool,
    /// `--fake`: small stand-ins instead of work, for tests.
    pub fake: bool,
    /// `rustc -vV`, as far as it matters to what is compiled.
    pub rustc: String,
    /// The digest of Cargo's own configuration, which can carry flags.
    pub cargo_config: String,
    /// Content digests of working copies, by package.
    pub working_copies: BTreeMap<String, String>,
    /// The text of the files below `docker/`, by path from the project's folder.
    pub files: BTreeMap<String, String>,
}

/// The files below `docker/` that steps send to the engine.
const FILES: [&str; 6] = [
    "docker/builder.Dockerfile",
    "docker/python.Dockerfile",
    "docker/base.Dockerfile",
    "docker/image.Dockerfile",
    "docker/build-wheel.sh",
    "docker/gil_probe.py",
];

impl Facts {
    /// Reads the facts for the matrix in the folder `project`.
    pub fn read(matrix: &Matrix, project: &Path, quick: bool, fake: bool) -> Result<Facts> {
        let mut facts = Facts { project: project.to_owned(), quick, fake, ..Facts::default() };
        for name in FILES {
            let path = project.join(name);
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            facts.files.insert(name.to_owned(), text);
        }
        if matrix.packages.iter().any(|package| package.build.with == Builder::Maturin) {
            facts.rustc = rustc()?;
            facts.cargo_config = cargo_config();
        }
        for package in &matrix.packages {
            if let Some(folder) = package.working_copy(project) {
                let content = digest_folder(&folder)
                    .with_context(|| format!("cannot read the working copy of `{}`", package.id))?;
                facts.working_copies.insert(package.id.to_string(), content);
            }
        }
        Ok(facts)
    }
}

fn rustc() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot run `rustc -vV`: install Rust with rustup, then run the command again")?;
    if !output.status.success() {
        bail!("`rustc -vV` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cargo_config() -> String {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let text = home.and_then(|home| ["config.toml", "config"].iter().find_map(|name| fs::read(home.join(name)).ok()));
    digest::of(text.unwrap_or_default())
}

/// The files of a working copy: those that git tracks or does not ignore, or all of them where
/// there is no git. Relative to `folder`, sorted.
pub fn list_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        bail!("`{}` is not a folder: correct the `path` in matrix.yaml", folder.display());
    }
    let listed = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "."])
        .output();
    let mut files: Vec<PathBuf> = match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            // A file that git tracks may have been deleted.
            .filter(|name| folder.join(name).symlink_metadata().is_ok_and(|meta| !meta.is_dir()))
            .collect(),
        _ => {
            let mut found = Vec::new();
            walk(folder, Path::new(""), &mut found)?;
            found
        }
    };
    files.sort();
    files.dedup();
    if files.is_empty() {
        bail!("`{}` has no files", folder.display());
    }
    Ok(files)
}

fn walk(top: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let folder = top.join(below);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(top, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// The digest of a working copy: names, contents and whether a file is executable or a link.
pub fn digest_folder(folder: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut text = String::new();
    for name in list_folder(folder)? {
        let path = folder.join(&name);
        let meta = path.symlink_metadata().with_context(|| format!("cannot read `{}`", path.display()))?;
        let (kind, content) = if meta.is_symlink() {
            ("link", digest::of(fs::read_link(&path)?.as_os_str().as_encoded_bytes()))
        } else if meta.permissions().mode() & 0o100 != 0 {
            ("exec", digest::of_file(&path)?)
        } else {
            ("file", digest::of_file(&path)?)
        };
        text.push_str(&format!("{kind} {content} {:?}\n", name));
    }
    Ok(digest::of(text))
}
