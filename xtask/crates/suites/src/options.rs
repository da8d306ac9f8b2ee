//! Options of `cargo xtask test` and the selection of suites.

use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use base::UsageError;
use service::ServerChoice;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Imports each package; each client writes and reads records, also those that the others wrote
    Smoke,
    /// Runs the packages' own tests against the installed packages
    Upstream,
    /// Runs stress scenarios for native extensions without the GIL, each in many fresh processes
    Storm,
    /// Imports all modules of each package in many threads, and makes the first calls; only if selected
    Imports,
    /// Runs each of the packages' own tests in eight threads at once; only if selected
    Parallel,
    /// Calls what each package offers with plain values, from several threads on one object; only if selected
    Driven,
}

impl Suite {
    /// Returns whether the suite runs the packages' own tests.
    pub fn is_own_tests(self) -> bool {
        matches!(self, Suite::Upstream | Suite::Parallel)
    }

    /// Returns whether the suite calls functions of which it knows nothing.
    pub fn calls_unknown(self) -> bool {
        matches!(self, Suite::Imports | Suite::Driven)
    }

    /// Returns the position of the suite in a run: faster suites run before slower ones.
    fn position(self) -> u8 {
        match self {
            Suite::Smoke => 0,
            Suite::Imports => 1,
            Suite::Driven => 2,
            Suite::Upstream => 3,
            Suite::Parallel => 4,
            Suite::Storm => 5,
        }
    }

    /// Returns whether the suite repeats each case in many processes, so that its cases have a failure rate.
    pub fn is_series(self) -> bool {
        match self {
            Suite::Storm | Suite::Imports => true,
            Suite::Smoke | Suite::Upstream | Suite::Parallel | Suite::Driven => false,
        }
    }

    /// Returns whether the suite counts what each process reports, such as a package's own tests, instead of processes.
    pub fn counts_tests(self) -> bool {
        match self {
            Suite::Upstream | Suite::Parallel | Suite::Driven => true,
            Suite::Smoke | Suite::Storm | Suite::Imports => false,
        }
    }

    /// Returns the suite with this name.
    pub fn named(name: &str) -> Option<Suite> {
        Suite::value_variants().iter().copied().find(|suite| suite.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Suite::Smoke => "smoke",
            Suite::Upstream => "upstream",
            Suite::Storm => "storm",
            Suite::Imports => "imports",
            Suite::Parallel => "parallel",
            Suite::Driven => "driven",
        }
    }
}

/// Options of `cargo xtask test`.
#[derive(Debug, Args)]
pub struct Options {
    /// Tag of an image in the matrix that has been built
    #[arg(value_name = "TAG")]
    pub tag: String,
    /// Only this suite (repeatable); default: smoke, and upstream and storm if matrix.yaml or --source names what they need
    #[arg(long = "suite", value_name = "SUITE", value_enum)]
    pub suites: Vec<Suite>,
    /// Checkout that contains the package's own tests, as PATH or PACKAGE=PATH (repeatable)
    #[arg(long = "source", value_name = "PATH")]
    pub sources: Vec<String>,
    /// Environment variable for the packages' own tests, such as CLUSTER_NAME=null (repeatable)
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// Number of fresh processes for each scenario of the storm, and of the imports in threads
    #[arg(long, value_name = "N", default_value = "25")]
    pub repeat: NonZeroU32,
    /// `image`, `standin` or HOST:PORT; default: the server started by `up`, else same as for `up`
    #[arg(long, value_name = "SERVER")]
    pub server: Option<ServerChoice>,
    /// Only this storm scenario (repeatable)
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// Only this package of the image (repeatable)
    #[arg(long = "package", value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Seed of the first process of each case, to repeat a failure; default: a random one
    #[arg(long, value_name = "N")]
    pub seed: Option<u32>,
    /// Omit a precaution that a client needs, such as `early-import` (repeatable)
    #[arg(long, value_name = "PRECAUTION")]
    pub without: Vec<String>,
    /// Stop each scenario at its first failure
    #[arg(long)]
    pub fail_fast: bool,
    /// Time limit of a process in seconds; for a package's own tests ten times as much
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    pub limit: NonZeroU32,
    /// Folder for junit.xml; default: test-results/TAG
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Write the verdicts to docs/verdicts.md
    #[arg(long, conflicts_with_all = ["scenarios", "packages", "without", "fail_fast"])]
    pub write: bool,
    /// Install and start what is missing with apt, as root or with sudo
    #[arg(long)]
    pub yes: bool,
}

fn variable(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).context("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Returns the suites to run, fastest first. `own`: whether a checkout with a package's own tests is given; `client`:
/// whether a package has an adapter, which the storm requires.
pub fn suites(options: &Options, own: bool, client: bool) -> Result<Vec<Suite>> {
    if options.suites.iter().any(|suite| suite.is_own_tests()) && !own {
        bail!(UsageError(
            "no checkout with the package's own tests: specify it with `--source PATH`, or set `tests: {pytest: FOLDER}` of \
             the package in matrix.yaml"
                .into()
        ));
    }
    if !client && (options.suites.contains(&Suite::Storm) || !options.scenarios.is_empty()) {
        bail!(UsageError("none of the packages has `tests.client` in matrix.yaml, which the storm requires".into()));
    }
    let wanted = |suite: &Suite| match options.suites.as_slice() {
        // Scenarios exist only in the storm.
        [] if !options.scenarios.is_empty() => *suite == Suite::Storm,
        [] => match suite {
            Suite::Smoke => true,
            Suite::Upstream => own,
            Suite::Storm => client,
            Suite::Imports | Suite::Parallel | Suite::Driven => false,
        },
        some => some.contains(suite),
    };
    let mut suites: Vec<Suite> = Suite::value_variants().iter().copied().filter(wanted).collect();
    suites.sort_by_key(|suite| suite.position());
    Ok(suites)
}
