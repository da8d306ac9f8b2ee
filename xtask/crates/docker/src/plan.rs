//! What a job needs before it starts, found out without the engine.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use super::context::Listing;
use super::{Content, ContextFile, Job};

/// What has to be prepared before a job can start.
pub(super) struct Plan {
    pub(super) volumes: Vec<String>,
    pub(super) tmpfs: bool,
    pub(super) uploads: Vec<(String, Listing)>,
}

impl Plan {
    pub(super) fn new(job: &Job) -> Result<Plan> {
        let paths = job.inputs.iter().map(|file| &file.path).chain(&job.outputs);
        for path in paths {
            let plain = path.trim_end_matches('/').split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
            ensure!(
                path.starts_with('/') && plain && path != "/",
                "`{path}` is no absolute path in a container; write it as `/directory/name`"
            );
        }
        if !job.read_only {
            let listing = Listing::new(&job.inputs, false)?;
            let uploads = if job.inputs.is_empty() { vec![] } else { vec![("/".to_owned(), listing)] };
            return Ok(Plan { volumes: vec![], tmpfs: false, uploads });
        }
        // The engine puts files into a read-only container only where a volume is. The directory of
        // the volume itself keeps owner and mode, so it is the one above what needs a mode.
        let mut files = job.inputs.clone();
        for output in job.outputs.iter().map(|path| path.trim_end_matches('/')) {
            if !files.iter().any(|file| file.path.trim_end_matches('/') == output) {
                files.push(ContextFile {
                    path: format!("{output}/"),
                    source: Content::Bytes(Vec::new()),
                    mode: 0o1777,
                });
            }
        }
        let mut roots = BTreeSet::new();
        for file in &files {
            let path = file.path.trim_end_matches('/');
            match path.rsplit_once('/') {
                Some((parent, _)) if !parent.is_empty() => roots.insert(parent.to_owned()),
                _ if file.path.ends_with('/') => roots.insert(path.to_owned()),
                _ => bail!(
                    "input `{path}` of a read-only job is in `/`, which cannot be written; put it into a directory"
                ),
            };
        }
        let covered = |root: &String| roots.iter().any(|other| other != root && within(root, other));
        let volumes: Vec<String> = roots.iter().filter(|root| !covered(root)).cloned().collect();
        let mut uploads = Vec::new();
        for root in &volumes {
            let below = files.iter().filter(|file| within(&file.path, root) && file.path.trim_end_matches('/') != root);
            let below: Vec<_> =
                below.map(|file| ContextFile { path: file.path[root.len()..].to_owned(), ..file.clone() }).collect();
            if !below.is_empty() {
                uploads.push((root.clone(), Listing::new(&below, false)?));
            }
        }
        let tmpfs = !volumes.iter().any(|root| within(root, "/tmp"));
        Ok(Plan { volumes, tmpfs, uploads })
    }
}

fn within(path: &str, root: &str) -> bool {
    path.trim_end_matches('/').strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
