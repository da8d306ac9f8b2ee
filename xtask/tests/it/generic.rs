//! The tool knows nothing of the packages that this project builds: they stand in matrix.yaml and below `docker/`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::files;

/// Words that only this project's packages have.
const WORDS: [&str; 2] = ["aerospike", "official"];

/// The lines below a folder that have one of the words.
fn found_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(folder) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let named = |line: &str| WORDS.iter().any(|word| line.to_lowercase().contains(word));
        let lines = text.lines().enumerate().filter(|(_, line)| named(line));
        found.extend(lines.map(|(number, line)| format!("{}:{}: {line}", file.display(), number + 1)));
    }
    found
}

#[test]
fn the_tool_names_no_package_of_this_project() {
    let found: Vec<String> = ["crates", "src"].iter().flat_map(|folder| found_below(Path::new(folder))).collect();
    assert!(found.is_empty(), "put it into matrix.yaml or below docker/: {found:#?}");
}

#[test]
fn a_file_that_names_a_package_of_this_project_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("deeper/file.rs");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "// one\nlet image = \"Aerospike\";\n").unwrap();
    let found = found_below(folder.path());
    assert!(found.len() == 1 && found[0].contains("file.rs:2: let image"), "{found:?}");
}
