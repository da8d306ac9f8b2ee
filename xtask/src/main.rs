//! Builds and proves wheels and images for free-threaded CPython: everything that `matrix.yaml` says.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use base::cancel::Cancel;
use base::{NothingSelected, UsageError, limits, proc, size, summary, ui};
use build::{BuildOptions, OpenOptions, Project, doctor, incoming};
use clap::{Parser, Subcommand};
use commands::{ci, deny, export, image, lock, outdated, plan, prune, sbom, verify, wheels, workflow};

/// Wheels and images for free-threaded CPython, from matrix.yaml.
#[derive(Debug, Parser)]
#[command(version, name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 80)]
struct Cli {
    /// The matrix, in a clone of the project; by default the next matrix.yaml from this folder upwards
    #[arg(long, global = true, value_name = "FILE")]
    matrix: Option<PathBuf>,
    /// Steps side by side, and processors for each; by default all processors
    #[arg(long, short, global = true, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Small stand-ins instead of work: for the tool's own tests
    #[arg(long, global = true, hide = true)]
    fake: bool,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Say what this machine has and lacks, each with the way to get it
    Doctor,
    /// Print what would run, in order, and run nothing
    Plan(plan::Options),
    /// Build or fetch wheels into wheels/
    Wheels(wheels::Options),
    /// Build images, with the wheels that they need, and prove them
    Image(image::Options),
    /// Check again, from outside, what a build promised
    Verify(verify::Options),
    /// Print what is in a wheel or an image, as CycloneDX; always the same bytes
    Sbom(sbom::Options),
    /// Copy one row of wheels/ into a folder of its own, for `collect` or --wheels-from on another machine
    Export(export::Options),
    /// Bring rows that several machines exported together below wheels/, each checked by its digest
    Collect {
        /// The folder with one folder for each row, of that name
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// The output of `plan --format github`: exactly its rows must be there, with the planned keys
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
        /// Put the wheels of the packages that matrix.yaml publishes into this folder
        #[arg(long, value_name = "FOLDER")]
        publish: Option<PathBuf>,
    },
    /// Show what the cache holds, or make it smaller
    Cache {
        #[command(subcommand)]
        what: CacheCmd,
    },
    /// Measure this tool against the plain ones, side by side
    Bench {
        #[command(subcommand)]
        what: BenchCmd,
    },
    /// Start an image's service with a server and data, and wait until it answers
    Up(service::Up),
    /// Write records into the server of what is up, or into another
    LoadData(service::LoadData),
    /// Remove what `up` has started
    Down {
        /// Only what is at this port; by default all that this user has up
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
    },
    /// Look through the packages' native code for what the GIL used to hide; refuse what is not reviewed
    Audit(audit::Options),
    /// Test what is in an image: whether it works, passes its own tests, and survives without the GIL
    Test(suites::Options),
    /// Everything that must pass: formatting, lints, tests, all wheels, images and proofs
    Ci {
        #[command(flatten)]
        build: BuildOptions,
        #[command(flatten)]
        options: ci::Options,
    },
    /// Hold the crates of this tool against .cargo/deny.toml: licences, sources, duplicates
    Deny,
    /// Make the lock files of packages anew, each with the `lock.py` beside it
    Lock(lock::Options),
    /// Say which pinned inputs have something newer, or write it into matrix.yaml
    Outdated(outdated::Options),
    /// Write the parts of the workflows that depend on the matrix
    Workflow {
        /// Write nothing, and fail if something would be written
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Subcommand)]
enum CacheCmd {
    /// Kinds, numbers and sizes
    Show,
    /// Remove what nothing refers to; with --max-size, then what was not used for longest
    Prune {
        /// How much may stay, for instance 10G
        #[arg(long, value_name = "SIZE", value_parser = size::parse_size)]
        max_size: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
enum BenchCmd {
    /// Wheels, images and the tool itself: how long they take, ours and by plain tools in turn
    Build(bench::Options),
    /// The services of images under load, with and without the GIL
    Serve(bench::serve::Options),
    /// Draw the report of a folder of measurements again, or say what is worse in a second one
    Report(bench::report::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let cancel = match Cancel::on_signals(proc::kill_all) {
        Ok(cancel) => cancel,
        Err(error) => {
            ui::complain(&error);
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
            // As a shell reports what SIGINT has ended.
            ExitCode::from(130)
        }
        Err(error) => {
            ui::complain(&error);
            summary::failure(&error);
            if error.is::<NothingSelected>() {
                ExitCode::from(3)
            } else if error.is::<UsageError>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn dispatch(cli: &Cli, cancel: &Cancel) -> Result<()> {
    limits::read_environment()?;
    let open = OpenOptions {
        matrix: cli.matrix.as_deref(),
        jobs: cli.jobs,
        fake: cli.fake,
        prunes: matches!(cli.command, Cmd::Cache { what: CacheCmd::Prune { .. } }),
    };
    let project = Project::open(&open, cancel.clone())?;
    match &cli.command {
        Cmd::Doctor => doctor::run(&project.cache, project.matrix.root.image.as_deref(), &project.cancel),
        Cmd::Plan(options) => plan::run(&project, options),
        Cmd::Wheels(options) => wheels::run(&project, options),
        Cmd::Image(options) => image::run(&project, options),
        Cmd::Cache { what: CacheCmd::Show } => ui::out(&prune::show(&project.cache)?),
        Cmd::Cache { what: CacheCmd::Prune { max_size } } => ui::out(&prune::prune(&project.cache, *max_size)?),
        Cmd::Export(options) => export::run(&project, options),
        Cmd::Collect { folder, plan, publish } => {
            incoming::collect(&project, folder, plan.as_deref(), publish.as_deref())
        }
        Cmd::Verify(options) => verify::run(&project, options),
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
        Cmd::Lock(options) => lock::run(&project, options),
        Cmd::Outdated(options) => outdated::run(&project, options),
        Cmd::Workflow { check } => workflow::run(&project, *check),
    }
}
