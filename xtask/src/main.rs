//! Builds and checks the wheels and images for free-threaded CPython that `matrix.yaml` describes.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use base::cancel::Cancel;
use base::{ErrorClass, limits, proc, program, size, summary, ui};
use build::{BuildOptions, OpenOptions, Project, doctor, incoming};
use clap::builder::{Resettable, StyledStr};
use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use commands::{ci, deny, export, image, init, outdated, plan, prune, sbom, verify, wheels, workflow};
use packages::{add, check, lock, survey};

/// Shown below the help of the program; [`ErrorClass`] defines the codes.
const EXIT_CODES: &str = "Exit codes: 0 success, 1 a step or check failed, 2 the command line or the configuration is \
                          wrong, 3 nothing is selected, 130 interrupted.";

/// Build and check wheels and images for free-threaded CPython, as described in matrix.yaml.
#[derive(Debug, Parser)]
#[command(version, name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 80)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    /// Matrix file; default: the nearest matrix.yaml in this folder or above it
    #[arg(long, global = true, value_name = "FILE")]
    matrix: Option<PathBuf>,
    /// Number of steps that run in parallel, and of processors per step; default: all processors
    #[arg(long, short, global = true, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Replace each step by a fast fake; used by the tests of this tool
    #[arg(long, global = true, hide = true)]
    fake: bool,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// List what is installed on this machine, what is missing, and how to install it
    Doctor,
    /// Write a minimal matrix.yaml and GitHub workflows to this folder; existing files stay as they are
    Init(init::Options),
    /// Print the steps of a build in order, without running them
    Plan(plan::Options),
    /// Build or fetch wheels and write them to wheels/
    Wheels(wheels::Options),
    /// Build and check images, together with the wheels they need
    Image(image::Options),
    /// Check finished wheels and images again, without trusting the record of the build
    Verify(verify::Options),
    /// Say which distributions have wheels for free-threaded Python, what the others need, and who switches the GIL on
    Check(check::Options),
    /// Print the CycloneDX SBOM of wheels and images; the output is reproducible
    Sbom(sbom::Options),
    /// Copy one row of wheels/ to a folder, for `collect` or --wheels-from on another machine
    Export(export::Options),
    /// Merge rows exported on several machines into wheels/, after checking their digests
    Collect {
        /// Folder that contains one folder per row, named after the row
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// Output of `plan --format github`; the folder must contain exactly its rows, built with the planned keys
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
        /// Also copy the wheels of the packages that matrix.yaml publishes to this folder
        #[arg(long, value_name = "FOLDER")]
        publish: Option<PathBuf>,
    },
    /// Show or reduce the contents of the cache
    Cache {
        #[command(subcommand)]
        what: CacheCmd,
    },
    /// Run benchmarks
    Bench {
        #[command(subcommand)]
        what: BenchCmd,
    },
    /// Start an image's service together with a server and test data, and wait until it responds
    Up(service::Up),
    /// Write test records to the server started by `up`, or to another server
    LoadData(service::LoadData),
    /// Stop and remove what `up` started
    Down {
        /// Only the service at this port; default: all services of this user
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
    },
    /// Scan the native code of packages for thread-safety problems; fail on findings that were not reviewed
    Audit(audit::Options),
    /// Run test suites in an image: imports, the packages' own tests, and stress tests without the GIL
    Test(suites::Options),
    /// Run all checks: formatting, lints and tests, then build and check all wheels and images
    Ci {
        #[command(flatten)]
        build: BuildOptions,
        #[command(flatten)]
        options: ci::Options,
    },
    /// Check the dependencies of this tool against .cargo/deny.toml: licences, sources, duplicates
    Deny,
    /// Add a package to the matrix: find out what it needs, build it, and prove whether the GIL is off with it
    Add(add::Options),
    /// Try `add` with many packages, without adding them, and print a table
    Survey(survey::Options),
    /// Resolve the requirements of packages and write the lock files (pylock.toml)
    Lock(lock::Options),
    /// List pinned inputs for which a newer version exists, or update matrix.yaml
    Outdated(outdated::Options),
    /// Regenerate the parts of the GitHub workflows that depend on the matrix
    Workflow {
        /// Write nothing; fail if a workflow is not up to date
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Subcommand)]
enum CacheCmd {
    /// List the kinds of cache entries with their number and size
    Show,
    /// Remove unreferenced entries; with --max-size, then also the least recently used ones
    Prune {
        /// Maximum size of the cache after pruning, such as 10G
        #[arg(long, value_name = "SIZE", value_parser = size::parse_size)]
        max_size: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
enum BenchCmd {
    /// Measure the duration of builds with this tool and with the usual tools (pip, maturin, docker)
    Build(bench::Options),
    /// Load-test the services of images, with and without the GIL
    Serve(Box<bench::serve::Options>),
    /// Regenerate the report of a `bench serve` result folder, or compare two result folders
    Report(bench::report::Options),
}

fn main() -> ExitCode {
    let cli = parse();
    let cancel = match Cancel::on_signals(proc::kill_all) {
        Ok(cancel) => cancel,
        Err(error) => {
            ui::print_error(&error);
            return ExitCode::FAILURE;
        }
    };
    match dispatch(&cli, &cancel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if cancel.is_set() => {
            // An interrupted measurement or test keeps no result.
            let kept = !matches!(cli.command, Cmd::Bench { .. } | Cmd::Test(_));
            let hint = if kept { ": running the same command again continues where it stopped" } else { "" };
            eprintln!("error: interrupted{hint}");
            ExitCode::from(ErrorClass::Interrupted.exit_code())
        }
        Err(error) => {
            ui::print_error(&error);
            summary::add_failure(&error);
            ExitCode::from(ErrorClass::of(&error).exit_code())
        }
    }
}

/// Whether a command needs a `matrix.yaml`.
fn needs_matrix(command: &Cmd) -> bool {
    !matches!(
        command,
        Cmd::Doctor | Cmd::Init(_) | Cmd::Cache { .. } | Cmd::Check(_) | Cmd::Down { .. } | Cmd::Verify(_)
    )
}

/// Parses the command line. The help contains the command with which the program was started.
fn parse() -> Cli {
    let matches = named(Cli::command().name(program::command()).bin_name(program::command())).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Replaces the name of this program in the help texts of a command and of the commands below it.
fn named(command: Command) -> Command {
    fn text(text: Option<&StyledStr>) -> Resettable<StyledStr> {
        text.map(|text| StyledStr::from(program::with_command(&text.to_string()).into_owned())).into()
    }
    let (about, long) = (text(command.get_about()), text(command.get_long_about()));
    let command = command.about(about).long_about(long).mut_subcommands(named);
    command.mut_args(|argument| {
        let (help, long) = (text(argument.get_help()), text(argument.get_long_help()));
        argument.help(help).long_help(long)
    })
}

fn dispatch(cli: &Cli, cancel: &Cancel) -> Result<()> {
    limits::read_environment()?;
    let open = OpenOptions {
        matrix: cli.matrix.as_deref(),
        jobs: cli.jobs,
        fake: cli.fake,
        needs_matrix: needs_matrix(&cli.command),
        prunes: matches!(cli.command, Cmd::Cache { what: CacheCmd::Prune { .. } }),
    };
    let mut project = Project::open(&open, cancel.clone())?;
    match &cli.command {
        Cmd::Init(options) => init::run(options),
        Cmd::Doctor => doctor::run(&project.cache, &project.matrix, &project.folder, &project.cancel),
        Cmd::Plan(options) => plan::run(&project, options),
        Cmd::Wheels(options) => wheels::run(&project, options),
        Cmd::Image(options) => image::run(&project, options),
        Cmd::Cache { what: CacheCmd::Show } => ui::print_result(&prune::show(&project.cache)?),
        Cmd::Cache { what: CacheCmd::Prune { max_size } } => {
            ui::print_result(&prune::prune(&project.cache, *max_size)?)
        }
        Cmd::Export(options) => export::run(&project, options),
        Cmd::Collect { folder, plan, publish } => {
            incoming::collect(&project, folder, plan.as_deref(), publish.as_deref())
        }
        Cmd::Verify(options) => verify::run(&project, options),
        Cmd::Check(options) => check::run(&project, options),
        Cmd::Sbom(options) => sbom::run(&project, options),
        Cmd::Bench { what: BenchCmd::Build(options) } => bench::build(&project, options),
        Cmd::Bench { what: BenchCmd::Serve(options) } => bench::serve::run(&project, options),
        Cmd::Bench { what: BenchCmd::Report(options) } => bench::report::run(options),
        Cmd::Up(options) => service::up(&project, options),
        Cmd::LoadData(options) => service::load(&project, options),
        Cmd::Down { port } => service::down(&project, *port),
        Cmd::Test(options) => suites::run(&project, options),
        Cmd::Audit(options) => audit::run(&project, options),
        Cmd::Ci { build, options } => ci::run(&project, build, options),
        Cmd::Deny => deny::run(&project),
        Cmd::Add(options) => add::run(&mut project, options),
        Cmd::Survey(options) => survey::run(&mut project, options),
        Cmd::Lock(options) => lock::run(&project, options),
        Cmd::Outdated(options) => outdated::run(&project, options),
        Cmd::Workflow { check } => workflow::run(&project, *check),
    }
}

#[cfg(test)]
mod reference {
    use clap::CommandFactory as _;

    const FOOTER: &str = "\
Options of `cargo xtask` itself may also follow the command.

Generated from the definition of the command line; `UPDATE_REFERENCE=1 cargo test reference` writes this page.
";

    #[test]
    fn the_page_is_up_to_date() {
        let options = clap_markdown::MarkdownOptions::new().title("The command line".to_owned());
        // The links in its table of contents break at the blank in `cargo xtask`.
        let options = options.show_table_of_contents(false).show_footer(false);
        let text = clap_markdown::help_markdown_command_custom(&super::Cli::command(), &options);
        let text = format!("{}\n\n{FOOTER}", text.trim_end());
        fixture::generated::compare("docs/reference/cli.md", &text).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[cfg(test)]
mod named_in_reports {
    use clap::Parser as _;

    /// What reports of `bench serve` tell readers to do.
    const STEPS: &str =
        include_str!("../crates/bench/src/report/snapshots/bench__report__migration__tests__steps.snap");

    #[test]
    fn each_command_is_one() {
        let commands = STEPS.lines().map(str::trim).filter(|line| line.starts_with("cargo xtask "));
        let mut names = std::collections::BTreeSet::new();
        for command in commands {
            let words = command.split(' ').skip(1);
            super::Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
            names.extend(command.split(' ').nth(2));
        }
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["add", "bench", "check", "image", "test", "verify"]);
    }
}
