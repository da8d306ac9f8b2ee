//! Validation of a parsed matrix.

mod bench;
mod build;
mod package;
mod serve;

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::abi::{Abi, Distribution, FromSource, Interpreter};
use crate::bench::Bench;
use crate::ci::Ci;
use crate::debian::{AptSet, Root};
use crate::gil::GilState;
use crate::package::Package;
use crate::schema::{Image, Matrix, Server};
use crate::tool::{Source, Tool};
use crate::tsan::Tsan;
use crate::words::{Location, ValidationError, Word};
use base::digest::is_digest;
use base::ui::quoted;
use wheelfile::same_name;

type Check = Result<(), ValidationError>;

/// Structs are destructured completely, so that adding a field without a check is a compile error.
pub fn validate(matrix: &Matrix) -> Check {
    let Matrix {
        name,
        platform: _,
        root,
        apt,
        sources,
        tools,
        abis,
        tsan,
        locks: _,
        packages,
        images,
        ci,
        bench,
        server,
    } = matrix;
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
        let Tool { name: _, version: _, sha256: _, container: _, tests: _ } = tool;
    }
    for abi in abis {
        check_abi(matrix, abi)?;
    }
    let Tsan { llvm, build_apt, runtime_apt, rust_apt } = tsan;
    if !llvm.chars().all(|c| c.is_ascii_digit()) {
        let message = format!("`{llvm}` is not a major version of LLVM, such as `22`");
        return Err(problem(llvm.ordinal, "tsan.llvm", message));
    }
    for (field, set) in [("tsan.build_apt", build_apt), ("tsan.runtime_apt", runtime_apt), ("tsan.rust_apt", rust_apt)]
    {
        known(field, set, apt.iter().map(|set| &set.id))?;
    }
    for package in packages {
        package::check_package(matrix, package)?;
    }
    for image in images {
        check_image(matrix, image)?;
    }
    if let Some(Bench { build, serve }) = bench {
        if let Some(build) = build {
            bench::check_bench(matrix, build)?;
        }
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

fn check_image(matrix: &Matrix, image: &Image) -> Check {
    let Image { tag, abi, interpreter, races, packages, env, gil } = image;
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
    if interpreter.is_some() && matrix.abi(abi).is_some_and(|abi| abi.interpreter.source.is_none()) {
        let message = format!("`{tag}` sets `interpreter`, but the interpreter of `{abi}` is installed from Debian");
        return at(tag, "images[].interpreter", message);
    }
    if let Some(races) = races.as_ref().filter(|_| !image.is_instrumented()) {
        let message = format!("`{tag}` has `races`, but races are only found with `interpreter: tsan`");
        return Err(problem(races.ordinal, "images[].races", message));
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
