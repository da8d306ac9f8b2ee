//! Tests of folders and locks shared by several processes.

use super::*;

struct Top(PathBuf);

impl Drop for Top {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn top(name: &str) -> Top {
    Top(std::env::temp_dir().join(format!("xtask-cache-{}-{name}", std::process::id())))
}

/// Processes in containers that share a cache can have equal ids; one process doing it twice models this.
#[test]
fn two_runs_of_one_step_do_not_share_a_scratch_folder() {
    let top = top("scratch");
    let (one, other) = (Cache::at(&top.0).unwrap(), Cache::at(&top.0).unwrap());
    let first = one.scratch("step").unwrap();
    fs::write(first.path().join("work"), "").unwrap();
    let second = other.scratch("step").unwrap();
    assert_ne!(first.path(), second.path());
    drop(second);
    assert!(first.path().join("work").exists());
    assert_ne!(temporary(&top.0.join("file")), temporary(&top.0.join("file")));
}

#[test]
fn only_folders_of_killed_runs_are_removed() {
    let top = top("killed");
    let cache = Cache::at(&top.0).unwrap();
    let used = cache.scratch("used").unwrap();
    let killed = cache.dir().join("scratch/step-0123456789abcdef");
    fs::create_dir_all(killed.join("target")).unwrap();
    Cache::at(&top.0).unwrap();
    assert!(used.path().exists() && !killed.exists());
    let path = used.path().to_owned();
    drop(used);
    assert!(!path.exists());
}

#[test]
fn a_cache_in_use_is_not_pruned() {
    let top = top("use");
    let cache = Cache::at(&top.0).unwrap();
    let cancel = Cancel::default();
    let (one, two) = (cache.in_use(&cancel, || {}).unwrap(), cache.in_use(&cancel, || {}).unwrap());
    drop(one);
    assert!(cache.alone().is_err());
    drop(two);
    let alone = cache.alone().unwrap();
    // Waiting for the lock can be interrupted.
    assert_eq!(
        format!("{:#}", cache.in_use(&cancel, || cancel.set()).unwrap_err()),
        "cannot lock the cache: interrupted"
    );
    drop(alone);
}
