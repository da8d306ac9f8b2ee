//! What counts as a working copy's content, and as Cargo's configuration.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cargo_config, digest_folder, list_folder};

/// A folder of this test's own; gone when it ends.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("xtask-facts-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> &Folder {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Writes a program. Not by this process: a program that another test starts at that time would inherit the open
    /// file, and a file that is open for writing cannot be run (ETXTBSY).
    pub(super) fn write_program(&self, name: &str, text: &str) -> &Folder {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-euc", "printf %s \"$2\" >\"$1\"; chmod 755 \"$1\"", "sh"]).arg(path).arg(text);
        assert!(command.status().unwrap().success());
        self
    }

    fn git(&self, arguments: &[&str]) -> &Folder {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always"];
        let mut git = Command::new("git");
        // Without this user's configuration, which may ask for signatures, for instance.
        git.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")]);
        let output = git.arg("-C").arg(&self.0).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    fn names(&self) -> Vec<String> {
        list_folder(&self.0).unwrap().iter().map(|path| path.display().to_string()).collect()
    }

    fn digest(&self) -> String {
        digest_folder(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_git_ignores_does_not_count() {
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
fn without_git_everything_counts() {
    let copy = Folder::new("plain");
    copy.write("a", "1").write("b/c", "2");
    assert_eq!(copy.names(), ["a", "b/c"]);
    let before = copy.digest();
    fs::set_permissions(copy.0.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(copy.digest(), before, "executable or not");
}

#[test]
fn a_submodule_counts_and_an_empty_one_is_said() {
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
fn a_link_counts_as_the_file_that_it_leads_to() {
    let copy = Folder::new("links");
    copy.write("a", "1");
    symlink("a", copy.0.join("b")).unwrap();
    let before = copy.digest();
    copy.write("a", "2");
    assert_ne!(copy.digest(), before);
    symlink("/etc/passwd", copy.0.join("c")).unwrap();
    let error = list_folder(&copy.0).unwrap_err().to_string();
    assert!(error.contains("is a link to something that is not a file of"), "{error}");
}

#[test]
fn a_git_that_fails_is_said() {
    let copy = Folder::new("broken");
    copy.write("a", "1").write(".git/HEAD", "nonsense");
    let error = list_folder(&copy.0).unwrap_err().to_string();
    assert!(error.contains("`git ls-files` failed"), "{error}");
    assert!(list_folder(Path::new("/nonexistent")).is_err());
}

#[test]
fn cargos_configuration_counts_wherever_cargo_finds_it() {
    let top = Folder::new("config");
    let folder = |name: &str| Some(top.0.join(name).into_os_string());
    let at = |home: &str| {
        cargo_config(&top.0.join("user/cache/v1"), &|name| if name == "CARGO_HOME" { folder(home) } else { None })
    };
    let nothing = at("cargo");
    top.write("elsewhere/.cargo/config.toml", "[build]");
    assert_eq!(at("cargo"), nothing, "not above what is compiled");
    top.write("cargo/config.toml", "[build]");
    let home = at("cargo");
    assert_ne!(home, nothing);
    top.write("user/.cargo/config.toml", "[profile]");
    let above = at("cargo");
    assert_ne!(above, home);
    top.write("user/.cargo/config", "[net]");
    assert_ne!(at("cargo"), above, "without an extension it comes first");
    let once = at("nowhere");
    assert_eq!(at("user/.cargo"), once, "its home may be a folder above: the same file");
}
