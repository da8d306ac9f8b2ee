//! Which modules an installed wheel offers to `import`, told from the names of its files.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result};
use zip::ZipArchive;

use super::name::data_scheme;

/// The files that one or several wheels put into `site-packages`.
#[derive(Debug, Default)]
pub struct Importable {
    /// Paths relative to `site-packages`.
    files: BTreeSet<String>,
}

impl Importable {
    /// Adds the files of the wheel at `path`, which is one of this distribution and version.
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

    /// Whether `import module` finds a file or a folder. Below a regular package, whose code may define modules
    /// itself, nothing is refused; nor is anything where a `.pth` file may add further folders.
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
            // A namespace package (PEP 420): what is below it must be there, too.
        }
        true
    }

    /// The modules and packages at the top.
    pub fn top_levels(&self) -> BTreeSet<&str> {
        let top = |path: &'_ str| match path.split_once('/') {
            Some((folder, _)) => Some(folder.len()),
            None => path.find('.').filter(|dot| is_module_suffix(&path[*dot..])),
        };
        let names = self.files.iter().filter_map(|path| path.get(..top(path)?));
        names.filter(|name| is_identifier(name) && *name != "__pycache__").collect()
    }

    /// What follows `start` in the paths that begin with it.
    fn rests<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.range(start.to_owned()..).map_while(move |path| path.strip_prefix(start))
    }
}

/// Where a member of a wheel is installed below `site-packages`; none for what is installed elsewhere.
fn in_site_packages<'a>(member: &'a str, distribution: &str, version: &str) -> Option<&'a str> {
    match data_scheme(member, distribution, version) {
        None => Some(member),
        Some(("purelib" | "platlib", rest)) => Some(rest),
        // The scheme `data` is the interpreter's prefix, of which `site-packages` is a part.
        Some((_, rest)) => rest.split_once("/site-packages/").map(|(_, rest)| rest),
    }
}

/// Whether a file's name from its first dot on is that of a module: source, byte code or an extension module.
fn is_module_suffix(rest: &str) -> bool {
    rest.starts_with('.') && !rest.contains('/') && (matches!(rest, ".py" | ".pyc") || rest.ends_with(".so"))
}

/// Whether a text can stand in an `import` statement between dots, as far as that can be told without Python.
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
    fn every_kind_of_module_is_found() {
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
            // A regular package and a module may define what has no file of its own.
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
    fn a_pth_file_may_add_anything() {
        assert!(importable(&["demo.pth", "file.py"]).has("elsewhere"));
        assert!(!importable(&["folder/demo.pth", "file.py"]).has("elsewhere"));
    }
}
