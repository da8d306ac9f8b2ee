//! Content-addressed cache of step results, outside the work tree.
//!
//! The cache is in `$XTASK_CACHE_DIR`, else `$XDG_CACHE_HOME/wheel-matrix`, else `~/.cache/wheel-matrix`.
//! `v1/blobs/<sha256>` contains files, `v1/records/<key>.json` the result of the step with that key, `v1/locks` the
//! locks between processes, `v1/scratch` temporary files, `v1/logs` the output of steps, and `v1/state` reusable data
//! that is not trusted, such as Cargo's target folders.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use base::cancel::Cancel;
use base::{digest, disk};

/// File created by a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    pub name: String,
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// Image created by a step in the local Docker engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// Unique reference, which contains the key.
    pub reference: String,
    /// Name for users; it moves to the image of another key when that is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub id: String,
    /// Size in bytes.
    pub size: u64,
}

/// Result of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Artefact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<BuiltImage>,
    /// Replaces the step's own key in the keys of dependent steps: the digest of external input, such as the versions
    /// of Debian packages or the root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Information for users, by name: versions, GIL state, how the result was created.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub notes: std::collections::BTreeMap<String, String>,
    /// Repository or folder that the result was taken from; `None` if it was built on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
}

/// Record of a successful step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    pub id: String,
    pub key: String,
    /// Wall time of the step in seconds.
    pub seconds: f64,
    pub output: Output,
}

/// Folder of this cache layout. Folders of other layouts are ignored.
const LAYOUT: &str = "v1";

/// Lock of the whole cache.
const IN_USE: &str = "in-use.lock";

/// Handle of the cache. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    /// Read-only cache that is searched as well.
    behind: Option<PathBuf>,
}

/// Temporary folder that is removed on drop. Its lock shows other processes that it is in use.
#[derive(Debug)]
pub struct Scratch(PathBuf, #[expect(dead_code, reason = "held, not read")] File);

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Cache {
    /// Opens the cache of this user and creates it if necessary. If it is not writable or its disk is full, calls
    /// `say` and writes to a cache in the temporary folder instead, but still reads the user's cache.
    pub fn open(say: impl FnOnce(&str)) -> Result<Cache> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let top = var("XTASK_CACHE_DIR")
            .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("wheel-matrix")))
            .or_else(|| var("HOME").map(|dir| dir.join(".cache/wheel-matrix")))
            .context("cannot determine the cache folder: set HOME or XTASK_CACHE_DIR")?;
        let top = std::path::absolute(&top)?;
        let usual = Cache::at(&top);
        let full = |dir: &Path| disk::free(dir).is_some_and(|free| free < disk::NO_ROOM);
        let why = match &usual {
            Ok(cache) if !full(&cache.dir) => return usual,
            Ok(_) => "is on a full disk",
            Err(_) => "is not writable",
        };
        let temporary = std::env::temp_dir();
        let other = temporary.join(format!("wheel-matrix-{}", rustix::process::geteuid().as_raw()));
        let stand_in = match full(&temporary) {
            true => Err(anyhow!("the disk of the temporary folder is full as well")),
            false => private(&other).and_then(|()| Cache::at(&other)),
        };
        match (stand_in, usual) {
            (Ok(cache), _) => {
                say(&format!("`{}` {why}: using the cache folder `{}` instead", top.display(), other.display()));
                Ok(Cache { behind: Some(top.join(LAYOUT)), ..cache })
            }
            // Even on a full disk, existing results can be read.
            (Err(_), usual) => usual,
        }
    }

    /// Opens the cache below `top`.
    pub fn at(top: &Path) -> Result<Cache> {
        let dir = top.join(LAYOUT);
        for part in ["blobs", "records", "locks", "scratch", "logs", "state"] {
            let path = dir.join(part);
            let made = fs::create_dir_all(&path).and_then(|()| {
                let probe = path.join(format!(".{}", random_name()));
                File::create(&probe).and_then(|_| fs::remove_file(&probe))
            });
            made.with_context(|| {
                format!("cannot write to the cache folder `{}`: set XTASK_CACHE_DIR to another folder", path.display())
            })?;
        }
        let cache = Cache { dir, behind: None };
        cache.sweep();
        Ok(cache)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of the stored file with this digest.
    pub fn blob(&self, sha256: &str) -> PathBuf {
        let own = self.own_blob(sha256);
        let behind = self.behind.as_ref().map(|dir| dir.join("blobs").join(sha256));
        behind.filter(|behind| !own.exists() && behind.exists()).unwrap_or(own)
    }

    fn own_blob(&self, sha256: &str) -> PathBuf {
        self.dir.join("blobs").join(sha256)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// Returns a persistent folder that a third-party tool may reuse between runs.
    pub fn state(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join("state").join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        // `prune` removes the outermost folder as a whole.
        let outermost = self.dir.join("state").join(name.split('/').next().unwrap_or(name));
        if let Ok(folder) = File::open(outermost) {
            let _ = folder.set_modified(std::time::SystemTime::now());
        }
        Ok(path)
    }

    /// Creates an empty folder for one step. The name is random, because processes in containers that share a cache
    /// may have equal process ids. Its lock is released when the process ends.
    pub fn scratch(&self, id: &str) -> Result<Scratch> {
        let path = self.dir.join("scratch").join(format!("{id}-{}", random_name()));
        // Before it is locked, another process would take it for the folder of a killed run.
        let _making = self.scratch_lock()?;
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        let lock = File::open(&path).and_then(|folder| folder.lock_shared().map(|()| folder));
        let lock = lock.with_context(|| format!("cannot lock `{}`", path.display()))?;
        Ok(Scratch(path, lock))
    }

    /// Returns the lock to hold while creating a scratch folder or removing those of killed runs.
    fn scratch_lock(&self) -> Result<File> {
        let file = self.open_lock("scratch.lock")?;
        file.lock().context("cannot lock the folder for scratch files")?;
        Ok(file)
    }

    fn open_lock(&self, name: &str) -> Result<File> {
        let path = self.dir.join("locks").join(name);
        let file = File::options().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot open the lock `{}`", path.display()))
    }

    /// Moves the file at `path` into the cache, by rename if the file system allows it.
    pub fn take(&self, path: &Path, name: &str) -> Result<Artefact> {
        let sha256 = digest::of_file(path)?;
        let size = fs::metadata(path)?.len();
        let blob = self.own_blob(&sha256);
        if fs::rename(path, &blob).is_err() {
            copy(path, &blob)?;
        }
        Ok(Artefact { name: name.to_owned(), sha256, size })
    }

    /// Stores `bytes` in the cache.
    pub fn put(&self, bytes: &[u8], name: &str) -> Result<Artefact> {
        let sha256 = digest::of(bytes);
        write(&self.own_blob(&sha256), bytes)?;
        Ok(Artefact { name: name.to_owned(), sha256, size: bytes.len() as u64 })
    }

    /// Reads the record of `key` without checking its files.
    pub fn record(&self, key: &str) -> Result<Option<StepRecord>> {
        for dir in [Some(&self.dir), self.behind.as_ref()].into_iter().flatten() {
            let path = dir.join("records").join(format!("{key}.json"));
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // Another user's folder behind is as good as none.
                Err(error) if error.kind() == ErrorKind::NotFound || Some(dir) == self.behind.as_ref() => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
            };
            let record: StepRecord =
                serde_json::from_str(&text).with_context(|| format!("`{}` is not a record", path.display()))?;
            if record.key != key {
                bail!("`{}` is the record of another key, `{}`", path.display(), record.key);
            }
            return Ok(Some(record));
        }
        Ok(None)
    }

    /// Updates the time of last use of a record, for `prune`.
    pub fn touch(&self, key: &str) {
        let path = self.dir.join("records").join(format!("{key}.json"));
        if let Ok(file) = File::options().append(true).open(path) {
            let _ = file.set_modified(std::time::SystemTime::now());
        }
    }

    /// Checks that the files of a record are present and unchanged.
    pub fn check(&self, record: &StepRecord) -> Result<()> {
        for file in &record.output.files {
            let path = self.blob(&file.sha256);
            let found = digest::of_file(&path)?;
            if found != file.sha256 {
                bail!("`{}` of `{}` has changed in the cache: its SHA-256 is now `{found}`", file.name, record.id);
            }
        }
        Ok(())
    }

    /// Returns whether the files of a record exist with the recorded sizes. This is fast and sufficient for a
    /// preview; use [`Cache::check`] before using the files.
    pub fn holds(&self, record: &StepRecord) -> bool {
        let there = |file: &Artefact| fs::metadata(self.blob(&file.sha256)).is_ok_and(|found| found.len() == file.size);
        record.output.files.iter().all(there)
    }

    /// Stores a record.
    pub fn remember(&self, record: &StepRecord) -> Result<()> {
        let path = self.dir.join("records").join(format!("{}.json", record.key));
        write(&path, &serde_json::to_vec_pretty(record)?)
    }

    /// Removes the record of a key. Its files remain until they are pruned.
    pub fn forget(&self, key: &str) -> Result<()> {
        let path = self.dir.join("records").join(format!("{key}.json"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the exclusive lock `name`; calls `waiting` once if another process holds it.
    pub fn lock(&self, name: &str, cancel: &Cancel, waiting: impl FnOnce()) -> Result<File> {
        let file = self.open_lock(name)?;
        wait_for(|| file.try_lock(), cancel, waiting).with_context(|| format!("cannot lock `{name}`"))?;
        Ok(file)
    }

    /// Takes the shared lock that prevents `prune` from removing files in use; calls `waiting` once if `prune` is
    /// running.
    pub fn in_use(&self, cancel: &Cancel, waiting: impl FnOnce()) -> Result<File> {
        let file = self.open_lock(IN_USE)?;
        wait_for(|| file.try_lock_shared(), cancel, waiting).context("cannot lock the cache")?;
        Ok(file)
    }

    /// Takes the exclusive lock for removing files. Fails if another command is running.
    pub fn alone(&self) -> Result<File> {
        let file = self.open_lock(IN_USE)?;
        file.try_lock().context("the cache is locked")?;
        Ok(file)
    }

    /// Removes the scratch folders of killed runs, which nobody has locked.
    fn sweep(&self) {
        let (Ok(_making), Ok(entries)) = (self.scratch_lock(), fs::read_dir(self.dir.join("scratch"))) else { return };
        for entry in entries.flatten() {
            if File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Retries `try_lock` until it succeeds; calls `waiting` once if it does not succeed at first.
fn wait_for(try_lock: impl Fn() -> Result<(), TryLockError>, cancel: &Cancel, waiting: impl FnOnce()) -> Result<()> {
    let mut waiting = Some(waiting);
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                cancel.check()?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Returns 16 random characters for file names.
fn random_name() -> String {
    // The standard library seeds each `RandomState` from the operating system's random numbers.
    let number = RandomState::new().build_hasher().finish();
    format!("{number:016x}")
}

/// Creates a folder that only this user can write to, or checks that an existing one is.
fn private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    let meta = folder.symlink_metadata()?;
    if made.is_err()
        && (!meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0)
    {
        bail!("`{}` is not a folder that only this user can write to", folder.display());
    }
    Ok(())
}

/// Writes a file atomically, by renaming a temporary file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    finish(&temporary, path, written)
}

/// Copies a file atomically, by renaming a temporary file.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let temporary = temporary(to);
    let copied = fs::copy(from, &temporary).map(|_| ());
    finish(&temporary, to, copied)
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", random_name()))
}

fn finish(temporary: &Path, path: &Path, written: std::io::Result<()>) -> Result<()> {
    written.and_then(|()| fs::rename(temporary, path)).map_err(|error| {
        let _ = fs::remove_file(temporary);
        let hint = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                ": the disk is full: free some space there, then run the same command again"
            }
            _ => "",
        };
        anyhow!(error).context(format!("cannot write `{}`{hint}", path.display()))
    })
}

/// Returns the name of a step's log. It contains the key, because two processes may run a step with different keys.
pub fn log_name(id: &str, key: &str) -> String {
    format!("{id}-{}", &key[..16])
}

#[cfg(test)]
mod tests;
