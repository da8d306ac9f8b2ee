//! Checks the architecture: no cycles between modules, and the table of crates in `.github/CONTRIBUTING.md`.

mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use modules::Source;

/// Each crate with the crates of this project that it uses, as in the table of `.github/CONTRIBUTING.md`. A crate may
/// only use crates above its own line.
const CRATES: [(&str, &[&str]); 13] = [
    ("base", &[]),
    ("wheelfile", &["base"]),
    ("download", &["base"]),
    ("docker", &["base"]),
    ("matrix", &["base", "wheelfile"]),
    ("build", &["base", "wheelfile", "download", "docker", "matrix"]),
    ("service", &["base", "docker", "matrix", "build"]),
    ("audit", &["base", "wheelfile", "matrix", "build"]),
    ("suites", &["base", "wheelfile", "docker", "matrix", "build", "service"]),
    ("bench", &["base", "docker", "matrix", "build", "service"]),
    ("packages", &["base", "wheelfile", "docker", "matrix", "build"]),
    ("commands", &["base", "wheelfile", "docker", "matrix", "build", "audit"]),
    ("xtask", &["base", "build", "service", "audit", "suites", "bench", "packages", "commands"]),
];

/// Libraries that only these crates use.
const LIBRARIES: [(&str, &[&str]); 5] = [
    ("bollard", &["docker"]),
    ("reqwest", &["download"]),
    ("serde_yaml", &["matrix"]),
    ("syn", &["audit"]),
    ("tokio", &["docker", "download"]),
];

#[test]
fn no_crate_has_a_cycle_of_modules() {
    let mut faults = Vec::new();
    for folder in crate_folders() {
        let is_library = folder.join("src/lib.rs").is_file();
        let root = folder.join(if is_library { "src/lib.rs" } else { "src/main.rs" });
        let sources = modules::read(&root);
        if let Some(cycle) = modules::cycle(&sources) {
            faults.push(format!("`{}` has a cycle of modules: {cycle}", root.display()));
        }
        let items = modules::items_other_than_modules(&sources[""]);
        // The helpers for tests are one file.
        if is_library && !folder.ends_with("fixture") && !items.is_empty() {
            faults.push(format!("`{}` may have `mod` and `use` only; move into a module: {items:?}", root.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn crates_use_only_what_the_table_says() {
    for (position, (name, used)) in CRATES.iter().enumerate() {
        for other in *used {
            assert!(CRATES[..position].iter().any(|(above, _)| above == other), "`{other}` is not above `{name}`");
        }
    }
    let packages: BTreeMap<String, Vec<String>> = crate_folders().iter().map(|folder| dependencies(folder)).collect();
    let faults = faults(&packages);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Compares the dependencies of packages with [`CRATES`] and [`LIBRARIES`].
fn faults(packages: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, dependencies) in packages {
        let internal = |used: &&String| CRATES.iter().any(|(other, _)| other == used);
        let found: BTreeSet<&str> = dependencies.iter().filter(internal).map(String::as_str).collect();
        let row = CRATES.iter().find(|(other, _)| other == name).map(|(_, used)| *used);
        // A program that shares no code, and helpers for tests.
        let row = row.or(["standin", "fixture"].contains(&name.as_str()).then_some(&[]));
        match row {
            Some(row) if found == row.iter().copied().collect() => {}
            Some(row) => faults.push(format!("`{name}` uses {found:?}, but the table of crates says {row:?}")),
            None => faults.push(format!("the table of crates has no `{name}`")),
        }
    }
    for (library, expected) in LIBRARIES {
        let users = packages.iter().filter(|(_, used)| used.iter().any(|used| used == library));
        let users: Vec<&str> = users.map(|(name, _)| name.as_str()).collect();
        if users != expected {
            faults.push(format!("`{library}` is used by {users:?}, not by {expected:?}"));
        }
    }
    faults
}

#[test]
fn a_wrong_dependency_is_found() {
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, used) in CRATES {
        let libraries = LIBRARIES.iter().filter(|(_, users)| users.contains(&name)).map(|(library, _)| library);
        packages.insert(name.to_owned(), used.iter().chain(libraries).map(|word| (*word).to_owned()).collect());
    }
    assert!(faults(&packages).is_empty());
    packages.get_mut("base").unwrap().push("docker".to_owned());
    packages.get_mut("suites").unwrap().push("reqwest".to_owned());
    packages.insert("new".to_owned(), Vec::new());
    let found = faults(&packages);
    assert_eq!(found.len(), 3, "{found:?}");
    for (fault, part) in found.iter().zip(["`base` uses {\"docker\"}", "no `new`", "`reqwest` is used by"]) {
        assert!(fault.contains(part), "{fault}");
    }
}

#[test]
fn the_documented_table_of_crates_is_this_one() {
    let text = fs::read_to_string("../.github/CONTRIBUTING.md").unwrap();
    let rows: Vec<(String, BTreeSet<String>)> = text
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, _, used] = cells[..] else { return None };
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            let used = used.split(", ").map(|word| word.trim_matches('`').to_owned());
            Some((name.to_owned(), used.filter(|word| word != "–").collect()))
        })
        .collect();
    let expected: Vec<(String, BTreeSet<String>)> = CRATES
        .iter()
        .map(|(name, used)| ((*name).to_owned(), used.iter().map(|word| (*word).to_owned()).collect()))
        .collect();
    assert_eq!(rows, expected, "the table of crates in `.github/CONTRIBUTING.md` does not match `CRATES`");
}

/// The folders of all packages of the workspace.
fn crate_folders() -> Vec<PathBuf> {
    let libraries = fs::read_dir("crates").unwrap().map(|entry| entry.unwrap().path());
    libraries.chain([PathBuf::from("../xtask"), PathBuf::from("standin")]).collect()
}

/// The name of a package and the libraries that it uses, without those for its tests only.
fn dependencies(folder: &Path) -> (String, Vec<String>) {
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    let name = manifest["package"]["name"].as_str().unwrap().to_owned();
    let names = manifest.get("dependencies").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
    (name, names.cloned().collect())
}

fn sources(files: &[(&str, &str)]) -> BTreeMap<String, Source> {
    files.iter().map(|(module, text)| ((*module).to_owned(), Source::parse(text))).collect()
}

#[test]
fn a_cycle_is_found_and_shown() {
    let found = |files: &[(&str, &str)]| modules::cycle(&sources(files));
    let root = ("", "mod a; mod b; mod c; pub use a::A;");

    let chain = [root, ("a", "use crate::b::B; pub struct A;"), ("b", "use super::c;"), ("c", "")];
    assert_eq!(found(&chain), None);

    let circle = [root, ("a", "use crate::b::B;"), ("b", "fn f() { super::c::g() }"), ("c", "bail!(crate::a::A)")];
    assert_eq!(found(&circle).unwrap(), "a -> b -> c -> a");

    // A module that uses a re-export of the root depends on all that the root re-exports.
    let through_root = [root, ("a", "use crate::b::B;"), ("b", "use crate::{A, c};"), ("c", "")];
    assert_eq!(found(&through_root).unwrap(), "a -> b -> (root) -> a");

    // Tests may use what they like.
    let test = [root, ("a", "use crate::b::B;"), ("b", "#[cfg(test)] mod tests { use crate::a::A; }"), ("c", "")];
    assert_eq!(found(&test), None);

    // In a folder, the modules next to each other are compared.
    let folder =
        [("", "mod a;"), ("a", "mod x; mod y; struct S;"), ("a::x", "use super::{S, y};"), ("a::y", "use super::x;")];
    assert_eq!(found(&folder).unwrap(), "a::x -> a::y -> a::x");
}

#[test]
fn items_in_the_root_are_found() {
    let source = Source::parse("//! Doc.\nmod a;\npub mod b;\npub use a::{A, B};\n#[cfg(test)]\nmod tests;");
    assert!(modules::items_other_than_modules(&source).is_empty());
    let source = Source::parse("mod a;\npub struct S { x: u8 }\npub(crate) fn f() {}\nimpl S {}");
    assert_eq!(modules::items_other_than_modules(&source), ["struct S", "fn f", "impl S"]);
}
