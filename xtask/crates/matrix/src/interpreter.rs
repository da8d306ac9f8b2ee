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
}

impl InterpreterBuild {
    const ALL: [InterpreterBuild; 2] = [InterpreterBuild::Plain, InterpreterBuild::Optimized];

    /// The name in the matrix, in labels and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            InterpreterBuild::Plain => "plain",
            InterpreterBuild::Optimized => "optimized",
        }
    }

    /// Reads the name.
    pub fn parse(name: &str) -> Option<InterpreterBuild> {
        InterpreterBuild::ALL.into_iter().find(|build| build.as_str() == name)
    }

    /// The way of compiling, for people.
    pub fn description(self) -> &'static str {
        match self {
            InterpreterBuild::Plain => "plain -O3",
            InterpreterBuild::Optimized => "PGO and LTO",
        }
    }

    /// About how many seconds CPython takes to compile on two cores.
    pub fn seconds(self) -> u32 {
        match self {
            InterpreterBuild::Plain => 170,
            InterpreterBuild::Optimized => 900,
        }
    }
}
