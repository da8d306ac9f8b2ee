//! Lists the files of a working copy and computes their digest.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::{digest, git};
use anyhow::{Context, Result, anyhow, bail};

/// Returns the files of a working copy, sorted and relative to `folder`: those that git tracks (including submodules)
/// or does not ignore; without git, all files. Symbolic links to files and folders of the working copy are followed.
/// Where the package lies beside its `matrix.yaml`, the files of this tool do not belong to it.
pub fn list_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        bail!("`{}` is not a folder: correct the `path` in matrix.yaml", folder.display());
    }
    let mut files = Vec::new();
    let checkout = folder.canonicalize()?.ancestors().find(|above| above.join(".git").exists()).map(Path::to_owned);
    if checkout.is_some() {
        let (tracked, others) = std::thread::scope(|scope| {
            let others = scope.spawn(|| git_lists(folder, &["--others", "--exclude-standard"]));
            let tracked = git_lists(folder, &["--cached", "--recurse-submodules"]);
            (tracked, others.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked"))))
        });
        files.extend(tracked?);
        files.extend(others?);
        // A tracked file may have been deleted.
        files.retain(|name| folder.join(name).symlink_metadata().is_ok());
    } else {
        walk(folder, Path::new(""), &mut files)?;
    }
    if folder.join("matrix.yaml").is_file() {
        files.retain(|name| !is_of_this_tool(name));
    }
    files.sort();
    files.dedup();
    if files.is_empty() {
        let mut all = Vec::new();
        walk(folder, Path::new(""), &mut all)?;
        match (checkout, all.is_empty()) {
            (Some(checkout), false) => bail!(
                "git ignores all files of `{}`: remove it from .gitignore of the checkout `{}`, or move it out of there",
                folder.display(),
                checkout.display()
            ),
            _ => bail!("`{}` has no files: correct the path", folder.display()),
        }
    }
    let top = folder.canonicalize()?;
    let files = follow_links(&top, &files)?;
    for name in &files {
        let path = folder.join(name);
        // git does not validate the names in its index, and files are copied to paths built from them.
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("`{}` lists the file `{}`, which is not below it", folder.display(), name.display());
        }
        let meta = path.symlink_metadata()?;
        if meta.is_dir() {
            bail!("the submodule `{}` is empty: run `git submodule update --init --recursive`", path.display());
        }
    }
    Ok(files)
}

/// Whether a file beside a `matrix.yaml` belongs to this tool: the matrix, its locks, and what commands write. Else each
/// build would change the digest of the package, and with it the key of its wheels.
fn is_of_this_tool(name: &Path) -> bool {
    let parts: Vec<&str> = name.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        ["matrix.yaml" | "matrix.schema.json"] | ["test-results" | "bench-results", ..] => true,
        ["wheels", file] => *file == "manifest.json" || file.ends_with(".whl") || file.ends_with(".cdx.json"),
        ["locks", .., file] => file.starts_with("pylock.") && file.ends_with(".toml"),
        _ => false,
    }
}

/// Replaces links to folders by the files that are listed for the folder.
fn follow_links(top: &Path, listed: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    // Each name with the folders that the links in it lead to.
    let mut open: Vec<(PathBuf, Vec<PathBuf>)> = listed.iter().rev().map(|name| (name.clone(), Vec::new())).collect();
    while let Some((name, through)) = open.pop() {
        let path = top.join(&name);
        if !path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
            files.push(name);
            continue;
        }
        let leads_to = fs::read_link(&path).with_context(|| format!("cannot read the link `{}`", path.display()))?;
        let target = path.canonicalize().ok();
        let Some(target) = target.as_ref().and_then(|target| target.strip_prefix(top).ok()) else {
            bail!(
                "the link `{}` leads to `{}`, which is not in `{}`: replace it by what it leads to, or set `path` to \
                 the folder that contains both and `subdirectory` to the package's",
                path.display(),
                leads_to.display(),
                top.display()
            );
        };
        if !path.is_dir() {
            files.push(name);
            continue;
        }
        if through.iter().any(|folder| folder == target) || name.starts_with(target) {
            bail!("the link `{}` leads to `{}`, which contains it: remove it", path.display(), leads_to.display());
        }
        let through: Vec<PathBuf> = through.iter().cloned().chain([target.to_owned()]).collect();
        let below = listed.iter().filter_map(|file| file.strip_prefix(target).ok());
        open.extend(below.map(|file| (name.join(file), through.clone())));
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn git_lists(folder: &Path, which: &[&str]) -> Result<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let listed = git::list(folder, which)?;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect())
}

/// Adds all files in the folder `below` of `top` recursively, relative to `top`.
pub fn walk(top: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let folder = top.join(below);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(top, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Returns the digest of a working copy over names, contents and executable bits.
pub fn digest_folder(folder: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut text = String::new();
    for name in list_folder(folder)? {
        let path = folder.join(&name);
        let meta = path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?;
        // Symbolic links are followed, as they are when the working copy is copied.
        let kind = if meta.permissions().mode() & 0o100 != 0 { "exec" } else { "file" };
        let content = digest::of_file(&path)?;
        text.push_str(&format!("{kind} {content} {:?}\n", name));
    }
    Ok(digest::of(text))
}

#[cfg(test)]
mod tests;
