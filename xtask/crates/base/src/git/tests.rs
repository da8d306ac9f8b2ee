//! Tests that git runs no program named by a checkout, and that all git calls go through [`git`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{changed, git, output};
use crate::working_copy::list_folder;

/// Checkout whose configuration names programs that leave a trace. Removed on drop.
struct Hostile(PathBuf);

impl Hostile {
    fn new(name: &str) -> Hostile {
        let top = std::env::temp_dir().join(format!("xtask-git-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(top.join("checkout/sub")).unwrap();
        let hostile = Hostile(top);
        let (checkout, sub) = (hostile.checkout(), hostile.checkout().join("sub"));
        for folder in [&sub, &checkout] {
            plain(folder, &["init", "--quiet"]);
            fs::write(folder.join(".gitattributes"), "* filter=a=b diff=evil\n").unwrap();
            fs::write(folder.join("file.c"), "int x;\n").unwrap();
        }
        commit(&sub);
        fs::write(checkout.join(".gitmodules"), "[submodule \"sub\"]\n\tpath = sub\n\turl = ./sub\n").unwrap();
        commit(&checkout);
        for (number, folder) in [&checkout, &sub].into_iter().enumerate() {
            hostile.arm(folder, number);
            // The size differs, so that git must read the file through the filter.
            fs::write(folder.join("file.c"), "int another;\n").unwrap();
        }
        plain(&checkout, &["config", "submodule.sub.active", "true"]);
        hostile
    }

    fn checkout(&self) -> PathBuf {
        self.0.join("checkout")
    }

    /// Configures a program in every setting where git accepts one from a repository.
    fn arm(&self, folder: &Path, number: usize) {
        let mark = |what: &str| format!("touch {}/ran-{number}-{what}; cat", self.0.display());
        for (key, what) in [
            ("core.fsmonitor", "fsmonitor"),
            ("core.pager", "pager"),
            ("diff.external", "diff"),
            ("diff.evil.command", "driver"),
            ("diff.evil.textconv", "textconv"),
            ("filter.a=b.clean", "clean"),
            ("filter.a=b.smudge", "smudge"),
        ] {
            plain(folder, &["config", key, &mark(what)]);
        }
        let hook = folder.join(".git/hooks/post-index-change");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, format!("#!/bin/sh\n{}\n", mark("hook"))).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Returns the names of the programs that ran.
    fn ran(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("ran-")).collect()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn plain(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "advice.addEmbeddedRepo=false"];
    let mut git = Command::new("git");
    // Ignore the user's configuration, which may require signed commits, for instance.
    git.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")]);
    let output = git.arg("-C").arg(folder).args(identity).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn commit(folder: &Path) {
    plain(folder, &["add", "--all"]);
    plain(folder, &["commit", "--quiet", "--message", "x"]);
}

#[test]
fn programs_named_by_a_checkout_are_not_run() {
    let hostile = Hostile::new("hostile");
    let checkout = hostile.checkout();
    let names = list_folder(&checkout).unwrap();
    assert!(names.contains(&PathBuf::from("sub/file.c")), "{names:?}");
    assert!(changed(&checkout, &[]).unwrap(), "`file.c` differs");
    assert!(!changed(&checkout, &["file.c"]).unwrap());
    output(&checkout, &["describe", "--tags", "--always"]).unwrap();
    assert!(!output(&checkout, &["archive", "--format=tar", "HEAD"]).unwrap().is_empty());
    let differs = git(&checkout).args(["diff", "--quiet", "--no-ext-diff", "--no-textconv", "HEAD"]).status().unwrap();
    assert_eq!(differs.code(), Some(1));
    assert_eq!(hostile.ran(), Vec::<String>::new());
    // Check the test itself: a plain git call runs some of the programs.
    plain(&checkout, &["status"]);
    assert!(!hostile.ran().is_empty());
}

#[test]
fn a_partial_clone_fetches_nothing() {
    let hostile = Hostile::new("partial");
    let checkout = hostile.checkout();
    let mark = hostile.0.join("ran-transport");
    for (key, value) in [
        ("extensions.partialClone", "origin".to_owned()),
        ("remote.origin.promisor", "true".to_owned()),
        ("remote.origin.url", format!("ext::sh -c touch% {}", mark.display())),
        ("protocol.ext.allow", "always".to_owned()),
        ("core.repositoryFormatVersion", "1".to_owned()),
    ] {
        plain(&checkout, &["config", key, &value]);
    }
    let missing = "1234567890123456789012345678901234567890";
    assert!(output(&checkout, &["cat-file", "-e", missing]).is_err());
    assert_eq!(hostile.ran(), Vec::<String>::new());
    let _ = Command::new("git").arg("-C").arg(&checkout).args(["cat-file", "-e", missing]).output().unwrap();
    assert!(mark.exists(), "the trap works");
}

#[test]
fn an_index_entry_outside_the_folder_is_refused() {
    let hostile = Hostile::new("index");
    let checkout = hostile.checkout();
    fs::create_dir(checkout.join("aa")).unwrap();
    fs::write(checkout.join("aa/stolen"), "x").unwrap();
    plain(&checkout, &["-c", "core.fsmonitor=false", "add", "aa/stolen"]);
    let index = checkout.join(".git/index");
    let mut bytes = fs::read(&index).unwrap();
    let at = bytes.windows(9).position(|part| part == b"aa/stolen").unwrap();
    bytes[at..at + 2].copy_from_slice(b"..");
    fs::write(&index, bytes).unwrap();
    fs::write(hostile.0.join("stolen"), "secret").unwrap();
    let error = list_folder(&checkout).unwrap_err().to_string();
    assert!(error.contains("`../stolen`") && error.contains("not below it"), "{error}");
}

#[test]
fn git_is_called_only_through_this_module() {
    let mut files = Vec::new();
    let top = Path::new("../..");
    crate::working_copy::walk(top, Path::new(""), &mut files).unwrap();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs") && !file.starts_with("tests"));
    files.retain(|file| !file.starts_with("crates/fixture"));
    let calls = files.iter().filter(|file| !file.ends_with("tests.rs")).filter(|file| {
        let text = fs::read_to_string(top.join(file)).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        ["new(\"git\")", "read_output(\"git\"", "cmd!(shell, \"git "].iter().any(|call| text.contains(call))
    });
    assert_eq!(calls.collect::<Vec<_>>(), [Path::new("crates/base/src/git.rs")]);
}
