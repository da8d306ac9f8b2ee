//! `cargo xtask lock`: resolves the requirements of packages with the pinned uv and writes lock files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::{fmt, fs};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};

use crate::uv::{self, Resolution, WithoutWheels};
use base::ui;
use build::lock::{Header, NoFittingWheel, Pylock, SourceMetadata, pylock};
use build::manifest::{ArtefactKind, Manifest};
use build::{Project, cache, source};
use matrix::{Abi, Builder, LockPurpose, Package, select};
use wheelfile::normalise;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Packages in the matrix; default: all
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Take the newest versions instead of keeping those in the lock files where possible
    #[arg(long)]
    upgrade: bool,
    /// Write nothing; fail if a lock file would change
    #[arg(long)]
    check: bool,
    /// Print the locked wheels for an ABI as requirements with hashes for pip, instead of locking
    #[arg(long, value_name = "ABI", conflicts_with_all = ["upgrade", "check"])]
    print: Option<String>,
    /// What the printed wheels are for
    #[arg(long = "for", value_name = "PURPOSE", requires = "print", default_value = "runtime")]
    purpose: Purposes,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Purposes {
    Runtime,
    Build,
    Tests,
}

impl From<Purposes> for LockPurpose {
    fn from(purpose: Purposes) -> LockPurpose {
        match purpose {
            Purposes::Runtime => LockPurpose::Runtime,
            Purposes::Build => LockPurpose::Build,
            Purposes::Tests => LockPurpose::Tests,
        }
    }
}

/// New content of a lock file.
pub struct LockFile {
    /// Path relative to the project folder.
    file: String,
    /// `None` if the package has no requirements for the purpose.
    text: Option<String>,
    /// Descriptions of the changes; empty if the file stays as it is.
    differences: Vec<String>,
}

impl LockFile {
    pub fn write(&self, project: &Project) -> Result<()> {
        let path = project.folder.join(&self.file);
        match &self.text {
            Some(text) => {
                let folder = path.parent().context("a lock file without a folder: this is a bug")?;
                fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
                cache::write(&path, text.as_bytes())
            }
            None if path.is_file() => fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", self.file)),
            None => Ok(()),
        }
    }
}

/// Locks the selected packages. Files are written only if all requirements could be resolved.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let packages = select::packages(&project.matrix, &options.packages)?;
    if let Some(abi) = &options.print {
        return print(project, &packages, options.purpose.into(), abi);
    }
    let made = resolve(project, &packages, &LockPurpose::ALL, options.upgrade)?;
    let mut changed = Vec::new();
    for lock in &made {
        if lock.differences.is_empty() {
            ui::print_result(&format!("{}: current\n", lock.file))?;
            continue;
        }
        if !options.check {
            lock.write(project)?;
        }
        ui::print_result(&format!("{}: {}\n", lock.file, lock.differences.join(", ")))?;
        changed.push(&lock.file);
    }
    if options.check && !changed.is_empty() {
        bail!("{} would change: run `cargo xtask lock`", ui::quoted(changed));
    }
    Ok(())
}

/// Prints the locked wheels of packages for an ABI in pip's format of requirements with hashes.
fn print(project: &Project, packages: &[&Package], purpose: LockPurpose, abi: &str) -> Result<()> {
    let matrix = &project.matrix;
    let abi = select::abi(matrix, abi)?;
    let facts = project.facts(false)?;
    let mut text = String::new();
    for package in packages {
        for pin in facts.select(matrix, package, purpose, abi)?.unwrap_or_default() {
            match pin.url {
                Some(url) => writeln!(text, "{} @ {url} --hash=sha256:{}", pin.name, pin.sha256)?,
                None => writeln!(text, "{}=={} --hash=sha256:{}", pin.name, pin.version, pin.sha256)?,
            }
        }
    }
    ui::print_result(&text)
}

/// Resolves the requirements of packages for those of the purposes that they have.
pub fn resolve(
    project: &Project,
    packages: &[&Package],
    purposes: &[LockPurpose],
    upgrade: bool,
) -> Result<Vec<LockFile>> {
    let tools = if project.fake { PathBuf::new() } else { project.tools()? };
    let sources = source::unpack(project, packages)?;
    let (mut made, mut failed, mut to_build) = (Vec::new(), Vec::new(), Vec::new());
    for (package, source) in packages.iter().zip(&sources) {
        project.cancel.check()?;
        let folder = match &package.source.subdirectory {
            Some(folder) => source.top.join(&**folder),
            None => source.top.clone(),
        };
        let metadata = SourceMetadata::read(&folder, built_metadata(project, package)?.as_deref());
        let metadata = metadata.with_context(|| format!("cannot read the source of `{}`", package.id))?;
        for &purpose in purposes {
            if purpose == LockPurpose::Runtime && !metadata.knows_runtime() {
                project.ui.say(&format!(
                    "note: the run-time requirements of `{0}` are known only after its build: then run `cargo xtask lock \
                     {0}` again",
                    package.id
                ));
                continue;
            }
            if purpose == LockPurpose::Runtime && package.source.path.is_some() && metadata.runtime_is_computed() {
                project.ui.say(&format!(
                    "note: the run-time requirements of `{}` are those of its wheel that was built last",
                    package.id
                ));
            }
            let resolver = Resolver { project, package, purpose, upgrade, tools: &tools };
            match resolver.lock(&metadata) {
                Ok(lock) => made.extend(lock),
                Err(error) => {
                    let requirements = metadata.requirements(package, purpose).unwrap_or_default();
                    let without_wheel: Vec<String> =
                        without_wheel(&error).into_iter().map(|what| with_versions(what, &requirements)).collect();
                    let command = |what: &String| format!("cargo xtask add {}", ui::shell_quoted(what));
                    let commands = ui::quoted(without_wheel.iter().map(command));
                    let advice = match (without_wheel.is_empty(), purpose) {
                        (true, _) => String::new(),
                        (false, LockPurpose::Build) => {
                            format!("; require another version in `build.requires` of `{}`", package.id)
                        }
                        (false, _) => format!("; {commands} builds it from source, or require another version"),
                    };
                    failed.push(format!("`{}`: {error:#}{advice}", resolver.file()));
                    // A build requirement must be a wheel of the index.
                    let without_wheel = without_wheel.into_iter().filter(|_| purpose != LockPurpose::Build);
                    to_build.extend(without_wheel);
                }
            }
        }
    }
    if !failed.is_empty() {
        return Err(anyhow!(LockFailed { text: failed.join("\n"), to_build }));
    }
    Ok(made)
}

/// Lock files that could not be made.
#[derive(Debug)]
pub struct LockFailed {
    /// One line per lock file.
    text: String,
    /// Distributions without a fitting wheel: `NAME` or `NAME==VERSION`.
    pub to_build: Vec<String>,
}

impl fmt::Display for LockFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for LockFailed {}

/// Returns the distributions that a resolution needs and that have no fitting wheel: `NAME` or `NAME==VERSION`.
fn without_wheel(error: &anyhow::Error) -> Vec<String> {
    if let Some(without) = error.downcast_ref::<WithoutWheels>() {
        return without.names.clone();
    }
    let found = error.downcast_ref::<NoFittingWheel>().map(|found| match &found.version {
        Some(version) => format!("{}=={version}", normalise(&found.name)),
        None => normalise(&found.name),
    });
    found.into_iter().collect()
}

/// Adds the versions that one of the requirements admits to the name of a distribution, so that such a version is built.
fn with_versions(what: String, requirements: &[String]) -> String {
    let parse = |text: &String| Requirement::<VerbatimUrl>::from_str(text).ok();
    let of_it = requirements.iter().filter_map(parse).find(|requirement| requirement.name.to_string() == what);
    match of_it.and_then(|requirement| requirement.version_or_url) {
        Some(VersionOrUrl::VersionSpecifier(versions)) => format!("{what}{}", versions.to_string().replace(' ', "")),
        _ => what,
    }
}

/// Returns the METADATA of the wheel of `package` that was built last, if it is still in the cache.
pub fn built_metadata(project: &Project, package: &Package) -> Result<Option<String>> {
    let manifest = Manifest::read(&project.wheels())?;
    let wheel = manifest.artefacts.iter().find(|entry| entry.kind == ArtefactKind::Wheel && entry.name == *package.id);
    let blob = wheel.map(|entry| project.cache.blob(&entry.sha256)).filter(|blob| blob.is_file());
    Ok(match blob {
        Some(blob) => wheelfile::read_metadata(&blob)?,
        None => None,
    })
}

/// Resolution of the requirements of one package for one purpose.
struct Resolver<'r> {
    project: &'r Project,
    package: &'r Package,
    purpose: LockPurpose,
    upgrade: bool,
    /// Environment with the pinned tools.
    tools: &'r Path,
}

impl Resolver<'_> {
    fn file(&self) -> String {
        self.project.matrix.lock_file(&self.package.id, self.purpose)
    }

    /// Returns the lock file; `None` if the package needs none for this purpose and has none.
    fn lock(&self, metadata: &SourceMetadata) -> Result<Option<LockFile>> {
        let (matrix, package) = (&self.project.matrix, self.package);
        let tested = package
            .tests
            .as_ref()
            .is_some_and(|tests| tests.upstream.is_some() || tests.pytest.is_some() || !tests.requires.is_empty());
        let needed = match self.purpose {
            LockPurpose::Runtime => true,
            LockPurpose::Build => package.build.with == Builder::Container && !self.abis(metadata).is_empty(),
            LockPurpose::Tests => tested,
        };
        let requirements = if needed { metadata.requirements(package, self.purpose)? } else { Vec::new() };
        let file = self.file();
        let old = self.read_old(&file);
        // A package without build requirements has an empty lock file, which shows that this was determined.
        if requirements.is_empty() && !(needed && self.purpose == LockPurpose::Build) {
            let removed = old.is_some().then(|| LockFile { file, text: None, differences: vec!["removed".to_owned()] });
            return Ok(removed);
        }
        let answer = pylock::parse(&self.ask_uv(&requirements, metadata)?, &file).context("the answer of uv")?;
        let purpose = match self.purpose {
            LockPurpose::Runtime => "run-time",
            LockPurpose::Build => "build",
            LockPurpose::Tests => "test",
        };
        let version = matrix.tools.iter().find(|tool| tool.name == *"uv").map(|tool| tool.version.to_string());
        let header = Header {
            title: format!("{purpose} requirements of `{}`", package.id),
            requirements: &requirements,
            created_by: format!("uv {}", version.unwrap_or_default()),
        };
        let text = answer.render(&header)?;
        let new = pylock::parse(&text, &file)?;
        for abi in self.abis(metadata) {
            let glibc = wheelfile::parse_glibc(&matrix.root.glibc).unwrap_or_default();
            new.select(abi, matrix.platform, glibc)?;
        }
        let current = fs::read_to_string(self.project.folder.join(&file)).is_ok_and(|old| old == text);
        let differences = if current { Vec::new() } else { differences(old.as_ref(), &new) };
        Ok(Some(LockFile { file, text: Some(text), differences }))
    }

    /// Returns the present lock file. An unreadable one counts as missing, because it is replaced.
    fn read_old(&self, file: &str) -> Option<Pylock> {
        self.project.folder.join(file).is_file().then(|| pylock::read(&self.project.folder, file).ok()).flatten()
    }

    /// Returns the ABIs that the lock file must serve.
    fn abis(&self, metadata: &SourceMetadata) -> Vec<&Abi> {
        let matrix = &self.project.matrix;
        let image = |abi: &Abi| matrix.images.iter().any(|row| row.abi == *abi.id && row.has_package(&self.package.id));
        let in_no_image = !matrix.abis.iter().any(image);
        let needs = |abi: &&Abi| match self.purpose {
            LockPurpose::Build => matrix.builds(self.package, abi) && metadata.supports(abi),
            LockPurpose::Runtime | LockPurpose::Tests => image(abi) || (in_no_image && metadata.supports(abi)),
        };
        matrix.abis.iter().filter(needs).collect()
    }

    /// Returns uv's resolution for all Python versions from the oldest one that is needed. uv keeps the versions in
    /// the present lock file where it can.
    fn ask_uv(&self, requirements: &[String], metadata: &SourceMetadata) -> Result<String> {
        let project = self.project;
        let file = self.file();
        let python = self.abis(metadata).into_iter().map(python_version).min_by_key(|version| version_key(version));
        let python = python.context("the package supports the Python version of none of the ABIs in the matrix")?;
        // The matrix has rows for these packages, whose wheels are installed instead.
        let rows: Vec<String> = project.matrix.packages.iter().map(|other| normalise(other.distribution())).collect();
        let upgrade = self.upgrade.then(|| "--upgrade".to_owned());
        let indexes = self.package.indexes.iter().flat_map(|index| ["--index".to_owned(), index.to_string()]);
        let without = rows.iter().flat_map(|name| ["--no-emit-package".to_owned(), name.clone()]);
        let requirements = format!("{}\n", requirements.join("\n"));
        let mut resolution = Resolution {
            id: "lock",
            what: &format!("{} ({})", self.package.id, self.purpose.as_str()),
            requirements: &requirements,
            python: &python,
            old: fs::read(project.folder.join(&file)).ok(),
            left_out: Vec::new(),
            options: upgrade.into_iter().chain(indexes).chain(without).collect(),
        };
        loop {
            let error = match uv::resolve(project, self.tools, &resolution) {
                Ok(text) => return Ok(text),
                Err(error) => error,
            };
            // Those with a row have a lock file of their own.
            let names = error.downcast_ref::<WithoutWheels>().map(|without| without.names.clone()).unwrap_or_default();
            let with_row = names.into_iter().filter(|name| rows.contains(name) && !resolution.left_out.contains(name));
            let new: Vec<String> = with_row.collect();
            if new.is_empty() {
                return Err(error);
            }
            resolution.left_out.extend(new);
        }
    }
}

/// Returns `3.11` for the ABIs of Python 3.11.
fn python_version(abi: &Abi) -> String {
    abi.interpreter_name().trim_end_matches('t').to_owned()
}

fn version_key(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Describes the changes between two lock files, with the versions of packages.
fn differences(old: Option<&Pylock>, new: &Pylock) -> Vec<String> {
    let versions = |lock: Option<&Pylock>| -> BTreeMap<String, Vec<String>> {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, version) in lock.into_iter().flat_map(Pylock::versions) {
            versions.entry(normalise(name)).or_default().push(version.to_owned());
        }
        versions
    };
    let (old, new) = (versions(old), versions(Some(new)));
    let mut differences = Vec::new();
    for (name, versions) in &new {
        match old.get(name) {
            None => differences.push(format!("+{name} {}", versions.join("/"))),
            Some(old) if old != versions => {
                differences.push(format!("{name} {} -> {}", old.join("/"), versions.join("/")));
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    differences.extend(gone.map(|(name, versions)| format!("-{name} {}", versions.join("/"))));
    if differences.is_empty() {
        differences.push("other files or requirements of the same versions".to_owned());
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::with_versions;

    #[test]
    fn a_requirement_is_added_in_a_version_that_it_admits() {
        let requirements = ["other", "My.Demo >=1, <2", "x @ https://host.example/x.tar.gz"].map(str::to_owned);
        let added = |what: &str| with_versions(what.to_owned(), &requirements);
        assert_eq!(added("my-demo"), "my-demo>=1,<2");
        assert_eq!(["my-demo==1.5", "other", "third", "x"].map(added), ["my-demo==1.5", "other", "third", "x"]);
    }
}
