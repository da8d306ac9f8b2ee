//! Which run of this program a container or a network belongs to, and removal of what killed runs have left.
//!
//! Each run has a random id. Everything that it makes in the engine carries the id as a label, and a file of that
//! name in the folder of runs is locked (flock) until the process ends. The kernel releases the lock however the
//! process ends, also when the machine is restarted, so it cannot be confused by a reused process id, by a `/proc`
//! that hides other users, or by another name space. A run is dead only if its file is there and can be locked.
//! What has no file in this folder, as that of another user or of another machine, is left alone.

use base::labels;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bollard::errors::Error;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptionsBuilder};

use super::Docker;

/// A file without containers is kept this long: the engine may still be working on what a killed run asked for.
const KEPT: Duration = Duration::from_secs(3600);

/// A run that is under way: this one.
#[derive(Debug)]
pub struct Owner {
    pub id: String,
    path: PathBuf,
    _lock: File,
}

/// The folder of runs and, from the first container on, this run.
static CURRENT: Mutex<(Option<PathBuf>, Option<Arc<Owner>>)> = Mutex::new((None, None));

/// The folder of runs below a cache.
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("runs")
}

/// Names the cache below which this process registers itself as a run when it makes its first container.
pub fn register_below(cache: &Path) {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(folder(cache));
}

/// This run; registered by the first call.
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
        // Locked before it has its name: nobody else can find it without its lock.
        file.lock().with_context(what)?;
        file.write_all(Machine::this().to_text().as_bytes()).with_context(what)?;
        fs::rename(&temporary, &path).with_context(what)?;
        Ok(Owner { id, path, _lock: file })
    }

    /// For names: the number of the process, which people know, and the beginning of the id, which nobody else has.
    pub fn name(&self) -> String {
        format!("{}-{}", std::process::id(), self.id.get(..8).unwrap_or(&self.id))
    }

    /// What this run has made stays when it ends: from now on no other run regards it as left behind.
    pub fn keep(&self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove `{}`", self.path.display()))
    }
}

/// Whether the process of a run is still under way, as far as this folder tells.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Alive,
    Dead,
    /// Nothing is known of it here.
    Unknown,
}

/// The state of the run with this id.
pub fn state(folder: &Path, id: &str) -> State {
    state_on(folder, id, &Machine::this())
}

fn state_on(folder: &Path, id: &str, machine: &Machine) -> State {
    // The id comes from a label, which anybody may have set.
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return State::Unknown;
    }
    let Ok(mut file) = File::open(folder.join(id)) else { return State::Unknown };
    if file.try_lock().is_err() {
        return State::Alive;
    }
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        // Locks of another kernel are not seen through every shared file system.
        Ok(_) if machine.sees_locks_of(&Machine::from_text(&text)) => State::Dead,
        _ => State::Unknown,
    }
}

/// A machine and its boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Machine {
    host: String,
    boot: String,
}

impl Machine {
    fn this() -> Machine {
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

    /// Whether it is the same kernel (containers have host names of their own), or this machine before a restart.
    fn sees_locks_of(&self, other: &Machine) -> bool {
        let same = |one: &str, two: &str| !one.is_empty() && one == two;
        same(&self.boot, &other.boot) || same(&self.host, &other.host)
    }
}

/// 128 random bits in hexadecimal.
pub fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read `/dev/urandom`")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Docker {
    /// Removes containers and networks of dead runs that were registered below `cache`; returns how many.
    pub fn remove_leftovers(&self, cache: &Path) -> Result<usize> {
        let folder = folder(cache);
        if fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none()) {
            return Ok(0);
        }
        let mut states: BTreeMap<String, bool> = BTreeMap::new();
        let mut dead = |labels: Option<&HashMap<String, String>>| {
            let Some(id) = labels.and_then(|labels| labels.get(labels::RUN)) else { return false };
            *states.entry(id.clone()).or_insert_with(|| state(&folder, id) == State::Dead)
        };
        let mut removed = 0;
        let filters = HashMap::from([("label", vec![labels::RUN])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.quick(self.client.list_containers(Some(options))).context("cannot list containers")?;
        for container in found {
            if let (true, Some(id)) = (dead(container.labels.as_ref()), container.id) {
                self.remove(&id)?;
                removed += 1;
            }
        }
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found = self.quick(self.client.list_networks(Some(options))).context("cannot list networks")?;
        for network in found {
            if let (true, Some(id)) = (dead(network.labels.as_ref()), network.id) {
                self.remove_network(&id)?;
                removed += 1;
            }
        }
        sweep(&folder);
        Ok(removed)
    }

    pub(super) fn remove_network(&self, name: &str) -> Result<()> {
        let gone = self.quick(async {
            match self.client.remove_network(name).await {
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
                other => other,
            }
        });
        gone.with_context(|| format!("cannot remove the network `{name}`"))
    }
}

/// Removes the files of dead runs, after a while.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|meta| meta.modified());
        let old = changed.is_ok_and(|when| when.elapsed().is_ok_and(|age| age > KEPT));
        if old && state(folder, &entry.file_name().to_string_lossy()) == State::Dead {
            // One that cannot be removed costs nothing but its few bytes.
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
        // This very process is alive, whatever its process id, its user and its view of `/proc`.
        assert_eq!(state(&folder, &id), State::Alive);
        drop(owner);
        assert_eq!(state(&folder, &id), State::Dead);
        // After a restart the boot is another, and the host is the same.
        let restarted = Machine { boot: "another".to_owned(), ..Machine::this() };
        assert_eq!(state_on(&folder, &id, &restarted), State::Dead);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_belongs_to_others_is_unknown() {
        let folder = scratch("others");
        let owner = Owner::register(&folder).unwrap();
        let id = owner.id.clone();
        drop(owner);
        // Another machine that shares the folder: its kernel may hold a lock that is not seen here.
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
    fn what_is_to_stay_is_not_regarded_as_left_behind() {
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
        sweep(&folder);
        let there = |id: &str| folder.join(id).exists();
        assert!(there(&alive.id) && !there(&dead) && there(&young));
        fs::remove_dir_all(&folder).unwrap();
    }
}
