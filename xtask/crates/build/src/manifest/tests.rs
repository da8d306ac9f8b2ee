//! Tests with untrusted manifests and with folders that are shared with other projects.

use std::fs;
use std::path::PathBuf;

use super::{ArtefactKind, Entry, Manifest};
use crate::cache::Cache;
use base::digest;
use matrix::Matrix;

/// Temporary folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("xtask-manifest-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("wheels")).unwrap();
        Folder(path)
    }

    fn wheels(&self) -> PathBuf {
        self.0.join("wheels")
    }

    fn cache(&self) -> Cache {
        Cache::at(&self.0.join("cache")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the entry of a wheel with these contents.
fn wheel(id: &str, file: &str, contents: &str) -> Entry {
    Entry {
        id: id.to_owned(),
        kind: ArtefactKind::Wheel,
        name: "demo".to_owned(),
        tag: "cp314t".to_owned(),
        file: file.to_owned(),
        sha256: digest::of(contents),
        size: contents.len() as u64,
        key: digest::of("key"),
        seconds: 1.0,
        cached: false,
        inputs: Default::default(),
        notes: Default::default(),
        taken_from: None,
        sbom: None,
    }
}

fn matrix() -> Matrix {
    Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap()
}

fn write(folder: &Folder, entries: &[Entry]) {
    let manifest = Manifest { schema: 1, artefacts: entries.to_vec(), ..Manifest::default() };
    fs::write(folder.wheels().join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
fn nothing_outside_of_the_folder_is_removed() {
    for (file, tag) in
        [("../secret", "cp314t"), ("/etc/hostname", "cp314t"), ("demo.whl", "/../../secret"), ("", "cp314t")]
    {
        let folder = Folder::new("outside");
        fs::write(folder.0.join("secret"), "x").unwrap();
        fs::write(folder.0.join("secret.cdx.json"), "x").unwrap();
        let mut entry = wheel("wheel-demo-cp314t", file, "x");
        entry.tag = tag.to_owned();
        entry.sbom = Some(digest::of("x"));
        if file == "demo.whl" {
            entry.kind = ArtefactKind::Image;
        }
        write(&folder, &[entry]);
        let error = format!("{:#}", Manifest::read(&folder.wheels()).unwrap_err());
        assert!(error.contains("is not a plain file name"), "{error}");
        Manifest::default().publish(&folder.wheels(), Some(&matrix()), &folder.cache()).unwrap();
        assert!(folder.0.join("secret").exists() && folder.0.join("secret.cdx.json").exists(), "{file}");
    }
}

#[test]
fn only_unchanged_files_of_removed_rows_are_deleted() {
    let folder = Folder::new("stale");
    for (name, text) in [("made.whl", "made"), ("changed.whl", "by hand")] {
        fs::write(folder.wheels().join(name), text).unwrap();
    }
    let rows = [wheel("wheel-gone-cp314t", "made.whl", "made"), wheel("wheel-lost-cp314t", "changed.whl", "made")];
    write(&folder, &rows);
    Manifest::default().publish(&folder.wheels(), Some(&matrix()), &folder.cache()).unwrap();
    assert!(!folder.wheels().join("made.whl").exists());
    assert!(folder.wheels().join("changed.whl").exists(), "its content differs from the manifest");
}

#[test]
fn other_folders_keep_files_of_other_projects() {
    let folder = Folder::new("another");
    fs::write(folder.wheels().join("made.whl"), "made").unwrap();
    write(&folder, &[wheel("wheel-of-another-project-cp314t", "made.whl", "made")]);
    Manifest::default().publish(&folder.wheels(), None, &folder.cache()).unwrap();
    assert!(folder.wheels().join("made.whl").exists());
    assert_eq!(Manifest::read(&folder.wheels()).unwrap().artefacts.len(), 1);
}

#[test]
fn control_characters_are_errors() {
    let mut entry = wheel("wheel-demo-cp314t", "demo.whl", "x");
    entry.notes.insert("gil".to_owned(), "off\n::add-mask::a".to_owned());
    let text = serde_json::to_vec(&Manifest { schema: 1, artefacts: vec![entry], ..Manifest::default() }).unwrap();
    assert!(format!("{:#}", Manifest::parse(&text).unwrap_err()).contains("contains a control character"));
}

#[test]
fn an_unknown_kind_is_an_error() {
    let entry = wheel("wheel-demo-cp314t", "demo.whl", "x");
    let text = serde_json::to_string(&Manifest { schema: 1, artefacts: vec![entry], ..Manifest::default() }).unwrap();
    assert!(Manifest::parse(text.as_bytes()).is_ok());
    let error = Manifest::parse(text.replace(r#""kind":"wheel""#, r#""kind":"sdist""#).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("unknown variant `sdist`, expected one of `base`, `image`, `wheel`"), "{error}");
}
