//! A changed copy of `matrix.yaml`, for what must not touch the images and names of the real one.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_yaml::{Mapping, Value};

/// The text of a matrix, which lay in `folder`, in another name and with no other packages than
/// `only`, in its images too; with `working_copy`, a package and the folder that it is then built from.
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
    // It would refuse a working copy, and nothing reads it there.
    top.remove("bench");
    let wanted = |id: Option<&Value>| id.and_then(Value::as_str).is_some_and(|id| only.contains(&id));
    if let Some(packages) = top.get_mut("packages").and_then(Value::as_sequence_mut) {
        packages.retain(|row| wanted(row.get("id")));
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
        // They lie where they lay, wherever the copy of the matrix lies.
        if let Some(relative) = row.get("source").and_then(|source| source.get("path")).and_then(Value::as_str) {
            let absolute = folder.join(relative);
            row.insert("source".into(), path(&absolute));
        }
        if let Some(relative) = row.get("locks").and_then(Value::as_str) {
            let absolute = folder.join(relative).display().to_string();
            row.insert("locks".into(), absolute.into());
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

    const REAL: &str = fixture::MATRIX;

    #[test]
    fn a_variant_says_the_same_but_for_what_was_changed() {
        let real = Matrix::parse(REAL, "matrix.yaml").unwrap();
        let package = real.packages[0].id.to_string();
        let all: Vec<&str> = real.packages.iter().map(|package| &*package.id).collect();
        let copy = Some((package.as_str(), "/some/folder"));
        let text = variant(REAL, "other", &all, Path::new("/here"), copy).unwrap();
        let other = Matrix::parse(&text, "variant").unwrap();
        assert_eq!(&*other.name, "other");
        assert_eq!(other.packages[0].source.path.as_deref(), Some("/some/folder"));
        assert!(other.packages[0].source.pypi.is_none());
        let rest = |mut matrix: Matrix| {
            matrix.packages.remove(0);
            // A path is made absolute.
            matrix.packages.retain(|package| package.source.path.is_none());
            // Where a scalar stands in the text is part of it, and is not what is compared.
            let text = format!("{:?}{:?}{:?}", matrix.packages, matrix.images, matrix.tools);
            text.split("ordinal: ").map(|part| part.trim_start_matches(char::is_numeric).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(rest(real), rest(other));
    }

    #[test]
    fn an_unknown_package_is_an_error() {
        assert!(variant(REAL, "other", &["nowhere"], Path::new("/here"), Some(("nowhere", "/x"))).is_err());
    }

    #[test]
    fn what_is_not_wanted_is_gone_from_the_images_too() {
        let other =
            Matrix::parse(&variant(REAL, "other", &["aerospike-py"], Path::new("/here"), None).unwrap(), "variant");
        let other = other.unwrap();
        assert_eq!(other.packages.len(), 1);
        assert!(other.images.iter().all(|image| image.packages.len() == 1 && image.packages[0] == *"aerospike-py"));
    }
}
