//! Builds and proves wheels and images for free-threaded CPython: everything that `matrix.yaml` says.

mod audit;
mod bench;
mod cache;
mod cancel;
mod ci;
mod debian;
mod deny;
mod digest;
mod disk;
mod docker;
mod doctor;
mod environment;
mod exchange;
mod export;
mod facts;
mod failure;
mod gil;
mod git;
mod golang;
mod http;
mod incoming;
mod limits;
mod lines;
mod lock;
mod manifest;
mod matrix;
mod outdated;
mod plan;
mod proc;
mod project;
mod provision;
mod prune;
mod report;
mod reproducible;
mod retry;
mod run;
mod sbom;
mod select;
mod since;
mod step;
mod subject;
mod suites;
mod summary;
mod ui;
mod up;
mod verify;
mod wheelfile;
mod workflow;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};

use cancel::Cancel;
use exchange::{Exchange, Repository};
pub use project::Project;
use select::Selection;

/// Wheels and images for free-threaded CPython, from matrix.yaml.
#[derive(Debug, Parser)]
#[command(version, name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 80)]
pub struct Cli {
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

impl Cli {
    /// Whether the command removes things from the cache, which no other command may use meanwhile.
    fn prunes(&self) -> bool {
        matches!(self.command, Cmd::Cache { what: CacheCmd::Prune { .. } })
    }
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Say what this machine has and lacks, each with the way to get it
    Doctor,
    /// Print what would run, in order, and run nothing
    Plan {
        #[command(subcommand)]
        rows: Option<Rows>,
        /// Interpreters without PGO and LTO
        #[arg(long, global = true)]
        quick: bool,
        /// Ask this repository of a registry what it has
        #[arg(long, global = true, value_name = "REPO", value_parser = Repository::parse)]
        cache_from: Option<Repository>,
        #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        jobs: JobRows,
    },
    /// Build or fetch wheels into wheels/
    Wheels {
        #[command(flatten)]
        rows: WheelRows,
        #[command(flatten)]
        how: How,
        /// Build each twice, without the cache and with all that must not matter different, and compare the bytes
        #[arg(long)]
        check_reproducible: bool,
        /// Another folder than wheels/
        #[arg(long, value_name = "FOLDER", conflicts_with = "check_reproducible")]
        out: Option<PathBuf>,
    },
    /// Build images, with the wheels that they need, and prove them
    Image {
        /// Tags of images in the matrix
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Check again, from outside, what a build promised
    Verify {
        /// Tags of images, wheel files, or ids of wheels
        #[arg(required = true, value_name = "TAG|WHEEL")]
        what: Vec<String>,
        /// The manifest that came with them, of a release for instance, instead of wheels/manifest.json
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
    },
    /// Print what is in a wheel or an image, as CycloneDX; always the same bytes
    Sbom(sbom::Options),
    /// Copy one row of wheels/ into a folder of its own, for `collect` or --wheels-from on another machine
    Export {
        /// The id of a wheel's or an image's row
        #[arg(value_name = "ROW")]
        row: String,
        /// The folder that gets a folder named after the row
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
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
    Up(up::Up),
    /// Write records into the server of what is up, or into another
    LoadData(up::LoadData),
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
        how: How,
        #[command(flatten)]
        asked: ci::Options,
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
        #[arg(long, value_name = "SIZE", value_parser = prune::parse_size)]
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

#[derive(Debug, Subcommand)]
enum Rows {
    /// Wheels only
    Wheels(WheelRows),
    /// Images, with all that they need
    Image {
        #[arg(value_name = "TAG")]
        tags: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct WheelRows {
    /// Only wheels of this ABI; may be repeated
    #[arg(long = "abi", value_name = "ABI")]
    abis: Vec<String>,
    /// Only wheels of this package; may be repeated
    #[arg(long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
}

/// Which rows are jobs: only with `--format github`.
#[derive(Debug, Clone, Args)]
pub struct JobRows {
    /// What GitHub says has happened; `schedule` and `release` leave no row out
    #[arg(long, global = true, value_name = "EVENT")]
    event: Option<String>,
    /// Leave out what has the same key as at this commit
    #[arg(long, global = true, value_name = "REV")]
    changed_since: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct How {
    /// Install and start what is missing, with apt, as root or through sudo; join the group `docker` if needed
    #[arg(long)]
    yes: bool,
    /// Interpreters without PGO and LTO: minutes instead of a quarter of an hour
    #[arg(long)]
    quick: bool,
    /// After a failure, go on with all that does not depend on it, and list all failures at the end
    #[arg(long)]
    keep_going: bool,
    /// Put each image and wheel into this repository of a registry, tagged with its key
    #[arg(long, value_name = "REPO", value_parser = Repository::parse)]
    push: Option<Repository>,
    /// Fail if the root file system cannot be the image that matrix.yaml pins, instead of building a fallback with
    /// mmdebstrap; `--push` does so, too
    #[arg(long)]
    pinned_root: bool,
    /// Name each image and wheel for this repository as --push does, but only in the Docker engine
    #[arg(long, value_name = "REPO", value_parser = Repository::parse, conflicts_with = "push")]
    stage: Option<Repository>,
    /// Take images and wheels from there instead of building them
    #[arg(long, value_name = "REPO", value_parser = Repository::parse)]
    cache_from: Option<Repository>,
    /// Take the wheels of a folder like wheels/, or of folders that `export` wrote, if they have the planned keys
    #[arg(long, value_name = "FOLDER")]
    wheels_from: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    /// The job matrix of a workflow
    Github,
}

/// The command line or the configuration is wrong: exit code 2.
#[derive(Debug)]
pub struct Wrong(pub String);

/// Nothing is selected: exit code 3.
#[derive(Debug)]
struct Empty;

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Empty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is selected: matrix.yaml has no such packages or images")
    }
}

impl std::error::Error for Wrong {}
impl std::error::Error for Empty {}

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
            // What was measured or tested until then counts for nothing.
            let kept = !matches!(cli.command, Cmd::Bench { .. } | Cmd::Test(_));
            let hint = if kept { ": running the same command again continues where it stopped" } else { "" };
            eprintln!("error: interrupted{hint}");
            // As a shell reports what SIGINT has ended.
            ExitCode::from(130)
        }
        Err(error) => {
            ui::complain(&error);
            summary::failure(&error);
            if error.is::<Empty>() {
                ExitCode::from(3)
            } else if error.is::<Wrong>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn dispatch(cli: &Cli, cancel: &Cancel) -> Result<()> {
    limits::read_environment()?;
    let project = Project::open(cli, cancel.clone())?;
    match &cli.command {
        Cmd::Doctor => {
            let checks = doctor::all(&project.cache, project.matrix.root.image.as_deref());
            project.cancel.check()?;
            ui::out(&doctor::table(&checks))?;
            match checks.iter().filter(|check| check.state == doctor::State::Missing).count() {
                0 => Ok(()),
                n => Err(anyhow!("{n} missing; `--yes` on `wheels`, `image` and `ci` installs and starts what it can")),
            }
        }
        Cmd::Plan { rows, quick, cache_from, format, jobs } => {
            let selection = match rows {
                None => Selection::all(&project.matrix),
                Some(Rows::Wheels(rows)) => select::wheels(&project.matrix, &rows.abis, &rows.packages)?,
                Some(Rows::Image { tags }) => select::images(&project.matrix, tags)?,
            };
            project.show(&selection, *quick, Exchange::new(cache_from.clone(), None), *format, jobs)
        }
        Cmd::Wheels { rows, how, check_reproducible, out } => {
            let selection = select::wheels(&project.matrix, &rows.abis, &rows.packages)?;
            match (check_reproducible, out) {
                (true, _) => reproducible::run(&project, &selection, how),
                (false, Some(out)) => project.make(&selection, how, out).map(|_| ()),
                (false, None) => project.make(&selection, how, &project.wheels()).map(|_| ()),
            }
        }
        Cmd::Image { tags, how } => {
            project.make(&select::images(&project.matrix, tags)?, how, &project.wheels()).map(|_| ())
        }
        Cmd::Cache { what: CacheCmd::Show } => ui::out(&prune::show(&project.cache)?),
        Cmd::Cache { what: CacheCmd::Prune { max_size } } => ui::out(&prune::prune(&project.cache, *max_size)?),
        Cmd::Export { row, folder } => export::run(&project, row, folder),
        Cmd::Collect { folder, plan, publish } => {
            incoming::collect(&project, folder, plan.as_deref(), publish.as_deref())
        }
        Cmd::Verify { what, manifest } => verify::run(&project, what, manifest.as_deref()),
        Cmd::Sbom(asked) => sbom::run(&project, asked),
        Cmd::Bench { what: BenchCmd::Build(options) } => bench::build(&project, options),
        Cmd::Bench { what: BenchCmd::Serve(options) } => bench::serve::run(&project, options),
        Cmd::Bench { what: BenchCmd::Report(options) } => bench::report::run(options),
        Cmd::Up(asked) => up::up(&project, asked),
        Cmd::LoadData(asked) => up::load(&project, asked),
        Cmd::Down { port } => up::down(&project, *port),
        Cmd::Test(asked) => suites::run(&project, asked),
        Cmd::Audit(asked) => audit::run(&project, asked),
        Cmd::Ci { how, asked } => ci::run(&project, how, asked),
        Cmd::Deny => deny::run(&project),
        Cmd::Lock(asked) => lock::run(&project, asked),
        Cmd::Outdated(asked) => outdated::run(&project, asked),
        Cmd::Workflow { check } => workflow::run(&project, *check),
    }
}
