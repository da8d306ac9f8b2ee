//! Determines from file names which modules installed wheels provide.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result};
use zip::ZipArchive;

use crate::check::has_python_suffix;
use crate::name::data_scheme;

/// Files that one or several wheels install into `site-packages`.
#[derive(Debug, Default)]
pub struct Importable {
    /// Paths relative to `site-packages`.
    files: BTreeSet<String>,
}

impl Importable {
    /// Adds the files of the wheel at `path`, which must have this distribution and version.
    pub fn add(&mut self, path: &Path, distribution: &str, version: &str) -> Result<()> {
        let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
        let archive = ZipArchive::new(BufReader::new(file));
        let archive = archive.with_context(|| format!("`{}` is not a wheel", path.display()))?;
        for member in archive.file_names() {
            if let Some(path) = in_site_packages(&member?, distribution, version) {
                self.files.insert(path.to_owned());
            }
        }
        Ok(())
    }

    /// Returns whether `import module` can succeed. Always true below a regular package, whose code may define
    /// modules itself, and if a `.pth` file exists, which may add folders.
    pub fn has(&self, module: &str) -> bool {
        if self.files.iter().any(|path| path.ends_with(".pth") && !path.contains('/')) {
            return true;
        }
        let mut folder = String::new();
        for part in module.split('.') {
            let stem = format!("{folder}{part}");
            if self.rests(&stem).any(is_module_suffix) {
                return true;
            }
            folder = format!("{stem}/");
            if self.rests(&folder).next().is_none() {
                return false;
            }
            if self.rests(&format!("{folder}__init__")).any(is_module_suffix) {
                return true;
            }
            // In a namespace package (PEP 420), the rest of the name must exist as well.
        }
        true
    }

    /// Returns the top-level modules and packages.
    pub fn top_levels(&self) -> BTreeSet<&str> {
        let top = |path: &'_ str| match path.split_once('/') {
            Some((folder, _)) => Some(folder.len()),
            None => path.find('.').filter(|dot| is_module_suffix(&path[*dot..])),
        };
        let names = self.files.iter().filter_map(|path| path.get(..top(path)?));
        names.filter(|name| is_identifier(name) && *name != "__pycache__").collect()
    }

    /// Returns the dotted names of the extension modules, as far as their file names tell them from other libraries.
    pub fn extensions(&self) -> BTreeSet<String> {
        let files = self.files.iter().filter(|path| has_python_suffix(path));
        files.map(|path| path.split('.').next().unwrap_or_default().replace('/', ".")).collect()
    }

    /// Returns the remainders of all paths that start with `start`.
    fn rests<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.range(start.to_owned()..).map_while(move |path| path.strip_prefix(start))
    }
}

/// Returns the path of a wheel member below `site-packages`; `None` if it is installed elsewhere.
fn in_site_packages<'a>(member: &'a str, distribution: &str, version: &str) -> Option<&'a str> {
    match data_scheme(member, distribution, version) {
        None => Some(member),
        Some(("purelib" | "platlib", rest)) => Some(rest),
        // The `data` scheme is the interpreter's prefix, which contains `site-packages`.
        Some((_, rest)) => rest.split_once("/site-packages/").map(|(_, rest)| rest),
    }
}

/// Returns whether a file name's part after the first dot is that of a module: source, byte code or extension module.
fn is_module_suffix(rest: &str) -> bool {
    rest.starts_with('.') && !rest.contains('/') && (matches!(rest, ".py" | ".pyc") || rest.ends_with(".so"))
}

/// Returns whether a text can be part of a dotted name in an `import` statement (approximation without Python's
/// Unicode tables).
pub fn is_identifier(text: &str) -> bool {
    let letter = |c: char| c == '_' || c.is_alphabetic();
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn importable(members: &[&str]) -> Importable {
        let files = members.iter().filter_map(|member| in_site_packages(member, "Demo", "1")).map(str::to_owned);
        Importable { files: files.collect() }
    }

    #[test]
    fn extension_modules_have_the_same_name_for_each_abi() {
        let ours = importable(&["demo/_a.cpython-314t-x86_64-linux-gnu.so", "demo/__init__.py", "demo.libs/libz.so"]);
        let vendors = importable(&["demo/_a.cpython-314-x86_64-linux-gnu.so", "Demo-1.data/platlib/demo/_b.abi3.so"]);
        assert_eq!(ours.extensions(), BTreeSet::from(["demo._a".to_owned()]));
        assert_eq!(vendors.extensions(), BTreeSet::from(["demo._a".to_owned(), "demo._b".to_owned()]));
    }

    #[test]
    fn all_kinds_of_modules_are_found() {
        let wheel = importable(&[
            "regular/__init__.py",
            "compiled/__init__.cpython-314t-x86_64-linux-gnu.so",
            "namespace/part/__init__.py",
            "file.py",
            "sourceless.pyc",
            "_calver.cpython-314t-x86_64-linux-gnu.so",
            "plain.so",
            "demo-1.0.data/platlib/moved.py",
            "demo-1.0.data/data/lib/python3.14t/site-packages/placed.py",
            "demo-1.0.data/scripts/tool.py",
            "stub.pyi",
            "demo-1.0.dist-info/METADATA",
            "demo.libs/libz.so.1",
        ]);
        for module in [
            "regular",
            "compiled",
            "namespace",
            "file",
            "sourceless",
            "_calver",
            "plain",
            "moved",
            "placed",
            // A regular package or module may define submodules that have no file.
            "regular.made_when_imported",
            "file.moves",
            "namespace.part",
            "namespace.part.x",
        ] {
            assert!(wheel.has(module), "{module}");
        }
        for module in ["regula", "calver", "tool", "stub", "demo", "namespace.par", "Regular", "regular_"] {
            assert!(!wheel.has(module), "{module}");
        }
        let top = ["_calver", "compiled", "file", "moved", "namespace", "placed", "plain", "regular", "sourceless"];
        assert_eq!(wheel.top_levels().into_iter().collect::<Vec<_>>(), top);
    }

    #[test]
    fn any_import_may_succeed_with_a_pth_file() {
        assert!(importable(&["demo.pth", "file.py"]).has("elsewhere"));
        assert!(!importable(&["folder/demo.pth", "file.py"]).has("elsewhere"));
    }
}
