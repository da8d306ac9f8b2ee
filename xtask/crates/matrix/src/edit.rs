//! Creates modified copies of `matrix.yaml`, for operations that must not affect the images and names of the
//! original.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_yaml::{Mapping, Value};

use crate::locks::DEFAULT_LOCKS;

/// Returns a copy of the matrix `text` with another name and only the packages `only`, also in its images. `folder`
/// is the folder of the original, and `working_copy` is a package and the folder to build it from instead of its
/// sdist.
pub fn variant(
    text: &str,
    name: &str,
    only: &[&str],
    folder: &Path,
    working_copy: Option<(&str, &str)>,
) -> Result<String> {
    let mut matrix: Value = serde_yaml::from_str(text).context("the matrix is not YAML")?;
    let Value::Mapping(top) = &mut matrix else { bail!("the matrix is not a mapping") };
    top.insert("name".into(), name.into());
    // Validation would reject the working copy here, and the copy is not benchmarked.
    top.remove("bench");
    let locks = top.get("locks").and_then(Value::as_str).unwrap_or(DEFAULT_LOCKS);
    let locks = folder.join(locks).display().to_string();
    top.insert("locks".into(), locks.into());
    let wanted = |id: Option<&Value>| id.and_then(Value::as_str).is_some_and(|id| only.contains(&id));
    if let Some(packages) = top.get_mut("packages").and_then(Value::as_sequence_mut) {
        packages.retain(|row| wanted(row.get("id")));
    }
    if let Some(publish) = top.get_mut("ci").and_then(|ci| ci.get_mut("publish")).and_then(Value::as_sequence_mut) {
        publish.retain(|id| wanted(Some(id)));
    }
    for image in top.get_mut("images").and_then(Value::as_sequence_mut).into_iter().flatten() {
        if let Some(packages) = image.get_mut("packages").and_then(Value::as_sequence_mut) {
            packages.retain(|id| wanted(Some(id)));
        }
    }
    let packages = top.get_mut("packages").and_then(Value::as_sequence_mut).into_iter().flatten();
    let path = |path: &Path| Value::Mapping(Mapping::from_iter([("path".into(), path.display().to_string().into())]));
    let mut rows: Vec<&mut Mapping> = packages.filter_map(Value::as_mapping_mut).collect();
    for row in &mut rows {
        // Make paths absolute, because the copy of the matrix is in another folder.
        if let Some(relative) = row.get("source").and_then(|source| source.get("path")).and_then(Value::as_str) {
            let absolute = folder.join(relative);
            row.insert("source".into(), path(&absolute));
        }
    }
    if let Some((package, folder)) = working_copy {
        let row = rows.into_iter().find(|row| row.get("id") == Some(&package.into()));
        let row = row.with_context(|| format!("the matrix has no package `{package}`"))?;
        row.insert("source".into(), path(Path::new(folder)));
        row.remove("published");
    }
    serde_yaml::to_string(&matrix).context("cannot write the matrix")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::variant;
    use crate::Matrix;

    const FIXTURE: &str = fixture::MATRIX;

    #[test]
    fn a_variant_differs_only_in_the_requested_changes() {
        let real = Matrix::parse(FIXTURE, "matrix.yaml").unwrap();
        let package = real.packages[0].id.to_string();
        let all: Vec<&str> = real.packages.iter().map(|package| &*package.id).collect();
        let copy = Some((package.as_str(), "/some/folder"));
        let text = variant(FIXTURE, "other", &all, Path::new("/here"), copy).unwrap();
        let other = Matrix::parse(&text, "variant").unwrap();
        assert_eq!(&*other.name, "other");
        assert_eq!(other.packages[0].source.path.as_deref(), Some("/some/folder"));
        assert!(other.packages[0].source.pypi.is_none());
        let rest = |mut matrix: Matrix| {
            matrix.packages.remove(0);
            // Paths become absolute.
            matrix.packages.retain(|package| package.source.path.is_none());
            // The debug output contains the ordinal of scalars, which may differ.
            let text = format!("{:?}{:?}{:?}", matrix.packages, matrix.images, matrix.tools);
            text.split("ordinal: ").map(|part| part.trim_start_matches(char::is_numeric).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(rest(real), rest(other));
    }

    #[test]
    fn an_unknown_package_is_an_error() {
        assert!(variant(FIXTURE, "other", &["nowhere"], Path::new("/here"), Some(("nowhere", "/x"))).is_err());
    }

    #[test]
    fn removed_packages_are_removed_from_the_images() {
        let other =
            Matrix::parse(&variant(FIXTURE, "other", &["acme-py"], Path::new("/here"), None).unwrap(), "variant");
        let other = other.unwrap();
        assert_eq!(other.packages.len(), 1);
        assert!(other.images.iter().all(|image| image.packages.len() == 1 && image.packages[0] == *"acme-py"));
    }
}
