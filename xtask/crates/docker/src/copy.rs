//! Copies files out of a container into a folder: only regular files, and no more bytes than a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path};
use std::pin::pin;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bollard::errors::Error;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder};
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tar::EntryType;
use tokio::sync::mpsc::{Receiver, channel};

use crate::activity::Activity;
use crate::client::Docker;
use crate::container::{self, RemoveOnDrop};
use crate::owner;
use crate::reference::check_reference;
use crate::watch::{STUCK, Watch};
use base::cancel::Cancel;
use base::limits::{self, FILES, FILES_VARIABLE};
use base::ui::bytes;

/// The folder that receives copied files.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    pub folder: &'a Path,
    /// Limit of the files' sizes together.
    pub max_bytes: u64,
}

impl Docker {
    /// Copies the files at `path` in an image into a folder and returns their names. The image is not run.
    pub fn copy_from_image(&self, image: &str, path: &str, folder: &Path, cancel: &Cancel) -> Result<Vec<String>> {
        check_reference(image)?;
        let owner = owner::current()?;
        let name = container::unique_name(&owner);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // The engine requires a command, although the container is never started.
            cmd: Some(vec!["none".to_owned()]),
            labels: Some(owner::with_run_label(&[])?),
            ..ContainerCreateBody::default()
        };
        let guard = RemoveOnDrop { docker: self, name: &name };
        let activity = Activity::new();
        let destination = Destination { folder, max_bytes: limits::current().files };
        let work = async {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            self.client.create_container(Some(options), body).await.map_err(|error| self.explain(error))?;
            self.copy_from_container(&name, path, destination, &activity)
                .await?
                .with_context(|| format!("the image has no `{path}`"))
        };
        let watch = Watch { activity: &activity, cancel, idle_limit: Some(STUCK) };
        let files = self.watched(watch, work, || format!("cannot read `{path}` in image `{image}`"));
        drop(guard);
        files
    }

    /// Copies the files at `path` in a container, and returns their names in the destination folder: relative to
    /// `path`, or the file's own name if `path` is a file. Returns `None` if `path` does not exist.
    pub(crate) async fn copy_from_container(
        &self,
        container: &str,
        path: &str,
        destination: Destination<'_>,
        activity: &Activity,
    ) -> Result<Option<Vec<String>>> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut chunks = pin!(self.client.download_from_container(container, Some(options)));
        let (sender, receiver) = channel(4);
        let (folder, max_bytes) = (destination.folder.to_owned(), destination.max_bytes);
        let writer = std::thread::spawn(move || {
            unpack(Chunks { receiver, rest: Bytes::new() }, Destination { folder: &folder, max_bytes })
        });
        loop {
            let chunk = chunks.next().await;
            activity.record();
            match chunk {
                // This fails if the writer has refused the archive; the writer returns the reason.
                Some(Ok(chunk)) => {
                    if sender.send(chunk).await.is_err() {
                        break;
                    }
                }
                Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => return Ok(None),
                Some(Err(error)) => return Err(self.explain(error)),
                None => break,
            }
        }
        drop(sender);
        writer
            .join()
            .map_err(|_| anyhow!("the thread that writes the files panicked, see above: this is a bug"))?
            .map(Some)
    }
}

/// Reads an archive whose chunks come from another thread.
struct Chunks {
    receiver: Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let read = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

/// Writes the files of an archive into a folder and returns their names. The archive is the engine's answer for one
/// path, whose last part is the first part of each entry's path. Refuses links, devices and other special files, and
/// paths that lead out of the folder.
fn unpack(archive: impl Read, destination: Destination) -> Result<Vec<String>> {
    let Destination { folder, max_bytes } = destination;
    let what = "cannot read the archive that the Docker engine sent; try again";
    let (mut names, mut entries, mut total) = (Vec::new(), 0, 0_u64);
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().context(what)? {
        let mut entry = entry.context(what)?;
        let path = entry.path().context(what)?.into_owned();
        let shown = path.display().to_string();
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => {}
            kind => bail!("`{shown}` is {}: only files and folders are copied out of a container", type_name(kind)),
        }
        entries += 1;
        ensure!(
            entries <= FILES,
            "the container has more than {FILES} files and folders to copy, which is not allowed"
        );
        let name = relative(&path).with_context(|| format!("`{shown}` leads out of the folder that is copied"))?;
        if kind == EntryType::Directory {
            continue;
        }
        let size = entry.size();
        total = total.saturating_add(size);
        ensure!(
            total <= max_bytes,
            "the files are larger than {} together, the last one `{shown}` with {}; if this size is expected, set \
             {FILES_VARIABLE} to a higher limit",
            bytes(max_bytes),
            bytes(size)
        );
        let to = folder.join(&name);
        let written = write_file(&mut entry, &to).with_context(|| format!("cannot write `{}`", to.display()))?;
        ensure!(written == size, what);
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// Creates a file. No link can redirect it, because this module never creates links in the folder.
fn write_file(from: &mut impl Read, to: &Path) -> io::Result<u64> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::options().write(true).create_new(true).open(to)?;
    io::copy(from, &mut file)
}

/// Returns an entry's path without its first part, the name of the copied path; `None` if it leads out of the folder.
fn relative(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(if parts.len() > 1 { parts.split_off(1).join("/") } else { parts.join("/") })
}

fn type_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "a special file",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-outputs-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn into(folder: &Path, max_bytes: u64) -> Destination<'_> {
        Destination { folder, max_bytes }
    }

    /// An archive of entries, each with a size that may be larger than its content.
    fn archive(entries: &[(&str, EntryType, u64, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (path, kind, size, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(*size);
            header.set_mode(0o644);
            header.set_cksum();
            tar.extend_from_slice(header.as_bytes());
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        tar
    }

    #[test]
    fn regular_files_are_written_into_the_folder() {
        let folder = folder("plain");
        let file = EntryType::Regular;
        let tar = archive(&[
            ("out/", EntryType::Directory, 0, b""),
            ("out/s/", EntryType::Directory, 0, b""),
            ("out/s/b", file, 3, b"two"),
            ("out/a", file, 3, b"one"),
        ]);
        assert_eq!(unpack(&tar[..], into(&folder, 6)).unwrap(), ["a", "s/b"]);
        assert_eq!(fs::read(folder.join("s/b")).unwrap(), b"two");
        // An existing file is not replaced.
        assert!(unpack(&tar[..], into(&folder, 6)).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn special_files_and_files_beyond_the_limits_are_refused() {
        let folder = folder("refused");
        let file = EntryType::Regular;
        for (entry, expected) in [
            (("out/x", file, 1 << 33, &b""[..]), "larger than 1.00 KiB together, the last one `out/x` with 8.00 GiB"),
            (("out/x", EntryType::Link, 0, b""), "`out/x` is a hard link"),
            (("out/x", EntryType::Symlink, 0, b""), "`out/x` is a symbolic link"),
            (("out/x", EntryType::Block, 0, b""), "`out/x` is a device"),
            (("out/x", EntryType::Fifo, 0, b""), "`out/x` is a pipe"),
            (("out/../../x", file, 1, b"x"), "leads out of the folder"),
            (("/etc/x", file, 1, b"x"), "leads out of the folder"),
        ] {
            let error = format!("{:#}", unpack(&archive(&[entry])[..], into(&folder, 1024)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        let many: Vec<_> = vec![("out/", EntryType::Directory, 0, &b""[..]); FILES + 1];
        let error = unpack(&archive(&many)[..], into(&folder, 1024)).unwrap_err().to_string();
        assert!(error.contains("more than 10000 files"), "{error}");
        // An archive that ends in the middle of a file.
        assert!(unpack(&archive(&[("out/x", file, 1000, b"x")])[..600], into(&folder, 1024)).is_err());
        assert!(fs::read_dir(&folder).unwrap().flatten().all(|entry| entry.file_name() == "x"));
        fs::remove_dir_all(folder).unwrap();
    }
}
