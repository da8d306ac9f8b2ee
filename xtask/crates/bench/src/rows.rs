//! The rows of the table, as the matrix names them, and what each kind of measurement is about.

use base::{UsageError, ui};
use build::plan::Action;
use matrix::{BenchBuild, BenchContainer, BenchMaturin, BenchRow, Measure};

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

pub fn work(measure: Measure) -> &'static str {
    match measure {
        Measure::MaturinCold => "the maturin package for all its ABIs, cold",
        Measure::MaturinUnchanged => "the same again, nothing changed",
        Measure::MaturinOneLine => "the same, one line changed in the crate",
        Measure::ContainerCold => "the package that is built in a container, cold",
        Measure::ContainerUnchanged => "the same again, nothing changed",
        Measure::ImageCold => "the image with all that belongs to it, wheels ready, cold; ours with its proof",
        Measure::ImageUnchanged => "the image, nothing changed",
        Measure::Everything => "all from an empty cache to the image, interpreter with `--quick`",
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
        Measure::Everything => "the same steps by hand, one after another",
        Measure::Plan | Measure::Tool => "–",
    }
}

/// Whether a step is what this row measures; all others are done before the clock starts.
pub fn measures(measure: Measure, action: &Action) -> bool {
    match measure {
        Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine => {
            matches!(action, Action::Maturin(_))
        }
        Measure::ContainerCold | Measure::ContainerUnchanged => matches!(action, Action::Container(_)),
        Measure::ImageCold | Measure::ImageUnchanged => matches!(action, Action::Image(_) | Action::Proof(_)),
        // No network is measured but Debian's.
        Measure::Everything => !matches!(action, Action::Tools(_) | Action::Fetch(_)),
        Measure::Plan | Measure::Tool => false,
    }
}

/// Whether our side runs with `--quick`. Wheels are compared with those for release.
pub fn quick(measure: Measure) -> bool {
    !matches!(measure, Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine)
}

pub fn needs_docker(measure: Measure) -> bool {
    match measure {
        Measure::MaturinCold | Measure::MaturinUnchanged | Measure::MaturinOneLine | Measure::Plan | Measure::Tool => {
            false
        }
        Measure::ContainerCold
        | Measure::ContainerUnchanged
        | Measure::ImageCold
        | Measure::ImageUnchanged
        | Measure::Everything => true,
    }
}

/// What the rows about maturin build.
pub fn maturin(bench: &BenchBuild) -> Result<&BenchMaturin> {
    bench.maturin.as_ref().context("`bench.build` has no `maturin`: this is a bug")
}

/// What the rows about containers build.
pub fn container(bench: &BenchBuild) -> Result<&BenchContainer> {
    bench.container.as_ref().context("`bench.build` has no `container`: this is a bug")
}

/// The tag of the image of the rows about images.
pub fn image(bench: &BenchBuild) -> Result<&str> {
    Ok(bench.image.as_ref().context("`bench.build` has no `image`: this is a bug")?)
}

/// How often a row is run if `repeat` runs are asked for: what takes milliseconds is run often.
pub fn runs(measure: Measure, repeat: usize) -> usize {
    if measure == Measure::Plan { repeat.max(30) } else { repeat }
}
