//! The rows of the table, as the matrix names them, and what each kind of measurement is about.

use base::{UsageError, ui};
use build::plan::Action;
use matrix::{BenchApplication, BenchBuild, BenchContainer, BenchMaturin, BenchRow, Measure};

use anyhow::{Context as _, Result, anyhow};

/// The rows with these names, in the order of the matrix; an empty list means all.
pub fn choose(bench: &BenchBuild, names: &[String]) -> Result<Vec<BenchRow>> {
    for name in names {
        if !bench.rows.iter().any(|row| *row.row == **name) {
            let choices = ui::quoted(bench.rows.iter().map(|row| &row.row));
            let message = format!("there is no row `{name}` in `bench.build` of the matrix; the choices are {choices}");
            return Err(anyhow!(UsageError(message)));
        }
    }
    let chosen = |row: &&BenchRow| names.is_empty() || names.iter().any(|name| *row.row == **name);
    Ok(bench.rows.iter().filter(chosen).cloned().collect())
}

/// What our side builds in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// Wheels with maturin, without an engine.
    MaturinWheels,
    /// One wheel in a container.
    ContainerWheel,
    /// The wheels of both packages.
    BothWheels,
    /// The image with both packages and nothing else of the user's.
    ImageOfBoth,
    /// The image with all its packages.
    Image,
    /// Nothing with a plan.
    Nothing,
}

pub fn built(measure: Measure) -> Built {
    match measure {
        Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine => Built::MaturinWheels,
        Measure::ContainerCold | Measure::ContainerUnchanged => Built::ContainerWheel,
        Measure::AllWheels => Built::BothWheels,
        Measure::Everything | Measure::EverythingOptimized => Built::ImageOfBoth,
        Measure::ImageCold
        | Measure::ImageUnchanged
        | Measure::ImageOneLine
        | Measure::ImageOneLineRelease
        | Measure::ImageOneFile => Built::Image,
        Measure::Plan | Measure::Tool => Built::Nothing,
    }
}

pub fn work(measure: Measure) -> &'static str {
    match measure {
        Measure::MaturinCold => "the maturin package for all its ABIs, cold",
        Measure::MaturinUnchanged => "the same again, nothing changed",
        Measure::MaturinOneLine => "the same, one line changed in the crate",
        Measure::ContainerCold => "the package that is built in a container, cold",
        Measure::ContainerUnchanged => "the same again, nothing changed",
        Measure::ImageCold => "the image with all that belongs to it, wheels ready, cold; ours with its proof",
        Measure::ImageUnchanged => "the image, nothing changed",
        Measure::ImageOneLine => "one line changed in the crate, then the image to try it in; ours with `--quick`",
        Measure::ImageOneLineRelease => "the same, ours without `--quick`",
        Measure::ImageOneFile => "one Python file of the application changed, then the image; ours with its proof",
        Measure::AllWheels => "both wheels for one ABI from an empty cache, interpreter included; without `--quick`",
        Measure::Everything => "all from an empty cache to the image, interpreter plain; ours with `--quick`",
        Measure::EverythingOptimized => "the same without `--quick`: interpreter with PGO and LTO on both sides",
        Measure::Plan => "`cargo xtask plan`, warm binary",
        Measure::Tool => "the tool itself, cold",
    }
}

pub fn tool(measure: Measure) -> &'static str {
    match measure {
        Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine => {
            "`maturin build` for each ABI, one target directory"
        }
        Measure::ContainerCold => "`pip wheel` in the same container",
        Measure::ContainerUnchanged => "`pip wheel` with its cache of wheels",
        Measure::ImageCold => "`docker build --no-cache`",
        Measure::ImageUnchanged => "`docker build`, all layers cached",
        Measure::ImageOneLine | Measure::ImageOneLineRelease => {
            "`maturin build --release`, then `docker build`, requirements cached"
        }
        Measure::ImageOneFile => "`docker build`, all layers but the last cached",
        Measure::AllWheels | Measure::Everything | Measure::EverythingOptimized => {
            "the same steps by hand, one after another"
        }
        Measure::Plan | Measure::Tool => "–",
    }
}

/// Whether a step is what this row measures; all others are done before the clock starts.
pub fn measures(bench: &BenchBuild, measure: Measure, action: &Action) -> bool {
    let is_application = |package: &str| bench.application.as_ref().is_some_and(|row| *row.package == *package);
    match measure {
        Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine => {
            matches!(action, Action::Maturin(_))
        }
        Measure::ContainerCold | Measure::ContainerUnchanged => matches!(action, Action::Container(_)),
        Measure::ImageCold | Measure::ImageUnchanged => matches!(action, Action::Image(_) | Action::Proof(_)),
        Measure::ImageOneLine | Measure::ImageOneLineRelease => {
            matches!(action, Action::Maturin(_) | Action::Image(_) | Action::Proof(_))
        }
        Measure::ImageOneFile => match action {
            Action::Container(container) => is_application(&container.wheel.package),
            other => matches!(other, Action::Image(_) | Action::Proof(_)),
        },
        // No network is measured but Debian's.
        Measure::AllWheels | Measure::Everything | Measure::EverythingOptimized => {
            !matches!(action, Action::Tools(_) | Action::Fetch(_))
        }
        Measure::Plan | Measure::Tool => false,
    }
}

/// Whether our side runs with `--quick`.
pub fn quick(measure: Measure) -> bool {
    match built(measure) {
        // Wheels are compared with those for release.
        Built::MaturinWheels | Built::BothWheels => false,
        Built::ContainerWheel | Built::Nothing => true,
        Built::ImageOfBoth | Built::Image => {
            !matches!(measure, Measure::EverythingOptimized | Measure::ImageOneLineRelease)
        }
    }
}

/// Whether each run begins without results, so that the time of each step is that of one build.
pub fn is_cold(measure: Measure) -> bool {
    matches!(
        measure,
        Measure::MaturinCold
            | Measure::ContainerCold
            | Measure::ImageCold
            | Measure::AllWheels
            | Measure::Everything
            | Measure::EverythingOptimized
    )
}

/// Whether a row may begin with results of the user's own builds, also those of the steps that it measures.
pub fn takes_known_results(measure: Measure) -> bool {
    built(measure) == Built::Image && !is_cold(measure)
}

/// Whether the Debian packages that both sides download are part of what is measured.
pub fn downloads(measure: Measure) -> bool {
    matches!(measure, Measure::AllWheels | Measure::Everything | Measure::EverythingOptimized)
}

pub fn needs_docker(measure: Measure) -> bool {
    !matches!(built(measure), Built::MaturinWheels | Built::Nothing)
}

/// What the rows about maturin build.
pub fn maturin(bench: &BenchBuild) -> Result<&BenchMaturin> {
    bench.maturin.as_ref().context("`bench.build` has no `maturin`: this is a bug")
}

/// What the rows about containers build.
pub fn container(bench: &BenchBuild) -> Result<&BenchContainer> {
    bench.container.as_ref().context("`bench.build` has no `container`: this is a bug")
}

/// The package of which the row `image-one-file` changes a file.
pub fn application(bench: &BenchBuild) -> Result<&BenchApplication> {
    bench.application.as_ref().context("`bench.build` has no `application`: this is a bug")
}

/// The tag of the image of the rows about images.
pub fn image(bench: &BenchBuild) -> Result<&str> {
    Ok(bench.image.as_ref().context("`bench.build` has no `image`: this is a bug")?)
}

/// How often a row is run if `repeat` runs are asked for: what takes milliseconds is run often.
pub fn runs(measure: Measure, repeat: usize) -> usize {
    if measure == Measure::Plan { repeat.max(30) } else { repeat }
}
