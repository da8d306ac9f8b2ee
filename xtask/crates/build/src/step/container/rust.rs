//! The Rust compiler of this machine and the crates of a package, for a build in a container without network.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use xshell::cmd;

use crate::plan::Container;
use crate::step::env::{StepEnv, text};
use crate::step::toolchain;
use crate::step::wheel;
use base::environment::{self, Purpose};
use base::proc;
use base::working_copy::walk;
use docker::{Content, ContextFile};

/// Folder of the compiler in the container.
const COMPILER: &str = "/in/rust";
/// Folder of the crates in the container.
const CRATES: &str = "/in/crates";

/// Returns the files to send: the compiler, Cargo, the standard library, the crates that the Cargo.lock files of the
/// source name, and a configuration with which Cargo finds them.
pub fn files(step: &Container, env: &StepEnv) -> Result<Vec<ContextFile>> {
    let source = env.scratch.join("src");
    wheel::unpack(&step.wheel, &source, env)?;
    let mut files = match step.instrumented {
        // The image has a compiler with the sources of the standard library.
        Some(_) => Vec::new(),
        None => compiler(step.wheel.toolchain.as_deref(), env)?,
    };
    let crates = env.scratch.join("crates");
    let configuration = vendor(&source, &crates, step, env)?;
    files.extend(below(&crates, CRATES)?);
    files.push(text("/in/cargo-config.toml", &configuration, 0o644));
    Ok(files)
}

/// Returns the files of the Rust compiler: that of the toolchain, or without one that which `cargo xtask` uses.
fn compiler(toolchain: Option<&str>, env: &StepEnv) -> Result<Vec<ContextFile>> {
    let shell = toolchain::shell(&env.context.facts.project, toolchain)?;
    let command = environment::apply(cmd!(shell, "rustc --print sysroot").quiet(), Purpose::Cargo);
    let command = toolchain::choose(command, toolchain);
    let sysroot = command.read().context("cannot run `rustc`: install Rust with rustup, then run the command again")?;
    let sysroot = PathBuf::from(sysroot.trim());
    let target = env.context.facts.platform.rust_target();
    let libraries = format!("lib/rustlib/{target}");
    let mut files = vec![];
    for name in ["bin/rustc", "bin/cargo"] {
        let path = sysroot.join(name);
        ensure!(path.is_file(), "`{}` is missing: install Rust with rustup", path.display());
        files.push(ContextFile { path: format!("{COMPILER}/{name}"), source: Content::File(path), mode: 0o755 });
    }
    let lib = sysroot.join("lib");
    for entry in std::fs::read_dir(&lib).with_context(|| format!("cannot list `{}`", lib.display()))? {
        let entry = entry?;
        if entry.path().is_file() {
            let path = format!("{COMPILER}/lib/{}", entry.file_name().to_string_lossy());
            files.push(ContextFile { path, source: Content::File(entry.path()), mode: 0o755 });
        }
    }
    // The standard library and, in `bin`, the linker.
    files.extend(below(&sysroot.join(&libraries), &format!("{COMPILER}/{libraries}"))?);
    Ok(files)
}

/// Copies the crates to `crates` and returns Cargo's configuration for them.
fn vendor(source: &Path, crates: &Path, step: &Container, env: &StepEnv) -> Result<String> {
    let mut found = Vec::new();
    walk(source, Path::new(""), &mut found)?;
    let locked =
        |file: &PathBuf| file.ends_with("Cargo.lock") && source.join(file).with_file_name("Cargo.toml").is_file();
    let mut manifests: Vec<PathBuf> =
        found.into_iter().filter(locked).map(|file| source.join(file).with_file_name("Cargo.toml")).collect();
    manifests.sort();
    let Some((first, others)) = manifests.split_first() else {
        bail!(
            "the source has no Cargo.lock beside a Cargo.toml, which pins the crates to compile: run \
             `cargo generate-lockfile` there and add the file to the source, or remove `rust` of the package"
        );
    };
    let toolchain = step.wheel.toolchain.as_deref();
    let shell = toolchain::shell(source, toolchain)?;
    let others = others.iter().flat_map(|manifest| [Path::new("--sync"), manifest.as_path()]);
    let configuration = env.scratch.join("configuration");
    // Cargo prints the configuration, which belongs into a file and not into the log.
    let script = r#"file=$1; shift; exec "$@" > "$file""#;
    let command = cmd!(
        shell,
        "sh -c {script} sh {configuration} cargo vendor --locked --versioned-dirs --respect-source-config
         --manifest-path {first} {others...} {crates}"
    );
    proc::run(toolchain::fetching(command, toolchain), env.task, env.context.cancel)
        .context("cannot fetch the crates of the package")?;
    let configuration = std::fs::read_to_string(&configuration).context("`cargo vendor` printed no configuration")?;
    let folder = crates.to_string_lossy();
    ensure!(
        configuration.is_empty() || configuration.contains(&*folder),
        "`cargo vendor` printed a configuration without the folder of the crates: this is a bug"
    );
    Ok(format!("{}\n[net]\noffline = true\n", configuration.replace(&*folder, CRATES)))
}

/// Returns all files below `folder`, for the folder `to` in the container.
fn below(folder: &Path, to: &str) -> Result<Vec<ContextFile>> {
    use std::os::unix::fs::PermissionsExt;
    let mut names = Vec::new();
    if folder.is_dir() {
        walk(folder, Path::new(""), &mut names)?;
    }
    let file = |name: &PathBuf| -> Result<ContextFile> {
        let path = folder.join(name);
        let executable = path.metadata()?.permissions().mode() & 0o100 != 0;
        let mode = if executable { 0o755 } else { 0o644 };
        Ok(ContextFile { path: format!("{to}/{}", name.display()), source: Content::File(path), mode })
    };
    names.iter().map(file).collect()
}
