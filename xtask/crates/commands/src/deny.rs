//! The tool's own crates: their licences, where they come from, and that none occurs twice.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xshell::{Cmd, Shell, cmd};

use base::digest;
use base::environment::{self, Purpose};
use build::Project;
use matrix::Crate;

/// What `.cargo/deny.toml` says of the crates in Cargo.lock.
pub fn run(project: &Project) -> Result<()> {
    if project.fake {
        return Ok(());
    }
    let program = installed(project, &project.matrix.ci.deny)?;
    let (shell, manifest) = (Shell::new()?, project.folder.join("Cargo.toml"));
    // Cargo tells nothing of crates that it does not have, those of other platforms included.
    let fetch = cargo(&shell).args(["fetch", "--locked", "--manifest-path"]).arg(&manifest);
    project.call("deny", "fetch crates", fetch, "")?;
    let check = cmd!(
        shell,
        "{program} --offline --locked --color never --manifest-path {manifest} check licenses bans sources"
    );
    project.call("deny", "licences, sources and duplicates", check, "")
}

/// cargo-deny, built once from its own sources, which Cargo.lock inside the crate pins.
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
        // Unoptimised: it is built more often than it is slow.
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

/// What Cargo says of a version of a crate, and the SHA-256 of the crate, which it downloads to say it.
pub fn download(project: &Project, name: &str, version: &str) -> Result<(String, String)> {
    let (shell, wanted) = (Shell::new()?, format!("{name}@{version}"));
    // Not in a clone: Cargo would speak of the version that its Cargo.lock has.
    shell.change_dir(project.cache.state(name)?);
    let said = project.ask("deny", &format!("look up {wanted}"), cargo(&shell).args(["info", &wanted]), "")?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let registries = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/cache");
    let file = format!("{name}-{version}.crate");
    // One folder for each registry that was ever used.
    for registry in std::fs::read_dir(&registries).into_iter().flatten() {
        let path = registry?.path().join(&file);
        if path.is_file() {
            return Ok((said, digest::of_file(&path)?));
        }
    }
    bail!("`{}` has no `{file}` although cargo has just downloaded it", registries.display())
}

fn cargo(shell: &Shell) -> Cmd<'_> {
    shell.cmd(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}
