//! Wheels built on the host by maturin with zig, for interpreters that need not be on this machine.

mod config;
mod crates;
mod portable;
mod zig;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow, ensure};
use config::CargoConfig;
use crates::Crates;
use xshell::{Shell, cmd};

use super::wheel::{self, EPOCH};
use super::{Env, tools};
use crate::cache::Output;
use crate::plan::Maturin;
use base::cancel::Cancel;
use base::digest;
use base::proc::{self, ProcessIo};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 2;

/// Precedes what is wrong in the package's own configuration.
const CONFIG: &str = "in `.cargo/config.toml` of the package";

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
    let machine = env.context.facts.platform;
    let target = machine.rust_target();
    // The variables of the crate `cc` for flags of C and C++ code of one target.
    let [cflags, cxxflags] = ["CFLAGS", "CXXFLAGS"].map(|name| format!("{name}_{}", target.replace('-', "_")));
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
    let build_folder = state.join("target");
    let crates = Crates::read(&source, env.task)?;
    same_compiler(&source, &env.context.facts.rustc)?;
    if let Some(folder) = &own.folder {
        config::refuse_above(folder)?;
    }
    let text = config::text(&source)?;
    let package = CargoConfig::parse(&text).context(CONFIG)?;
    if package.has_linker(target) {
        env.context.ui.say(&format!(
            "[{}] zig links in place of the `linker` that the package's Cargo configuration names",
            env.id
        ));
    }

    let tools = tools::installed(env)?;
    let out = env.scratch.join("out");
    let (platform, interpreter) = (&own.platform, &step.interpreter);
    let compatibility = platform.trim_end_matches(&format!("_{}", machine.machine()));
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
    let package_flags = package.rustflags(target, &target_cfgs(&source, target)?).context(CONFIG)?;
    let flags = maps
        .iter()
        .map(|map| format!("--remap-path-prefix={map}"))
        .chain([format!("-Clink-arg={}", unwinder.display()), format!("-Clink-arg={}", zig::NO_UBSAN)]);
    // The variable replaces what Cargo would read from the package's configuration, which comes first.
    let flags = package_flags.into_iter().chain(flags).collect::<Vec<_>>().join("\u{1f}");
    let maps = maps.into_iter().chain([format!("{}=/zig", own_zig.display())]);
    let c_flags: Vec<String> = maps.map(|map| format!("-ffile-prefix-map={map}")).collect();
    // The crate `cc` splits them at spaces, or as a shell does where it is told to, which old ones
    // do not understand.
    let spaces = c_flags.iter().any(|flag| flag.contains(char::is_whitespace));
    let quoted = |flag: String| if spaces { format!("'{flag}'") } else { flag };
    let c_flags = c_flags.into_iter().map(quoted).collect::<Vec<_>>().join(" ");
    let with_own = |name: &str, variable: &str| -> Result<String> {
        let own = package.c_flags(target, name, variable).context(CONFIG)?;
        Ok(own.map_or_else(|| c_flags.clone(), |own| format!("{own} {c_flags}")))
    };
    let (c_flags, cxx_flags) = (with_own("CFLAGS", &cflags)?, with_own("CXXFLAGS", &cxxflags)?);
    let lock = std::fs::read_to_string(&crates.lock).map_err(|_| {
        let folder = crates.lock.parent().and_then(|folder| folder.strip_prefix(&source).ok()).unwrap_or(Path::new(""));
        anyhow!(
            "the package has no `{}`, without which nothing says which crates to compile: \
             run `cargo generate-lockfile` there and add the file to the source",
            folder.join("Cargo.lock").display()
        )
    })?;
    let facts = env.context.facts;
    let with = [&facts.rustc, &facts.cargo_config, compatibility, &flags, &c_flags, &cxx_flags, &text, &lock];
    let mark = digest::of(with.join("\0"));
    forget_other_configuration(&build_folder, &text)?;
    if !marked(&build_folder, &mark)
        && let Err(error) = inherit(&crates, &build_folder, &abis, &mark, env)
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
            let _ = std::fs::write(build_folder.join(DEPENDENCIES), &mark);
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
        "{maturin} build --release --locked --zig --target {target} --compatibility {compatibility}
         --interpreter {interpreter} --target-dir {build_folder} --out {out}"
    )
    .env_clear();
    let jobs = step.jobs.map_or(env.context.cores, |jobs| jobs.get().min(env.context.cores));
    let zigbuild = cache.state("zigbuild")?;
    let mut variables = vec![
        ("PATH", path),
        ("LANG", "C.UTF-8".to_owned()),
        ("SOURCE_DATE_EPOCH", EPOCH.to_owned()),
        ("CARGO_TERM_COLOR", "never".to_owned()),
        ("CARGO_BUILD_JOBS", jobs.to_string()),
        ("CARGO_ENCODED_RUSTFLAGS", flags),
        // The path of the linker's wrapper in it is part of what Cargo compares: one for all ABIs.
        ("XDG_CACHE_HOME", zigbuild.display().to_string()),
        ("ZIG_GLOBAL_CACHE_DIR", zig.display().to_string()),
    ];
    if spaces {
        variables.push(("CC_SHELL_ESCAPED_FLAGS", "1".to_owned()));
    }
    package.refuse_replaced(variables.iter().map(|(name, _)| *name)).context(CONFIG)?;
    command = command.envs(variables).env(&cflags, &c_flags).env(&cxxflags, &cxx_flags);
    for name in PASSED {
        if let Ok(value) = std::env::var(name) {
            command = command.env(name, value);
        }
    }
    let talk = ProcessIo { line: &line, ..ProcessIo::default() };
    proc::run_with(command, env.task, env.context.cancel, &talk)
        .with_context(|| format!("cannot build `{}`", own.package))?;
    release();
    for entry in std::fs::read_dir(&out).context("maturin left no folder with a wheel")? {
        portable::make(&entry?.path(), &source)?;
    }
    wheel::keep(own, &out, env)
}

/// The key speaks of the compiler that answered in the project's folder; rustup chooses by folder, and
/// by a file `rust-toolchain.toml`, unless a variable names the toolchain, as below `cargo xtask`.
fn same_compiler(source: &Path, expected: &str) -> Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(source);
    let chosen = ["rust-toolchain.toml", "rust-toolchain"].into_iter().find(|name| source.join(name).is_file());
    let mut command = cmd!(shell, "rustc -vV").quiet().env("RUSTUP_AUTO_INSTALL", "0");
    if chosen.is_some() {
        command = command.env_remove("RUSTUP_TOOLCHAIN");
    }
    let found = command.read().context("cannot run `rustc -vV` in the package's source")?;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let way_out = chosen.map_or("start this tool as `cargo xtask`, or set RUSTUP_TOOLCHAIN".to_owned(), |file| {
        format!(
            "`{file}` of the package chooses it; remove the file, or run `cargo +TOOLCHAIN xtask` with the same one"
        )
    });
    ensure!(
        found.trim() == expected,
        "the compiler is `{}` in the package's folder, and `{}` in the project's: {way_out}",
        first(&found),
        first(expected)
    );
    Ok(())
}

/// What `cfg(…)` in the package's configuration may ask for.
fn target_cfgs(source: &Path, target: &str) -> Result<Vec<cargo_platform::Cfg>> {
    let shell = Shell::new()?;
    shell.change_dir(source);
    let printed = cmd!(shell, "rustc --print cfg --target {target}").quiet().read();
    config::parse_cfgs(&printed.context("cannot run `rustc --print cfg` in the package's source")?)
}

/// Empties Cargo's folder if the package's configuration was another one: Cargo does not run build
/// scripts again when a variable of `[env]` changes.
fn forget_other_configuration(target: &Path, text: &str) -> Result<()> {
    let file = target.join("package-cargo-config");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    if known == text {
        return Ok(());
    }
    if target.exists() {
        std::fs::remove_dir_all(target).with_context(|| format!("cannot empty `{}`", target.display()))?;
    }
    std::fs::create_dir_all(target)?;
    std::fs::write(file, text).context("cannot write beside Cargo's files")
}

/// Marks a Cargo folder in which all that the package's own crates need is compiled; its text stands
/// for the tools, flags and versions with which it was.
const DEPENDENCIES: &str = "dependencies-complete";

fn marked(target: &Path, mark: &str) -> bool {
    std::fs::read_to_string(target.join(DEPENDENCIES)).is_ok_and(|text| text == mark)
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
