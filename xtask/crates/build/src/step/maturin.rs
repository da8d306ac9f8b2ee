//! Builds wheels on the host with maturin and zig. The target interpreter need not be installed.

mod config;
mod crates;
mod portable;
mod zig;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, ensure};
use config::CargoConfig;
use crates::Crates;
use xshell::{Shell, cmd};

use super::env::{EPOCH, StepEnv};
use super::messages::Messages;
use super::toolchain;
use super::tools;
use super::wheel;
use crate::cache::Output;
use crate::missing::NeedsContainer;
use crate::plan::Maturin;
use base::cancel::Cancel;
use base::digest;
use base::proc::{self, ProcessIo};
use wheelfile::LocalBuild;

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 2;

/// Prefix of errors in the package's own configuration.
const CONFIG: &str = "in `.cargo/config.toml` of the package";

/// Variables of the user's environment that are passed to the compiler: locations of programs, caches and registries,
/// but nothing that affects compilation.
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

pub fn run(step: &Maturin, env: &StepEnv) -> Result<Output> {
    let own = &step.wheel;
    let machine = env.context.facts.platform;
    let target = machine.rust_target();
    // Variables of the crate `cc` with flags for C and C++ code of one target.
    let [cflags, cxxflags] = ["CFLAGS", "CXXFLAGS"].map(|name| format!("{name}_{}", target.replace('-', "_")));
    // Cargo's target folder is kept between builds, separately for each wheel: sharing it between ABIs would
    // recompile at each change and has produced broken modules (PyO3 issue 4882). Quick builds have folders of their
    // own, because `inherit` copies what was compiled in the same way.
    let cache = env.context.cache;
    let folder = format!("{}/{}", if step.is_quick() { "cargo-quick" } else { "cargo" }, own.package);
    let abis = cache.state(&folder)?;
    let state = cache.state(&format!("{folder}/{}", own.abi))?;
    let waiting = || env.task.waiting("waiting for another build of the same package and ABI");
    let _lock = cache.lock(&format!("{}.state.lock", env.id), env.context.cancel, waiting)?;
    let source = state.join("src");
    wheel::unpack(own, &source, env)?;
    let project = own.project_folder(&source);
    ensure!(
        project.is_dir(),
        "the source has no folder `{}`, which `source.subdirectory` names",
        own.subdirectory.as_deref().unwrap_or_default()
    );
    // Crates that do not depend on PyO3 are equal for all ABIs: the first build compiles them with all cores, the
    // others wait and copy them. The remaining crates are then compiled in parallel.
    let waiting = || env.task.waiting("waiting for another ABI's build to compile the dependencies");
    let shared = cache.lock(&format!("cargo-{}.lock", own.package), env.context.cancel, waiting)?;
    let build_folder = state.join("target");
    let toolchain = own.toolchain.as_deref();
    let crates = Crates::read(&project, toolchain, env.task)?;
    let rustc = env.context.facts.rustc(toolchain);
    same_compiler(&project, toolchain, rustc)?;
    match &own.folder {
        Some(folder) => config::refuse_above(&own.project_folder(folder))?,
        None => config::refuse_between(&project, &source)?,
    }
    let mut text = config::text(&project)?;
    let package = CargoConfig::parse(&text).context(CONFIG)?;
    // Cargo does not rerun build scripts either when one of these variables changes.
    text.extend(own.env.iter().map(|(name, value)| format!("\n# {name}={value}")));
    if package.has_linker(target) {
        env.context.ui.say(&format!("[{}] zig replaces the `linker` of the package's Cargo configuration", env.id));
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
    // The wheel must not contain paths of this machine or of the ABI for which a dependency was compiled first. All
    // ABIs use the same flags, otherwise dependencies could not be shared.
    let own_zig = tools.canonicalize()?;
    let folders = step.abis.iter().flat_map(|abi| ["src", "target"].map(|folder| (abi, folder)));
    let maps = folders.map(|(abi, folder)| format!("{}/{abi}/{folder}=/{folder}", abis.display()));
    let maps: Vec<String> = maps.chain([format!("{cargo_home}=/cargo")]).collect();
    let package_flags = package.rustflags(target, &target_cfgs(&project, toolchain, target)?).context(CONFIG)?;
    let flags = maps
        .iter()
        .map(|map| format!("--remap-path-prefix={map}"))
        .chain([format!("-Clink-arg={}", unwinder.display()), format!("-Clink-arg={}", zig::NO_UBSAN)]);
    // The variable replaces the flags that Cargo would read from the package's configuration, so those come first.
    let flags = package_flags.into_iter().chain(flags).collect::<Vec<_>>().join("\u{1f}");
    let maps = maps.into_iter().chain([format!("{}=/zig", own_zig.display())]);
    let c_flags: Vec<String> = maps.map(|map| format!("-ffile-prefix-map={map}")).collect();
    // The crate `cc` splits the flags at spaces; recent versions can use shell quoting, which old versions do not
    // support.
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
            "the package has no `{}`, which pins the crates to compile: \
             run `cargo generate-lockfile` there and add the file to the source",
            folder.join("Cargo.lock").display()
        )
    })?;
    crates::fetch(&project, toolchain, env)?;
    let facts = env.context.facts;
    let with = [rustc, &facts.cargo_config, compatibility, &flags, &c_flags, &cxx_flags, &text, &lock];
    let mark = digest::of(with.join("\0"));
    forget_other_configuration(&build_folder, &text)?;
    if !marked(&build_folder, &mark)
        && let Err(error) = inherit(&crates, &build_folder, &abis, &mark, env)
    {
        // Not an error: all crates are compiled, which only takes longer.
        env.task.line(&format!("cannot reuse compiled dependencies: {error:#}"));
    }
    let shared = Mutex::new(Some(shared));
    let release = || {
        if let Ok(mut shared) = shared.lock()
            && shared.is_some()
        {
            // Not an error: without the mark, the other builds compile everything themselves.
            let _ = std::fs::write(build_folder.join(DEPENDENCIES), &mark);
            *shared = None;
        }
    };
    let messages = Mutex::new(Messages::default());
    let line = |line: &str| {
        messages.lock().unwrap_or_else(PoisonError::into_inner).read(line);
        if crates.last.as_deref().is_some_and(|last| line.trim_start().starts_with(last)) {
            release();
        }
    };
    let shell = Shell::new()?;
    shell.change_dir(&project);
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
        ("SOURCE_DATE_EPOCH", EPOCH.to_string()),
        ("CARGO_TERM_COLOR", "never".to_owned()),
        ("CARGO_BUILD_JOBS", jobs.to_string()),
        ("CARGO_ENCODED_RUSTFLAGS", flags),
        // Cargo compares the path of the linker wrapper in it, so it must be the same for all ABIs.
        ("XDG_CACHE_HOME", zigbuild.display().to_string()),
        ("ZIG_GLOBAL_CACHE_DIR", zig.display().to_string()),
    ];
    if spaces {
        variables.push(("CC_SHELL_ESCAPED_FLAGS", "1".to_owned()));
    }
    variables.extend(step.profile.iter().map(|(name, value)| (name.as_str(), value.clone())));
    package.refuse_replaced(variables.iter().map(|(name, _)| *name)).context(CONFIG)?;
    command = command.envs(&own.env).envs(variables).env(&cflags, &c_flags).env(&cxxflags, &cxx_flags);
    for name in PASSED {
        if let Ok(value) = std::env::var(name) {
            command = command.env(name, value);
        }
    }
    command = toolchain::choose(command, toolchain);
    let talk = ProcessIo { line: &line, ..ProcessIo::default() };
    proc::run_with(command, env.task, env.context.cancel, &talk).map_err(|error| {
        let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = format!("cannot build `{}`", own.package);
        match messages.first_missing() {
            Some(what) => error.context(NeedsContainer { package: own.package.clone(), what }).context(failed),
            None => error.context(failed),
        }
    })?;
    release();
    for entry in std::fs::read_dir(&out).context("maturin did not create a folder with a wheel")? {
        let built = entry?.path();
        portable::make(&built, &source)?;
        if step.is_quick() {
            wheelfile::mark(&built, LocalBuild::Quick)?;
        }
    }
    wheel::keep(own, &out, env)
}

/// Checks that the compiler in the package's folder is the one in the key. rustup selects the toolchain by folder and
/// by `rust-toolchain.toml`, unless a variable is set, as below `cargo xtask` and by `build.toolchain`.
fn same_compiler(source: &Path, toolchain: Option<&str>, expected: &str) -> Result<()> {
    let shell = toolchain::shell(source, toolchain)?;
    let chosen = ["rust-toolchain.toml", "rust-toolchain"].into_iter().find(|name| source.join(name).is_file());
    let mut command = cmd!(shell, "rustc -vV").quiet().env("RUSTUP_AUTO_INSTALL", "0");
    if chosen.is_some() && toolchain.is_none() {
        command = command.env_remove(toolchain::VARIABLE);
    }
    let found = command.read().context("cannot run `rustc -vV` in the package's source")?;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let way_out = chosen.map_or("start this tool as `cargo xtask`, or set RUSTUP_TOOLCHAIN".to_owned(), |file| {
        format!(
            "`{file}` of the package selects it; name the toolchain to use in `build.toolchain` of the package in \
             matrix.yaml"
        )
    });
    ensure!(
        found.trim() == expected,
        "the compiler is `{}` in the package's folder, but `{}` in the project's folder: {way_out}",
        first(&found),
        first(expected)
    );
    Ok(())
}

/// Returns the cfgs of the target, against which `cfg(…)` in the package's configuration is evaluated.
fn target_cfgs(source: &Path, toolchain: Option<&str>, target: &str) -> Result<Vec<cargo_platform::Cfg>> {
    let shell = toolchain::shell(source, toolchain)?;
    let printed = cmd!(shell, "rustc --print cfg --target {target}").quiet().read();
    config::parse_cfgs(&printed.context("cannot run `rustc --print cfg` in the package's source")?)
}

/// Empties Cargo's target folder if the package's configuration has changed: Cargo does not rerun build scripts when
/// a variable in `[env]` changes.
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
    std::fs::write(file, text).context("cannot write to Cargo's target folder")
}

/// Name of the file that marks a target folder with completely compiled dependencies. Its text identifies the tools,
/// flags and versions used.
const DEPENDENCIES: &str = "dependencies-complete";

fn marked(target: &Path, mark: &str) -> bool {
    std::fs::read_to_string(target.join(DEPENDENCIES)).is_ok_and(|text| text == mark)
}

/// Copies compiled crates that do not depend on PyO3 to `target` from the folder of another ABI with the same mark.
fn inherit(crates: &Crates, target: &Path, abis: &Path, mark: &str, env: &StepEnv) -> Result<()> {
    let siblings = std::fs::read_dir(abis).into_iter().flatten().flatten().map(|abi| abi.path().join("target"));
    let Some(from) = siblings.filter(|other| other != target).find(|other| marked(other, mark)) else {
        return Ok(());
    };
    env.task.line(&format!("reusing the compiled dependencies in {}", from.display()));
    let part = target.with_extension("part");
    for folder in [target, &part] {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    // The other build may still compile its last crates, so their files are skipped by name. The mark is skipped as
    // well, because only a build of this ABI may set it.
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

/// Copies a folder with timestamps, which Cargo compares. Files that disappear while copying were temporary and are
/// ignored.
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
