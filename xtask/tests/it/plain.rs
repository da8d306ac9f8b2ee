//! Builds wheels with the plain tools `pip wheel` and `maturin build`, and compares them with those of this tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{Clone, files, own_matrix, run, text};

/// Package built by this project, for comparison.
pub struct Package<'a> {
    pub id: &'a str,
    /// Python expressions evaluated with both wheels.
    pub expressions: &'a [&'a str],
    /// Source for the plain tool.
    pub source: PathBuf,
    pub builder: Builder,
}

pub enum Builder {
    /// In a container in which these wheels are installed first.
    Pip(Vec<Stored>),
    Maturin,
}

/// File in the user's cache.
#[derive(Clone)]
pub struct Stored {
    pub name: String,
    pub sha256: String,
}

impl Stored {
    pub fn new(name: &str, sha256: &str) -> Stored {
        Stored { name: name.to_owned(), sha256: sha256.to_owned() }
    }

    /// Copies the file to a folder under its own name.
    pub fn copy_to(&self, folder: &Path) {
        fs::copy(cache().join("blobs").join(&self.sha256), folder.join(&self.name)).unwrap();
    }
}

/// Returns the pip pinned in the project's matrix.
fn pip() -> Stored {
    let matrix = own_matrix();
    let pip = matrix["tools"].as_sequence().unwrap().iter().find(|tool| tool["name"] == "pip").unwrap();
    let [version, sha256] = ["version", "sha256"].map(|field| pip[field].as_str().unwrap());
    Stored::new(&format!("pip-{version}-py3-none-any.whl"), sha256)
}

/// Builds the packages with the plain tools, compares the wheels, and returns the values of the expressions. The
/// image of the step `devel` contains the interpreter and compilers.
pub fn compare(clone: &Clone, packages: &[Package], abi: &str, devel: &str) -> Vec<Value> {
    let work = clone.top.join("plain");
    fs::create_dir_all(work.join("in")).unwrap();
    let pip = pip();
    pip.copy_to(&work.join("in"));
    fs::copy("tests/describe.py", work.join("describe.py")).unwrap();
    let python = format!("python{}.{}", &abi[2..3], &abi[3..]);
    let mut script = format!(
        "set -eu; cd /compare; export PYTHONPATH=/compare/in/{} HOME=/tmp PIP_DISABLE_PIP_VERSION_CHECK=1\n\
         {python} -m venv --without-pip /tmp/env; export PATH=/tmp/env/bin:$PATH\n",
        pip.name
    );
    for package in packages {
        let (id, out) = (package.id, work.join(package.id));
        fs::create_dir_all(out.join("ours")).unwrap();
        let ours = clone.wheel(&format!("wheels/{}-", id.replace('-', "_")));
        fs::copy(&ours, out.join("ours").join(ours.file_name().unwrap())).unwrap();
        match &package.builder {
            Builder::Maturin => maturin(&package.source, &python, &out.join("plain")),
            Builder::Pip(requires) => {
                let copied = out.join("source");
                for file in files(&package.source) {
                    let to = copied.join(file.strip_prefix(&package.source).unwrap());
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    fs::copy(&file, to).unwrap();
                }
                requires.iter().for_each(|wheel| wheel.copy_to(&work.join("in")));
                let names: Vec<String> = requires.iter().map(|wheel| format!("/compare/in/{}", wheel.name)).collect();
                script.push_str(&format!(
                    "python -m pip install --quiet --no-index --no-deps {}\n\
                     python -m pip wheel --quiet --no-index --no-deps --no-build-isolation -w {id}/plain {id}/source\n",
                    names.join(" ")
                ));
            }
        }
        let asked = package.expressions.iter().map(|expression| format!(" '{expression}'")).collect::<String>();
        for side in ["ours", "plain"] {
            script.push_str(&format!("python describe.py {id}/{side}/*.whl{asked} > {id}/{side}.json\n"));
        }
    }
    let mount = format!("{}:/compare", work.display());
    let user = format!("{}:{}", id("-u"), id("-g"));
    let docker = ["run", "--rm", "--network", "none", "--user", &user, "--volume", &mount, &image(clone, devel)];
    succeed(Command::new("docker").args(docker).args(["sh", "-c", &script]));
    packages
        .iter()
        .map(|package| {
            let read = |side: &str| -> Value {
                serde_json::from_slice(&fs::read(work.join(package.id).join(format!("{side}.json"))).unwrap()).unwrap()
            };
            let (ours, plain) = (read("ours"), read("plain"));
            assert!(ours == plain, "`{}` differs: ours {ours:#}, plain {plain:#}", package.id);
            ours["answers"].clone()
        })
        .collect()
}

/// Returns the image that the step `devel` built.
fn image(clone: &Clone, devel: &str) -> String {
    // The image may be from another package's step with the same key.
    record(clone, devel)["image"]["reference"].as_str().unwrap().to_owned()
}

/// Returns the record of a step in the user's cache.
pub fn record(clone: &Clone, step: &str) -> Value {
    let (output, said) = run(clone, &["plan", "--quick", "--format", "json"]);
    assert!(output.status.success(), "{said}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = plan["steps"].as_array().unwrap().iter().find(|found| found["id"] == step);
    let key = found.unwrap_or_else(|| panic!("no step is called `{step}`"))["key"].as_str().unwrap().to_owned();
    let record = fs::read(cache().join("records").join(format!("{key}.json"))).unwrap();
    serde_json::from_slice::<Value>(&record).unwrap()["output"].take()
}

/// Runs `maturin build` on the host with a shared target folder, so that crates are compiled once.
fn maturin(source: &Path, python: &str, out: &Path) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plain");
    let tools = fs::read_dir(cache().join("state")).unwrap().flatten().map(|entry| entry.path().join("bin/maturin"));
    let maturin = tools.into_iter().find(|path| path.is_file()).expect("maturin is not installed");
    let arguments = ["build", "--release", "--locked", "--target", "x86_64-unknown-linux-gnu", "-i", python];
    let mut command = Command::new(maturin);
    command.args(arguments).arg("--target-dir").arg(target).arg("--out").arg(out).current_dir(source);
    succeed(command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"));
}

fn cache() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = || {
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        caches.expect("there is no home folder").join("wheel-matrix")
    };
    folder("XTASK_CACHE_DIR").unwrap_or_else(of_user).join("v1")
}

fn id(which: &str) -> String {
    text(&Command::new("id").arg(which).output().unwrap().stdout).trim().to_owned()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
}
