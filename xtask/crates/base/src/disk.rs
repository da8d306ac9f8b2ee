//! Recognises a full disk, which programs report in many ways or not at all.

use std::path::Path;

use crate::ui::bytes;

/// With less room than this many bytes on its disk, no work can be expected to succeed.
pub const NO_ROOM: u64 = 64 << 20;

/// How the C library, Python, Rust and the Docker engine report a full disk or an exceeded quota.
const MESSAGES: [&str; 4] = ["no space left on device", "disk quota exceeded", "not enough free space", "os error 28"];

/// Returns how many bytes an ordinary user may still write below `folder`.
pub fn free(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The cause and its remedy, if the error or the last lines of a program's output say that a disk is
/// full, or if one of the `folders` has no room left.
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
    // What had no room is removed when a step fails, so there may be room again by now.
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
    fn a_full_disk_is_recognised_by_what_programs_print() {
        let folders = [Path::new("/cache"), Path::new("/tmp")];
        let room = |_: &Path| Some(1 << 40);
        for line in [
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "error: failed to write to file `/c/x`: No space left on device (os error 28)",
            "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
            "OSError: [Errno 122] Disk quota exceeded: '/home/me/.cache'",
        ] {
            let said =
                explain("`pip` failed", &["Collecting uv".to_owned(), line.to_owned()], &folders, &room).unwrap();
            assert!(said.starts_with("the disk was full (\"") && said.contains("`/cache` or `/tmp`"), "{said}");
            assert!(explain(line, &[], &folders, &room).is_some());
        }
        let other = ["ERROR: Could not find a version that satisfies the requirement".to_owned()];
        assert_eq!(explain("`pip` failed", &other, &folders, &room), None);
    }

    #[test]
    fn a_full_disk_is_recognised_by_its_free_space() {
        let folders = [Path::new("/cache"), Path::new("/tmp")];
        let free = |folder: &Path| Some(if folder == Path::new("/tmp") { 5 << 20 } else { 1 << 40 });
        let said = explain("`pip` failed", &[], &folders, &free).unwrap();
        assert!(said.starts_with("the disk is full: 5.00 MiB left at `/tmp`"), "{said}");
    }
}
