//! Resolves requirements with the pinned uv, from wheels only: no code of a package is run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context as _, Error, Result, anyhow};
use xshell::{Shell, cmd};

use base::environment::{self, Purpose};
use base::ui::quoted;
use build::{Project, cache, index};
use wheelfile::normalise;

/// Requirements to resolve.
#[derive(Debug, Default)]
pub struct Resolution<'a> {
    /// Id and description of the work, for the progress output.
    pub id: &'a str,
    pub what: &'a str,
    /// Requirements as in PEP 508, one per line.
    pub requirements: &'a str,
    /// Oldest version of Python that the answer must serve: `3.11`.
    pub python: &'a str,
    /// Lock file whose versions are kept where possible.
    pub old: Option<Vec<u8>>,
    /// Names of distributions that are left out, with everything that only they require.
    pub left_out: Vec<String>,
    /// Further options of `uv pip compile`.
    pub options: Vec<String>,
}

/// Distributions for which the package index has no wheel, so that only a build would tell what they require.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithoutWheels {
    /// Normalised names.
    pub names: Vec<String>,
}

impl fmt::Display for WithoutWheels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the package index has no wheel of {} for this version of Python", quoted(&self.names))
    }
}

impl std::error::Error for WithoutWheels {}

/// Returns the answer of uv, a lock file. `tools` is the environment with the pinned tools; with `--fake`, uv is taken
/// from `PATH`. The error is [`WithoutWheels`] if that is the reason.
pub fn resolve(project: &Project, tools: &Path, resolution: &Resolution) -> Result<String> {
    let scratch = project.cache.scratch(&format!("{}-uv", resolution.id))?;
    let file = |name: &str| scratch.path().join(name);
    let (input, output, overrides) = (file("requirements.in"), file("pylock.toml"), file("overrides.txt"));
    cache::write(&input, resolution.requirements.as_bytes())?;
    if let Some(old) = &resolution.old {
        cache::write(&output, old)?;
    }
    let mut never = String::new();
    for name in &resolution.left_out {
        writeln!(never, "{name}; python_version < '0'")?;
    }
    cache::write(&overrides, never.as_bytes())?;
    let (python, options) = (resolution.python, &resolution.options);
    let shell = Shell::new()?;
    let uv = if project.fake { PathBuf::from("uv") } else { tools.join("bin/uv") };
    // For all platforms, because the wheels of another platform tell the requirements, too.
    let command = cmd!(
        shell,
        "{uv} pip compile --quiet --no-config --no-header --no-annotate --universal --only-binary=:all: --system-certs
         --python-version {python} --format pylock.toml --override {overrides} {options...} --output-file {output} {input}"
    );
    let mut command = environment::apply(command, Purpose::Download);
    if !project.fake {
        // uv does not read pip's configuration. The URL may have a password, so it is no argument, which would be logged.
        command = command.env("UV_DEFAULT_INDEX", index::index_url(&tools.join("bin/python"))?);
    }
    project.call(resolution.id, resolution.what, command, "").map_err(|error| match without_wheels(&error) {
        names if names.is_empty() => error,
        names => anyhow!(WithoutWheels { names }),
    })?;
    fs::read_to_string(&output).with_context(|| format!("uv did not write `{}`", output.display()))
}

/// Returns the distributions that uv says need a wheel.
fn without_wheels(error: &Error) -> Vec<String> {
    let text = format!("{error:#}");
    let named = text.split("Wheels are required for `").skip(1).filter_map(|rest| rest.split('`').next());
    let mut names: Vec<String> = named.filter(|name| index::is_project_name(name)).map(normalise).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{WithoutWheels, without_wheels};

    #[test]
    fn the_distributions_without_wheels_are_named_by_uv() {
        let hint = |name: &str| {
            format!("    | hint: Wheels are required for `{name}` because building from source is disabled")
        };
        let names = |lines: &[String]| without_wheels(&anyhow!("find: `uv` failed\n{}", lines.join("\n")));
        assert_eq!(names(&[hint("uWSGI"), hint("numpy"), hint("numpy")]), ["numpy", "uwsgi"]);
        assert!(names(&["    | error: no solution".to_owned(), hint("../evil")]).is_empty());
        let error = WithoutWheels { names: vec!["uwsgi".to_owned()] };
        assert_eq!(error.to_string(), "the package index has no wheel of `uwsgi` for this version of Python");
    }
}
