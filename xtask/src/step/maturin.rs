//! Wheels built on the host by maturin with zig, for interpreters that need not be on this machine.

mod portable;
mod zig;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::wheel::{self, EPOCH};
use super::{Env, tools};
use crate::cache::Output;
use crate::cancel::Cancel;
use crate::digest;
use crate::plan::Maturin;
use crate::proc::{self, Talk};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

/// What of the user's environment reaches the compiler: where programs, caches and registries are,
/// and nothing that changes what is compiled.
const PASSED: [&str; 16] = [
    "HOME",
    "USER",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

pub fn run(step: &Maturin, env: &Env) -> Result<Output> {
    let own = &step.wheel;
    // Cargo's folder outlives the step, one for each wheel: shared between ABIs it would be compiled
    // anew at each change, and has produced broken modules (PyO3 issue 4882).
    let cache = env.context.cache;
    let abis = cache.state(&format!("cargo/{}", own.package))?;
    let state = cache.state(&format!("cargo/{}/{}", own.package, own.abi))?;
    let waiting = || env.task.waiting("waits for another build of the same package and ABI");
    let _lock = cache.lock(&format!("{}.state.lock", env.id), env.context.cancel, waiting)?;
    let source = state.join("src");
    wheel::unpack(own, &source, env)?;
    // What does not see PyO3 is the same for every ABI: the first build compiles it with all cores,
    // the others wait for that and copy it; then the last, long crates are compiled side by side.
    let waiting = || env.task.waiting("waits until the dependencies are compiled for another ABI");
    let shared = cache.lock(&format!("cargo-{}.lock", own.package), env.context.cancel, waiting)?;
    let target = state.join("target");
    let crates = Crates::read(&source)?;
    same_compiler(&source, &env.context.facts.rustc)?;

    let tools = tools::installed(env)?;
    let out = env.scratch.join("out");
    let (platform, interpreter) = (&own.platform, &step.interpreter);
    let compatibility = platform.trim_end_matches("_x86_64");
    let path = format!("{}:{}", tools.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let cargo_home =
        std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()));
    let zig = cache.state("zig")?;
    let unwinder = zig::prepare(&tools, &zig, platform, env)?;
    // Paths of this machine must not get into the wheel, nor that of the ABI for which a dependency
    // happened to be compiled first; the same flags for each ABI, or nothing could be shared.
    let own_zig = tools.canonicalize()?;
    let folders = step.abis.iter().flat_map(|abi| ["src", "target"].map(|folder| (abi, folder)));
    let maps = folders.map(|(abi, folder)| format!("{}/{abi}/{folder}=/{folder}", abis.display()));
    let maps: Vec<String> = maps.chain([format!("{cargo_home}=/cargo")]).collect();
    let flags = maps
        .iter()
        .map(|map| format!("--remap-path-prefix={map}"))
        .chain([format!("-Clink-arg={}", unwinder.display()), format!("-Clink-arg={}", zig::NO_UBSAN)]);
    let flags = flags.collect::<Vec<_>>().join("\u{1f}");
    let maps = maps.into_iter().chain([format!("{}=/zig", own_zig.display())]);
    let c_flags: Vec<String> = maps.map(|map| format!("-ffile-prefix-map={map}")).collect();
    // The crate `cc` splits them at spaces, or as a shell does where it is told to, which old ones
    // do not understand.
    let spaces = c_flags.iter().any(|flag| flag.contains(char::is_whitespace));
    let quoted = |flag: String| if spaces { format!("'{flag}'") } else { flag };
    let c_flags = c_flags.into_iter().map(quoted).collect::<Vec<_>>().join(" ");
    let lock = std::fs::read_to_string(source.join("Cargo.lock")).context("the package has no Cargo.lock")?;
    let facts = env.context.facts;
    let with = [&facts.rustc, &facts.cargo_config, compatibility, &flags, &c_flags, &lock];
    let mark = digest::of(with.join("\0"));
    if !marked(&target, &mark)
        && let Err(error) = inherit(&crates, &target, &abis, &mark, env)
    {
        // Only slower: everything is compiled.
        env.task.line(&format!("cannot take over compiled dependencies: {error:#}"));
    }
    let shared = Mutex::new(Some(shared));
    let release = || {
        if let Ok(mut shared) = shared.lock()
            && shared.is_some()
        {
            // Without it the others compile everything themselves, which is only slower.
            let _ = std::fs::write(target.join(DEPENDENCIES), &mark);
            *shared = None;
        }
    };
    let line = |line: &str| {
        if crates.last.as_deref().is_some_and(|last| line.trim_start().starts_with(last)) {
            release();
        }
    };
    let shell = Shell::new()?;
    shell.change_dir(&source);
    let maturin = tools.join("bin/maturin");
    let mut command = cmd!(
        shell,
        "{maturin} build --release --locked --zig --target x86_64-unknown-linux-gnu --compatibility {compatibility}
         --interpreter {interpreter} --target-dir {target} --out {out}"
    )
    .env_clear()
    .env("PATH", path)
    .env("LANG", "C.UTF-8")
    .env("SOURCE_DATE_EPOCH", EPOCH)
    .env("CARGO_TERM_COLOR", "never")
    .env("CARGO_BUILD_JOBS", env.context.cores.to_string())
    .env("CARGO_ENCODED_RUSTFLAGS", flags)
    .env("CFLAGS_x86_64_unknown_linux_gnu", &c_flags)
    .env("CXXFLAGS_x86_64_unknown_linux_gnu", &c_flags)
    // The path of the linker's wrapper in it is part of what Cargo compares: one for all ABIs.
    .env("XDG_CACHE_HOME", cache.state("zigbuild")?)
    .env("ZIG_GLOBAL_CACHE_DIR", &zig);
    if spaces {
        command = command.env("CC_SHELL_ESCAPED_FLAGS", "1");
    }
    for name in PASSED {
        if let Ok(value) = std::env::var(name) {
            command = command.env(name, value);
        }
    }
    let talk = Talk { line: &line, ..Talk::default() };
    proc::talk(command, env.task, env.context.cancel, &talk)
        .with_context(|| format!("cannot build `{}`", own.package))?;
    release();
    for entry in std::fs::read_dir(&out).context("maturin left no folder with a wheel")? {
        portable::make(&entry?.path(), &source)?;
    }
    wheel::keep(own, &out, env)
}

/// The key speaks of the compiler that answered in the project's folder; rustup chooses by folder.
fn same_compiler(source: &Path, expected: &str) -> Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(source);
    let found = cmd!(shell, "rustc -vV").quiet().read().context("cannot run `rustc -vV` in the package's source")?;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    ensure!(
        found.trim() == expected,
        "the compiler is `{}` in the package's folder, and `{}` in the project's: start this tool as `cargo xtask`, \
         or set RUSTUP_TOOLCHAIN",
        first(&found),
        first(expected)
    );
    Ok(())
}

/// Marks a Cargo folder in which all that the package's own crates need is compiled; its text stands
/// for the tools, flags and versions with which it was.
const DEPENDENCIES: &str = "dependencies-complete";

fn marked(target: &Path, mark: &str) -> bool {
    std::fs::read_to_string(target.join(DEPENDENCIES)).is_ok_and(|text| text == mark)
}

/// The crates that a package brings itself.
struct Crates {
    /// Parts of the file names that Cargo gives to what it makes of them.
    names: Vec<String>,
    /// How Cargo's line begins when everything but the extension module is compiled; none where a
    /// build script would make it say so too early.
    last: Option<String>,
}

impl Crates {
    fn read(source: &Path) -> Result<Crates> {
        let shell = Shell::new()?;
        shell.change_dir(source);
        let listed = cmd!(shell, "cargo metadata --no-deps --format-version 1 --locked").quiet().ignore_stderr().read();
        let listed: Value = serde_json::from_str(&listed.context("`cargo metadata` failed in the package's source")?)?;
        let list = |of: &Value, field: &str| of[field].as_array().cloned().unwrap_or_default();
        let mut crates = Crates { names: Vec::new(), last: None };
        for package in list(&listed, "packages") {
            let targets = list(&package, "targets");
            let has = |kind: &str| targets.iter().any(|target| list(target, "kind").iter().any(|k| k == kind));
            if has("cdylib") && !has("custom-build") {
                crates.last = package["name"].as_str().map(|name| format!("Compiling {name} v"));
            }
            for name in targets.iter().chain([&package]).filter_map(|item| item["name"].as_str()) {
                crates.names.extend([name.to_owned(), name.replace('-', "_")]);
            }
        }
        Ok(crates)
    }
}

/// Starts `target` from the folder of another ABI that bears the same mark, without anything that sees PyO3.
fn inherit(crates: &Crates, target: &Path, abis: &Path, mark: &str, env: &Env) -> Result<()> {
    let siblings = std::fs::read_dir(abis).into_iter().flatten().flatten().map(|abi| abi.path().join("target"));
    let Some(from) = siblings.filter(|other| other != target).find(|other| marked(other, mark)) else {
        return Ok(());
    };
    env.task.line(&format!("taking over the compiled dependencies in {}", from.display()));
    let part = target.with_extension("part");
    for folder in [target, &part] {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    // The other build may be at its last crate, whose files come and go: they are left out by name,
    // as is the mark, which only a build of this ABI may set.
    let skip = |name: &str| {
        name == DEPENDENCIES
            || name.contains("pyo3")
            || name.starts_with("rmeta")
            || name.ends_with(".whl")
            || crates.names.iter().any(|own| name.contains(own))
    };
    copy_tree(&from, &part, &skip, env.context.cancel)?;
    std::fs::rename(&part, target)?;
    Ok(())
}

/// Copies with times, which Cargo compares; what vanishes meanwhile was temporary.
fn copy_tree(from: &Path, to: &Path, skip: &dyn Fn(&str) -> bool, cancel: &Cancel) -> Result<()> {
    cancel.check()?;
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if skip(&name.to_string_lossy()) {
            continue;
        }
        let (path, to) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            copy_tree(&path, &to, skip, cancel)?;
            continue;
        }
        let copied = std::fs::copy(&path, &to).and_then(|_| {
            let time = path.metadata()?.modified()?;
            std::fs::File::options().append(true).open(&to)?.set_modified(time)
        });
        match copied {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot copy `{}`", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
