//! `cargo xtask deny`: checks licences, sources and duplicates of this tool's dependencies.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xshell::{Cmd, Shell, cmd};

use base::digest;
use base::environment::{self, Purpose};
use build::Project;
use matrix::Crate;

/// Checks the crates in Cargo.lock against `.cargo/deny.toml`.
pub fn run(project: &Project) -> Result<()> {
    if project.fake {
        return Ok(());
    }
    project.needs_clone("deny")?;
    let program = installed(project, &project.matrix.ci.deny)?;
    let (shell, manifest) = (Shell::new()?, project.folder.join("Cargo.toml"));
    // Cargo provides metadata only for downloaded crates, including those of other platforms.
    let fetch = cargo(&shell).args(["fetch", "--locked", "--manifest-path"]).arg(&manifest);
    project.call("deny", "fetch crates", fetch, "")?;
    let check = cmd!(
        shell,
        "{program} --offline --locked --color never --manifest-path {manifest} check licenses bans sources"
    );
    project.call("deny", "licences, sources and duplicates", check, "")
}

/// Returns cargo-deny, which is built once from its sources with the Cargo.lock in its crate.
fn installed(project: &Project, deny: &Crate) -> Result<PathBuf> {
    let folder = project.cache.state(&format!("{}-{}", deny.name, &deny.sha256[..16]))?;
    let program = folder.join("bin").join(&*deny.name);
    project.program(&deny.name, program, || {
        let (_, found) = download(project, &deny.name, &deny.version)?;
        if *deny.sha256 != *found {
            bail!(
                "`{}` {} has the SHA-256 `{found}`, not the pinned `{}`: correct version or digest in matrix.yaml",
                deny.name,
                deny.version,
                deny.sha256
            );
        }
        let (shell, target) = (Shell::new()?, folder.join("target"));
        let (name, version) = (&*deny.name, format!("={}", deny.version));
        // Unoptimised, because compiling takes longer than running it.
        let build = environment::apply(cargo(&shell), Purpose::Cargo).args([
            "install",
            name,
            "--version",
            &version,
            "--locked",
            "--debug",
        ]);
        let build = build.arg("--root").arg(&folder).arg("--target-dir").arg(&target);
        let build = build.env("CARGO_PROFILE_DEV_DEBUG", "0");
        let done = project.call("deny", &format!("build {name}"), build, "");
        let _ = std::fs::remove_dir_all(&target);
        done
    })
}

/// Returns the output of `cargo info` for a version of a crate, and the SHA-256 of the crate, which Cargo downloads
/// for it.
pub fn download(project: &Project, name: &str, version: &str) -> Result<(String, String)> {
    let (shell, wanted) = (Shell::new()?, format!("{name}@{version}"));
    // Not in a clone, where Cargo would use the version in Cargo.lock.
    shell.change_dir(project.cache.state(name)?);
    let said = project.ask("deny", &format!("look up {wanted}"), cargo(&shell).args(["info", &wanted]), "")?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let registries = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/cache");
    let file = format!("{name}-{version}.crate");
    // There is one folder for each registry that was ever used.
    for registry in std::fs::read_dir(&registries).into_iter().flatten() {
        let path = registry?.path().join(&file);
        if path.is_file() {
            return Ok((said, digest::of_file(&path)?));
        }
    }
    bail!("`{}` has no `{file}`, although cargo downloaded it", registries.display())
}

fn cargo(shell: &Shell) -> Cmd<'_> {
    shell.cmd(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}
