//! Turns lists of files into tar streams that are the same for the same files, whoever sends them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc::{Sender, channel};

use super::Beat;

/// Where the bytes of a [`ContextFile`] come from.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file of this machine, read when it is sent.
    File(PathBuf),
}

/// A file of a build context or an input of a job.
#[derive(Clone, Debug)]
pub struct ContextFile {
    /// Path inside the context, or absolute path inside the container; a `/` at its end makes it a directory and its content unused.
    pub path: String,
    /// Its bytes.
    pub source: Content,
    /// Its permission bits; owner is root.
    pub mode: u32,
}

/// A checked, sorted list of files; `None` stands for a directory.
pub(super) struct Listing(BTreeMap<String, (Option<Content>, u32)>);

impl Listing {
    /// With `parents`, directories above the files get entries as well; without, existing ones keep their modes.
    pub(super) fn new(files: &[ContextFile], parents: bool) -> Result<Listing> {
        let mut entries = BTreeMap::new();
        for file in files {
            let path = file.path.trim_matches('/');
            ensure!(
                !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")),
                "`{}` cannot be sent to the Docker engine; give a plain path without `.` and `..`",
                file.path
            );
            let content = (!file.path.ends_with('/')).then(|| file.source.clone());
            if let Some(Content::File(source)) = &content {
                let found = source.metadata().with_context(|| {
                    format!("cannot read `{}`, to be sent as `{}`; make it first", source.display(), file.path)
                })?;
                ensure!(
                    found.is_file(),
                    "`{}`, to be sent as `{}`, is no regular file; list its files one by one",
                    source.display(),
                    file.path
                );
            }
            let old = entries.insert(path.to_owned(), (content, file.mode & 0o7777));
            ensure!(old.is_none(), "`{}` is to be sent to the Docker engine twice; list it once", file.path);
        }
        let paths: Vec<String> = entries.keys().cloned().collect();
        for path in &paths {
            for (end, _) in path.match_indices('/') {
                let parent = &path[..end];
                match entries.get(parent) {
                    Some((Some(_), _)) => anyhow::bail!(
                        "`{parent}` is to be sent to the Docker engine as file and as directory; rename one"
                    ),
                    None if parents => {
                        entries.insert(parent.to_owned(), (None, 0o755));
                    }
                    _ => {}
                }
            }
        }
        Ok(Listing(entries))
    }

    pub(super) fn write(self, out: &mut dyn Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        for (path, (content, mode)) in self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            match content {
                None => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_size(0);
                    tar.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Some(Content::Bytes(bytes)) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())?;
                }
                Some(Content::File(source)) => {
                    let named =
                        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", source.display()));
                    let file = File::open(&source).map_err(named)?;
                    let size = file.metadata().map_err(named)?.len();
                    header.set_size(size);
                    let mut reader = file.take(size);
                    tar.append_data(&mut header, path, &mut reader)?;
                    // A short file would shift every later entry.
                    if reader.limit() != 0 {
                        return Err(named(io::Error::other("became shorter while it was sent")));
                    }
                }
            }
        }
        tar.finish()
    }
}

/// A request body produced by blocking code on a thread of its own, never held in memory as a whole.
pub(super) fn stream(
    beat: Beat,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, mut receiver) = channel(4);
    thread::spawn(move || {
        let mut out = BufWriter::with_capacity(256 * 1024, Pipe(sender.clone()));
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // Fails only when nobody wants the body any more.
            let _ = sender.blocking_send(Err(error));
        }
    });
    poll_fn(move |cx| {
        let next = receiver.poll_recv(cx);
        if next.is_ready() {
            beat.note();
        }
        next
    })
}

struct Pipe(Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
