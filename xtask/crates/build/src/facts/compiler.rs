//! Determines the Rust compiler. Calling `rustc` takes half as long as planning itself, so the answer is cached as
//! long as the compiler's files are unchanged.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Cache};

/// Returns the relevant output of `rustc -vV`. The answer is stored in `cache`.
pub fn identity(cache: &Cache) -> Result<String> {
    let Some(rustc) = chosen(&|name| std::env::var_os(name)) else { return ask(Path::new("rustc")) };
    // An unwritable cache is not an error.
    match cache.state("rustc") {
        Ok(folder) => remember(&rustc, &folder.join("identity")),
        Err(_) => ask(&rustc),
    }
}

/// Returns the relevant output of `rustc -vV` of a rustup toolchain.
pub fn identity_of(toolchain: &str) -> Result<String> {
    let output = Command::new("rustup")
        .args(["run", toolchain, "rustc", "-vV"])
        .env("RUSTUP_AUTO_INSTALL", "0")
        .output()
        .with_context(|| format!("cannot run `rustup`, which the field `toolchain: {toolchain}` needs: install it"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = said.lines().next().unwrap_or("no reason given").trim_start_matches("error: ");
        bail!(
            "cannot use the toolchain `{toolchain}`, which matrix.yaml names ({reason}): install it with `rustup \
             toolchain install {toolchain} --profile minimal`"
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the compiler of the toolchain that rustup selected. rustup sets variables for programs it starts; calling
/// its proxy `rustc` would take longer.
fn chosen(env: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let toolchain = PathBuf::from(env("RUSTUP_TOOLCHAIN")?);
    let beside = Path::new(&env("CARGO")?).with_file_name("rustc");
    (beside.components().any(|part| part.as_os_str() == toolchain) && beside.is_file()).then_some(beside)
}

/// Returns the answer stored in `remembered` if it belongs to the same files, otherwise asks the compiler.
fn remember(rustc: &Path, remembered: &Path) -> Result<String> {
    let Some(files) = files(rustc) else { return ask(rustc) };
    let known = fs::read_to_string(remembered).ok();
    if let Some(answer) = known.as_ref().and_then(|known| known.strip_prefix(&files)) {
        return Ok(answer.to_owned());
    }
    let answer = ask(rustc)?;
    // A full disk must not make planning fail.
    let _ = cache::write(remembered, format!("{files}{answer}").as_bytes());
    Ok(answer)
}

/// Describes the files of the compiler. The change time (`ctime`) is set by the kernel and cannot be set back, unlike
/// the modification time.
fn files(rustc: &Path) -> Option<String> {
    let libraries = fs::read_dir(rustc.parent()?.parent()?.join("lib")).ok()?;
    let mut paths: Vec<PathBuf> = libraries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.push(rustc.to_owned());
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let meta = fs::metadata(&path).ok()?;
        let (device, inode, size) = (meta.dev(), meta.ino(), meta.size());
        text.push_str(&format!("{path:?} {device} {inode} {size} {}.{:09}\n", meta.ctime(), meta.ctime_nsec()));
    }
    Some(text)
}

fn ask(rustc: &Path) -> Result<String> {
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot run `rustc -vV`: install Rust with rustup, then run the command again")?;
    if !output.status.success() {
        bail!("`rustc -vV` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};

    use super::{chosen, remember};
    use fixture::Folder;

    #[test]
    fn the_compiler_of_rustups_toolchain_is_used() {
        let folder = Folder::new("compiler");
        folder.write("toolchains/1.95.0-x/bin/rustc", "").write("usr/bin/rustc", "");
        let chosen = |toolchain: Option<&str>, cargo: &str| {
            let found = chosen(&|name| match name {
                "RUSTUP_TOOLCHAIN" => toolchain.map(Into::into),
                "CARGO" => Some(folder.0.join(cargo).into()),
                _ => None,
            });
            found.map(|found| found.strip_prefix(&folder.0).unwrap_or(&found).display().to_string())
        };
        let rustc = chosen(Some("1.95.0-x"), "toolchains/1.95.0-x/bin/cargo");
        assert_eq!(rustc.as_deref(), Some("toolchains/1.95.0-x/bin/rustc"));
        // Cargo without rustup, cargo of another toolchain, and a toolchain without compiler.
        assert_eq!(chosen(None, "usr/bin/cargo"), None);
        assert_eq!(chosen(Some("1.96.0-x"), "toolchains/1.95.0-x/bin/cargo"), None);
        assert_eq!(chosen(Some("1.95.0-x"), "toolchains/1.95.0-x/other/cargo"), None);
    }

    /// Creates a compiler that counts its calls.
    fn compiler(name: &str) -> Folder {
        let folder = Folder::new(name);
        folder.write("lib/librustc_driver-1.so", "driver").write("cache/there", "");
        folder.write_program("bin/rustc", "#!/bin/sh\necho asked >> \"${0%/*}/../asked\"\necho rustc 1.95.0\n");
        folder
    }

    fn answer(folder: &Folder) -> (String, usize) {
        let answer = remember(&folder.0.join("bin/rustc"), &folder.0.join("cache/rustc")).unwrap();
        (answer, fs::read_to_string(folder.0.join("asked")).unwrap().lines().count())
    }

    #[test]
    fn a_compiler_is_called_once() {
        let folder = compiler("once");
        assert_eq!(answer(&folder), ("rustc 1.95.0".to_owned(), 1));
        assert_eq!(answer(&folder), ("rustc 1.95.0".to_owned(), 1));
    }

    #[test]
    fn a_changed_compiler_is_called_again() {
        let folder = compiler("changed");
        answer(&folder);
        // Change the file in place, with the same size and modification time.
        for (file, from, to, asked) in [("bin/rustc", "1.95.0", "1.95.1", 2), ("lib/librustc_driver-1.so", "d", "D", 3)]
        {
            let path = folder.0.join(file);
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            let text = fs::read_to_string(&path).unwrap().replace(from, to);
            // The resolution of the kernel's clock is a few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            folder.write_program(file, &text);
            fs::File::open(&path).unwrap().set_times(FileTimes::new().set_modified(modified)).unwrap();
            assert_eq!(answer(&folder), ("rustc 1.95.1".to_owned(), asked), "{file}");
        }
        folder.write("lib/libLLVM.so", "new");
        assert_eq!(answer(&folder).1, 4);
    }

    #[test]
    fn an_invalid_or_unwritable_cached_answer_is_ignored() {
        let folder = compiler("nonsense");
        folder.write("cache/rustc", "rustc 1.0.0");
        assert_eq!(answer(&folder), ("rustc 1.95.0".to_owned(), 1));
        fs::remove_dir_all(folder.0.join("cache")).unwrap();
        folder.write("cache", "a file");
        assert_eq!(answer(&folder).1, 2);
        assert_eq!(answer(&folder).1, 3);
    }
}
