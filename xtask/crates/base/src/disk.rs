//! Detects full disks from free space and from error messages.

use std::path::Path;

use crate::ui::bytes;

/// Free space in bytes below which a disk counts as full.
pub const NO_ROOM: u64 = 64 << 20;

/// Messages by which the C library, Python, Rust and the Docker engine report a full disk or an exceeded quota.
const MESSAGES: [&str; 4] = ["no space left on device", "disk quota exceeded", "not enough free space", "os error 28"];

/// Returns the number of bytes that an unprivileged user can still write below `folder`.
pub fn free(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Returns an explanation with a remedy if the error `text` or the last lines of a program's `output` report a full
/// disk, or if the disk of one of the `folders` is full.
pub fn explain_full(text: &str, output: &[String], folders: &[&Path]) -> Option<String> {
    explain(text, output, folders, &free)
}

fn explain(text: &str, output: &[String], folders: &[&Path], free: &dyn Fn(&Path) -> Option<u64>) -> Option<String> {
    let full = folders.iter().find_map(|folder| Some((folder, free(folder).filter(|left| *left < NO_ROOM)?)));
    if let Some((folder, left)) = full {
        let folder = folder.display();
        return Some(format!(
            "the disk is full: {} left at `{folder}`; free some space there, then run the same command again",
            bytes(left)
        ));
    }
    // A failed step removes its temporary files, so the disk may have free space again.
    let line = std::iter::once(text).chain(output.iter().map(String::as_str)).find(|line| says_full(line))?;
    let at = MESSAGES.iter().find_map(|message| line.to_lowercase().find(message)).unwrap_or_default();
    let places: Vec<String> = folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
    Some(format!(
        "the disk was full (\"{}\"): free some space at {}, or where the Docker engine keeps its data (`docker info` \
         shows `Docker Root Dir`), then run the same command again",
        line.get(at..).unwrap_or(line).chars().take(80).collect::<String>().trim(),
        places.join(" or ")
    ))
}

fn says_full(line: &str) -> bool {
    let line = line.to_lowercase();
    MESSAGES.iter().any(|message| line.contains(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_detected_from_messages() {
        let folders = [Path::new("/cache"), Path::new("/tmp")];
        let room = |_: &Path| Some(1 << 40);
        for line in [
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "error: failed to write to file `/c/x`: No space left on device (os error 28)",
            "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
            "OSError: [Errno 122] Disk quota exceeded: '/home/me/.cache'",
        ] {
            let found =
                explain("`pip` failed", &["Collecting uv".to_owned(), line.to_owned()], &folders, &room).unwrap();
            assert!(found.starts_with("the disk was full (\"") && found.contains("`/cache` or `/tmp`"), "{found}");
            assert!(explain(line, &[], &folders, &room).is_some());
        }
        let other = ["ERROR: Could not find a version that satisfies the requirement".to_owned()];
        assert_eq!(explain("`pip` failed", &other, &folders, &room), None);
    }

    #[test]
    fn a_full_disk_is_detected_from_its_free_space() {
        let folders = [Path::new("/cache"), Path::new("/tmp")];
        let free = |folder: &Path| Some(if folder == Path::new("/tmp") { 5 << 20 } else { 1 << 40 });
        let found = explain("`pip` failed", &[], &folders, &free).unwrap();
        assert!(found.starts_with("the disk is full: 5.00 MiB left at `/tmp`"), "{found}");
    }
}
