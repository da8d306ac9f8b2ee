//! Compares the code of each step with a recorded digest, so that a change cannot go unnoticed without a new
//! REVISION.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::{apt, base_image, container, controls, fetch, image, maturin, patch, proof, python, root, tools, wheel};
use base::digest;

/// File of recorded digests: one line per step with its revision.
const RECORD: &str = "src/step/revisions.txt";

/// The code that can change the result of each kind of step.
const CODE: [(&str, u32, &[&str]); 13] = [
    ("tools", tools::REVISION, &["step/tools.rs"]),
    ("fetch", fetch::REVISION, &["step/fetch.rs", "index.rs", "index/files.rs", "index/page.rs", "index/pip.rs"]),
    ("patch", patch::REVISION, &["step/env.rs", "step/patch.rs", "step/sdist.rs"]),
    ("root", root::REVISION, &["step/env.rs", "step/root.rs", "host.rs"]),
    ("apt", apt::REVISION, &["step/apt.rs", "host.rs"]),
    ("python", python::REVISION, &["step/python.rs"]),
    ("base", base_image::REVISION, &["step/base_image.rs", "../../base/src/labels.rs"]),
    (
        "maturin",
        maturin::REVISION,
        &[
            "step/env.rs",
            "step/maturin.rs",
            "step/maturin",
            "step/toolchain.rs",
            "../../wheelfile/src/local.rs",
            "../../wheelfile/src/mark.rs",
            "../../wheelfile/src/rewrite.rs",
        ],
    ),
    (
        "container",
        container::REVISION,
        &[
            "step/env.rs",
            "step/container.rs",
            "step/container",
            "step/contents.rs",
            "step/toolchain.rs",
            "step/messages.rs",
            "step/wanted.rs",
        ],
    ),
    ("controls", controls::REVISION, &["step/controls.rs"]),
    (
        "wheel",
        wheel::REVISION,
        &[
            "step/sdist.rs",
            "step/wheel.rs",
            "../../wheelfile/src/archive.rs",
            "../../wheelfile/src/check.rs",
            "../../wheelfile/src/elf.rs",
            "../../wheelfile/src/expected.rs",
            "../../wheelfile/src/info.rs",
            "../../wheelfile/src/name.rs",
            "../../wheelfile/src/tags.rs",
        ],
    ),
    ("image", image::REVISION, &["step/image.rs", "step/quick.rs", "../../base/src/labels.rs"]),
    (
        "proof",
        proof::REVISION,
        &["step/proof.rs", "step/quick.rs", "../../base/src/labels.rs", "../../matrix/src/gil.rs"],
    ),
];

/// Files of these folders that change no result: they look at finished wheels, or are used only by tests and `--fake`.
const HARMLESS: [&str; 20] = [
    "step/messages/tests.rs",
    "step/patch/tests.rs",
    "step/layers.rs",
    "step/mod.rs",
    "step/fake.rs",
    "step/pin.rs",
    "step/revisions.rs",
    "../../wheelfile/src/differ.rs",
    "../../wheelfile/src/fake.rs",
    "../../wheelfile/src/fit.rs",
    "../../wheelfile/src/check_names_only.rs",
    "../../wheelfile/src/imports.rs",
    "../../wheelfile/src/lib.rs",
    "../../wheelfile/src/origin.rs",
    "../../wheelfile/src/tests.rs",
    "../../wheelfile/src/tests/archive.rs",
    "../../wheelfile/src/tests/modules.rs",
    "step/revisions.txt",
    "step/fetch/tests.rs",
    "step/tests.rs",
];

#[test]
fn a_change_of_code_raises_the_revision_or_is_recorded() {
    let mut record = String::new();
    for (step, revision, places) in CODE {
        let mut code = String::new();
        for file in places.iter().flat_map(|place| files(&Path::new("src").join(place))) {
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
            writeln!(code, "{}", essence(&text)).unwrap();
        }
        writeln!(record, "{step} {revision} {}", digest::of(code)).unwrap();
    }
    if std::env::var_os("UPDATE_REVISIONS").is_some() {
        fs::write(RECORD, record).unwrap();
        return;
    }
    let known = fs::read_to_string(RECORD).unwrap();
    let known: Vec<&str> = known.lines().collect();
    let changed = record.lines().filter(|line| !known.contains(line));
    let changed: Vec<&str> = changed.filter_map(|line| line.split(' ').next()).collect();
    assert!(
        changed.is_empty(),
        "the code of step `{}` changed: raise REVISION if its result can change, then run `UPDATE_REVISIONS=1 cargo test`",
        changed.join("`, `")
    );
    assert_eq!(known.len(), CODE.len(), "`{RECORD}` has lines of steps that do not exist");
}

#[test]
fn every_file_of_a_step_is_listed() {
    let recorded: BTreeSet<String> =
        CODE.iter().flat_map(|(_, _, places)| *places).flat_map(|place| files(&Path::new("src").join(place))).collect();
    for folder in ["src/step", "src/../../wheelfile/src"] {
        for file in files(Path::new(folder)) {
            let harmless = HARMLESS.iter().any(|name| file == format!("src/{name}"));
            assert!(harmless || recorded.contains(&file), "`{file}` belongs to no step: add it to CODE or HARMLESS");
        }
    }
}

#[test]
fn only_code_counts_not_comments_and_tests() {
    let before = "/// Adds.\nfn add() { one(); }";
    let commented = "/// Adds two.\nfn add() { // here\n one(); }\n#[cfg(test)]\nmod tests { fn t() {} }";
    assert_eq!(essence(before), essence(commented));
    assert_ne!(essence(before), essence("fn add() { two(); }"));
}

/// Returns the Rust files at `path`, which is a file or a folder, sorted.
fn files(path: &Path) -> Vec<String> {
    if path.is_file() {
        return vec![path.display().to_string()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<String> = entries.flat_map(|entry| files(&entry.unwrap().path())).collect();
    found.sort();
    found
}

/// Returns the code of a file without comments and tests.
fn essence(text: &str) -> String {
    without_comments_and_tests(text.parse().unwrap()).to_string()
}

/// In a token stream, a doc comment is `#[doc = "…"]`; other comments are not tokens.
fn without_comments_and_tests(tokens: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let TokenTree::Group(group) = &token else {
            kept.push(token);
            continue;
        };
        let is_attribute =
            group.delimiter() == Delimiter::Bracket && matches!(kept.last(), Some(mark) if is(mark, "#!"));
        let text = group.stream().to_string();
        let (is_doc, is_test) = (text.starts_with("doc"), text == "cfg(test)" || text == "cfg (test)");
        if is_attribute && (is_doc || is_test) {
            while matches!(kept.last(), Some(mark) if is(mark, "#!")) {
                kept.pop();
            }
            // A test-only item ends with its body or a semicolon.
            let ends = |token: &TokenTree| match token {
                TokenTree::Group(body) => body.delimiter() == Delimiter::Brace,
                other => is(other, ";"),
            };
            if is_test {
                tokens.by_ref().find(ends);
            }
        } else {
            kept.push(Group::new(group.delimiter(), without_comments_and_tests(group.stream())).into());
        }
    }
    kept.into_iter().collect()
}

/// Returns whether a token is one of these punctuation characters.
fn is(token: &TokenTree, marks: &str) -> bool {
    matches!(token, TokenTree::Punct(mark) if marks.contains(mark.as_char()))
}
