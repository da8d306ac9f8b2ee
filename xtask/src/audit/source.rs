//! Which files of a package are audited, and where they come from: the same pinned source that its wheels are built from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use super::{Finding, c, rust};
use crate::cache::Scratch;
use crate::exchange::Exchange;
use crate::matrix::Package;
use crate::plan::{self, Action};
use crate::{Project, digest, facts, run, ui};

/// Folders of other people's code.
const FOREIGN: [&str; 4] = ["vendor", "third_party", "target", "node_modules"];
/// Code that the audit cannot read.
const UNREAD: [&str; 7] = ["cc", "cpp", "cxx", "hpp", "pyx", "pxd", "go"];

/// A package's source, laid out; gone when it is dropped where it was unpacked.
pub struct Source {
    top: PathBuf,
    /// Relative to the top.
    files: Vec<PathBuf>,
    _scratch: Option<Scratch>,
}

/// What was read, and found in it.
#[derive(Debug, Default)]
pub struct Scanned {
    pub findings: Vec<Finding>,
    pub rust: usize,
    pub c: usize,
    /// Files in languages that the audit cannot read.
    pub unread: Vec<String>,
}

/// The sources of packages, fetched where they are not in the cache.
pub fn of(project: &Project, packages: &[&Package]) -> Result<Vec<Source>> {
    let facts = project.facts(false)?;
    let plan = plan::sources(&project.matrix, packages, &facts);
    let asked = |step: &plan::Step| matches!(step.action, Action::Fetch(_));
    let context = project.context(&facts, None);
    let made = run::execute_with(&plan, &asked, &context, &Exchange::new(None, None))?;
    let mut sources = Vec::new();
    for package in packages {
        let Some(folder) = package.working_copy(&project.folder) else {
            let id = plan::sdist_id(&package.id);
            let file = made.get(&id).and_then(|outcome| outcome.record.output.files.first());
            let file = file.with_context(|| format!("`{id}` made no file: this is a bug"))?;
            let scratch = project.cache.scratch(&format!("audit-{}", package.id))?;
            let (archive, top) = (project.cache.blob(&file.sha256), scratch.path().to_owned());
            let shell = Shell::new()?;
            cmd!(shell, "tar -xzf {archive} -C {top} --strip-components=1 --no-same-owner")
                .quiet()
                .run()
                .with_context(|| format!("cannot unpack `{}`, the source of `{}`", file.name, package.id))?;
            let mut files = Vec::new();
            facts::walk(&top, Path::new(""), &mut files)?;
            files.sort();
            sources.push(Source { top, files, _scratch: Some(scratch) });
            continue;
        };
        sources.push(Source { files: facts::list_folder(&folder)?, top: folder, _scratch: None });
    }
    Ok(sources)
}

impl Source {
    /// Reads every file of Rust and C in `folders`, or where a package keeps its own code.
    pub fn scan(&self, folders: &[String]) -> Result<Scanned> {
        let named = !folders.is_empty();
        let folders = if named { folders.to_vec() } else { self.usual_folders() };
        let mut scanned = Scanned::default();
        let mut crates: Vec<(&PathBuf, rust::Scanned)> = Vec::new();
        for folder in &folders {
            let before = (scanned.c, crates.len(), scanned.unread.len());
            for file in self.files.iter().filter(|file| file.starts_with(folder)) {
                let path = self.top.join(file);
                let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
                let name = file.display().to_string();
                let read = || -> Result<String> {
                    let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{name}`"))?;
                    // A comment may be in another encoding; what is audited is ASCII.
                    Ok(String::from_utf8_lossy(&bytes).into_owned())
                };
                match extension {
                    // A link's file is audited where it lies, or is not the package's.
                    _ if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) => {}
                    "rs" => {
                        let found =
                            rust::scan(&read()?).with_context(|| format!("`{name}` is not Rust that syn reads"))?;
                        crates.push((file, found));
                    }
                    "c" | "h" => {
                        let found = c::scan(&read()?).with_context(|| format!("cannot read `{name}` as C"))?;
                        scanned.findings.extend(super::identified(&name, found));
                        scanned.c += 1;
                    }
                    other if UNREAD.contains(&other) => scanned.unread.push(name),
                    _ => {}
                }
            }
            if named && before == (scanned.c, crates.len(), scanned.unread.len()) {
                bail!("`{folder}` has no file of Rust or C: correct `audit.sources` in matrix.yaml");
            }
        }
        let tests: BTreeSet<PathBuf> = crates.iter().flat_map(|(file, found)| test_files(file, found)).collect();
        for (file, found) in crates {
            // `tests.rs` is a file, `tests/` a folder of more.
            if !tests.iter().any(|test| file.with_extension("").starts_with(test)) {
                scanned.findings.extend(super::identified(&file.display().to_string(), found.found));
                scanned.rust += 1;
            }
        }
        scanned
            .findings
            .sort_by(|a, b| (&a.file, a.found.line, a.found.column).cmp(&(&b.file, b.found.line, b.found.column)));
        Ok(scanned)
    }

    fn usual_folders(&self) -> Vec<String> {
        let foreign = |path: &Path| path.iter().any(|part| FOREIGN.iter().any(|name| part == *name));
        let manifests = self.files.iter().filter(|file| file.ends_with("Cargo.toml") && !foreign(file));
        let mut folders: BTreeSet<PathBuf> = manifests.map(|file| file.with_file_name("src")).collect();
        folders.insert(PathBuf::from("src"));
        // One in another would be read twice.
        let outer = folders.iter().filter(|one| !folders.iter().any(|other| other != *one && one.starts_with(other)));
        outer.map(|folder| folder.display().to_string()).collect()
    }
}

/// Where the modules lie that a file declares for tests only, without `.rs`.
fn test_files(file: &Path, found: &rust::Scanned) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default();
    let parent = file.parent().unwrap_or(Path::new(""));
    let own = ["mod", "lib", "main"].iter().any(|name| stem == *name);
    let folder = if own { parent.to_owned() } else { parent.join(stem) };
    found.test_modules.iter().map(|name| folder.join(name)).collect()
}

/// A fingerprint that survives moved lines: of rule, file, function and code, and of how many equal ones came before.
pub fn print(finding: &super::Found, file: &str, before: usize) -> String {
    let text = format!("{}\n{file}\n{}\n{}\n{before}", finding.rule.id, finding.function, finding.snippet);
    digest::of(text).chars().take(12).collect()
}

/// How the table names what cannot be read.
pub fn unread(files: &[String]) -> String {
    let some: Vec<&String> = files.iter().take(3).collect();
    let more = if files.len() > some.len() { " and others" } else { "" };
    format!("{} files cannot be read by the audit: {}{more}", files.len(), ui::quoted(some))
}
