//! Selects the files of a package to audit, from the pinned source of its wheels.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::choice::{self, LeftOut};
use crate::finding::{FILE_LEVEL, Finding, Found, identified};
use crate::language::Language;
use crate::{c, rules, rust};
use base::{digest, ui};
use build::Project;
use build::source::{self, UnpackedSource};
use matrix::Package;

/// Result of a scan.
#[derive(Debug, Default)]
pub struct Scanned {
    pub findings: Vec<Finding>,
    pub rust: usize,
    pub c: usize,
    /// Files that could not be parsed. Each compiled one is also a finding.
    pub unread: Vec<String>,
    /// Native code that is not audited.
    pub left_out: Vec<LeftOut>,
}

/// Files of a package to audit.
pub struct Source(UnpackedSource);

/// Returns the sources of packages, downloaded if they are not cached.
pub fn of(project: &Project, packages: &[&Package]) -> Result<Vec<Source>> {
    Ok(source::unpack(project, packages)?.into_iter().map(Source).collect())
}

impl Source {
    /// Scans all native files in `folders`; if empty, all except third-party code.
    pub fn scan(&self, folders: &[String]) -> Result<Scanned> {
        // The target of a link is audited at its own path, or does not belong to the package.
        let linked = |file: &Path| self.0.top.join(file).symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        let files: Vec<PathBuf> = self.0.files.iter().filter(|file| !linked(file)).cloned().collect();
        let (chosen, left_out) = match folders {
            [] => choice::choose(&files, |file| self.read(file))?,
            folders => (self.named(&files, folders)?, Vec::new()),
        };
        let mut scanned = Scanned { left_out, ..Scanned::default() };
        let mut crates: Vec<(&PathBuf, rust::Scanned)> = Vec::new();
        for file in &chosen {
            let name = file.display().to_string();
            match Language::of(file) {
                Some(Language::Rust) => {
                    let found = rust::scan(&self.read(file)?);
                    crates.push((file, found.with_context(|| format!("`{name}` is not Rust that syn reads"))?));
                }
                Some(Language::C) => match c::scan(&self.read(file)?) {
                    Ok(found) => {
                        scanned.findings.extend(identified(&name, found));
                        scanned.c += 1;
                    }
                    Err(error) => {
                        self.unread(file, &format!("not C that the audit can read: {error:#}"), &mut scanned)?
                    }
                },
                Some(Language::Unread("Cython")) if chosen.contains(&file.with_extension("c")) => {
                    scanned.unread.push(name)
                }
                Some(Language::Unread(language)) => self.unread(file, language, &mut scanned)?,
                Some(Language::UnreadHeader(_)) => scanned.unread.push(name),
                None => {}
            }
        }
        let tests: BTreeSet<PathBuf> = crates.iter().flat_map(|(file, found)| test_files(file, found)).collect();
        for (file, found) in crates {
            // `tests.rs` is a file, `tests/` a folder with further files.
            if !tests.iter().any(|test| file.with_extension("").starts_with(test)) {
                scanned.findings.extend(identified(&file.display().to_string(), found.found));
                scanned.rust += 1;
            }
        }
        scanned
            .findings
            .sort_by(|a, b| (&a.file, a.found.line, a.found.column).cmp(&(&b.file, b.found.line, b.found.column)));
        Ok(scanned)
    }

    /// Returns the files in the folders listed in the matrix, each of which must contain native code.
    fn named(&self, files: &[PathBuf], folders: &[String]) -> Result<Vec<PathBuf>> {
        let native = || files.iter().filter(|file| Language::of(file).is_some());
        for folder in folders {
            if !native().any(|file| file.starts_with(folder)) {
                bail!("`{folder}` has no file of Rust or C: correct `audit.sources` in matrix.yaml");
            }
        }
        Ok(native().filter(|file| folders.iter().any(|folder| file.starts_with(folder))).cloned().collect())
    }

    /// Records a file that cannot be parsed as a finding.
    fn unread(&self, file: &Path, why: &str, scanned: &mut Scanned) -> Result<()> {
        let name = file.display().to_string();
        let found = Found {
            rule: &rules::UNREAD,
            line: 1,
            column: 1,
            function: FILE_LEVEL.to_owned(),
            // The review applies to this content of the file.
            snippet: digest::of(self.read(file)?),
            note: why.to_owned(),
        };
        scanned.findings.extend(identified(&name, vec![found]));
        scanned.unread.push(name);
        Ok(())
    }

    fn read(&self, file: &Path) -> Result<String> {
        let bytes =
            std::fs::read(self.0.top.join(file)).with_context(|| format!("cannot read `{}`", file.display()))?;
        // Comments may have another encoding; audited code is ASCII.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns the paths (without `.rs`) of modules that a file declares for tests only.
fn test_files(file: &Path, found: &rust::Scanned) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default();
    let parent = file.parent().unwrap_or(Path::new(""));
    let own = ["mod", "lib", "main"].iter().any(|name| stem == *name);
    let folder = if own { parent.to_owned() } else { parent.join(stem) };
    found.test_modules.iter().map(|name| folder.join(name)).collect()
}

/// Formats the number of unparsable files for the table.
pub fn unread(files: &[String]) -> String {
    let some: Vec<&String> = files.iter().take(3).collect();
    let more = if files.len() > some.len() { " and others" } else { "" };
    format!("NOT READ: {} files in languages that the audit cannot read: {}{more}", files.len(), ui::quoted(some))
}
