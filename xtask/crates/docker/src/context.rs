//! Sends files to the engine as a tar stream. The same files give the same bytes, whatever their order, owner and time.

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

use crate::activity::Activity;

/// Source of the bytes of a [`ContextFile`].
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes themselves.
    Bytes(Vec<u8>),
    /// A file on this machine, read when it is sent.
    File(PathBuf),
}

/// A file of a build context or an input of a job.
#[derive(Clone, Debug)]
pub struct ContextFile {
    /// Path inside the context, or absolute path inside the container. A path that ends in `/` makes an empty directory;
    /// `source` is then unused.
    pub path: String,
    /// Its content.
    pub source: Content,
    /// Permission bits. The owner is root.
    pub mode: u32,
}

/// A checked list of files by path, each with its content and mode; a directory has no content.
pub struct FileList(BTreeMap<String, (Option<Content>, u32)>);

impl FileList {
    /// Checks the files. With `parents` the directories above them are sent too; otherwise existing ones keep their modes.
    pub fn new(files: &[ContextFile], parents: bool) -> Result<FileList> {
        let mut entries = BTreeMap::new();
        for file in files {
            let path = file.path.trim_matches('/');
            ensure!(
                !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")),
                "`{}` cannot be sent to the Docker engine; use a path without `.`, `..` and empty parts",
                file.path
            );
            let content = (!file.path.ends_with('/')).then(|| file.source.clone());
            if let Some(Content::File(source)) = &content {
                let found = source.metadata().with_context(|| {
                    format!("cannot read `{}`, which is sent as `{}`; create it first", source.display(), file.path)
                })?;
                ensure!(
                    found.is_file(),
                    "`{}`, which is sent as `{}`, is not a regular file; list its files one by one",
                    source.display(),
                    file.path
                );
            }
            let previous = entries.insert(path.to_owned(), (content, file.mode & 0o7777));
            ensure!(
                previous.is_none(),
                "`{}` is in the list of files for the Docker engine twice; list it once",
                file.path
            );
        }
        let paths: Vec<String> = entries.keys().cloned().collect();
        for path in &paths {
            for (end, _) in path.match_indices('/') {
                let parent = &path[..end];
                match entries.get(parent) {
                    Some((Some(_), _)) => anyhow::bail!(
                        "`{parent}` is in the list of files for the Docker engine as a file and as a directory; rename one"
                    ),
                    None if parents => {
                        entries.insert(parent.to_owned(), (None, 0o755));
                    }
                    _ => {}
                }
            }
        }
        Ok(FileList(entries))
    }

    /// Writes the files as a tar archive, read from the disk one after another.
    pub fn write(self, out: &mut dyn Write) -> io::Result<()> {
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
                    let with_path =
                        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", source.display()));
                    let file = File::open(&source).map_err(with_path)?;
                    let size = file.metadata().map_err(with_path)?.len();
                    header.set_size(size);
                    let mut reader = file.take(size);
                    tar.append_data(&mut header, path, &mut reader)?;
                    // A file that is too short would shift every later entry.
                    if reader.limit() != 0 {
                        return Err(with_path(io::Error::other("became shorter while it was sent")));
                    }
                }
            }
        }
        tar.finish()
    }
}

/// Makes a request body from what `write` writes. `write` runs on a thread of its own, and only a part of the body is
/// in memory at any time.
pub fn stream(
    activity: Activity,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, mut receiver) = channel(4);
    thread::spawn(move || {
        let mut out = BufWriter::with_capacity(256 * 1024, Pipe(sender.clone()));
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // Fails only if the request has ended, which then has an error of its own.
            let _ = sender.blocking_send(Err(error));
        }
    });
    poll_fn(move |cx| {
        let next = receiver.poll_recv(cx);
        if next.is_ready() {
            activity.record();
        }
        next
    })
}

/// Writes into the channel of a request body.
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
