//! Selects the native files that are audited by default: all except third-party code and code that is not part of a
//! wheel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::language::Language;

/// Names of folders with third-party code.
const VENDORED: [&str; 11] = [
    "vendor",
    "vendored",
    "_vendor",
    "third_party",
    "third-party",
    "thirdparty",
    "3rdparty",
    "extern",
    "external",
    "subprojects",
    "node_modules",
];
/// Names of folders with code that is not part of a wheel.
const NOT_IN_A_WHEEL: [&str; 8] = ["test", "tests", "testing", "benches", "benchmarks", "examples", "fuzz", "target"];
/// Files that build a library without Python; the last two count only if they start a project.
const BUILD_FILES: [&str; 8] = [
    "configure",
    "configure.ac",
    "configure.in",
    "Makefile",
    "GNUmakefile",
    "makefile",
    "CMakeLists.txt",
    "meson.build",
];
/// Headers that code for Python includes.
const PYTHON: [&str; 3] = ["Python.h", "pybind11/", "nanobind/"];

/// Files that are not audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Path relative to the top of the source, like all paths here.
    pub folder: String,
    /// Number of native files in it.
    pub files: usize,
    pub why: String,
}

impl LeftOut {
    pub fn json(&self) -> Value {
        json!({"folder": self.folder, "files": self.files, "why": self.why})
    }
}

/// Returns the native files to audit, and the skipped folders with reasons. `read` returns the content of a file.
pub fn choose(files: &[PathBuf], read: impl Fn(&Path) -> Result<String>) -> Result<(Vec<PathBuf>, Vec<LeftOut>)> {
    let bundled = bundled(files, read)?;
    let (mut chosen, mut left_out) = (Vec::new(), BTreeMap::<PathBuf, (usize, String)>::new());
    for file in files.iter().filter(|file| Language::of(file).is_some()) {
        match reason(file, &bundled) {
            None => chosen.push(file.clone()),
            Some((folder, why)) => left_out.entry(folder).or_insert((0, why)).0 += 1,
        }
    }
    let left_out = left_out.into_iter().map(|(folder, (files, why))| {
        let folder = folder.display().to_string();
        LeftOut { folder, files, why }
    });
    Ok((chosen, left_out.collect()))
}

/// Returns the outermost folder because of which a file is skipped, with the reason; `None` if the file is audited.
fn reason(file: &Path, bundled: &BTreeMap<PathBuf, &str>) -> Option<(PathBuf, String)> {
    let mut folder = PathBuf::new();
    for part in file.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(name) = part else { continue };
        folder.push(name);
        let is = |names: &[&str]| names.iter().any(|known| name == *known);
        if is(&VENDORED) {
            return Some((folder, "third-party code, according to the folder name".to_owned()));
        }
        if is(&NOT_IN_A_WHEEL) || name.to_string_lossy().starts_with('.') {
            return Some((folder, "not in a wheel, according to the folder name".to_owned()));
        }
        if let Some(build) = bundled.get(&folder) {
            return Some((folder, format!("a bundled library: it has a `{build}`, and nothing in it uses Python")));
        }
    }
    (file.file_name() == Some("build.rs".as_ref())).then(|| (file.to_owned(), "runs only while it is built".to_owned()))
}

/// Returns folders below the top with their own build file and no use of Python: copied libraries.
fn bundled(files: &[PathBuf], read: impl Fn(&Path) -> Result<String>) -> Result<BTreeMap<PathBuf, &'static str>> {
    let mut candidates = BTreeMap::new();
    for file in files {
        let name = BUILD_FILES.iter().find(|name| file.file_name() == Some(name.as_ref()));
        let (Some(name), Some(folder)) = (name, file.parent().filter(|folder| *folder != Path::new(""))) else {
            continue;
        };
        // Parts of a project have these files as well.
        let is_part = matches!(*name, "CMakeLists.txt" | "meson.build")
            && !read(file)?.to_lowercase().lines().any(|line| line.trim_start().starts_with("project"));
        if !is_part {
            candidates.entry(folder.to_owned()).or_insert(*name);
        }
    }
    let mut for_python = BTreeSet::new();
    for file in files {
        let above =
            |file: &Path| candidates.keys().filter(|folder| file.starts_with(folder)).cloned().collect::<Vec<_>>();
        let folders = above(file);
        if folders.iter().all(|folder| for_python.contains(folder)) {
            continue;
        }
        let uses_python = match Language::of(file) {
            // A crate or Cython module next to a Makefile belongs to the package.
            Some(Language::Rust) => true,
            Some(Language::Unread("Cython")) => true,
            Some(_) => {
                let text = read(file)?;
                PYTHON.iter().any(|word| text.contains(word))
            }
            None => ["setup.py", "pyproject.toml"].iter().any(|name| file.file_name() == Some(name.as_ref())),
        };
        if uses_python {
            for_python.extend(folders);
        }
    }
    candidates.retain(|folder, _| !for_python.contains(folder));
    Ok(candidates)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    /// Returns the audited files, and the skipped folders with the first word of the reason.
    fn chosen(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let names: Vec<PathBuf> = files.iter().map(|(name, _)| PathBuf::from(name)).collect();
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).context("no such file")
        };
        let (chosen, left_out) = choose(&names, read).unwrap();
        let left_out = left_out.iter().map(|left| {
            let word = left.why.split(' ').nth(usize::from(left.why.starts_with("a "))).unwrap();
            format!("{} {} {word}", left.folder, left.files)
        });
        (chosen.iter().map(|file| file.display().to_string()).collect(), left_out.collect())
    }

    #[test]
    fn all_native_files_wherever_they_are() {
        let files = ["a.c", "pkg/_b.c", "pkg/deep/c.h", "rust/src/lib.rs", "pkg/d.cpp", "pkg/e.pyx", "lib/f.py"];
        let (chosen, left_out) = chosen(&files.map(|name| (name, "")));
        assert_eq!(chosen, ["a.c", "pkg/_b.c", "pkg/deep/c.h", "rust/src/lib.rs", "pkg/d.cpp", "pkg/e.pyx"]);
        assert_eq!(left_out, [""; 0]);
    }

    #[test]
    fn other_peoples_code_and_what_is_in_no_wheel() {
        let (chosen, left_out) = chosen(&[
            ("src/a.c", ""),
            ("src/vendor/x/b.c", ""),
            ("src/vendor/y/c.c", ""),
            ("third_party/d.cc", ""),
            ("rust/tests/e.rs", ""),
            ("rust/build.rs", ""),
            (".venv/f.h", ""),
        ]);
        assert_eq!(chosen, ["src/a.c"]);
        let expected = [
            ".venv 1 not",
            "rust/build.rs 1 runs",
            "rust/tests 1 not",
            "src/vendor 2 third-party",
            "third_party 1 third-party",
        ];
        assert_eq!(left_out, expected);
    }

    #[test]
    fn a_bundled_library_has_a_build_of_its_own_and_knows_nothing_of_python() {
        let (chosen, left_out) = chosen(&[
            ("client-c/Makefile", ""),
            ("client-c/src/a.c", "#include <stdio.h>"),
            ("client-c/modules/lua/Makefile", ""),
            ("client-c/modules/lua/b.c", ""),
            ("zlib/CMakeLists.txt", "cmake_minimum_required(VERSION 3)\nproject(zlib C)\n"),
            ("zlib/c.c", ""),
            ("core/CMakeLists.txt", "add_library(core d.c)\n"),
            ("core/d.c", ""),
            ("ext/Makefile", ""),
            ("ext/e.c", "#include <Python.h>"),
            ("ext/helper.c", ""),
            ("Makefile", ""),
            ("f.c", ""),
        ]);
        assert_eq!(chosen, ["core/d.c", "ext/e.c", "ext/helper.c", "f.c"]);
        assert_eq!(left_out, ["client-c 2 bundled", "zlib 1 bundled"]);
    }
}
