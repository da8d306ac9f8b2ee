//! What a job needs before it starts and what is read from it afterwards, free of any talk with the engine.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::Component;

use anyhow::{Context as _, Result, bail, ensure};

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

/// Regular files of an archive the engine made of one path; its first component is the name of that path.
pub(super) fn unpack(tar: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let what = "the Docker engine sent an archive that cannot be read; try again";
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut whole: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().context(what)? {
        let mut entry = entry.context(what)?;
        let path = entry.path().context(what)?.into_owned();
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                Component::CurDir => {}
                // The caller writes these names to its own disk.
                _ => {
                    bail!("the job left a file named `{}`, which leads elsewhere; remove it in the job", path.display())
                }
            }
        }
        let name = if parts.len() > 1 { parts.split_off(1).join("/") } else { parts.join("/") };
        let kind = entry.header().entry_type();
        let raw = entry.path_bytes().into_owned();
        if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).context(what)?;
            whole.insert(raw, files.len());
            files.push((name, bytes));
        } else if kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            if let Some(bytes) = whole.get(&target).and_then(|&index| files.get(index)).map(|file| file.1.clone()) {
                files.push((name, bytes));
            }
        }
    }
    files.sort();
    Ok(files)
}
