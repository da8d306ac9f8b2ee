//! Wheels: built by maturin on the host, built in a container, or the vendor's; each checked the same way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use super::{Env, text, tools};
use crate::cache::Output;
use crate::docker::{Content, ContextFile, Job, Network};
use crate::facts;
use crate::plan::{Container, Maturin, Published, Wheel};
use crate::proc;
use crate::wheelfile::{self, Expect};

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

/// 1980-01-01, the oldest time that a zip file can hold.
const EPOCH: &str = "315532800";

/// Builds with maturin and zig, for an interpreter that need not be on this machine.
pub fn maturin(step: &Maturin, env: &Env) -> Result<Output> {
    let wheel = &step.wheel;
    // Cargo's folder outlives the step, one for each wheel: shared between ABIs it would be compiled
    // anew at each change, and has produced broken modules (PyO3 issue 4882).
    let state = env.context.cache.state(&format!("cargo-{}-{}", wheel.package, wheel.abi))?;
    let waiting = || env.task.waiting("waits for another build of the same package and ABI");
    let _lock = env.context.cache.lock(&format!("{}.state.lock", env.id), env.context.cancel, waiting)?;
    let source = state.join("src");
    unpack(wheel, &source, env)?;

    let tools = tools::installed(env)?;
    let out = env.scratch.join("out");
    let target = state.join("target");
    let (platform, interpreter) = (&wheel.platform, &step.interpreter);
    let compatibility = platform.trim_end_matches("_x86_64");
    let path = format!("{}:{}", tools.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let cargo_home =
        std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()));
    // Paths of this machine must not get into the wheel.
    let remap = format!("--remap-path-prefix={}=/src\u{1f}--remap-path-prefix={cargo_home}=/cargo", source.display());
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
    .env("ZIG_GLOBAL_CACHE_DIR", env.context.cache.state("zig")?);
    for name in PASSED {
        if let Ok(value) = std::env::var(name) {
            command = command.env(name, value);
        }
    }
    proc::run(command, "", env.task, env.context.cancel, || {})
        .with_context(|| format!("cannot build `{}`", wheel.package))?;
    keep(wheel, &out, env)
}

/// Builds in a container without a network, from an sdist and pinned build requirements.
pub fn container(step: &Container, env: &Env) -> Result<Output> {
    let wheel = &step.wheel;
    let mut inputs = vec![text("/in/build-wheel.sh", env.project_file("docker/build-wheel.sh")?, 0o755)];
    match &wheel.sdist {
        Some(sdist) => inputs.push(env.stored("/in/sdist.tar.gz", env.file(sdist)?)),
        None => inputs.extend(working_copy(wheel)?),
    }
    let mut pins = String::new();
    for file in &env.need(&step.requires)?.files {
        let name = wheelfile::WheelName::parse(&file.name)?;
        pins.push_str(&format!("{}=={} --hash=sha256:{}\n", name.distribution, name.version, file.sha256));
        inputs.push(env.stored(&format!("/in/requires/{}", file.name), file));
    }
    inputs.push(text("/in/requires/requires.txt", &pins, 0o644));
    let image = env.image(&step.devel)?;
    let job = Job {
        image,
        command: vec!["/in/build-wheel.sh".to_owned()],
        env: vec![
            ("PLATFORM".to_owned(), wheel.platform.clone()),
            ("JOBS".to_owned(), env.context.cores.to_string()),
            ("SOURCE_DATE_EPOCH".to_owned(), EPOCH.to_owned()),
            ("PYTHON".to_owned(), step.python.clone()),
        ],
        user: Some("root"),
        network: Network::None,
        inputs,
        outputs: vec!["/out".to_owned()],
        timeout: Some(Duration::from_secs(3600)),
        ..Job::default()
    };
    let said = std::sync::Mutex::new(Vec::new());
    let listen = |line: &str| {
        env.task.line(line);
        if let (Some(missing), Ok(mut said)) = (missing_file(line), said.lock()) {
            said.push(missing);
        }
    };
    let result = env.docker()?.run(&job, &listen, env.context.cancel)?;
    if result.exit != 0 {
        let missing = said.into_inner().unwrap_or_default().into_iter().next();
        let hint = missing.map(|file| debian_package(&file, image, env)).unwrap_or_default();
        bail!("building `{}` in a container failed with exit code {}{hint}", wheel.package, result.exit);
    }
    let out = env.scratch.join("out");
    std::fs::create_dir_all(&out)?;
    for (name, bytes) in result.outputs {
        if let Some(name) = Path::new(&name).file_name().filter(|name| name.to_string_lossy().ends_with(".whl")) {
            std::fs::write(out.join(name), bytes)?;
        }
    }
    keep(wheel, &out, env)
}

/// Takes the wheel that the vendor publishes.
pub fn published(step: &Published, env: &Env) -> Result<Output> {
    let file = env.file(&step.fetch)?;
    let path = env.scratch.join(&file.name);
    std::fs::hard_link(env.context.cache.blob(&file.sha256), &path)
        .or_else(|_| std::fs::copy(env.context.cache.blob(&file.sha256), &path).map(|_| ()))?;
    let expect = Expect {
        distribution: &step.package,
        version: step.version.as_deref(),
        abi: &step.abi,
        platform: None,
        max_glibc: glibc(&step.glibc),
    };
    let report = wheelfile::check(&path, &expect)?;
    Ok(Output { files: vec![file.clone()], notes: notes(&report, "published by the vendor"), ..Output::default() })
}

/// Checks the one wheel in `out` and takes it into the store.
pub fn keep(wheel: &Wheel, out: &Path, env: &Env) -> Result<Output> {
    let mut wheels: Vec<PathBuf> = std::fs::read_dir(out)
        .context("the build left no folder with a wheel")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .collect();
    let (Some(path), true) = (wheels.pop(), wheels.is_empty()) else {
        bail!("the build of `{}` left not one wheel but {}", wheel.package, wheels.len());
    };
    let expect = Expect {
        distribution: &wheel.package,
        version: wheel.version.as_deref(),
        abi: &wheel.abi,
        platform: Some(&wheel.platform),
        max_glibc: glibc(&wheel.glibc),
    };
    let report = wheelfile::check(&path, &expect)?;
    let file = env.context.cache.take(&path, &report.file_name)?;
    Ok(Output { files: vec![file], notes: notes(&report, "built from source"), ..Output::default() })
}

fn notes(report: &wheelfile::Report, made_by: &str) -> BTreeMap<String, String> {
    let glibc = report.glibc.map_or("none".to_owned(), |(major, minor)| format!("{major}.{minor}"));
    let modules: Vec<&str> = report.extensions.iter().map(|extension| extension.module.as_str()).collect();
    BTreeMap::from([
        ("made by".to_owned(), made_by.to_owned()),
        ("version".to_owned(), report.name.version.clone()),
        ("glibc".to_owned(), glibc),
        ("extension modules".to_owned(), modules.join(" ")),
    ])
}

/// `2.36` as two numbers; the matrix was validated, so this does not fail on it.
pub fn glibc(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lays the source out in `folder`, anew each time, so that nothing of an earlier one is left.
fn unpack(wheel: &Wheel, folder: &Path, env: &Env) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty `{}`", folder.display()))?;
    }
    std::fs::create_dir_all(folder)?;
    if let Some(sdist) = &wheel.sdist {
        let archive = env.context.cache.blob(&env.file(sdist)?.sha256);
        let shell = Shell::new()?;
        // Times of now, not of the archive: Cargo compares them with those of its last build.
        let command = cmd!(shell, "tar -xzmf {archive} -C {folder} --strip-components=1 --no-same-owner");
        return proc::run(command, "", env.task, env.context.cancel, || {}).map(|_| ());
    }
    let from = wheel.folder.as_deref().context("a wheel without a source: this is a bug")?;
    for name in facts::list_folder(from)? {
        let to = folder.join(&name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(from.join(&name), &to).with_context(|| format!("cannot copy `{}`", name.display()))?;
    }
    unchanged(wheel, from)
}

fn working_copy(wheel: &Wheel) -> Result<Vec<ContextFile>> {
    use std::os::unix::fs::PermissionsExt;
    let from = wheel.folder.as_deref().context("a wheel without a source: this is a bug")?;
    let mut files = Vec::new();
    for name in facts::list_folder(from)? {
        let path = from.join(&name);
        let mode = path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?.permissions().mode();
        let mode = if mode & 0o100 != 0 { 0o755 } else { 0o644 };
        files.push(ContextFile { path: format!("/in/src/{}", name.display()), source: Content::File(path), mode });
    }
    unchanged(wheel, from)?;
    Ok(files)
}

/// The key speaks of the content that was there when the plan was made.
fn unchanged(wheel: &Wheel, from: &Path) -> Result<()> {
    let now = facts::digest_folder(from)?;
    if wheel.working_copy.as_deref() != Some(&now) {
        bail!("`{}` was changed while it was being read: run the command again", from.display());
    }
    Ok(())
}

/// The header or library that a compiler's or linker's message says is not there, as `apt-file` knows it.
fn missing_file(line: &str) -> Option<String> {
    let header = line.split_once("fatal error: ").and_then(|(_, rest)| rest.split_once(": No such file"));
    if let Some((header, _)) = header {
        return Some(format!("/{}", header.trim()));
    }
    let library = line.split_once("cannot find -l").map(|(_, rest)| rest)?;
    let name: String = library.chars().take_while(|c| c.is_ascii_alphanumeric() || "._+-".contains(*c)).collect();
    Some(format!("/lib{name}.so"))
}

/// Asks Debian's archive which package has the file; said in an error, so a failure is only a hint less.
fn debian_package(file: &str, image: &str, env: &Env) -> String {
    env.task.waiting(&format!("asking Debian's archive which package has `{file}`"));
    let script = "apt-get update -qq && apt-get install -y -qq --no-install-recommends apt-file && apt-file update \
                  && exec apt-file search --package-only -- \"$FILE\"";
    let job = Job {
        image,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("FILE".to_owned(), file.to_owned()), ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned())],
        user: Some("root"),
        network: Network::Default,
        timeout: Some(Duration::from_secs(180)),
        ..Job::default()
    };
    let found = env.docker().and_then(|docker| docker.run(&job, &|_| {}, env.context.cancel));
    let mut packages: Vec<String> = match found {
        Ok(result) if result.exit == 0 => {
            result.stdout.lines().filter(|l| l.starts_with("lib") || l.ends_with("-dev")).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    packages.sort_by_key(|name| (!name.ends_with("-dev"), name.len()));
    packages.dedup();
    packages.truncate(4);
    let names: Vec<String> = packages.iter().map(|name| format!("`{name}`")).collect();
    let file = file.trim_start_matches('/');
    if names.is_empty() {
        return format!(
            ": `{file}` is missing; `apt-file search {file}` names its Debian package, which belongs into the package's apt set in matrix.yaml"
        );
    }
    format!(
        ": `{file}` is missing, which is in the Debian package {}: add it to the package's apt set in matrix.yaml",
        names.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compiler_misses_is_recognised() {
        let gcc = "src/main/config.c:10:10: fatal error: yaml.h: No such file or directory";
        assert_eq!(missing_file(gcc).as_deref(), Some("/yaml.h"));
        let ld = "/usr/bin/ld: cannot find -lyaml: No such file or directory";
        assert_eq!(missing_file(ld).as_deref(), Some("/libyaml.so"));
        let openssl = "a.h:3:10: fatal error: openssl/ssl.h: No such file or directory";
        assert_eq!(missing_file(openssl).as_deref(), Some("/openssl/ssl.h"));
        assert_eq!(missing_file("error: yaml.h is odd"), None);
    }
}
