//! The content-addressed store outside the work tree: what was made once is made once.
//!
//! Layout, below `$XTASK_CACHE_DIR`, else `$XDG_CACHE_HOME/wheel-matrix`, else `~/.cache/wheel-matrix`:
//! `v1/blobs/<sha256>` holds files, `v1/records/<key>.json` says what a step of that key made,
//! `v1/locks` keeps two processes off one step, `v1/scratch` is for work under way, `v1/logs` for
//! what the steps printed, `v1/state` for what may be reused but proves nothing (Cargo's folders).

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use base::cancel::Cancel;
use base::{digest, disk};

/// A file that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    pub name: String,
    pub sha256: String,
    /// In bytes.
    pub size: u64,
}

/// An image that a step made, in the engine that was in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// Carries the key, so that it means one image only.
    pub reference: String,
    /// What people call it; the image of another key may take it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub id: String,
    /// In bytes.
    pub size: u64,
}

/// What a step made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Artefact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<BuiltImage>,
    /// Stands for the step in the keys of those that need it, where its own key cannot: the digest
    /// of what the outside world gave (which Debian packages, which root file system).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What a person should know of it, by name: versions, verdicts, how it was made.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub notes: std::collections::BTreeMap<String, String>,
    /// The repository or folder that it was taken from; none for what was made on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
}

/// The memory of a step that ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub key: String,
    /// Wall time in seconds that it took when it ran.
    pub seconds: f64,
    pub output: Output,
}

/// The folder of this layout; another layout's is a stranger.
const LAYOUT: &str = "v1";

/// The lock of the cache as a whole.
const IN_USE: &str = "in-use.lock";

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    /// A store that can only be read, whose files and records count as well.
    behind: Option<PathBuf>,
}

/// A folder that is gone when this is dropped; its lock tells other processes that it is in use.
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
    /// The store of this user, made if it does not exist. Where it cannot be written, or its disk is
    /// full, one in the temporary folder is written in its place, and `say` is told; what is in the
    /// first is used all the same.
    pub fn open(say: impl FnOnce(&str)) -> Result<Cache> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let top = var("XTASK_CACHE_DIR")
            .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("wheel-matrix")))
            .or_else(|| var("HOME").map(|dir| dir.join(".cache/wheel-matrix")))
            .context("no place for the cache: set HOME, or XTASK_CACHE_DIR to a folder")?;
        let top = std::path::absolute(&top)?;
        let usual = Cache::at(&top);
        let full = |dir: &Path| disk::free(dir).is_some_and(|free| free < disk::NO_ROOM);
        let why = match &usual {
            Ok(cache) if !full(&cache.dir) => return usual,
            Ok(_) => "has no room left",
            Err(_) => "cannot be written",
        };
        let temporary = std::env::temp_dir();
        let other = temporary.join(format!("wheel-matrix-{}", rustix::process::geteuid().as_raw()));
        let stand_in = match full(&temporary) {
            true => Err(anyhow!("no room there either")),
            false => private(&other).and_then(|()| Cache::at(&other)),
        };
        match (stand_in, usual) {
            (Ok(cache), _) => {
                say(&format!("`{}` {why}: the cache is `{}` this time", top.display(), other.display()));
                Ok(Cache { behind: Some(top.join(LAYOUT)), ..cache })
            }
            // Without room, what is made already can still be had.
            (Err(_), usual) => usual,
        }
    }

    /// The store below `top`.
    pub fn at(top: &Path) -> Result<Cache> {
        let dir = top.join(LAYOUT);
        for part in ["blobs", "records", "locks", "scratch", "logs", "state"] {
            let path = dir.join(part);
            let made = fs::create_dir_all(&path).and_then(|()| {
                let probe = path.join(format!(".{}", random_name()));
                File::create(&probe).and_then(|_| fs::remove_file(&probe))
            });
            made.with_context(|| {
                format!("cannot write to the cache folder `{}`: set XTASK_CACHE_DIR to another", path.display())
            })?;
        }
        let cache = Cache { dir, behind: None };
        cache.sweep();
        Ok(cache)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the stored file of this digest is.
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

    /// A folder that lasts, for what a tool of another maker may reuse.
    pub fn state(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join("state").join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        // For `prune`, which removes the outermost as a whole.
        let outermost = self.dir.join("state").join(name.split('/').next().unwrap_or(name));
        if let Ok(folder) = File::open(outermost) {
            let _ = folder.set_modified(std::time::SystemTime::now());
        }
        Ok(path)
    }

    /// An empty folder for one step's work. Its name is random, since processes of several containers
    /// that share a cache have the same ids, and its lock ends with the process.
    pub fn scratch(&self, id: &str) -> Result<Scratch> {
        let path = self.dir.join("scratch").join(format!("{id}-{}", random_name()));
        // Until it is locked, another process would take it for the folder of a killed run.
        let _making = self.scratch_lock()?;
        fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        let lock = File::open(&path).and_then(|folder| folder.lock_shared().map(|()| folder));
        let lock = lock.with_context(|| format!("cannot lock `{}`", path.display()))?;
        Ok(Scratch(path, lock))
    }

    /// Held for the moment in which a scratch folder is made, or those of killed runs are removed.
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

    /// Takes the file at `path` into the store, by rename where the file system allows it.
    pub fn take(&self, path: &Path, name: &str) -> Result<Artefact> {
        let sha256 = digest::of_file(path)?;
        let size = fs::metadata(path)?.len();
        let blob = self.own_blob(&sha256);
        if fs::rename(path, &blob).is_err() {
            copy(path, &blob)?;
        }
        Ok(Artefact { name: name.to_owned(), sha256, size })
    }

    /// Writes `bytes` into the store.
    pub fn put(&self, bytes: &[u8], name: &str) -> Result<Artefact> {
        let sha256 = digest::of(bytes);
        write(&self.own_blob(&sha256), bytes)?;
        Ok(Artefact { name: name.to_owned(), sha256, size: bytes.len() as u64 })
    }

    /// What the step of `key` made, without looking at its files.
    pub fn record(&self, key: &str) -> Result<Option<Record>> {
        for dir in [Some(&self.dir), self.behind.as_ref()].into_iter().flatten() {
            let path = dir.join("records").join(format!("{key}.json"));
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // Another user's folder behind is as good as none.
                Err(error) if error.kind() == ErrorKind::NotFound || Some(dir) == self.behind.as_ref() => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
            };
            let record: Record =
                serde_json::from_str(&text).with_context(|| format!("`{}` is not a record", path.display()))?;
            if record.key != key {
                bail!("`{}` is the record of another key, `{}`", path.display(), record.key);
            }
            return Ok(Some(record));
        }
        Ok(None)
    }

    /// Notes that a record is used now, which only `prune` asks for.
    pub fn touch(&self, key: &str) {
        let path = self.dir.join("records").join(format!("{key}.json"));
        if let Ok(file) = File::options().append(true).open(path) {
            let _ = file.set_modified(std::time::SystemTime::now());
        }
    }

    /// Whether the files of a record are still what was recorded.
    pub fn check(&self, record: &Record) -> Result<()> {
        for file in &record.output.files {
            let path = self.blob(&file.sha256);
            let found = digest::of_file(&path)?;
            if found != file.sha256 {
                bail!("`{}` of `{}` has changed in the cache: its SHA-256 is now `{found}`", file.name, record.id);
            }
        }
        Ok(())
    }

    /// Whether the files of a record are there, by name and size alone: enough to say what would
    /// happen, and next to no time. Whoever uses them does `check`.
    pub fn holds(&self, record: &Record) -> bool {
        let there = |file: &Artefact| fs::metadata(self.blob(&file.sha256)).is_ok_and(|found| found.len() == file.size);
        record.output.files.iter().all(there)
    }

    /// Writes down what a step made.
    pub fn remember(&self, record: &Record) -> Result<()> {
        let path = self.dir.join("records").join(format!("{}.json", record.key));
        write(&path, &serde_json::to_vec_pretty(record)?)
    }

    /// Removes the record of a key; its files stay until they are pruned.
    pub fn forget(&self, key: &str) -> Result<()> {
        let path = self.dir.join("records").join(format!("{key}.json"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until no other process works on `name`; `waiting` is called once if there is one.
    pub fn lock(&self, name: &str, cancel: &Cancel, waiting: impl FnOnce()) -> Result<File> {
        let file = self.open_lock(name)?;
        wait_for(|| file.try_lock(), cancel, waiting).with_context(|| format!("cannot lock `{name}`"))?;
        Ok(file)
    }

    /// Held by every command except `prune`, so that nothing is removed that it uses; `waiting` is
    /// called once if `prune` is under way.
    pub fn in_use(&self, cancel: &Cancel, waiting: impl FnOnce()) -> Result<File> {
        let file = self.open_lock(IN_USE)?;
        wait_for(|| file.try_lock_shared(), cancel, waiting).context("cannot lock the cache")?;
        Ok(file)
    }

    /// Held while things are removed; an error when another command is under way.
    pub fn alone(&self) -> Result<File> {
        let file = self.open_lock(IN_USE)?;
        file.try_lock().context("the cache is locked")?;
        Ok(file)
    }

    /// Removes the scratch folders of killed runs: those that nobody has locked.
    fn sweep(&self) {
        let (Ok(_making), Ok(entries)) = (self.scratch_lock(), fs::read_dir(self.dir.join("scratch"))) else { return };
        for entry in entries.flatten() {
            if File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Tries to take a lock until that succeeds; `waiting` is called once if it is not free.
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

/// 16 random characters for the names of files and folders.
fn random_name() -> String {
    // The standard library seeds each state from the operating system's source of random numbers.
    let number = RandomState::new().build_hasher().finish();
    format!("{number:016x}")
}

/// Makes a folder that nobody else can put anything into, or makes sure that it is one.
fn private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    let meta = folder.symlink_metadata()?;
    if made.is_err()
        && (!meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0)
    {
        bail!("`{}` is not a private folder of this user", folder.display());
    }
    Ok(())
}

/// Writes `bytes` to a temporary name beside `path`, then renames: never a half-written file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    finish(&temporary, path, written)
}

/// Copies `from` to a temporary name beside `to`, then renames.
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

/// Names the log of a step by its key as well, since two processes may run one step with different keys.
pub fn log_name(id: &str, key: &str) -> String {
    format!("{id}-{}", &key[..16])
}

#[cfg(test)]
mod tests;
