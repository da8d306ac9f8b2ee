//! Records which run of this program owns a container or a network, and whether that run is still alive.
//!
//! Each run has a random id. Every container and network that it creates has the id as a label. A file with the id as
//! its name, in the folder of runs, is locked (flock) until the process ends. The kernel releases the lock however the
//! process ends, also by a restart of the machine. Unlike a process id, the lock cannot belong to a later process, and
//! it does not depend on `/proc` or on name spaces. A run is dead only if its file exists and can be locked. A run
//! without a file in this folder belongs to another user or another machine, and its containers are left alone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use base::labels;

/// Time that the file of a dead run is kept: the engine may still be creating a container that the run requested.
const KEPT: Duration = Duration::from_secs(3600);

/// This run of the program, as the owner of containers and networks.
#[derive(Debug)]
pub struct Owner {
    /// Random id, 32 hexadecimal digits.
    pub id: String,
    path: PathBuf,
    _lock: File,
}

/// The folder of runs, and this run once it is registered.
static CURRENT: Mutex<(Option<PathBuf>, Option<Arc<Owner>>)> = Mutex::new((None, None));

/// Returns the folder of runs in a cache folder.
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("runs")
}

/// Sets the cache folder in which this process registers itself as a run when it creates its first container.
pub fn register_below(cache: &Path) {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(folder(cache));
}

/// Returns this run. The first call registers it.
pub fn current() -> Result<Arc<Owner>> {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(owner) = &current.1 {
        return Ok(owner.clone());
    }
    let folder = current.0.clone().context("no folder of runs is set: this is a bug")?;
    let owner = Arc::new(Owner::register(&folder)?);
    current.1 = Some(owner.clone());
    Ok(owner)
}

impl Owner {
    fn register(folder: &Path) -> Result<Owner> {
        let what = || format!("cannot register this run in `{}`", folder.display());
        fs::create_dir_all(folder).with_context(what)?;
        let id = random_id()?;
        let (path, temporary) = (folder.join(&id), folder.join(format!(".{id}")));
        let mut file = File::create_new(&temporary).with_context(what)?;
        // Locked before it gets its final name, so no other process sees it unlocked.
        file.lock().with_context(what)?;
        file.write_all(Machine::current().to_text().as_bytes()).with_context(what)?;
        fs::rename(&temporary, &path).with_context(what)?;
        Ok(Owner { id, path, _lock: file })
    }

    /// Returns the part of the names of its containers: the process id, for people, and the start of the random id.
    pub fn name(&self) -> String {
        format!("{}-{}", std::process::id(), self.id.get(..8).unwrap_or(&self.id))
    }

    /// Keeps the containers and networks of this run after its end: no other run removes them as leftovers.
    pub fn keep(&self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove `{}`", self.path.display()))
    }
}

/// Whether the process of a run is still running.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Alive,
    Dead,
    /// The folder of runs has no file of it, or the file is of another machine.
    Unknown,
}

/// Returns the state of the run with this id.
pub fn state(folder: &Path, id: &str) -> State {
    state_on(folder, id, &Machine::current())
}

fn state_on(folder: &Path, id: &str, machine: &Machine) -> State {
    // The id comes from a label, which any program can set.
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return State::Unknown;
    }
    let Ok(mut file) = File::open(folder.join(id)) else { return State::Unknown };
    if file.try_lock().is_err() {
        return State::Alive;
    }
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        // Not every shared file system shows the locks of another machine.
        Ok(_) if machine.sees_locks_of(&Machine::from_text(&text)) => State::Dead,
        _ => State::Unknown,
    }
}

/// A machine, and the id of its current boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Machine {
    host: String,
    boot: String,
}

impl Machine {
    fn current() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Machine { host: read("/proc/sys/kernel/hostname"), boot: read("/proc/sys/kernel/random/boot_id") }
    }

    fn to_text(&self) -> String {
        format!("{}\n{}\n", self.host, self.boot)
    }

    fn from_text(text: &str) -> Machine {
        let mut lines = text.lines().map(str::to_owned);
        Machine { host: lines.next().unwrap_or_default(), boot: lines.next().unwrap_or_default() }
    }

    /// Whether both are the same kernel (containers on one host have different host names), or the same machine before
    /// and after a restart.
    fn sees_locks_of(&self, other: &Machine) -> bool {
        let same = |one: &str, two: &str| !one.is_empty() && one == two;
        same(&self.boot, &other.boot) || same(&self.host, &other.host)
    }
}

/// Returns 128 random bits as hexadecimal digits.
pub fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read `/dev/urandom`")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Adds the label of this run to others.
pub(crate) fn with_run_label(others: &[(String, String)]) -> Result<HashMap<String, String>> {
    let run = (labels::RUN.to_owned(), current()?.id.clone());
    Ok(others.iter().cloned().chain([run]).collect())
}

/// Removes the files of runs that have been dead for a while.
pub(crate) fn remove_old_files(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|meta| meta.modified());
        let old = changed.is_ok_and(|when| when.elapsed().is_ok_and(|age| age > KEPT));
        if old && state(folder, &entry.file_name().to_string_lossy()) == State::Dead {
            // A file that cannot be removed only wastes a few bytes.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("xtask-owner-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_run_is_dead_only_when_its_lock_is_free() {
        let folder = scratch("lock");
        let owner = Owner::register(&folder).unwrap();
        let id = owner.id.clone();
        // This process is alive, whatever its process id, its user and its view of `/proc`.
        assert_eq!(state(&folder, &id), State::Alive);
        drop(owner);
        assert_eq!(state(&folder, &id), State::Dead);
        // After a restart the boot id is different, and the host is the same.
        let restarted = Machine { boot: "another".to_owned(), ..Machine::current() };
        assert_eq!(state_on(&folder, &id, &restarted), State::Dead);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn runs_of_other_machines_and_users_are_unknown() {
        let folder = scratch("others");
        let owner = Owner::register(&folder).unwrap();
        let id = owner.id.clone();
        drop(owner);
        // Another machine that shares the folder: its kernel may hold a lock that is not visible here.
        let elsewhere = Machine { host: "elsewhere".to_owned(), boot: "another".to_owned() };
        assert_eq!(state_on(&folder, &id, &elsewhere), State::Unknown);
        assert_eq!(state_on(&folder, &id, &Machine::default()), State::Unknown);
        // Another user's cache.
        assert_eq!(state(&scratch("elsewhere"), &id), State::Unknown);
        // A label that leads out of the folder.
        fs::write(folder.join("lock"), "").unwrap();
        for wrong in ["", "lock", "../others/lock", "4194305@host"] {
            assert_eq!(state(&folder, wrong), State::Unknown, "{wrong}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_run_whose_containers_are_kept_is_unknown() {
        let folder = scratch("keep");
        let owner = Owner::register(&folder).unwrap();
        let id = owner.id.clone();
        owner.keep().unwrap();
        assert_eq!(state(&folder, &id), State::Unknown);
        drop(owner);
        assert_eq!(state(&folder, &id), State::Unknown);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn files_of_dead_runs_are_removed_after_a_while() {
        let folder = scratch("sweep");
        let register = || Owner::register(&folder).unwrap();
        let (alive, dead, young) = (register(), register(), register());
        let long_ago = std::time::SystemTime::now() - 2 * KEPT;
        for owner in [&alive, &dead] {
            File::options().append(true).open(&owner.path).unwrap().set_modified(long_ago).unwrap();
        }
        let [dead, young] = [dead, young].map(|owner| owner.id.clone());
        remove_old_files(&folder);
        let there = |id: &str| folder.join(id).exists();
        assert!(there(&alive.id) && !there(&dead) && there(&young));
        fs::remove_dir_all(&folder).unwrap();
    }
}
