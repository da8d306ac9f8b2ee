//! Copies of the project with their own cache, in which tests run the tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_yaml::{Mapping, Value};
use tempfile::TempDir;

/// Project in a temporary folder with its own cache.
pub struct Clone {
    pub top: PathBuf,
    _folder: TempDir,
}

/// The wheel of setuptools with which small packages are built.
pub const SETUPTOOLS: &str = "setuptools-84.2.1-py3-none-any.whl";
pub const SETUPTOOLS_SHA256: &str = "ca140b45d5325a9478f880e351484f62fef15f336462e449ca0c03c873d589c2";

impl Clone {
    /// Creates the fixture project of `crates/fixture`.
    pub fn new() -> Clone {
        let clone = Clone::empty();
        copy_folder(Path::new("crates/fixture/project"), &clone.project());
        clone
    }

    /// The project itself as far as its images need it: its own matrix, and all of `docker/`.
    pub fn of_project() -> Clone {
        let clone = Clone::empty();
        copy_folder(Path::new("../docker"), &clone.project().join("docker"));
        copy_file(Path::new("../matrix.yaml"), &clone.project().join("matrix.yaml"));
        clone
    }

    /// The interpreters and tools of the project's own matrix, without its packages and images: [`Clone::add`] adds
    /// those that a test needs. What they are built with is in the cache after `cargo xtask ci`.
    pub fn without_packages() -> Clone {
        let clone = Clone::empty();
        copy_file(Path::new("../matrix.yaml"), &clone.project().join("matrix.yaml"));
        clone.change(|matrix| {
            *matrix = own_matrix();
            for optional in ["bench", "server", "locks"] {
                matrix.remove(optional);
            }
            for list in ["packages", "images"] {
                matrix.insert(list.into(), Value::Sequence(Vec::new()));
            }
            matrix["ci"]["publish"] = Value::Sequence(Vec::new());
        });
        clone
    }

    fn empty() -> Clone {
        let folder = tempfile::Builder::new().prefix("xtask-test-").tempdir().unwrap();
        let top = folder.path().to_owned();
        // Cargo runs tests in the folder of their package; where they were compiled may be another
        // clone, with which this one shares its target folder.
        copy_folder(Path::new("../docker/undeclared"), &top.join("project/docker/undeclared"));
        Clone { top, _folder: folder }
    }

    pub fn project(&self) -> PathBuf {
        self.top.join("project")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
        command
            .args(arguments)
            .arg("--fake")
            .current_dir(self.project())
            .env("XTASK_CACHE_DIR", self.top.join("cache"))
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITHUB_STEP_SUMMARY")
            .env_remove("XTASK_FAKE_FAIL")
            .env_remove("XTASK_FAKE_HANG")
            .env_remove("XTASK_FAKE_MISSING")
            .env_remove("XTASK_FAKE_STAMP")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the tool, asserts success, and returns its standard output.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs the tool, asserts the exit code `code`, and returns its standard error.
    pub fn bad(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stderr)
    }

    pub fn edit(&self, from: &str, to: &str) {
        let path = self.project().join("matrix.yaml");
        let matrix = fs::read_to_string(&path).unwrap();
        assert!(matrix.contains(from), "matrix.yaml no longer has `{from}`");
        fs::write(&path, matrix.replacen(from, to, 1)).unwrap();
    }

    /// Modifies the matrix as a YAML value; comments and layout are lost.
    pub fn change(&self, change: impl FnOnce(&mut Mapping)) {
        let path = self.project().join("matrix.yaml");
        let mut matrix = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut matrix);
        fs::write(&path, serde_yaml::to_string(&matrix).unwrap()).unwrap();
    }

    /// Adds a row, given as YAML, to a list of the matrix.
    pub fn add(&self, list: &str, row: &str) {
        let row = serde_yaml::from_str(row).unwrap_or_else(|error| panic!("{row}: {error}"));
        self.change(|matrix| matrix[list].as_sequence_mut().unwrap().push(row));
    }

    /// Adds a package whose only build requirement is setuptools, with its lock file.
    pub fn add_built_with_setuptools(&self, row: &str) {
        self.add("packages", row);
        let row: Value = serde_yaml::from_str(row).unwrap();
        let lock = format!(
            "lock-version = \"1.0\"\ncreated-by = \"hand\"\n\n[[packages]]\nname = \"setuptools\"\nversion = \"84.2.1\"\n\
             wheels = [{{ name = \"{SETUPTOOLS}\", hashes = {{ sha256 = \"{SETUPTOOLS_SHA256}\" }} }}]\n"
        );
        self.lock(row["id"].as_str().unwrap(), "pylock.build.toml", &lock);
    }

    /// Writes a lock file of a package.
    pub fn lock(&self, package: &str, file: &str, text: &str) {
        let folder = self.project().join("locks").join(package);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }

    /// Changes the tag of an image in all places of the matrix.
    pub fn rename(&self, tag: &str, to: &str) {
        let path = self.project().join("matrix.yaml");
        let matrix = fs::read_to_string(&path).unwrap();
        let renamed = matrix.replace(&format!("{{tag: {tag}, "), &format!("{{tag: {to}, "));
        assert_ne!(matrix, renamed, "matrix.yaml no longer has the image `{tag}`");
        fs::write(path, renamed.replace(&format!(" image: {tag}, "), &format!(" image: {to}, "))).unwrap();
    }

    pub fn wheel(&self, part: &str) -> PathBuf {
        let found =
            files(&self.project().join("wheels")).into_iter().find(|path| path.display().to_string().contains(part));
        found.unwrap_or_else(|| panic!("no wheel with `{part}` in its name"))
    }

    /// Returns temporary files, which must not exist after a run.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut left = files(&self.top.join("cache/v1/scratch"));
        left.extend(files(&self.top).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "part")));
        left
    }
}

/// Returns the project's own matrix, with the defaults of what it does not have: a clone may have a short one.
pub fn own_matrix() -> Mapping {
    let mut own: Mapping = serde_yaml::from_str(&fixture::own_matrix()).unwrap();
    let defaults: Mapping = serde_yaml::from_str(include_str!("../../crates/matrix/src/defaults.yaml")).unwrap();
    let name = |row: &Value| row.get("id").or(row.get("name")).unwrap_or(row).clone();
    for (field, default) in defaults {
        match (own.entry(field).or_insert(default.clone()), default) {
            (Value::Mapping(own), Value::Mapping(default)) => {
                default.into_iter().for_each(|(key, value)| _ = own.entry(key).or_insert(value));
            }
            // Default rows are added to lists. The list of ABIs replaces the defaults, but may name some.
            (Value::Sequence(own), Value::Sequence(default)) => {
                let abis = default.iter().any(|row| row.get("python").is_some());
                for row in default {
                    match own.iter_mut().find(|known| name(known) == name(&row)) {
                        Some(known) if known.is_string() => *known = row,
                        None if !abis => own.push(row),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    own
}

/// Whether a list of the project's own matrix has all these rows. A test about rows that it does not have is skipped,
/// since a clone of the project may have replaced its matrix.
pub fn matrix_has(list: &str, ids: &[&str]) -> bool {
    let matrix = own_matrix();
    let rows = matrix[list].as_sequence().unwrap();
    let known =
        |id: &str| rows.iter().any(|row| ["id", "tag", "name"].iter().any(|field| row[*field].as_str() == Some(id)));
    let missing: Vec<&&str> = ids.iter().filter(|id| !known(id)).collect();
    if !missing.is_empty() {
        println!("skipped: `{list}` of matrix.yaml does not have {missing:?}");
    }
    missing.is_empty()
}

/// Waits until a condition is met. The time limit only ends a failed test; no test depends on durations.
#[track_caller]
pub fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !met() {
        assert!(begun.elapsed() < Duration::from_secs(300), "waited for 5 minutes: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the names of the existing containers created by this run, which contain its process id.
pub fn containers_of(process: u32) -> Vec<String> {
    let filter = format!("name=-{process}-");
    let output =
        Command::new("docker").args(["ps", "--all", "--format", "{{.Names}}", "--filter", &filter]).output().unwrap();
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// Starts a stand-in server on a free port for the duration of the tests, and returns its address.
pub fn standin() -> String {
    let settings = standin::Settings {
        memory: 256 << 20,
        namespaces: vec!["test".to_owned()],
        announce: None,
        idle: standin::IDLE,
    };
    let listener = standin::Listener::bind(([127, 0, 0, 1], 0).into(), 1024, &settings).unwrap();
    let address = listener.address().unwrap().to_string();
    std::thread::spawn(move || listener.run());
    address
}

/// Makes a folder readable for all users, such as that of a container, independent of the umask.
pub fn make_readable(folder: &Path) {
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(folder).status().unwrap().success());
}

/// Writes a program. This process must not have it open for writing: a program that another test starts at that time
/// would inherit it, and a file that is open for writing cannot be run (ETXTBSY).
pub fn write_program(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-euc", "printf %s \"$2\" >\"$1\"; chmod 755 \"$1\"", "sh"]).arg(path).arg(text);
    assert!(command.status().unwrap().success());
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn copy_file(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// Copies the files of a folder, including hidden ones.
pub fn copy_folder(from: &Path, to: &Path) {
    // Byte code may appear and disappear while Python tests run.
    let lasting = |file: &PathBuf| !file.components().any(|part| part.as_os_str() == "__pycache__");
    for file in files(from).into_iter().filter(lasting) {
        copy_file(&file, &to.join(file.strip_prefix(from).unwrap()));
    }
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Returns a command of the tool in a copy of the project, with the user's cache.
pub fn real(clone: &Clone, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
    command.args(arguments).current_dir(clone.project()).stdin(Stdio::null());
    command
}

/// Runs the tool and returns its result and its complete output.
pub fn run(clone: &Clone, arguments: &[&str]) -> (Output, String) {
    let output = real(clone, arguments).output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output, said)
}
