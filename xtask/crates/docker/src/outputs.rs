//! Takes files out of a container: streamed into a folder, plain files only, and no more than a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path};
use std::pin::pin;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bollard::errors::Error;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tar::EntryType;
use tokio::sync::mpsc::{Receiver, channel};

use super::{Beat, Docker};
use base::limits::{FILES, FILES_VARIABLE};
use base::ui::bytes;

impl Docker {
    /// Copies the files at `path` in a container into `folder`, `most` bytes at most, and returns their
    /// names there: relative to the path, or the file's own name if the path is a file. None if there
    /// is nothing at the path.
    pub(super) async fn copy_out(
        &self,
        container: &str,
        path: &str,
        (folder, most): (&Path, u64),
        beat: &Beat,
    ) -> Result<Option<Vec<String>>> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut chunks = pin!(self.client.download_from_container(container, Some(options)));
        let (sender, receiver) = channel(4);
        let folder = folder.to_owned();
        let writer = std::thread::spawn(move || unpack(Chunks { receiver, rest: Bytes::new() }, &folder, most));
        loop {
            let chunk = chunks.next().await;
            beat.note();
            match chunk {
                // It fails when the writer has refused the rest; its own error says why.
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
        writer.join().map_err(|_| anyhow!("writing the files panicked, see above: this is a bug"))?.map(Some)
    }
}

/// Chunks of an archive, read on another thread than they come in on.
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

/// Writes the files of an archive that the engine made of one path, whose name each entry's path begins
/// with, into `folder`, and returns their names there. Links, devices and the like are refused, and so
/// are names that lead out of the folder.
pub(super) fn unpack(archive: impl Read, folder: &Path, most: u64) -> Result<Vec<String>> {
    let what = "the Docker engine sent an archive that cannot be read; try again";
    let (mut names, mut entries, mut total) = (Vec::new(), 0, 0_u64);
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().context(what)? {
        let mut entry = entry.context(what)?;
        let path = entry.path().context(what)?.into_owned();
        let shown = path.display().to_string();
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => {}
            kind => bail!("`{shown}` is {}: only files and folders are taken out of a container", name(kind)),
        }
        entries += 1;
        ensure!(entries <= FILES, "there are more than {FILES} files and folders, which is not accepted");
        let name = relative(&path).with_context(|| format!("`{shown}` leads out of the folder that was asked for"))?;
        if kind == EntryType::Directory {
            continue;
        }
        let size = entry.size();
        total = total.saturating_add(size);
        ensure!(
            total <= most,
            "the files are larger than {} together, the last one `{shown}` with {}: if that is right, set \
             {FILES_VARIABLE} to a higher limit",
            bytes(most),
            bytes(size)
        );
        let to = folder.join(&name);
        let written = write(&mut entry, &to).with_context(|| format!("cannot write `{}`", to.display()))?;
        ensure!(written == size, what);
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// A new file; the folder has no links, because none are made here.
fn write(from: &mut impl Read, to: &Path) -> io::Result<u64> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::options().write(true).create_new(true).open(to)?;
    io::copy(from, &mut file)
}

/// An entry's path without its first part, which names the path that was asked for.
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

fn name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown kind",
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

    /// An archive of entries, each with a size that may be more than its content.
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
    fn plain_files_are_written_below_the_folder() {
        let folder = folder("plain");
        let file = EntryType::Regular;
        let tar = archive(&[
            ("out/", EntryType::Directory, 0, b""),
            ("out/s/", EntryType::Directory, 0, b""),
            ("out/s/b", file, 3, b"two"),
            ("out/a", file, 3, b"one"),
        ]);
        assert_eq!(unpack(&tar[..], &folder, 6).unwrap(), ["a", "s/b"]);
        assert_eq!(fs::read(folder.join("s/b")).unwrap(), b"two");
        // The same name once more does not replace what is there.
        assert!(unpack(&tar[..], &folder, 6).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_plain_file_within_the_limits_is_refused() {
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
            let error = format!("{:#}", unpack(&archive(&[entry])[..], &folder, 1024).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        let many: Vec<_> = vec![("out/", EntryType::Directory, 0, &b""[..]); FILES + 1];
        let error = unpack(&archive(&many)[..], &folder, 1024).unwrap_err().to_string();
        assert!(error.contains("more than 10000 files"), "{error}");
        // An archive that ends in the middle of a file.
        assert!(unpack(&archive(&[("out/x", file, 1000, b"x")])[..600], &folder, 1024).is_err());
        assert!(fs::read_dir(&folder).unwrap().flatten().all(|entry| entry.file_name() == "x"));
        fs::remove_dir_all(folder).unwrap();
    }
}
