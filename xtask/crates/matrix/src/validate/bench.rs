//! Validation of `bench.build`.

use super::{Check, at, below, known, unique};
use crate::bench::{BenchApplication, BenchBuild, BenchContainer, BenchMaturin, BenchRow, Measure};
use crate::package::Builder;
use crate::schema::Matrix;
use crate::words::Word;

pub fn check_bench(matrix: &Matrix, bench: &BenchBuild) -> Check {
    let BenchBuild { maturin, container, image, application, rows } = bench;
    if let Some(BenchMaturin { package, abis, touch }) = maturin {
        built(matrix, "bench.build.maturin.package", package, Builder::Maturin)?;
        for abi in abis {
            known("bench.build.maturin.abis", abi, matrix.abis.iter().map(|abi| &abi.id))?;
        }
        unique("bench.build.maturin.abis", abis.iter())?;
        below("bench.build.maturin.touch", touch, &format!("the top of `{package}`"))?;
    }
    if let Some(BenchContainer { package, abi }) = container {
        built(matrix, "bench.build.container.package", package, Builder::Container)?;
        known("bench.build.container.abi", abi, matrix.abis.iter().map(|abi| &abi.id))?;
        if matrix.package(package).is_some_and(|package| package.published_for(abi).is_some()) {
            let message =
                format!("the wheel of `{package}` for `{abi}` is downloaded, so there is no build to measure");
            return at(abi, "bench.build.container.abi", message);
        }
    }
    if let Some(image) = image {
        known("bench.build.image", image, matrix.images.iter().map(|image| &image.tag))?;
    }
    if let (Some(image), Some(maturin), Some(container)) = (image, maturin, container)
        && let Some(row) = matrix.image(image)
    {
        let (package, other, abi) = (&maturin.package, &container.package, &container.abi);
        let both = [package, other].iter().all(|id| row.has_package(id));
        let same = maturin.abis.iter().any(|one| **one == *row.abi) && row.abi == **abi;
        if !both || !same {
            let message = format!("`{image}` must contain `{package}` and `{other}`, for `{abi}`");
            return at(image, "bench.build.image", message);
        }
    }
    if let Some(application) = application {
        check_application(matrix, image.as_deref(), application)?;
    }
    unique("bench.build.rows[].row", rows.iter().map(|row| &row.row))?;
    let mut measured: Vec<&BenchRow> = Vec::new();
    for row in rows {
        if let Some(other) = measured.iter().find(|other| other.measure == row.measure) {
            let message = format!("`{}` measures the same as `{}`", row.row, other.row);
            return at(&row.row, "bench.build.rows[].measure", message);
        }
        measured.push(row);
        check_bench_row(matrix, bench, row)?;
    }
    Ok(())
}

fn check_bench_row(matrix: &Matrix, bench: &BenchBuild, row: &BenchRow) -> Check {
    let BenchRow { row, measure, ratio, seconds, minutes: _ } = row;
    if let Some(field) = bench.missing_field(*measure) {
        let message = format!("`{row}` needs the field `{field}` of `bench.build`");
        return at(row, "bench.build.rows[].measure", message);
    }
    if ratio.is_some() && !measure.compares() {
        let message = format!("`{row}` is compared with nothing: its target can only be `seconds`");
        return at(row, "bench.build.rows[].ratio", message);
    }
    for (field, target) in [("ratio", ratio), ("seconds", seconds)] {
        if target.is_some_and(|target| !target.is_finite() || target <= 0.0) {
            let field = format!("bench.build.rows[].{field}");
            return at(row, &field, format!("the target of `{row}` must be greater than 0"));
        }
    }
    let compiles_python = matches!(measure, Measure::AllWheels | Measure::Everything | Measure::EverythingOptimized);
    if let (true, Some(container)) = (compiles_python, &bench.container) {
        let abi = matrix.abi(&container.abi);
        if abi.is_none_or(|abi| abi.interpreter.source.is_none()) {
            let abi = &container.abi;
            let message = format!("the interpreter of `{abi}` is not compiled from source, as `{row}` needs it");
            return at(abi, "bench.build.container.abi", message);
        }
    }
    Ok(())
}

/// Checks that the package of the row `image-one-file` is a folder, and is in the image.
fn check_application(matrix: &Matrix, image: Option<&str>, application: &BenchApplication) -> Check {
    let BenchApplication { package, touch } = application;
    let field = "bench.build.application.package";
    let folders = matrix.packages.iter().filter(|package| package.source.path.is_some());
    known(field, package, folders.map(|package| &package.id))?;
    below("bench.build.application.touch", touch, &format!("the folder of `{package}`"))?;
    match image.and_then(|image| matrix.image(image)) {
        Some(row) if !row.has_package(package) => at(package, field, format!("`{}` must contain `{package}`", row.tag)),
        _ => Ok(()),
    }
}

/// Checks that a package exists and has this builder.
fn built(matrix: &Matrix, field: &str, package: &Word, with: Builder) -> Check {
    let choices = matrix.packages.iter().filter(|package| package.build.with == with);
    known(field, package, choices.map(|package| &package.id))
}
