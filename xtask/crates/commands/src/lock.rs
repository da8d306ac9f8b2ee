//! `cargo xtask lock`: regenerates lock files with the `lock.py` in their parent folder and the pinned uv.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use xshell::{Shell, cmd};

use base::{UsageError, ui};
use build::lock::{Pin, parse};
use build::{Project, cache};
use matrix::{Location, Package};
use wheelfile::{same_name, same_version};

/// Script next to the folder of lock files, to which it writes.
const SCRIPT: &str = "lock.py";

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Packages in the matrix; default: all that have locks
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Write nothing; fail if a lock file would change
    #[arg(long)]
    check: bool,
}

/// Texts of the files in a folder, by name.
type Texts = BTreeMap<String, String>;

/// Result of a script for one file.
struct Made {
    /// Path relative to the project folder.
    file: String,
    /// New text; `None` if the script removed the file.
    text: Option<String>,
    differences: Vec<String>,
}

/// Runs the scripts of all folders. Lock files are written only if no script failed.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let folders = folders(project, &options.packages)?;
    let missing: Vec<String> = folders
        .iter()
        .map(|(folder, _)| script(project, folder))
        .filter(|script| !script.is_file())
        .map(|script| {
            format!(
                "there is no `{}`: write a script that puts a file `<abi>.txt` for each ABI into the folder of locks \
                 beside it, with lines `name==version --hash=sha256:…`",
                script.display()
            )
        })
        .collect();
    if !missing.is_empty() {
        return Err(anyhow!(UsageError(missing.join("\n"))));
    }
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for (folder, abis) in &folders {
        match refresh(project, folder, abis) {
            Ok(files) => made.extend(files),
            Err(error) => failed.push(format!("`{folder}`: {error:#}")),
        }
        project.cancel.check()?;
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    let mut changed = Vec::new();
    for Made { file, text, differences } in made {
        if differences.is_empty() {
            ui::print_result(&format!("{file}: current\n"))?;
            continue;
        }
        let path = project.folder.join(&file);
        match text {
            _ if options.check => {}
            Some(text) => cache::write(&path, text.as_bytes())?,
            None => fs::remove_file(&path).with_context(|| format!("cannot remove `{file}`"))?,
        }
        ui::print_result(&format!("{file}: {}\n", differences.join(", ")))?;
        changed.push(file);
    }
    if options.check && !changed.is_empty() {
        bail!("{} can be newer: run `cargo xtask lock`", ui::quoted(changed));
    }
    Ok(())
}

/// Returns the script of a folder of lock files.
fn script(project: &Project, folder: &str) -> PathBuf {
    project.folder.join(folder).with_file_name(SCRIPT)
}

/// Returns the folders of lock files in the matrix, in order, each with its required ABIs.
fn folders(project: &Project, wanted: &[String]) -> Result<Vec<(String, Vec<String>)>> {
    let matrix = &project.matrix;
    let of = |package: &Package| -> Vec<Location> {
        let tests = package.tests.as_ref().and_then(|tests| tests.upstream.as_ref());
        package.locks.iter().chain(tests.map(|tests| &tests.locks)).cloned().collect()
    };
    for id in wanted {
        let with =
            || ui::quoted(matrix.packages.iter().filter(|package| !of(package).is_empty()).map(|package| &package.id));
        match matrix.package(id) {
            None => {
                return Err(anyhow!(UsageError(format!(
                    "there is no package `{id}`; with locks there are {}",
                    with()
                ))));
            }
            Some(package) if of(package).is_empty() => {
                return Err(anyhow!(UsageError(format!(
                    "`{id}` has no `locks` in matrix.yaml; those that have are {}",
                    with()
                ))));
            }
            Some(_) => {}
        }
    }
    let mut folders: Vec<(String, Vec<String>)> = Vec::new();
    for package in
        matrix.packages.iter().filter(|package| wanted.is_empty() || wanted.contains(&package.id.to_string()))
    {
        let images = matrix.images.iter().filter(|image| image.has_package(&package.id));
        let abis: Vec<String> = images.map(|image| image.abi.to_string()).collect();
        for folder in of(package) {
            match folders.iter_mut().find(|(known, _)| *known == *folder) {
                Some((_, known)) => known.extend(abis.clone()),
                None => folders.push((folder.to_string(), abis.clone())),
            }
        }
    }
    if folders.is_empty() {
        return Err(anyhow!(UsageError("no package has `locks` in matrix.yaml".to_owned())));
    }
    Ok(folders)
}

/// Runs the script of a folder on a copy and returns the results, without changing the original files.
fn refresh(project: &Project, shown: &str, abis: &[String]) -> Result<Vec<Made>> {
    let folder = project.folder.join(shown);
    let before = texts(&folder)?;
    let ran = make(project, shown, &script(project, shown));
    let after = texts(&folder)?;
    for (name, text) in before.iter().filter(|(name, text)| after.get(*name) != Some(text)) {
        cache::write(&folder.join(name), text.as_bytes())?;
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        fs::remove_file(folder.join(name)).with_context(|| format!("cannot remove `{shown}/{name}`"))?;
    }
    ran?;
    let removed = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect::<Vec<_>>();
    let judged = judge(&before, &after, abis)?;
    let made = judged.into_iter().map(|(name, differences)| Made {
        file: format!("{shown}/{name}"),
        text: after.get(&name).cloned(),
        differences,
    });
    let removed = removed.into_iter().map(|name| Made {
        file: format!("{shown}/{name}"),
        text: None,
        differences: vec!["removed".to_owned()],
    });
    Ok(made.chain(removed).collect())
}

/// Runs a script: without options for `locks`, with `--torch` for `locks-torch`.
fn make(project: &Project, shown: &str, script: &Path) -> Result<()> {
    let variant = shown.rsplit('/').next().and_then(|name| name.strip_prefix("locks-"));
    let variant = variant.map(|name| format!("--{name}"));
    let tools = if project.fake { PathBuf::new() } else { project.tools()?.join("bin") };
    let python = if project.fake { PathBuf::from("python3") } else { tools.join("python") };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)))?;
    let shell = Shell::new()?;
    let (glibc, abis) = (&*project.matrix.root.glibc, project.matrix.abis.iter().map(|abi| &*abi.id));
    let command = cmd!(shell, "{python} -B {script} {variant...} --glibc {glibc} {abis...}");
    let mut command = command.env("PATH", path);
    // uv uses another variable than pip for the package index.
    if let (Ok(index), Err(_)) = (std::env::var("PIP_INDEX_URL"), std::env::var("UV_DEFAULT_INDEX")) {
        command = command.env("UV_DEFAULT_INDEX", index);
    }
    project.call("lock", shown, command, "")
}

/// Returns the changes of each file. Fails if a file is not a lock file or the lock file of an ABI is missing.
fn judge(before: &Texts, after: &Texts, abis: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    if let Some(abi) = abis.iter().find(|abi| !after.contains_key(&format!("{abi}.txt"))) {
        bail!("`{SCRIPT}` created no `{abi}.txt`, which an image needs, although `{abi}` is one of its arguments");
    }
    let pins = |name: &str, text: &str| parse(text, name).with_context(|| format!("`{name}`"));
    let mut made = BTreeMap::new();
    for (name, text) in after {
        let old = match before.get(name) {
            // An unreadable file is replaced, and all its lines count as new.
            Some(text) => pins(name, text).unwrap_or_default(),
            None => Vec::new(),
        };
        made.insert(name.clone(), differences(&old, &pins(name, text)?));
    }
    Ok(made)
}

fn differences(old: &[Pin], new: &[Pin]) -> Vec<String> {
    let find = |pins: &[Pin], name: &str| pins.iter().find(|pin| same_name(&pin.name, name)).cloned();
    let mut differences = Vec::new();
    for pin in new {
        match find(old, &pin.name) {
            None => differences.push(format!("+{} {}", pin.name, pin.version)),
            Some(old) if !same_version(&old.version, &pin.version) => {
                differences.push(format!("{} {} -> {}", pin.name, old.version, pin.version));
            }
            Some(old) if (&old.sha256, &old.url) != (&pin.sha256, &pin.url) => {
                differences.push(format!("{} {}: another file", pin.name, pin.version))
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|pin| find(new, &pin.name).is_none());
    differences.extend(gone.map(|pin| format!("-{} {}", pin.name, pin.version)));
    differences
}

fn texts(folder: &Path) -> Result<Texts> {
    let mut texts = Texts::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            texts.insert(name, text);
        }
    }
    Ok(texts)
}
