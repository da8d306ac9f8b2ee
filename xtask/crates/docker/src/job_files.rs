//! Prepares the files of a job: what is sent before the start, and which directories need a volume.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use crate::context::{Content, ContextFile, FileList};
use crate::job::Job;

/// Files and directories that a container needs before its command starts.
pub struct JobFiles {
    /// Directories that need a volume, because the root file system is read-only.
    pub volumes: Vec<String>,
    /// Whether `/tmp` is a file system in memory.
    pub tmpfs: bool,
    /// Files to send, by the directory in which they are unpacked.
    pub uploads: Vec<(String, FileList)>,
}

impl JobFiles {
    pub fn new(job: &Job) -> Result<JobFiles> {
        let paths = job.inputs.iter().map(|file| &file.path).chain(&job.outputs);
        for path in paths {
            let normal = path.trim_end_matches('/').split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
            ensure!(
                path.starts_with('/') && normal && path != "/",
                "`{path}` is not an absolute path in a container; write it as `/directory/name`"
            );
        }
        if !job.read_only {
            let list = FileList::new(&job.inputs, false)?;
            let uploads = if job.inputs.is_empty() { vec![] } else { vec![("/".to_owned(), list)] };
            return Ok(JobFiles { volumes: vec![], tmpfs: false, uploads });
        }
        // The engine can put files into a read-only container only where a volume is. The root of a volume keeps the
        // owner and mode that it has in the image, so the volume is the directory above one that needs a mode.
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
                uploads.push((root.clone(), FileList::new(&below, false)?));
            }
        }
        let tmpfs = !volumes.iter().any(|root| within(root, "/tmp"));
        Ok(JobFiles { volumes, tmpfs, uploads })
    }
}

/// Whether a path is `root` or below it.
fn within(path: &str, root: &str) -> bool {
    path.trim_end_matches('/').strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
