//! A temporary `matrix.yaml` with the distributions that are built, and an image with them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use matrix::Matrix;
use wheelfile::normalise;

use crate::add::rows::{self, PackageRow};
use crate::add::target::{self, Source};
use crate::check::judge::{self, Row};

/// Repository of the images, and the tag of the only one.
const NAME: &str = "readiness";
pub const TAG: &str = "check";

/// Returns the row of a distribution that has no wheel; `None` if there is no source
/// distribution that can be built.
pub fn package(row: &Row) -> Result<Option<PackageRow>> {
    let sdist = row.sdist.as_ref().filter(|sdist| sdist.name.ends_with(".tar.gz"));
    let (Some(sdist), Some(version)) = (sdist, &row.version) else { return Ok(None) };
    let (backend, rust) = match &row.source {
        Some(judge::SdistContents::Read(system)) => (system.backend.clone(), target::needs_rust(system)),
        _ => (String::new(), false),
    };
    let found = target::Target {
        id: normalise(&row.name),
        source: Source::Index { version: version.clone(), sha256: sdist.sha256.clone() },
        builder: target::builder(&backend),
        backend,
        rust,
        published: Vec::new(),
        vendors_wheel: None,
    };
    Ok(Some(PackageRow::new(&found, &Matrix::without_rows()?)))
}

/// Returns the text of a `matrix.yaml` with these distributions, and an image with those whose modules are known. The ABI
/// is its only one; other pinned inputs are the defaults of this tool.
pub fn matrix(packages: &[PackageRow], abi: &str) -> Result<String> {
    let defaults = Matrix::without_rows()?;
    let found = defaults.abi(abi).context("this tool has no default interpreter for the ABI")?;
    let source = found.interpreter.source.as_ref().context("its default interpreter is not built from source")?;
    let known = packages.iter().filter(|package| !package.import.is_empty());
    let ids: Vec<&str> = known.map(|package| &*package.id).collect();
    let mut text = format!("name: {NAME}\nabis:\n  - id: {abi}\n    python: \"{}\"\n    interpreter:\n", found.python);
    writeln!(
        text,
        "      source: {{archive: {}, build_apt: {}, runtime_apt: {}, build: {}}}\npackages: []",
        source.archive,
        source.build_apt,
        source.runtime_apt,
        source.build.as_str()
    )?;
    writeln!(text, "images:\n  - {{tag: {TAG}, abi: {abi}, packages: [], gil: \"off\"}}")?;
    for package in packages {
        text = rows::text(&text, package, None)?;
    }
    // Only now, because an image may only contain packages that exist.
    Ok(text.replace("packages: [], gil:", &format!("packages: [{}], gil:", ids.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix::Builder;

    fn row(id: &str, builder: Builder, apt: &[&str]) -> PackageRow {
        let source = Source::Index { version: "1.10".to_owned(), sha256: "a".repeat(64) };
        let backend = "setuptools".to_owned();
        let (published, vendors_wheel) = (Vec::new(), None);
        let found =
            target::Target { id: id.to_owned(), source, builder, backend, rust: false, published, vendors_wheel };
        let mut row = PackageRow::new(&found, &Matrix::without_rows().unwrap());
        row.import.push(id.replace('-', "_"));
        row.apt.extend(apt.iter().map(|name| (*name).to_owned()));
        row
    }

    #[test]
    fn the_matrix_is_valid_and_has_only_one_abi() {
        let parse = |rows: &[PackageRow]| Matrix::parse(&matrix(rows, "cp314t").unwrap(), "matrix.yaml").unwrap();
        let rows = [
            row("pg", Builder::Container, &["libpq-dev"]),
            row("rust-ed", Builder::Maturin, &[]),
            row("plain", Builder::Container, &[]),
        ];
        let made = parse(&rows);
        assert_eq!(made.abis.iter().map(|abi| &*abi.id).collect::<Vec<_>>(), ["cp314t"]);
        let set = made.package("pg").unwrap().build.apt.as_ref().unwrap();
        assert!(made.apt_packages(set).ends_with(&["libpq-dev".to_owned()]));
        assert_eq!(made.packages[0].version(), Some("1.10"));
        assert_eq!(made.image(TAG).unwrap().packages.len(), 3);
        assert!(parse(&[]).packages.is_empty());
        let mut unknown = row("unknown", Builder::Container, &[]);
        unknown.import.clear();
        assert!(parse(&[unknown]).image(TAG).unwrap().packages.is_empty());
        assert!(matrix(&[], "cp315t").is_err());
    }
}
