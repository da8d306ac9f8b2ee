//! Prepares zig's libraries, so that wheels contain no paths of this machine and use the process's unwinder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use crate::step::env::StepEnv;
use base::platform::Platform;
use base::{digest, proc};

const UNWINDER: &str = "libgcc_s.so.1";

/// Without this flag, zig compiles its UBSan runtime for 20 s and does not use it.
pub const NO_UBSAN: &str = "-fno-sanitize=undefined";

/// Symbols of [`UNWINDER`] that compilers use on x86-64, by symbol version.
const UNWINDS: [(&str, &[&str]); 4] = [
    (
        "GCC_3.0",
        &[
            "_Unwind_DeleteException",
            "_Unwind_Find_FDE",
            "_Unwind_ForcedUnwind",
            "_Unwind_GetDataRelBase",
            "_Unwind_GetGR",
            "_Unwind_GetIP",
            "_Unwind_GetLanguageSpecificData",
            "_Unwind_GetRegionStart",
            "_Unwind_GetTextRelBase",
            "_Unwind_RaiseException",
            "_Unwind_Resume",
            "_Unwind_SetGR",
            "_Unwind_SetIP",
        ],
    ),
    ("GCC_3.3", &["_Unwind_Backtrace", "_Unwind_FindEnclosingFunction", "_Unwind_GetCFA", "_Unwind_Resume_or_Rethrow"]),
    ("GCC_3.3.1", &["__gcc_personality_v0"]),
    ("GCC_4.2.0", &["_Unwind_GetIPInfo"]),
];

/// Compiles zig's libraries for a platform into its cache at `folder`, without debug information, and returns an
/// additional library for links: a stub of [`UNWINDER`] with its symbols and without code.
///
/// zig ships libunwind and the static parts of glibc as sources and compiles them at the first link. Their debug
/// information would contain zig's folder and that of the first link. Linking an empty program with the flags of
/// maturin's links creates the same libraries, whose debug information is then stripped; that of the package is kept
/// as its author configured it.
///
/// zig has no libgcc_s and would link its libunwind into the wheel instead. Python and glibc unwind with libgcc_s:
/// until 3.13, CPython ends threads by unwinding through the frames of the wheel (`LAST_UNWINDING` in the crate
/// `wheelfile`).
pub fn prepare(tools: &Path, folder: &Path, platform: &str, env: &StepEnv) -> Result<PathBuf> {
    let machine = env.context.facts.platform;
    let glibc = machine.glibc(platform).with_context(|| format!("`{platform}` has no glibc version: this is a bug"))?;
    let target = machine.zig_target(glibc);
    let waiting = || env.task.waiting("waiting for zig's libraries to be compiled");
    let _lock = env.context.cache.lock("zig.lock", env.context.cancel, waiting)?;
    // The libraries are identified by the folder of the tools.
    let tools_key = tools.file_name().unwrap_or_default().to_string_lossy();
    let (source, versions) = (stand_in(), versions());
    let (name, map) = (format!("-Wl,-soname,{UNWINDER}"), "-Wl,--version-script=unwinder.map");
    let both = ["-fno-sanitize=all", NO_UBSAN, "-target", &target, "-shared", "-fPIC"];
    let libraries = ["-g", "-o", "nothing.so", "nothing.c", "-lunwind"];
    let stand_in = ["-nostdlib", &name, map, "-o", UNWINDER, "unwinder.c"];
    let made_of = digest::of([&both[..], &libraries, &stand_in, &[&source, &versions]].concat().join("\0"));
    // Cargo compares this path, so it must not change with the tools.
    let unwinder = folder.join(format!("{target}-{}", &made_of[..16])).join(UNWINDER);
    let done = folder.join(format!("prepared-{tools_key}-{target}-{}", &made_of[..16]));
    if done.exists() && unwinder.exists() {
        return Ok(unwinder);
    }
    let shell = Shell::new()?;
    shell.change_dir(env.scratch);
    shell.write_file("nothing.c", "int nothing;\n")?;
    let python = tools.join("bin/python");
    let zig = |arguments: &[&str]| {
        let link = cmd!(shell, "{python} -m ziglang cc {both...} {arguments...}");
        // Pass nothing else of the user's environment, because clang reads flags from it.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let link = link.env_clear().env("PATH", path).env("ZIG_GLOBAL_CACHE_DIR", folder);
        proc::run(link, env.task, env.context.cancel)
    };
    zig(&libraries).context("zig cannot compile its own libraries")?;
    let (objcopy, libraries) = objcopy(&shell, machine)?;
    for file in libraries_in(&folder.join("o"))? {
        let strip = cmd!(shell, "{objcopy} --strip-debug {file}").env("LD_LIBRARY_PATH", &libraries);
        proc::run(strip, env.task, env.context.cancel)?;
    }
    shell.write_file("unwinder.c", source)?;
    shell.write_file("unwinder.map", versions)?;
    zig(&stand_in).with_context(|| format!("zig cannot create a stub of {UNWINDER}"))?;
    keep(&env.scratch.join(UNWINDER), &unwinder)?;
    std::fs::write(done, "")?;
    Ok(unwinder)
}

/// Copies a file, because the cache may be on a different file system.
fn keep(made: &Path, path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    std::fs::copy(made, &part).with_context(|| format!("cannot write `{}`", part.display()))?;
    std::fs::rename(&part, path)?;
    Ok(())
}

fn stand_in() -> String {
    let names = UNWINDS.iter().flat_map(|(_, names)| *names);
    names.map(|name| format!("void {name}(void) {{}}\n")).collect()
}

fn versions() -> String {
    let node = |(node, names): &(&str, &[&str])| format!("{node} {{ global: {}; }};\n", names.join("; "));
    UNWINDS.iter().map(node).chain(["LOCAL { local: *; };\n".to_owned()]).collect()
}

/// Returns rustc's objcopy, whose version is part of the step's key, and the folder of its libraries.
fn objcopy(shell: &Shell, platform: Platform) -> Result<(PathBuf, PathBuf)> {
    let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read().context("cannot run `rustc`")?;
    let sysroot = PathBuf::from(sysroot);
    let objcopy = sysroot.join("lib/rustlib").join(platform.rust_target()).join("bin/rust-objcopy");
    ensure!(
        objcopy.is_file(),
        "there is no `{}`, which comes with the compiler: install Rust with rustup",
        objcopy.display()
    );
    Ok((objcopy, sysroot.join("lib")))
}

/// Returns the static libraries that zig compiled, each in its own folder. Object files of packages are in the same
/// parent folder and are skipped.
fn libraries_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("zig did not create `{}`", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(libraries_in(&entry.path())?);
        } else if entry.path().extension().is_some_and(|kind| kind == "a") {
            found.push(entry.path());
        }
    }
    Ok(found)
}
