//! Reads all facts about the machine and project that planning needs, so that planning itself is a pure function.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};

use base::platform::Platform;

use crate::cache::Cache;
use crate::embedded;
use crate::lock::{Pin, Pylock, pylock};
use crate::origin::Origin;
use crate::plan::PatchFile;
use base::working_copy::digest_folder;
use base::{UsageError, digest};
use matrix::{Abi, Builder, LockPurpose, Matrix, Package};

mod compiler;
mod git_version;

/// Facts from the command line and the machine.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Folder that contains `matrix.yaml`.
    pub project: PathBuf,
    /// Path of `matrix.yaml`, for line numbers in errors.
    pub matrix: PathBuf,
    /// Target platform.
    pub platform: Platform,
    /// `--quick`: build interpreters and wheels faster, for trying out.
    pub quick: bool,
    /// `--fake`: replace steps by fast fakes, for tests.
    pub fake: bool,
    /// Output of `rustc -vV`, as far as it affects compilation.
    pub rustc: String,
    /// Output of `rustc -vV` of each toolchain that `build.toolchain` of a package names, by its name.
    pub toolchains: BTreeMap<String, String>,
    /// Digest of Cargo's configuration files, which may contain compiler flags.
    pub cargo_config: String,
    /// Content digests of working copies, by package.
    pub working_copies: BTreeMap<String, String>,
    /// Versions of working copies that take them from git, by package.
    pub git_versions: BTreeMap<String, String>,
    /// Lock files, by package.
    pub locks: BTreeMap<(String, LockPurpose), Pylock>,
    /// Locked run-time requirements of the packages in images, by package and ABI.
    pub runtime: BTreeMap<(String, String), Vec<Pin>>,
    /// The patches of packages, by package, in the order in which they are applied.
    pub patches: BTreeMap<String, Vec<PatchFile>>,
    /// Text of the files that run in containers, by path in a clone of this tool.
    pub files: BTreeMap<String, String>,
}

impl Facts {
    /// Reads the facts for the matrix in the folder `project`. Packages are compiled below `cache`.
    pub fn read(matrix: &Matrix, project: &Path, cache: &Cache, quick: bool, fake: bool) -> Result<Facts> {
        let mut facts = Facts {
            project: project.to_owned(),
            platform: matrix.platform,
            quick,
            fake,
            files: embedded::files(),
            ..Facts::default()
        };
        // In parallel, because each waits for child processes.
        let compiles =
            matrix.packages.iter().any(|package| package.build.rust || package.build.with == Builder::Maturin);
        let (rustc, copies) = std::thread::scope(|scope| {
            let rustc = scope.spawn(|| if compiles { compiler::identity(cache) } else { Ok(String::new()) });
            let copies = working_copies(matrix, project);
            (rustc.join().unwrap_or_else(|_| Err(anyhow!("panicked, see above"))), copies)
        });
        (facts.rustc, facts.working_copies) = (rustc?, copies?);
        if compiles {
            for name in matrix.packages.iter().filter_map(|package| package.build.toolchain.as_deref()) {
                facts.toolchains.insert(name.to_owned(), compiler::identity_of(name)?);
            }
            facts.cargo_config = cargo_config(cache.dir(), &|name| std::env::var_os(name));
        }
        facts.read_locks(matrix)?;
        facts.read_patches(matrix)?;
        facts.read_git_versions(matrix)?;
        Ok(facts)
    }

    /// Returns the output of `rustc -vV` of a toolchain, or of this tool's compiler.
    pub fn rustc(&self, toolchain: Option<&str>) -> &str {
        toolchain.and_then(|name| self.toolchains.get(name)).unwrap_or(&self.rustc)
    }

    /// Returns the variables for the build of a package.
    pub fn build_env(&self, package: &Package) -> BTreeMap<String, String> {
        let mut env = package.build.env.clone();
        if let Some(version) = self.git_versions.get(&*package.id)
            && !env.keys().any(|name| name.starts_with(git_version::VARIABLE))
        {
            env.insert(git_version::VARIABLE.to_owned(), version.clone());
        }
        env
    }

    /// Reads the versions of working copies that take them from git.
    fn read_git_versions(&mut self, matrix: &Matrix) -> Result<()> {
        for package in &matrix.packages {
            let Some(folder) = package.working_copy(&self.project) else { continue };
            let project =
                package.source.subdirectory.as_ref().map_or_else(|| folder.clone(), |below| folder.join(&**below));
            let version = git_version::read(&folder, &project).with_context(|| {
                format!("matrix.yaml: packages[].source.path of `{}`: cannot ask git for the version", package.id)
            })?;
            self.git_versions.extend(version.map(|version| (package.id.to_string(), version)));
        }
        Ok(())
    }

    /// Formats the position of a value for errors: `matrix.yaml:12:5`.
    pub fn place(&self, origin: &Origin) -> String {
        match origin {
            Origin::Unknown => "matrix.yaml".to_owned(),
            Origin::Lock { file, sha256 } => {
                // The line is unknown if the file cannot be read.
                let text = fs::read_to_string(self.project.join(file)).unwrap_or_default();
                let line = text.lines().position(|line| line.to_ascii_lowercase().contains(sha256));
                line.map_or_else(|| file.clone(), |at| format!("{file}:{}", at + 1))
            }
            Origin::Matrix(ordinal) => {
                let file = self.matrix.file_name().unwrap_or_default().to_string_lossy();
                // The line is unknown if the file cannot be read.
                let text = fs::read_to_string(&self.matrix).unwrap_or_default();
                match matrix::place(&text, *ordinal) {
                    Some(at) => format!("{file}:{}:{}", at.line, at.column),
                    None => file.into_owned(),
                }
            }
        }
    }

    /// Reads the patches in the folders that `build.patches` of the packages names.
    fn read_patches(&mut self, matrix: &Matrix) -> Result<()> {
        for package in &matrix.packages {
            let Some(patches) = &package.build.patches else { continue };
            let read = read_patches(&self.project.join(&*patches.folder)).map_err(|error| {
                anyhow!(UsageError(format!("matrix.yaml: packages[].build.patches of `{}`: {error:#}", package.id)))
            })?;
            self.patches.insert(package.id.to_string(), read);
        }
        Ok(())
    }

    /// Reads the lock files of all packages, as far as they exist.
    fn read_locks(&mut self, matrix: &Matrix) -> Result<()> {
        for package in &matrix.packages {
            for purpose in LockPurpose::ALL {
                let file = matrix.lock_file(&package.id, purpose);
                if self.project.join(&file).is_file() {
                    let lock = pylock::read(&self.project, &file)
                        .map_err(|error| anyhow!(UsageError(format!("{error:#}"))))?;
                    self.locks.insert((package.id.to_string(), purpose), lock);
                }
            }
        }
        for image in &matrix.images {
            let Some(abi) = matrix.abi(&image.abi) else { continue };
            for package in matrix.packages_of(image) {
                let key = (package.id.to_string(), abi.id.to_string());
                if !self.runtime.contains_key(&key)
                    && let Some(pins) = self.select(matrix, package, LockPurpose::Runtime, abi)?
                {
                    self.runtime.insert(key, pins);
                }
            }
        }
        Ok(())
    }

    /// Returns the wheels in a lock file of `package` that fit `abi`; `None` if there is no such lock file.
    pub fn select(
        &self,
        matrix: &Matrix,
        package: &Package,
        purpose: LockPurpose,
        abi: &Abi,
    ) -> Result<Option<Vec<Pin>>> {
        let Some(lock) = self.locks.get(&(package.id.to_string(), purpose)) else { return Ok(None) };
        let glibc =
            wheelfile::parse_glibc(&matrix.root.glibc).context("`root.glibc` in matrix.yaml is not MAJOR.MINOR")?;
        lock.select(abi, self.platform, glibc).map(Some).map_err(|error| {
            let (id, file) = (&package.id, matrix.lock_file(&package.id, purpose));
            anyhow!(UsageError(format!("`{file}`: {error:#}: run `cargo xtask lock {id}`, which locks for all ABIs")))
        })
    }

    /// Returns the locked requirements of `package` for a purpose. Fails if there is no lock file.
    pub fn required(&self, matrix: &Matrix, package: &Package, purpose: LockPurpose, abi: &Abi) -> Result<Vec<Pin>> {
        self.select(matrix, package, purpose, abi)?.ok_or_else(|| {
            let (id, file) = (&package.id, matrix.lock_file(&package.id, purpose));
            anyhow!(UsageError(format!("there is no `{file}`: run `cargo xtask lock {id}`, which creates it")))
        })
    }
}

/// Reads the files `*.patch` in `folder`, sorted by name.
pub fn read_patches(folder: &Path) -> Result<Vec<PatchFile>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut patches = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let head = text.split("\n--- ").next().unwrap_or_default();
        ensure!(
            !head.starts_with("--- ") && !head.trim().is_empty(),
            "`{}` has no text above its first `--- ` that says what the patch does and why",
            path.display()
        );
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        patches.push(PatchFile { name, sha256: digest::of(&text), text });
    }
    ensure!(!patches.is_empty(), "`{}` has no file `*.patch`", folder.display());
    patches.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(patches)
}

fn working_copies(matrix: &Matrix, project: &Path) -> Result<BTreeMap<String, String>> {
    let mut contents = BTreeMap::new();
    for package in &matrix.packages {
        if let Some(folder) = package.working_copy(project) {
            let content = digest_folder(&folder).map_err(|error| {
                anyhow!(UsageError(format!("matrix.yaml: packages[].source.path of `{}`: {error:#}", package.id)))
            })?;
            contents.insert(package.id.to_string(), content);
        }
    }
    Ok(contents)
}

/// Returns the digest of the configuration files that Cargo reads: those in all parent folders, then the one in its
/// home. If both `config` and `config.toml` exist, Cargo reads `config`.
fn cargo_config(compiled_below: &Path, env: &dyn Fn(&str) -> Option<OsString>) -> String {
    let above = compiled_below.ancestors().map(|folder| folder.join(".cargo"));
    let home = env("CARGO_HOME").map(PathBuf::from).or_else(|| Some(Path::new(&env("HOME")?).join(".cargo")));
    let mut text = Vec::new();
    let mut read = Vec::new();
    for folder in above.chain(home) {
        let file = ["config", "config.toml"].map(|name| folder.join(name)).into_iter().find(|file| file.is_file());
        let Some(file) = file.and_then(|file| file.canonicalize().ok()) else { continue };
        if !read.contains(&file) {
            text.extend(fs::read(&file).unwrap_or_default());
            read.push(file);
        }
    }
    digest::of(text)
}

#[cfg(test)]
mod tests {
    use super::{cargo_config, read_patches};
    use fixture::Folder;

    #[test]
    fn all_configuration_files_of_cargo_count() {
        let top = Folder::new("config");
        let folder = |name: &str| Some(top.0.join(name).into_os_string());
        let at = |home: &str| {
            cargo_config(&top.0.join("user/cache/v1"), &|name| if name == "CARGO_HOME" { folder(home) } else { None })
        };
        let nothing = at("cargo");
        top.write("elsewhere/.cargo/config.toml", "[build]");
        assert_eq!(at("cargo"), nothing, "not in a parent folder of the compiled package");
        top.write("cargo/config.toml", "[build]");
        let home = at("cargo");
        assert_ne!(home, nothing);
        top.write("user/.cargo/config.toml", "[profile]");
        let above = at("cargo");
        assert_ne!(above, home);
        top.write("user/.cargo/config", "[net]");
        assert_ne!(at("cargo"), above, "`config` takes precedence");
        let once = at("nowhere");
        assert_eq!(at("user/.cargo"), once, "the home may be a parent folder: the same file");
    }

    #[test]
    fn patches_are_sorted_and_say_what_they_do() {
        let folder = Folder::new("patches");
        let read = || read_patches(&folder.0).map_err(|error| format!("{error:#}"));
        assert!(read().unwrap_err().contains("has no file `*.patch`"));
        let text = |head: &str| format!("{head}--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n");
        folder.write("README", "x").write("0002-b.patch", &text("Why.\n\n")).write("0001-a.patch", &text("Why.\n\n"));
        let names: Vec<String> = read().unwrap().into_iter().map(|patch| patch.name).collect();
        assert_eq!(names, ["0001-a.patch", "0002-b.patch"]);
        folder.write("0003-c.patch", &text(""));
        assert!(read().unwrap_err().contains("0003-c.patch` has no text above"));
    }
}
