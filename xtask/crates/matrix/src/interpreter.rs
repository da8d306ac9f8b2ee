//! How CPython is compiled.

use serde::{Deserialize, Serialize};

/// How CPython is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "interpreter-build"))]
#[serde(rename_all = "kebab-case")]
pub enum InterpreterBuild {
    /// Without PGO and LTO: compiled in minutes.
    Plain,
    /// With PGO and LTO, as distributions compile it.
    Optimized,
    /// With ThreadSanitizer, which reports data races. For tests only: it is about ten times slower.
    Tsan,
}

impl InterpreterBuild {
    /// The name in the matrix, in labels and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            InterpreterBuild::Plain => "plain",
            InterpreterBuild::Optimized => "optimized",
            InterpreterBuild::Tsan => "tsan",
        }
    }

    /// Reads the name.
    pub fn parse(name: &str) -> Option<InterpreterBuild> {
        serde_json::from_value(name.into()).ok()
    }

    /// Whether CPython is compiled with PGO and LTO.
    pub fn is_optimized(self) -> bool {
        match self {
            InterpreterBuild::Optimized => true,
            InterpreterBuild::Plain | InterpreterBuild::Tsan => false,
        }
    }

    /// Whether the packages of an image with this interpreter are compiled for it, too. Wheels for any other interpreter
    /// do not depend on how it is compiled.
    pub fn instruments_packages(self) -> bool {
        match self {
            InterpreterBuild::Tsan => true,
            InterpreterBuild::Plain | InterpreterBuild::Optimized => false,
        }
    }

    /// How CPython is compiled instead, if `--quick` is given.
    pub fn with_quick(self, quick: bool) -> InterpreterBuild {
        match self {
            InterpreterBuild::Optimized if quick => InterpreterBuild::Plain,
            build => build,
        }
    }

    /// The way of compiling, for people.
    pub fn description(self) -> &'static str {
        match self {
            InterpreterBuild::Plain => "plain -O3",
            InterpreterBuild::Optimized => "PGO and LTO",
            InterpreterBuild::Tsan => "ThreadSanitizer",
        }
    }

    /// About how many seconds CPython takes to compile on two cores.
    pub fn seconds(self) -> u32 {
        match self {
            InterpreterBuild::Plain => 170,
            InterpreterBuild::Optimized => 900,
            InterpreterBuild::Tsan => 340,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_build_is_read_as_it_is_written() {
        for build in [InterpreterBuild::Plain, InterpreterBuild::Optimized, InterpreterBuild::Tsan] {
            assert_eq!(InterpreterBuild::parse(build.as_str()), Some(build));
        }
        assert_eq!(InterpreterBuild::parse("fast"), None);
    }
}
