//! Patches are applied exactly or not at all, and the result depends on nothing else.

use std::collections::BTreeMap;

use base::cancel::Cancel;
use base::ui::Ui;
use fixture::Folder;

use super::*;
use crate::cache::Cache;
use crate::facts::Facts;
use crate::step::env::RunContext;

const GOOD: &str = "Subject: another number\n\nWhy.\n\n--- a/one.txt\n+++ b/one.txt\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n";
const SECOND: &str = "Subject: x\n\n--- a/sub/two.txt\n+++ b/sub/two.txt\n@@ -1 +1 @@\n-2\n+3\n";
const OTHER_CONTEXT: &str = "Subject: x\n\n--- a/one.txt\n+++ b/one.txt\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n d\n";
const OUTSIDE: &str = "Subject: x\n\n--- a/../../stolen\n+++ b/../../stolen\n@@ -0,0 +1 @@\n+x\n";

/// Runs the step on an sdist with the file `one.txt`, in a cache at `folder`.
fn patched(folder: &Folder, patches: &[(&str, &str)]) -> Result<(Output, Cache)> {
    let (cache, facts, ui, cancel) = (Cache::at(&folder.0)?, Facts::default(), Ui::detect(), Cancel::default());
    let context = RunContext {
        cache: &cache,
        facts: &facts,
        ui: &ui,
        cancel: &cancel,
        docker: None,
        cores: 1,
        engine_cores: 1,
        repository: "test",
        pinned_root: false,
    };
    folder.write("demo-1/one.txt", "a\nb\nc\n").write("demo-1/sub/two.txt", "2\n");
    let sdist = folder.0.join("sdist.tar.gz");
    pack(&folder.0.join("demo-1"), "demo-1", &sdist)?;
    let sdist = Output { files: vec![cache.take(&sdist, "demo-1.tar.gz")?], ..Output::default() };
    let task = ui.start("test", "patch", &cache.log("test"));
    let scratch = cache.scratch("test")?;
    let needs = BTreeMap::from([("sdist-demo", &sdist)]);
    let env = StepEnv { id: "test", key: "", needs, scratch: scratch.path(), task: &task, context: &context };
    let file = |(name, text): &(&str, &str)| PatchFile {
        name: name.to_string(),
        sha256: digest::of(text),
        text: text.to_string(),
    };
    let step = Patch {
        package: "demo".to_owned(),
        version: "1+ft1".to_owned(),
        sdist: "sdist-demo".to_owned(),
        patches: patches.iter().map(file).collect(),
    };
    let output = run(&step, &env)?;
    Ok((output, cache.clone()))
}

#[test]
fn the_patched_sdist_depends_on_the_sdist_and_the_patches_only() {
    let (one, other) = (Folder::new("patch-one"), Folder::new("patch-other"));
    let (output, cache) = patched(&one, &[("0001-number.patch", GOOD)]).unwrap();
    assert_eq!(output.files[0].name, "demo-1+ft1.tar.gz");
    assert_eq!(output.notes[NOTE], format!("0001-number.patch {}", digest::of(GOOD)));
    // A manifest refuses control characters in notes.
    let (two, _) = patched(&Folder::new("patch-two"), &[("0001-a.patch", GOOD), ("0002-b.patch", SECOND)]).unwrap();
    assert!(!two.notes[NOTE].contains(char::is_control) && two.notes[NOTE].contains(", 0002-b.patch "));
    let (again, _) = patched(&other, &[("0001-number.patch", GOOD)]).unwrap();
    assert_eq!(output.files[0].sha256, again.files[0].sha256);
    let archive = File::open(cache.blob(&output.files[0].sha256)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    archive.unpack(one.0.join("unpacked")).unwrap();
    let read = |name: &str| fs::read_to_string(one.0.join("unpacked/demo-1+ft1").join(name)).unwrap();
    assert_eq!((read("one.txt").as_str(), read("sub/two.txt").as_str()), ("a\nB\nc\n", "2\n"));
}

#[test]
fn a_patch_that_does_not_fit_exactly_is_refused() {
    let folder = Folder::new("patch-refused");
    for text in [OTHER_CONTEXT, OUTSIDE] {
        let error = format!("{:#}", patched(&folder, &[("0001-number.patch", text)]).unwrap_err());
        assert!(error.contains("`0001-number.patch` does not apply"), "{error}");
    }
    assert!(!folder.0.join("stolen").exists());
    // The second of two that make the same change does not apply any more.
    assert!(patched(&folder, &[("0001-number.patch", GOOD), ("0002-number.patch", GOOD)]).is_err());
}
