//! Wheels built on the host by maturin with zig, for interpreters that need not be on this machine.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use super::wheel::{self, EPOCH};
use super::{Env, tools};
use crate::cache::Output;
use crate::plan::Maturin;
use crate::proc::{self, Talk};

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
    if !target.join(DEPENDENCIES).exists() {
        inherit(&source, &target, &abis, env)?;
    }
    let shared = Mutex::new(Some(shared));
    let own_crate = format!("({}", source.display());
    let release = || {
        if let Ok(mut shared) = shared.lock()
            && shared.is_some()
        {
            // Without it the others compile everything themselves, which is only slower.
            let _ = std::fs::write(target.join(DEPENDENCIES), "");
            *shared = None;
        }
    };
    let line = |line: &str| {
        if line.trim_start().starts_with("Compiling ") && line.contains(&own_crate) {
            release();
        }
    };

    let tools = tools::installed(env)?;
    let out = env.scratch.join("out");
    let (platform, interpreter) = (&own.platform, &step.interpreter);
    let compatibility = platform.trim_end_matches("_x86_64");
    let path = format!("{}:{}", tools.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let cargo_home =
        std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()));
    // Paths of this machine must not get into the wheel; the same flags for each ABI, or nothing
    // could be shared.
    let remap = format!("--remap-path-prefix={}=/src\u{1f}--remap-path-prefix={cargo_home}=/cargo", abis.display());
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
    .env("CARGO_ENCODED_RUSTFLAGS", remap)
    .env("XDG_CACHE_HOME", state.join("xdg"))
    .env("ZIG_GLOBAL_CACHE_DIR", cache.state("zig")?);
    for name in PASSED {
        if let Ok(value) = std::env::var(name) {
            command = command.env(name, value);
        }
    }
    let talk = Talk { line: &line, ..Talk::default() };
    proc::talk(command, env.task, env.context.cancel, &talk)
        .with_context(|| format!("cannot build `{}`", own.package))?;
    release();
    wheel::keep(own, &out, env)
}

/// Marks a Cargo folder in which all that the package's own crates need is compiled.
const DEPENDENCIES: &str = "dependencies-complete";

/// Starts `target` from the folder of another ABI, without anything that sees PyO3.
fn inherit(source: &Path, target: &Path, abis: &Path, env: &Env) -> Result<()> {
    let siblings = std::fs::read_dir(abis).into_iter().flatten().flatten().map(|abi| abi.path().join("target"));
    let Some(from) = siblings.filter(|other| other != target).find(|other| other.join(DEPENDENCIES).exists()) else {
        return Ok(());
    };
    env.task.line(&format!("taking over the compiled dependencies in {}", from.display()));
    let _ = std::fs::remove_dir_all(target);
    let shell = Shell::new()?;
    // Times are kept: Cargo compares them.
    proc::run(cmd!(shell, "cp -a --reflink=auto {from} {target}"), env.task, env.context.cancel)?;
    std::fs::remove_file(target.join(DEPENDENCIES))?;

    shell.change_dir(source);
    let listed = cmd!(shell, "cargo metadata --no-deps --format-version 1 --locked").quiet().ignore_stderr().read();
    let listed: serde_json::Value = serde_json::from_str(&listed.context("`cargo metadata` failed")?)?;
    let packages = || listed["packages"].as_array().into_iter().flatten();
    let targets = packages().flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let mut own: Vec<String> = packages()
        .chain(targets)
        .filter_map(|item| item["name"].as_str())
        .flat_map(|name| [name.to_owned(), name.replace('-', "_")])
        .collect();
    own.push("pyo3".to_owned());
    for profile in [target.join("release"), target.join("x86_64-unknown-linux-gnu/release")] {
        for folder in ["deps", "build", ".fingerprint"] {
            for entry in std::fs::read_dir(profile.join(folder)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if own.iter().any(|own| name.contains(own)) {
                    let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
                }
            }
        }
    }
    Ok(())
}
