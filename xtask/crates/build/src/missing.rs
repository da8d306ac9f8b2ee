//! The errors of a build in a container to which inputs are missing.

use std::fmt;

use base::ui::quoted;

/// A build needs a header, library, program or description of a library that its image does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingDebianPackages {
    /// The row of the package that was built.
    pub package: String,
    /// Name of what is missing: `yaml.h`, `libyaml.so`, `pg_config`, `libcurl.pc`, or `OpenSSL` for CMake.
    pub file: String,
    /// Debian packages that have it, the most likely one first. Empty if none was found, or if Debian's archive
    /// could not be searched.
    pub candidates: Vec<String>,
}

impl fmt::Display for MissingDebianPackages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        let Some((first, others)) = self.candidates.split_first() else {
            return write!(
                f,
                "`{file}` is missing; `apt-file search {file}` finds its Debian package; add that to the package's \
                 apt set in matrix.yaml"
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

/// What a build misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    DebianPackages(MissingDebianPackages),
    Requirements(MissingRequirements),
}

impl Missing {
    /// Returns the row of the package that was built.
    pub fn package(&self) -> &str {
        match self {
            Missing::DebianPackages(missing) => &missing.package,
            Missing::Requirements(missing) => &missing.package,
        }
    }

    /// Returns what the error of a build says that is missing.
    pub fn of(error: &anyhow::Error) -> Option<Missing> {
        let packages = error.downcast_ref::<MissingDebianPackages>().cloned().map(Missing::DebianPackages);
        packages.or_else(|| error.downcast_ref::<MissingRequirements>().cloned().map(Missing::Requirements))
    }
}

#[cfg(test)]
mod tests {
    use super::MissingDebianPackages;

    #[test]
    fn the_text_names_the_most_likely_package() {
        let text = |candidates: &[&str]| {
            let candidates = candidates.iter().map(|name| name.to_string()).collect();
            MissingDebianPackages { package: "a".to_owned(), file: "ev.h".to_owned(), candidates }.to_string()
        };
        let advice = "add it to the package's apt set in matrix.yaml";
        assert_eq!(
            text(&["libev-dev"]),
            format!("`ev.h` is missing, which is in the Debian package `libev-dev`: {advice}")
        );
        assert_eq!(
            text(&["b", "c", "d"]),
            format!("`ev.h` is missing, which is in the Debian package `b` (and in `c`, `d`): {advice}")
        );
        assert!(text(&[]).contains("`apt-file search ev.h` finds"));
    }
}
