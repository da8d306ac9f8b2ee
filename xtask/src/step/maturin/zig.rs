//! The libraries that zig compiles itself when it links: made beforehand, so that they say nothing of this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use crate::proc;
use crate::step::Env;

/// Sees to it that zig's libraries for a platform are in its cache at `folder`, without debug information.
///
/// zig has libunwind and what of glibc is linked statically as sources, and compiles them at the first
/// link. Their debug information would name zig's own folder and that of the first link, in every
/// wheel. A link of nothing, with the flags of maturin's own links, makes the same libraries; what
/// they lose is not the package's debug information, which stays as its author wants it.
pub fn prepare(tools: &Path, folder: &Path, platform: &str, env: &Env) -> Result<()> {
    let target = target(platform).with_context(|| format!("`{platform}` names no glibc: this is a bug"))?;
    let waiting = || env.task.waiting("waits until zig's libraries are compiled");
    let _lock = env.context.cache.lock("zig.lock", env.context.cancel, waiting)?;
    // zig's sources, and so its libraries, are those of one folder of tools.
    let tools_key = tools.file_name().unwrap_or_default().to_string_lossy();
    let done = folder.join(format!("stripped-{tools_key}-{target}"));
    if done.exists() {
        return Ok(());
    }
    let shell = Shell::new()?;
    shell.change_dir(env.scratch);
    shell.write_file("nothing.c", "int nothing;\n")?;
    let python = tools.join("bin/python");
    let link = cmd!(
        shell,
        "{python} -m ziglang cc -g -fno-sanitize=all -target {target} -shared -fPIC -o nothing.so nothing.c -lunwind"
    );
    // Nothing else of the user's environment: clang would take flags from it.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let link = link.env_clear().env("PATH", path).env("ZIG_GLOBAL_CACHE_DIR", folder);
    proc::run(link, env.task, env.context.cancel).context("zig cannot compile its own libraries")?;
    let (objcopy, libraries) = objcopy(&shell)?;
    for file in objects(&folder.join("o"))? {
        let strip = cmd!(shell, "{objcopy} --strip-debug {file}").env("LD_LIBRARY_PATH", &libraries);
        proc::run(strip, env.task, env.context.cancel)?;
    }
    std::fs::write(done, "")?;
    Ok(())
}

/// What zig calls a platform tag: `x86_64-linux-gnu.2.28` for `manylinux_2_28_x86_64`.
fn target(platform: &str) -> Option<String> {
    let (major, minor) = platform.strip_prefix("manylinux_")?.strip_suffix("_x86_64")?.split_once('_')?;
    Some(format!("x86_64-linux-gnu.{major}.{minor}"))
}

/// The compiler's own, so that its version is in the step's key, with the folder of its libraries.
fn objcopy(shell: &Shell) -> Result<(PathBuf, PathBuf)> {
    let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read().context("cannot run `rustc`")?;
    let sysroot = PathBuf::from(sysroot);
    let objcopy = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-objcopy");
    ensure!(
        objcopy.is_file(),
        "there is no `{}`, which comes with the compiler: install Rust with rustup",
        objcopy.display()
    );
    Ok((objcopy, sysroot.join("lib")))
}

/// Archives and object files, each of which lies in a folder of its own.
fn objects(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("zig left no `{}`", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(objects(&entry.path())?);
        } else if entry.path().extension().is_some_and(|kind| kind == "a" || kind == "o") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn platforms_are_targets() {
        assert_eq!(super::target("manylinux_2_28_x86_64").as_deref(), Some("x86_64-linux-gnu.2.28"));
        assert_eq!(super::target("manylinux2014_x86_64"), None);
    }
}
