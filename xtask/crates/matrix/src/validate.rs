//! Validation of a parsed matrix.

mod build;
mod serve;

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::abi::{Abi, Distribution, FromSource, Interpreter};
use crate::bench::{Bench, BenchBuild, BenchContainer, BenchMaturin, BenchRow, Measure};
use crate::ci::Ci;
use crate::debian::{AptSet, Root};
use crate::gil::GilState;
use crate::package::{Audit, Build, Builder, Package, PackageSource, Patches, Published, Pypi, Serve, ServeEnv};
use crate::schema::{Image, Matrix, Server};
use crate::suites;
use crate::tool::{Source, Tool};
use crate::words::{Location, ValidationError, Word};
use base::digest::is_digest;
use base::ui::quoted;
use wheelfile::same_name;

type Check = Result<(), ValidationError>;

/// Structs are destructured completely, so that adding a field without a check is a compile error.
pub fn validate(matrix: &Matrix) -> Check {
    let Matrix { name, platform: _, root, apt, sources, tools, abis, locks: _, packages, images, ci, bench, server } =
        matrix;
    if name.chars().any(|c| c.is_ascii_uppercase()) {
        return at(name, "name", format!("`{name}` has upper-case letters, which a repository name must not have"));
    }
    let Root { suite: _, glibc, image } = root;
    if glibc.split('.').count() != 2 || glibc.split('.').any(|part| part.parse::<u32>().is_err()) {
        return Err(problem(glibc.ordinal, "root.glibc", format!("`{glibc}` is not `major.minor`, such as `2.36`")));
    }
    if let Some(image) = image {
        pinned("root.image", image)?;
    }
    if let Some(Server { image, port, standin: _ }) = server {
        pinned("server.image", image)?;
        if *port == 0 {
            return Err(problem(image.ordinal, "server.port", "a server cannot listen on port 0".to_owned()));
        }
    }

    unique("apt", apt.iter().map(|set| &set.id))?;
    unique("sources", sources.iter().map(|source| &source.id))?;
    distributions("tools", tools.iter().map(|tool| &tool.name))?;
    unique("abis", abis.iter().map(|abi| &abi.id))?;
    distributions("packages", packages.iter().map(|package| &package.id))?;
    unique("images", images.iter().map(|image| &image.tag))?;

    let Ci { runner: _, publish, checks, deny: _ } = ci;
    distributions("ci.checks", checks.iter().map(|tool| &tool.name))?;
    for id in publish {
        known("ci.publish", id, packages.iter().map(|package| &package.id))?;
    }

    let mut checked = BTreeSet::new();
    for set in apt {
        let AptSet { id, include, packages: _ } = set;
        for included in include {
            known("apt[].include", included, apt.iter().map(|set| &set.id))?;
        }
        acyclic(id, apt, &mut vec![&**id], &mut checked)?;
    }
    for source in sources {
        let Source { id, sha256: _, from } = source;
        if from.is_empty() {
            return at(id, "sources[].from", format!("`{id}` needs at least one URL to download it from"));
        }
        for place in from {
            let scheme = ["https://", "http://", "debian:", "file:///"];
            if !scheme.iter().any(|scheme| place.starts_with(scheme)) {
                let message = format!("`{place}` must start with one of {}", quoted(scheme));
                return Err(problem(place.ordinal, "sources[].from", message));
            }
        }
    }
    for tool in tools {
        let Tool { name: _, version: _, sha256: _, container: _ } = tool;
    }
    for abi in abis {
        check_abi(matrix, abi)?;
    }
    for package in packages {
        check_package(matrix, package)?;
    }
    for image in images {
        check_image(matrix, image)?;
    }
    if let Some(Bench { build, serve }) = bench {
        check_bench(matrix, build)?;
        if let Some(serve) = serve {
            pinned("bench.serve.k6", &serve.k6)?;
            below("bench.serve.scripts", &serve.scripts, "the folder of matrix.yaml")?;
            serve::check(matrix, serve)?;
        }
    }
    Ok(())
}

fn check_abi(matrix: &Matrix, abi: &Abi) -> Check {
    let Abi { id, python, interpreter } = abi;
    let expected = format!("cp{}", abi.interpreter_name().replace('.', ""));
    let digits = id.trim_start_matches("cp").trim_end_matches('t');
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) || !id.starts_with("cp") {
        return at(id, "abis[].id", format!("`{id}` is not a CPython ABI tag such as `cp311`, `cp314` or `cp314t`"));
    }
    if *id != *expected {
        return Err(problem(
            python.ordinal,
            "abis[].python",
            format!("version `{python}` belongs to `{expected}`, not to `{id}`"),
        ));
    }
    let apt = |field, set: &Word| known(field, set, matrix.apt.iter().map(|set| &set.id));
    match interpreter {
        Interpreter { distribution: Some(Distribution { runtime_apt, devel_apt }), source: None } => {
            if abi.free_threaded() {
                let message = format!("Debian has no free-threaded interpreter for `{id}`: use `source`");
                return at(id, "abis[].interpreter", message);
            }
            apt("interpreter.distribution.runtime_apt", runtime_apt)?;
            apt("interpreter.distribution.devel_apt", devel_apt)
        }
        Interpreter { distribution: None, source: Some(from) } => {
            let FromSource { archive, build_apt, runtime_apt, build: _ } = from;
            known("interpreter.source.archive", archive, matrix.sources.iter().map(|source| &source.id))?;
            apt("interpreter.source.build_apt", build_apt)?;
            apt("interpreter.source.runtime_apt", runtime_apt)
        }
        _ => at(id, "abis[].interpreter", format!("`{id}` needs exactly one of `distribution` and `source`")),
    }
}

fn check_package(matrix: &Matrix, package: &Package) -> Check {
    let Package {
        id,
        distribution: _,
        import,
        source,
        build,
        published,
        requires: _,
        extras: _,
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
    if let Some(index) = indexes.iter().find(|index| !index.starts_with("https://")) {
        return Err(problem(index.ordinal, "packages[].indexes", format!("`{index}` is not an https URL")));
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

fn check_image(matrix: &Matrix, image: &Image) -> Check {
    let Image { tag, abi, packages, env, gil } = image;
    known("images[].abi", abi, matrix.abis.iter().map(|abi| &abi.id))?;
    for package in packages {
        known("images[].packages", package, matrix.packages.iter().map(|package| &package.id))?;
    }
    unique("images[].packages", packages.iter())?;
    for (n, id) in packages.iter().enumerate() {
        let distribution = |id: &Word| matrix.package(id).map(Package::distribution);
        let same = |other: &&Word| distribution(other).zip(distribution(id)).is_some_and(|(a, b)| same_name(a, b));
        if let Some(other) = packages.iter().take(n).find(same) {
            let message = format!("`{other}` and `{id}` are the same distribution: `{tag}` can have only one of them");
            return at(id, "images[].packages", message);
        }
    }
    let mut services = packages.iter().filter(|id| matrix.package(id).is_some_and(|package| package.serve.is_some()));
    if let (Some(first), Some(second)) = (services.next(), services.next()) {
        let message = format!("`{first}` and `{second}` both have a service, but `{tag}` can start only one");
        return at(second, "images[].packages", message);
    }
    for (name, value) in env {
        build::check_variable(tag, "images[].env", name)?;
        if value.chars().any(|c| c.is_control() || "\"\\$`".contains(c)) {
            let message = format!("the value {value:?} of `{name}` contains a quote, `$`, `\\` or a control character");
            return at(tag, "images[].env", message);
        }
    }
    let free_threaded = matrix.abi(abi).is_some_and(Abi::free_threaded);
    let forced = env.get("PYTHON_GIL").is_some_and(|value| value == "0");
    let message = match (gil, free_threaded, forced) {
        (GilState::Off | GilState::ForcedOff, false, _) => {
            format!("`{abi}` always has a GIL, so the only possible promise of `{tag}` is `on`, not `{gil}`")
        }
        (_, false, true) => format!("`PYTHON_GIL=0` is a fatal error on `{abi}`, which cannot run without the GIL"),
        (GilState::ForcedOff, true, false) => {
            format!("`{tag}` promises `forced off`, which needs `PYTHON_GIL: \"0\"` in its `env`")
        }
        (GilState::Off | GilState::On, true, true) => {
            format!("`{tag}` promises `{gil}` but sets `PYTHON_GIL=0`: promise `forced off`, or remove it from `env`")
        }
        _ => return Ok(()),
    };
    at(tag, "images[].gil", message)
}

fn check_bench(matrix: &Matrix, bench: &BenchBuild) -> Check {
    let BenchBuild { maturin, container, image, rows } = bench;
    if let Some(BenchMaturin { package, abis, touch }) = maturin {
        built(matrix, "bench.build.maturin.package", package, Builder::Maturin)?;
        for abi in abis {
            known("bench.build.maturin.abis", abi, matrix.abis.iter().map(|abi| &abi.id))?;
        }
        unique("bench.build.maturin.abis", abis.iter())?;
        below("bench.build.maturin.touch", touch, &format!("the top of `{package}`"))?;
    }
    if let Some(BenchContainer { package, abi }) = container {
        built(matrix, "bench.build.container.package", package, Builder::Container)?;
        known("bench.build.container.abi", abi, matrix.abis.iter().map(|abi| &abi.id))?;
        if matrix.package(package).is_some_and(|package| package.published_for(abi).is_some()) {
            let message =
                format!("the wheel of `{package}` for `{abi}` is downloaded, so there is no build to measure");
            return at(abi, "bench.build.container.abi", message);
        }
    }
    if let Some(image) = image {
        known("bench.build.image", image, matrix.images.iter().map(|image| &image.tag))?;
    }
    if let (Some(image), Some(maturin), Some(container)) = (image, maturin, container)
        && let Some(row) = matrix.image(image)
    {
        let (package, other, abi) = (&maturin.package, &container.package, &container.abi);
        let both = [package, other].iter().all(|id| row.has_package(id));
        let same = maturin.abis.iter().any(|one| **one == *row.abi) && row.abi == **abi;
        if !both || !same {
            let message = format!("`{image}` must contain `{package}` and `{other}`, for `{abi}`");
            return at(image, "bench.build.image", message);
        }
    }
    unique("bench.build.rows[].row", rows.iter().map(|row| &row.row))?;
    let mut measured: Vec<&BenchRow> = Vec::new();
    for row in rows {
        if let Some(other) = measured.iter().find(|other| other.measure == row.measure) {
            let message = format!("`{}` measures the same as `{}`", row.row, other.row);
            return at(&row.row, "bench.build.rows[].measure", message);
        }
        measured.push(row);
        check_bench_row(matrix, bench, row)?;
    }
    Ok(())
}

fn check_bench_row(matrix: &Matrix, bench: &BenchBuild, row: &BenchRow) -> Check {
    let BenchRow { row, measure, ratio, seconds, minutes: _ } = row;
    if let Some(field) = bench.missing_field(*measure) {
        let message = format!("`{row}` needs the field `{field}` of `bench.build`");
        return at(row, "bench.build.rows[].measure", message);
    }
    if ratio.is_some() && !measure.compares() {
        let message = format!("`{row}` is compared with nothing: its target can only be `seconds`");
        return at(row, "bench.build.rows[].ratio", message);
    }
    for (field, target) in [("ratio", ratio), ("seconds", seconds)] {
        if target.is_some_and(|target| !target.is_finite() || target <= 0.0) {
            let field = format!("bench.build.rows[].{field}");
            return at(row, &field, format!("the target of `{row}` must be greater than 0"));
        }
    }
    if let (Measure::Everything, Some(container)) = (measure, &bench.container) {
        let abi = matrix.abi(&container.abi);
        if abi.is_none_or(|abi| abi.interpreter.source.is_none()) {
            let abi = &container.abi;
            let message = format!("the interpreter of `{abi}` is not compiled from source, as `{row}` needs it");
            return at(abi, "bench.build.container.abi", message);
        }
    }
    Ok(())
}

/// Checks that a package exists and has this builder.
fn built(matrix: &Matrix, field: &str, package: &Word, with: Builder) -> Check {
    let choices = matrix.packages.iter().filter(|package| package.build.with == with);
    known(field, package, choices.map(|package| &package.id))
}

/// Checks that sets do not include each other. `path` leads to the set `id`; the sets in `checked` are already
/// checked.
fn acyclic<'m>(id: &str, sets: &'m [AptSet], path: &mut Vec<&'m str>, checked: &mut BTreeSet<&'m str>) -> Check {
    let Some(set) = sets.iter().find(|set| set.id == *id) else { return Ok(()) };
    if checked.contains(&*set.id) {
        return Ok(());
    }
    for included in &set.include {
        if path.contains(&&**included) {
            let cycle = path.join("` → `");
            return at(included, "apt[].include", format!("the sets include each other: `{cycle}` → `{included}`"));
        }
        path.push(included);
        acyclic(included, sets, path, checked)?;
        path.pop();
    }
    checked.insert(&set.id);
    Ok(())
}

fn unique<'m>(field: &str, words: impl Iterator<Item = &'m Word>) -> Check {
    let mut seen = BTreeSet::new();
    for word in words {
        if !seen.insert(&**word) {
            return at(word, field, format!("`{word}` occurs twice"));
        }
    }
    Ok(())
}

/// Checks that distribution names differ by PEP 503, which treats `a_b` and `A.b` as the same name.
fn distributions<'m>(field: &str, names: impl Iterator<Item = &'m Word>) -> Check {
    let mut seen: Vec<&Word> = Vec::new();
    for name in names {
        match seen.iter().find(|other| same_name(other, name)) {
            Some(other) if **other != **name => {
                return at(name, field, format!("`{name}` is the same distribution as `{other}` (PEP 503)"));
            }
            Some(_) => return at(name, field, format!("`{name}` occurs twice")),
            None => seen.push(name),
        }
    }
    Ok(())
}

fn known<'m>(field: &str, word: &Word, choices: impl Iterator<Item = &'m Word>) -> Check {
    let choices: Vec<&Word> = choices.collect();
    if choices.iter().any(|choice| **choice == **word) {
        return Ok(());
    }
    at(word, field, format!("there is no `{word}`; the choices are {}", quoted(choices)))
}

fn below(field: &str, path: &Location, top: &str) -> Check {
    if Path::new(&**path).components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(());
    }
    Err(problem(path.ordinal, field, format!("`{path}` is not a relative path inside {top}")))
}

fn pinned(field: &str, image: &Location) -> Check {
    if image.split_once("@sha256:").is_some_and(|(_, hex)| is_digest(hex)) {
        return Ok(());
    }
    let message = format!("`{image}` has no digest: write `name:tag@sha256:<64 hexadecimal digits>`");
    Err(problem(image.ordinal, field, message))
}

fn problem(ordinal: usize, field: &str, message: String) -> ValidationError {
    ValidationError { ordinal, field: field.to_owned(), message }
}

fn at(word: &Word, field: &str, message: String) -> Check {
    Err(problem(word.ordinal, field, message))
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
