//! Tests of what counts as the content of a working copy.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use fixture::Folder;

use super::{digest_folder, list_folder};

trait Listed {
    fn names(&self) -> Vec<String>;
    fn digest(&self) -> String;
}

impl Listed for Folder {
    fn names(&self) -> Vec<String> {
        list_folder(&self.0).unwrap().iter().map(|path| path.display().to_string()).collect()
    }

    fn digest(&self) -> String {
        digest_folder(&self.0).unwrap()
    }
}

#[test]
fn ignored_files_do_not_count() {
    let copy = Folder::new("git");
    copy.write("src/lib.rs", "a").write(".gitignore", "target\n").git(&["init", "-q"]).git(&["add", "."]);
    let before = copy.digest();
    copy.write("target/big", "x");
    assert_eq!(copy.digest(), before);
    copy.write("new.rs", "not yet added");
    assert_ne!(copy.digest(), before);
    assert_eq!(copy.names(), [".gitignore", "new.rs", "src/lib.rs"]);
    fs::remove_file(copy.0.join("src/lib.rs")).unwrap();
    assert_eq!(copy.names(), [".gitignore", "new.rs"], "a deleted file is not there");
}

#[test]
fn without_git_all_files_count() {
    let copy = Folder::new("plain");
    copy.write("a", "1").write("b/c", "2");
    assert_eq!(copy.names(), ["a", "b/c"]);
    let before = copy.digest();
    fs::set_permissions(copy.0.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(copy.digest(), before, "executable or not");
}

#[test]
fn files_of_this_tool_do_not_count_beside_a_matrix() {
    let copy = Folder::new("own");
    let written =
        ["wheels/manifest.json", "wheels/x-1-py3-none-any.whl", "test-results/a/b", "locks/x/pylock.build.toml"];
    for name in written {
        copy.write(name, "1");
    }
    copy.write("setup.py", "1").write("wheels/__init__.py", "1").write("locks/other.toml", "1");
    assert_eq!(copy.names().len(), written.len() + 3, "no matrix, so these are files of the package");
    copy.write("matrix.yaml", "name: x");
    assert_eq!(copy.names(), ["locks/other.toml", "setup.py", "wheels/__init__.py"]);
    let before = copy.digest();
    copy.write("matrix.yaml", "name: y").write("wheels/y-1-py3-none-any.whl", "1");
    assert_eq!(copy.digest(), before);
}

#[test]
fn a_submodule_counts_and_an_empty_one_is_an_error() {
    let (inner, outer) = (Folder::new("inner"), Folder::new("outer"));
    inner.write("c.c", "int x;").git(&["init", "-q"]).git(&["add", "."]).git(&["commit", "-qm", "x"]);
    outer.write("a", "1").git(&["init", "-q"]);
    outer.git(&["submodule", "--quiet", "add", inner.0.to_str().unwrap(), "lib"]);
    assert!(outer.names().contains(&"lib/c.c".to_owned()), "{:?}", outer.names());
    outer.git(&["submodule", "--quiet", "deinit", "-f", "lib"]);
    let error = list_folder(&outer.0).unwrap_err().to_string();
    assert!(error.contains("git submodule update --init"), "{error}");
}

#[test]
fn a_link_counts_as_its_target() {
    let copy = Folder::new("links");
    copy.write("a", "1");
    symlink("a", copy.0.join("b")).unwrap();
    let before = copy.digest();
    copy.write("a", "2");
    assert_ne!(copy.digest(), before);
    symlink("/etc/passwd", copy.0.join("c")).unwrap();
    let error = list_folder(&copy.0).unwrap_err().to_string();
    assert!(error.contains("/c` leads to `/etc/passwd`, which is not in"), "{error}");
}

#[test]
fn a_link_to_a_folder_of_the_working_copy_is_followed() {
    let copy = Folder::new("folder-links");
    copy.write("core/a.c", "1").write("core/sub/b.c", "2").write("python/pyproject.toml", "");
    symlink("../core", copy.0.join("python/core")).unwrap();
    let expected = ["core/a.c", "core/sub/b.c", "python/core/a.c", "python/core/sub/b.c", "python/pyproject.toml"];
    assert_eq!(copy.names(), expected);
    copy.git(&["init", "-q"]).write(".git/info/exclude", "sub\n").git(&["add", "."]);
    assert_eq!(copy.names(), ["core/a.c", "python/core/a.c", "python/pyproject.toml"]);
    // Two links that lead to each other's folders.
    symlink("../python", copy.0.join("core/python")).unwrap();
    let error = list_folder(&copy.0).unwrap_err().to_string();
    assert!(error.contains("which contains it: remove it"), "{error}");
}

#[test]
fn a_folder_that_git_ignores_is_an_error() {
    let copy = Folder::new("ignored");
    copy.write("vendor/pkg/setup.py", "").write(".gitignore", "vendor\n").git(&["init", "-q"]);
    let error = list_folder(&copy.0.join("vendor/pkg")).unwrap_err().to_string();
    assert!(error.starts_with("git ignores all files of") && error.contains(".gitignore of the checkout"), "{error}");
    fs::create_dir(copy.0.join("empty")).unwrap();
    let error = list_folder(&copy.0.join("empty")).unwrap_err().to_string();
    assert!(error.contains("has no files"), "{error}");
}

#[test]
fn a_failing_git_is_an_error() {
    let copy = Folder::new("broken");
    copy.write("a", "1").write(".git/HEAD", "nonsense");
    let error = list_folder(&copy.0).unwrap_err().to_string();
    assert!(error.contains("`git ls-files` failed"), "{error}");
    assert!(list_folder(Path::new("/nonexistent")).is_err());
}
