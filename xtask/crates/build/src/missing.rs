//! The errors of a build to which inputs are missing.

use std::fmt;

use base::ui::quoted;

/// A build needs a header, library, program or description of a library that its image does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingDebianPackages {
    /// The row of the package that was built.
    pub package: String,
    /// Name of what is missing: `yaml.h`, `libyaml.so`, `pg_config`, `libcurl.pc`, or `OpenSSL` for CMake.
    pub file: String,
    /// Debian packages that have it and are not installed, the most likely one first; `None` if Debian's archive could
    /// not be searched.
    pub candidates: Option<Vec<String>>,
}

impl fmt::Display for MissingDebianPackages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        let Some(candidates) = &self.candidates else {
            return write!(
                f,
                "`{file}` is missing; `apt-file search {file}` finds its Debian package; add that to the package's \
                 apt set in matrix.yaml"
            );
        };
        let Some((first, others)) = candidates.split_first() else {
            return write!(
                f,
                "`{file}` is missing, and Debian has no further package with it: see the package's documentation for \
                 the library that it needs, and whether its source has a copy of it"
            );
        };
        write!(f, "`{file}` is missing, which is in the Debian package `{first}`")?;
        if !others.is_empty() {
            write!(f, " (and in {})", quoted(others))?;
        }
        f.write_str(": add it to the package's apt set in matrix.yaml")
    }
}

impl std::error::Error for MissingDebianPackages {}

/// A build backend asks for requirements (`get_requires_for_build_wheel` of PEP 517) that are not locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRequirements {
    /// The row of the package that was built.
    pub package: String,
    /// Requirements as in PEP 508.
    pub requirements: Vec<String>,
}

impl fmt::Display for MissingRequirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MissingRequirements { package, requirements } = self;
        write!(
            f,
            "its build backend also needs {}: add this to `build.requires` of `{package}` in matrix.yaml and run \
             `cargo xtask lock {package}`",
            quoted(requirements)
        )
    }
}

impl std::error::Error for MissingRequirements {}

/// A build on this machine needs something that only a build in a container has: a library, a program or a Python
/// package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsContainer {
    /// The row of the package that was built.
    pub package: String,
    /// Name of what is missing: `openssl.pc`, `ssl.h`.
    pub what: String,
}

impl fmt::Display for NeedsContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NeedsContainer { package, what } = self;
        write!(
            f,
            "its build needs `{what}`, which maturin cannot use on this machine: build it in a container, with `build: \
             {{with: container, apt: compile, rust: true}}` for `{package}` in matrix.yaml, and run `cargo xtask lock \
             {package}`"
        )
    }
}

impl std::error::Error for NeedsContainer {}

/// What a build misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    DebianPackages(MissingDebianPackages),
    Requirements(MissingRequirements),
    Container(NeedsContainer),
}

impl Missing {
    /// Returns the row of the package that was built.
    pub fn package(&self) -> &str {
        match self {
            Missing::DebianPackages(missing) => &missing.package,
            Missing::Requirements(missing) => &missing.package,
            Missing::Container(missing) => &missing.package,
        }
    }

    /// Returns what the error of a build says that is missing.
    pub fn of(error: &anyhow::Error) -> Option<Missing> {
        let packages = error.downcast_ref::<MissingDebianPackages>().cloned().map(Missing::DebianPackages);
        let requirements = || error.downcast_ref::<MissingRequirements>().cloned().map(Missing::Requirements);
        let container = || error.downcast_ref::<NeedsContainer>().cloned().map(Missing::Container);
        packages.or_else(requirements).or_else(container)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{Missing, MissingDebianPackages, NeedsContainer};

    #[test]
    fn a_build_that_needs_a_container_says_what_to_write() {
        let needs = NeedsContainer { package: "demo".to_owned(), what: "ssl.h".to_owned() };
        let error = anyhow!("`maturin` failed").context(needs.clone()).context("cannot build `demo`");
        assert_eq!(Missing::of(&error), Some(Missing::Container(needs)));
        let text = format!("{error:#}");
        assert!(text.contains("`ssl.h`") && text.contains("{with: container, apt: compile, rust: true}"), "{text}");
    }

    #[test]
    fn the_text_names_the_most_likely_package() {
        let text = |candidates: Option<&[&str]>| {
            let candidates = candidates.map(|names| names.iter().map(|name| name.to_string()).collect());
            MissingDebianPackages { package: "a".to_owned(), file: "ev.h".to_owned(), candidates }.to_string()
        };
        let advice = "add it to the package's apt set in matrix.yaml";
        assert_eq!(
            text(Some(&["libev-dev"])),
            format!("`ev.h` is missing, which is in the Debian package `libev-dev`: {advice}")
        );
        assert_eq!(
            text(Some(&["b", "c", "d"])),
            format!("`ev.h` is missing, which is in the Debian package `b` (and in `c`, `d`): {advice}")
        );
        assert!(text(Some(&[])).contains("Debian has no further package with it"));
        assert!(text(None).contains("`apt-file search ev.h` finds"));
    }
}
