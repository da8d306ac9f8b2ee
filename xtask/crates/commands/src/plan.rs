//! `cargo xtask plan`: prints the steps of a build without running them.

mod since;

use anyhow::{Result, anyhow};
use base::{UsageError, ui};
use build::exchange::{Exchange, Repository};
use build::plan::{self, Status, Step};
use build::{Project, run};
use clap::{Args, Subcommand, ValueEnum};
use matrix::select::{self, Selection};

/// Options of `cargo xtask plan`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    rows: Option<Rows>,
    /// Plan what the same option of other commands builds: interpreters and wheels for trying out
    #[arg(long, global = true)]
    quick: bool,
    /// Check which results this registry repository already has
    #[arg(long, global = true, value_name = "REPO", value_parser = Repository::parse)]
    cache_from: Option<Repository>,
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    jobs: JobRows,
}

#[derive(Debug, Subcommand)]
enum Rows {
    /// Only wheels
    Wheels(WheelRows),
    /// Images, with everything they need
    Image {
        #[arg(value_name = "TAG")]
        tags: Vec<String>,
    },
}

/// Selects wheels.
#[derive(Debug, Args)]
pub struct WheelRows {
    /// Only wheels of this ABI (repeatable)
    #[arg(long = "abi", value_name = "ABI")]
    pub abis: Vec<String>,
    /// Only wheels of this package (repeatable)
    #[arg(long = "package", value_name = "PACKAGE")]
    pub packages: Vec<String>,
}

/// Selects the rows that become jobs (only with `--format github`).
#[derive(Debug, Clone, Args)]
pub struct JobRows {
    /// GitHub event that started the workflow; `schedule` and `release` include all rows
    #[arg(long, global = true, value_name = "EVENT")]
    event: Option<String>,
    /// Omit rows that have the same key as at this git revision
    #[arg(long, global = true, value_name = "REV")]
    changed_since: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    /// Job matrix of a GitHub workflow
    Github,
}

/// Prints the plan of the selected rows.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let selection = match &options.rows {
        None => Selection::all(&project.matrix),
        Some(Rows::Wheels(rows)) => select::wheels(&project.matrix, &rows.abis, &rows.packages)?,
        Some(Rows::Image { tags }) => select::images(&project.matrix, tags)?,
    };
    let exchange = Exchange::new(options.cache_from.clone(), None);
    let Options { quick, format, ref jobs, .. } = *options;
    // In parallel, because connecting to the engine and calling the compiler take time.
    let (planned, docker) = std::thread::scope(|scope| {
        let docker = scope.spawn(|| if project.fake { None } else { docker::Docker::connect_unchecked().ok() });
        (project.plan(&selection, quick), docker.join().ok().flatten())
    });
    let (plan, facts) = planned?;
    let (keys, status) = run::forecast(&plan, &project.context(&facts, docker.as_ref()), &exchange);
    project.cancel.check()?;
    let status = |step: &Step| status.get(&step.id).copied().unwrap_or(Status::Build);
    if format != Format::Github && (jobs.event.is_some() || jobs.changed_since.is_some()) {
        return Err(anyhow!(UsageError("--event and --changed-since require `--format github`".to_owned())));
    }
    match format {
        Format::Github => {
            let jobs = since::jobs(
                project,
                jobs,
                since::Planned { plan: &plan, keys: &keys, facts: &facts, status: &status },
            )?;
            ui::print_result(&format!("{}\n", serde_json::to_string(&jobs)?))
        }
        Format::Text => ui::print_result(&plan::text(&plan, &keys, &status)),
        Format::Json => ui::print_result(&format!("{:#}\n", plan::json(&plan, &keys, &status))),
    }
}
