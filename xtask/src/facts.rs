//! Everything impure that planning needs, read once, so that a plan is a function of its inputs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::cache::Cache;
use crate::lock::pylock::{self, Pylock};
use crate::lock::{self, Pin};
use crate::matrix::{self, Abi, Builder, Matrix, Package};
use crate::plan::{Action, Container, Origin, Plan};
use crate::step::wheel::glibc;
use crate::{Wrong, digest, git};

mod compiler;

/// What the command line and the machine say.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The folder of `matrix.yaml`.
    pub project: PathBuf,
    /// `matrix.yaml`, for the lines that errors name.
    pub matrix: PathBuf,
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
    /// What packages need at run time, by package and ABI.
    pub locks: BTreeMap<(String, String), Vec<Pin>>,
    /// The build requirements of packages that lock them, by package.
    pub build_locks: BTreeMap<String, Pylock>,
    /// The text of the files below `docker/`, by path from the project's folder.
    pub files: BTreeMap<String, String>,
}

/// The files below `docker/` that steps send to the engine.
const FILES: [&str; 8] = [
    "docker/builder.Dockerfile",
    "docker/python.Dockerfile",
    "docker/base.Dockerfile",
    "docker/image.Dockerfile",
    "docker/build-wheel.sh",
    "docker/compile_bytecode.py",
    "docker/parallel_compile.py",
    "docker/gil_probe.py",
];

impl Facts {
    /// Reads the facts for the matrix in the folder `project`, whose packages are compiled in `cache`.
    pub fn read(matrix: &Matrix, project: &Path, cache: &Cache, quick: bool, fake: bool) -> Result<Facts> {
        let mut facts = Facts { project: project.to_owned(), quick, fake, ..Facts::default() };
        for name in FILES {
            let path = project.join(name);
            let text = fs::read_to_string(&path).map_err(|error| {
                let path = path.display();
                anyhow!(Wrong(format!("cannot read `{path}`: {error}: the matrix must lie in a clone of the project")))
            })?;
            facts.files.insert(name.to_owned(), text);
        }
        // Side by side: each waits for programs.
        let compiles = matrix.packages.iter().any(|package| package.build.with == Builder::Maturin);
        let (rustc, copies) = std::thread::scope(|scope| {
            let rustc = scope.spawn(|| if compiles { compiler::identity(cache) } else { Ok(String::new()) });
            let copies = working_copies(matrix, project);
            (rustc.join().unwrap_or_else(|_| Err(anyhow!("panicked, see above"))), copies)
        });
        (facts.rustc, facts.working_copies) = (rustc?, copies?);
        if compiles {
            facts.cargo_config = cargo_config(cache.dir(), &|name| std::env::var_os(name));
        }
        facts.read_locks(matrix)?;
        facts.read_build_locks(matrix)?;
        Ok(facts)
    }

    /// Where something is written, as errors name it: `matrix.yaml:12:5`.
    pub fn place(&self, origin: &Origin) -> String {
        match origin {
            Origin::Unknown => "matrix.yaml".to_owned(),
            Origin::File(place) => place.clone(),
            Origin::Matrix(ordinal) => {
                let file = self.matrix.file_name().unwrap_or_default().to_string_lossy();
                // Without the text there is no line.
                let text = fs::read_to_string(&self.matrix).unwrap_or_default();
                match matrix::place(&text, *ordinal) {
                    Some(at) => format!("{file}:{}:{}", at.line, at.column),
                    None => file.into_owned(),
                }
            }
        }
    }

    /// The files that `build.lock` of the packages names.
    fn read_build_locks(&mut self, matrix: &Matrix) -> Result<()> {
        for package in &matrix.packages {
            let Some(file) = &package.build.lock else { continue };
            let lock = pylock::read(&self.project, file).map_err(|error| {
                anyhow!(Wrong(format!("matrix.yaml: packages[].build.lock of `{}`: {error:#}", package.id)))
            })?;
            self.build_locks.insert(package.id.to_string(), lock);
        }
        Ok(())
    }

    /// Checks that each wheel of the plan has its build requirements.
    pub fn check_build_locks(&self, matrix: &Matrix, plan: &Plan) -> Result<()> {
        for step in &plan.steps {
            let Action::Container(Container { wheel, .. }) = &step.action else { continue };
            if let (Some(package), Some(abi)) = (matrix.package(&wheel.package), matrix.abi(&wheel.abi)) {
                self.build_requirements(matrix, package, abi)?;
            }
        }
        Ok(())
    }

    /// The build requirements of a package for an ABI; none for a package without `build.lock`.
    pub fn build_requirements(&self, matrix: &Matrix, package: &Package, abi: &Abi) -> Result<Option<Vec<Pin>>> {
        let Some(lock) = self.build_locks.get(&*package.id) else { return Ok(None) };
        let glibc = glibc(&matrix.root.glibc).context("`root.glibc` in matrix.yaml is not MAJOR.MINOR")?;
        lock.select(abi, glibc).map(Some).map_err(|error| {
            anyhow!(Wrong(format!(
                "matrix.yaml: packages[].build.lock of `{}` for `{}`: {error:#}; `uv pip compile --universal` makes such \
                 a file, for all versions of Python that its `requires-python` names",
                package.id, abi.id
            )))
        })
    }

    /// The lock files of the packages in images.
    fn read_locks(&mut self, matrix: &Matrix) -> Result<()> {
        for image in &matrix.images {
            for package in image.packages.iter().filter_map(|id| matrix.package(id)) {
                let Some(folder) = &package.locks else { continue };
                let pins = lock::read(&self.project, &format!("{folder}/{}.txt", image.abi)).map_err(|error| {
                    anyhow!(Wrong(format!("matrix.yaml: packages[].locks of `{}`: {error:#}", package.id)))
                })?;
                self.locks.insert((package.id.to_string(), image.abi.to_string()), pins);
            }
        }
        Ok(())
    }
}

fn working_copies(matrix: &Matrix, project: &Path) -> Result<BTreeMap<String, String>> {
    let mut contents = BTreeMap::new();
    for package in &matrix.packages {
        if let Some(folder) = package.working_copy(project) {
            let content = digest_folder(&folder).map_err(|error| {
                anyhow!(Wrong(format!("matrix.yaml: packages[].source.path of `{}`: {error:#}", package.id)))
            })?;
            contents.insert(package.id.to_string(), content);
        }
    }
    Ok(contents)
}

/// What Cargo reads where packages are compiled: the configuration of each folder above, then that
/// of its home. Of both names it takes the one without an extension.
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

/// The files of a working copy: those that git tracks, submodules included, or does not ignore; all
/// of them where there is no git. Relative to `folder`, sorted.
pub fn list_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        bail!("`{}` is not a folder: correct the `path` in matrix.yaml", folder.display());
    }
    let mut files = Vec::new();
    if folder.canonicalize()?.ancestors().any(|above| above.join(".git").exists()) {
        let (tracked, others) = std::thread::scope(|scope| {
            let others = scope.spawn(|| git_lists(folder, &["--others", "--exclude-standard"]));
            let tracked = git_lists(folder, &["--cached", "--recurse-submodules"]);
            (tracked, others.join().unwrap_or_else(|_| Err(anyhow!("panicked, see above"))))
        });
        files.extend(tracked?);
        files.extend(others?);
        // A file that git tracks may have been deleted.
        files.retain(|name| folder.join(name).symlink_metadata().is_ok());
    } else {
        walk(folder, Path::new(""), &mut files)?;
    }
    files.sort();
    files.dedup();
    if files.is_empty() {
        bail!("`{}` has no files: correct the path", folder.display());
    }
    let top = folder.canonicalize()?;
    for name in &files {
        let path = folder.join(name);
        // git does not check the names in its index, and files are copied by these names.
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("`{}` lists the file `{}`, which is not below it", folder.display(), name.display());
        }
        let meta = path.symlink_metadata()?;
        if meta.is_dir() {
            bail!("the submodule `{}` is empty: run `git submodule update --init --recursive`", path.display());
        }
        if meta.is_symlink() && !path.canonicalize().is_ok_and(|target| target.starts_with(&top) && target.is_file()) {
            bail!("`{}` is a link to something that is not a file of `{}`", path.display(), folder.display());
        }
    }
    Ok(files)
}

fn git_lists(folder: &Path, which: &[&str]) -> Result<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let listed = git::output(folder, &[&["ls-files", "-z"], which, &["--", "."]].concat())?;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect())
}

/// Adds the files in the folder `below` of `top` and under it, relative to `top`.
pub fn walk(top: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
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

/// The digest of a working copy: names, contents and whether a file is executable.
pub fn digest_folder(folder: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut text = String::new();
    for name in list_folder(folder)? {
        let path = folder.join(&name);
        let meta = path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?;
        // A link counts as the file that it leads to, which is how it is copied.
        let kind = if meta.permissions().mode() & 0o100 != 0 { "exec" } else { "file" };
        let content = digest::of_file(&path)?;
        text.push_str(&format!("{kind} {content} {:?}\n", name));
    }
    Ok(digest::of(text))
}

#[cfg(test)]
mod tests;
