//! Asks the package index about many distributions at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use build::Project;
use build::index::{self, Index};

/// Maximum number of parallel requests.
const PARALLEL: usize = 8;

/// Access to the package index at a URL.
pub struct Lookup<'a> {
    pub project: &'a Project,
    pub url: &'a str,
}

impl Lookup<'_> {
    /// Calls `work` for each item, several at a time, and returns the results in order. The first error ends the others.
    /// `what` is shown meanwhile.
    pub fn each<T: Sync, R: Send>(
        &self,
        what: &str,
        items: &[T],
        work: impl Fn(&Index, &T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let Lookup { project, url } = *self;
        let task = project.ui.start("check", what, &project.cache.log("check"));
        task.open_log()?;
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let one_by_one = || -> Result<Vec<(usize, R)>> {
            let scratch = project.cache.scratch("check")?;
            index::with_index(url, scratch.path(), &task, &project.cancel, |index| {
                let mut done = Vec::new();
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    done.push((at, work(index, item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?));
                }
                Ok(done)
            })
        };
        let results: Vec<Result<Vec<(usize, R)>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..PARALLEL.min(items.len())).map(|_| scope.spawn(one_by_one)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<(usize, R)>>>| {
                thread.join().unwrap_or_else(|_| Err(anyhow!("a thread that asks the package index has panicked")))
            };
            threads.into_iter().map(join).collect()
        });
        let mut done = Vec::new();
        for result in results {
            done.extend(result?);
        }
        task.end("ok");
        done.sort_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }
}
