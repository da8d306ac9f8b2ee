//! Takes out of a wheel what would tell of the machine that built it: else no other gives the same bytes.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use crate::proc;
use crate::step::Env;
use crate::wheelfile;

/// `source` is where it was built: maturin's bill of materials (SBOM) names crates by their folder.
/// Debug information goes, as in wheels that are built in a container: zig puts the paths of its own
/// sources into it, and as a linker it can leave it out only along with the names of functions,
/// which are to stay, so that a crash's stack is readable.
pub fn make(wheel: &Path, source: &Path, env: &Env) -> Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(source);
    // The compiler's own, so that its version is in the step's key; it knows no other place of its libraries.
    let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read().context("cannot run `rustc`")?;
    let objcopy = Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-objcopy");
    ensure!(
        objcopy.is_file(),
        "there is no `{}`, which comes with the compiler: install Rust with rustup",
        objcopy.display()
    );
    let libraries = Path::new(&sysroot).join("lib");
    let file = env.scratch.join("member");
    let (from, to) = (source.to_string_lossy(), "/src");
    wheelfile::rewrite(wheel, |name, data| {
        if data.starts_with(b"\x7fELF") {
            std::fs::write(&file, data)?;
            let command = cmd!(shell, "{objcopy} --strip-debug {file}").env("LD_LIBRARY_PATH", &libraries);
            proc::run(command, env.task, env.context.cancel)?;
            return Ok(std::fs::read(&file)?);
        }
        let sbom = name.contains(".dist-info/sboms/");
        match std::str::from_utf8(data) {
            Ok(text) if sbom => Ok(text.replace(&*from, to).into_bytes()),
            _ => Ok(data.to_vec()),
        }
    })
    .with_context(|| format!("cannot take this machine's paths out of `{}`", wheel.display()))
}
