//! Cargo workspace of a package: its crates and its Cargo.lock.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use xshell::cmd;

use crate::step::env::StepEnv;
use crate::step::toolchain;
use base::proc::{self, ProcessIo};
use base::ui::Task;

/// Crates of a package's workspace.
pub struct Crates {
    /// Path of the workspace's Cargo.lock.
    pub lock: PathBuf,
    /// Prefixes of the file names of their build results.
    pub names: Vec<String>,
    /// Prefix of the line that Cargo prints when only the extension module remains to be compiled; `None` if a build
    /// script would cause the line earlier.
    pub last: Option<String>,
}

/// Relevant part of the output of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Crates {
    /// Runs `cargo metadata`. Its standard error is written to the log of `task`, and the cause to the error.
    pub fn read(source: &Path, toolchain: Option<&str>, task: &Task) -> Result<Crates> {
        let manifest = manifest(source)?;
        let shown = manifest.strip_prefix(source).unwrap_or(&manifest).display();
        let shell = toolchain::shell(source, toolchain)?;
        let command = cmd!(shell, "cargo metadata --no-deps --format-version 1 --manifest-path {manifest}");
        let output = command.quiet().ignore_status().output().context("cannot start `cargo`")?;
        let said = String::from_utf8_lossy(&output.stderr);
        said.lines().for_each(|line| task.line(line));
        if !output.status.success() {
            let cause = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or("no reason given");
            bail!("cargo cannot read `{shown}`: {cause}");
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cannot read `cargo metadata`")?;
        Crates::of(&metadata, &manifest)
            .with_context(|| format!("`cargo metadata` does not list a crate for `{shown}`"))
    }

    fn of(metadata: &Metadata, manifest: &Path) -> Option<Crates> {
        let own = metadata.packages.iter().find(|package| package.manifest_path == *manifest)?;
        let builds = own.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "custom-build"));
        let mut names = Vec::new();
        for package in &metadata.packages {
            for name in package.targets.iter().map(|target| &target.name).chain([&package.name]) {
                names.extend([name.clone(), name.replace('-', "_")]);
            }
        }
        Some(Crates {
            lock: metadata.workspace_root.join("Cargo.lock"),
            names,
            last: (!builds).then(|| format!("Compiling {} v", own.name)),
        })
    }
}

/// Fetches the crates of Cargo.lock into Cargo's cache.
pub fn fetch(project: &Path, toolchain: Option<&str>, env: &StepEnv) -> Result<()> {
    let manifest = manifest(project)?;
    let shell = toolchain::shell(project, toolchain)?;
    let target = env.context.facts.platform.rust_target();
    let command = cmd!(shell, "cargo fetch --locked --target {target} --manifest-path {manifest}");
    let command = toolchain::fetching(command, toolchain);
    let outdated = Cell::new(false);
    let line = |line: &str| outdated.set(outdated.get() || line.contains("because --locked was passed"));
    let io = ProcessIo { line: &line, ..ProcessIo::default() };
    proc::run_with(command, env.task, env.context.cancel, &io).map_err(|error| match outdated.get() {
        true => error.context(
            "the Cargo.lock of the package does not fit its Cargo.toml, so it does not pin the crates: report it to the \
             package, or build an unpacked copy (`source.path`) in which `cargo update --workspace` has corrected it",
        ),
        false => error.context("cannot fetch the crates of the package"),
    })
}

/// Relevant part of `pyproject.toml`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PyProject {
    project: Project,
    tool: Tools,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Project {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tools {
    maturin: Maturin,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Maturin {
    manifest_path: Option<PathBuf>,
    python_source: Option<PathBuf>,
}

/// Returns the Cargo.toml that maturin builds, by maturin's rules.
fn manifest(source: &Path) -> Result<PathBuf> {
    let path = source.join("pyproject.toml");
    let project: PyProject = match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).context("cannot read `pyproject.toml` of the package")?,
        Err(_) => PyProject::default(),
    };
    let below_rust = source.join("rust/Cargo.toml");
    let named = project.tool.maturin.manifest_path.map(|manifest| source.join(manifest));
    let manifest = named.unwrap_or_else(|| {
        let import = project.project.name.unwrap_or_default().replace('-', "_");
        let python = source.join("src").join(import).join("__init__.py");
        let mixed = project.tool.maturin.python_source.is_some() || python.is_file();
        if mixed && below_rust.is_file() { below_rust } else { source.join("Cargo.toml") }
    });
    let shown = manifest.strip_prefix(source).unwrap_or(&manifest).display();
    let found = manifest.canonicalize().with_context(|| {
        format!("the package has no `{shown}`: correct `manifest-path` under `[tool.maturin]` in its pyproject.toml")
    })?;
    if !found.starts_with(source.canonicalize()?) {
        bail!("`{shown}` is outside the package's source: use a parent folder in `source` in matrix.yaml");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_found_by_maturins_rules() {
        let top = std::env::temp_dir().join(format!("xtask-manifest-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(top.join(name).parent().unwrap()).unwrap();
            std::fs::write(top.join(name), text).unwrap();
        };
        let found = || manifest(&top).map(|path| path.strip_prefix(top.canonicalize().unwrap()).unwrap().to_owned());
        write("Cargo.toml", "");
        assert_eq!(found().unwrap(), Path::new("Cargo.toml"));
        write("rust/Cargo.toml", "");
        write("pyproject.toml", "[project]\nname = 'a-b'\n");
        assert_eq!(found().unwrap(), Path::new("Cargo.toml"));
        write("src/a_b/__init__.py", "");
        assert_eq!(found().unwrap(), Path::new("rust/Cargo.toml"));
        write("bindings/Cargo.toml", "");
        write("pyproject.toml", "[tool.maturin]\nmanifest-path = 'bindings/Cargo.toml'\n");
        assert_eq!(found().unwrap(), Path::new("bindings/Cargo.toml"));
        write("pyproject.toml", "[tool.maturin]\nmanifest-path = 'binding/Cargo.toml'\n");
        assert!(found().unwrap_err().to_string().contains("the package has no `binding/Cargo.toml`"));
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn the_extension_module_is_the_crate_of_the_manifest() {
        let package = |name: &str, kinds: &[&str]| Package {
            name: name.to_owned(),
            manifest_path: PathBuf::from(format!("/src/{name}/Cargo.toml")),
            targets: kinds.iter().map(|kind| Target { name: name.to_owned(), kind: vec![kind.to_string()] }).collect(),
        };
        // Another library of the workspace is compiled before it, or has a build script.
        let packages = vec![package("a-py", &["cdylib"]), package("other", &["cdylib", "custom-build"])];
        let metadata = Metadata { packages, workspace_root: PathBuf::from("/src") };
        let crates = Crates::of(&metadata, Path::new("/src/a-py/Cargo.toml")).unwrap();
        assert_eq!(crates.last.as_deref(), Some("Compiling a-py v"));
        assert_eq!(crates.lock, Path::new("/src/Cargo.lock"));
        assert!(crates.names.contains(&"a_py".to_owned()) && crates.names.contains(&"other".to_owned()));
        assert!(Crates::of(&metadata, Path::new("/src/other/Cargo.toml")).unwrap().last.is_none());
    }
}
