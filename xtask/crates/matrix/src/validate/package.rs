//! Validation of packages.

use super::{Check, at, below, build, known, problem, unique};
use crate::abi::Abi;
use crate::package::{Audit, Build, Builder, Package, PackageSource, Patches, Published, Pypi, Serve, ServeEnv};
use crate::schema::Matrix;
use crate::suites;
use crate::words::{Location, Word};

pub fn check_package(matrix: &Matrix, package: &Package) -> Check {
    let Package {
        id,
        distribution: _,
        import,
        source,
        build,
        published,
        requires: _,
        extras: _,
        runtime_apt,
        indexes,
        serve,
        audit,
        tests,
    } = package;
    if import.is_empty() && matrix.images.iter().any(|image| image.has_package(id)) {
        return at(id, "packages[].import", format!("`{id}` must list at least one module to import"));
    }
    let PackageSource { pypi, path, subdirectory } = source;
    match (pypi, path) {
        (Some(Pypi { version: _, sha256: _ }), None) => {}
        (None, Some(path)) => {
            if let Some(wheel) = published.first() {
                let message = format!("`{path}` is a working copy, which has no published wheels");
                return at(&wheel.abi, "packages[].published", message);
            }
        }
        _ => return at(id, "packages[].source", format!("`{id}` needs exactly one of `pypi` and `path`")),
    }
    let Build {
        with,
        platform,
        apt,
        requires: build_requires,
        jobs: _,
        debug_info,
        patches,
        env,
        config_settings,
        rust,
        toolchain,
        abi3,
    } = build;
    if let Some(Patches { folder, local_version }) = patches {
        check_patches(package, folder, local_version)?;
    }
    if let Some(platform) = platform {
        check_platform(matrix, platform)?;
    }
    if let Some(first) = abi3 {
        known("packages[].build.abi3", first, matrix.abis.iter().map(|abi| &abi.id))?;
        if matrix.abi(first).is_some_and(Abi::free_threaded) {
            let message = format!("`{first}` is free-threaded, and its wheels have no `abi3` modules");
            return at(first, "packages[].build.abi3", message);
        }
    }
    build::check_settings(id, *with, env, config_settings)?;
    if *rust && *with == Builder::Maturin {
        let message = "is allowed for `with: container` only; maturin always has the Rust compiler";
        return at(id, "packages[].build.rust", message.to_owned());
    }
    if let Some(name) = toolchain
        && *with == Builder::Container
        && !*rust
    {
        let message = format!("`{name}` compiles nothing: add `rust: true`, or remove `toolchain`");
        return at(name, "packages[].build.toolchain", message);
    }
    if let Some(folder) = subdirectory {
        below("packages[].source.subdirectory", folder, &format!("the source of `{id}`"))?;
    }
    match (with, apt) {
        (Builder::Container, Some(set)) => {
            known("packages[].build.apt", set, matrix.apt.iter().map(|set| &set.id))?;
            needs_container_tools(matrix, id, &["auditwheel", "uv"])?;
        }
        (Builder::Container, None) => {
            let message = format!("`{id}` needs the field `apt`, because it is built in a container");
            return at(id, "packages[].build.apt", message);
        }
        (Builder::Maturin, Some(set)) => {
            return at(set, "packages[].build.apt", "is allowed for `with: container` only".to_owned());
        }
        (Builder::Maturin, None) => {
            if let Some(requirement) = build_requires.first() {
                let message = "is allowed for `with: container` only".to_owned();
                return Err(problem(requirement.ordinal, "packages[].build.requires", message));
            }
            if *debug_info {
                let message = "is allowed for `with: container` only; maturin follows the Cargo profile of the package";
                return at(id, "packages[].build.debug_info", message.to_owned());
            }
        }
    }
    if let Some(set) = runtime_apt {
        known("packages[].runtime_apt", set, matrix.apt.iter().map(|set| &set.id))?;
    }
    if let Some(index) = indexes.iter().find(|index| !index.starts_with("https://")) {
        return Err(problem(index.ordinal, "packages[].indexes", format!("`{index}` is not an https URL")));
    }
    let with_login = |index: &&Location| index["https://".len()..].split('/').next().unwrap_or_default().contains('@');
    if let Some(index) = indexes.iter().find(with_login) {
        let message = "must not contain a user name or password, which would be recorded: put them into ~/.netrc";
        return Err(problem(index.ordinal, "packages[].indexes", message.to_owned()));
    }
    if let Some(serve) = serve {
        check_serve(id, serve)?;
    }
    if let Some(Audit { baseline, sources }) = audit {
        below("packages[].audit.baseline", baseline, "the folder of matrix.yaml")?;
        for folder in sources {
            below("packages[].audit.sources", folder, &format!("the top of `{id}`"))?;
        }
    }
    if let Some(tests) = tests {
        suites::check(id, tests)?;
    }
    unique("packages[].published", published.iter().map(|wheel| &wheel.abi))?;
    for wheel in published {
        let Published { abi, sha256: _ } = wheel;
        known("packages[].published[].abi", abi, matrix.abis.iter().map(|abi| &abi.id))?;
    }
    Ok(())
}

fn check_platform(matrix: &Matrix, platform: &Word) -> Check {
    let glibc = matrix.platform.glibc(platform);
    if glibc.is_none() && *platform != *"any" {
        let message = format!(
            "`{platform}` is neither `any` nor `manylinux_<major>_<minor>_{}` (PEP 600)",
            matrix.platform.machine()
        );
        return at(platform, "packages[].build.platform", message);
    }
    let newest = wheelfile::parse_glibc(&matrix.root.glibc);
    if glibc > newest {
        let message = format!("`{platform}` requires a newer glibc than that of `root`, {}", matrix.root.glibc);
        return at(platform, "packages[].build.platform", message);
    }
    Ok(())
}

fn check_serve(package: &Word, serve: &Serve) -> Check {
    let Serve { command, port, health, ready, load, env } = serve;
    let ServeEnv { server, host: _, port: _, labels: _ } = env;
    for (field, words, optional) in [("command", command, false), ("health", health, false), ("load", load, true)] {
        if (words.is_empty() && !optional)
            || words.iter().any(|word| word.is_empty() || word.chars().any(char::is_control))
        {
            let message = format!("`{field}` of `{package}` must be a list of a program and its arguments");
            return at(package, "packages[].serve", message);
        }
    }
    if !load.is_empty() && server.is_none() {
        let message = format!("`load` of `{package}` writes data into a server, but `env.server` is missing");
        return at(package, "packages[].serve", message);
    }
    if *port == 0 {
        return at(package, "packages[].serve.port", format!("`{package}` cannot listen on port 0"));
    }
    if !ready.starts_with('/') {
        let message = format!("`{ready}` is not a URL path: it must start with `/`");
        return Err(problem(ready.ordinal, "packages[].serve.ready", message));
    }
    Ok(())
}

/// Checks that tools are marked for builds in containers. Each tool exists, because it has a default.
fn needs_container_tools(matrix: &Matrix, package: &Word, names: &[&str]) -> Check {
    for name in names {
        if !matrix.tools.iter().any(|tool| tool.name == **name && tool.container) {
            let message = format!("`{package}` needs the tool `{name}` marked `container: true` in `tools`");
            return at(package, "packages[].build.with", message);
        }
    }
    Ok(())
}

/// Checks what the schema cannot: patches need an sdist, which the vendor's wheels are not built from.
fn check_patches(package: &Package, folder: &Location, local_version: &Word) -> Check {
    below("packages[].build.patches.folder", folder, "the folder of matrix.yaml")?;
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
    if !local_version.chars().all(label) || local_version.starts_with('.') || local_version.ends_with('.') {
        let message = format!("`{local_version}` is no local version label (PEP 440), such as `ft1`");
        return at(local_version, "packages[].build.patches.local_version", message);
    }
    if package.source.pypi.is_none() {
        let message = "patches belong to `source.pypi` only: change the files of a working copy itself".to_owned();
        return Err(problem(folder.ordinal, "packages[].build.patches", message));
    }
    if let Some(wheel) = package.published.first() {
        let message = "a wheel of the vendor is not patched: remove `published`, or give the patched build a row of \
                       its own with `distribution`";
        return at(&wheel.abi, "packages[].published", message.to_owned());
    }
    Ok(())
}
