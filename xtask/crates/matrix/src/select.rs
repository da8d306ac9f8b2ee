//! Selects rows of the matrix by the command line.

use anyhow::{Result, anyhow, bail};

use crate::abi::Abi;
use crate::package::Package;
use crate::schema::{Image, Matrix};
use base::ui::quoted;

/// Wheels and images to build. Their dependencies follow from the matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Pairs of package and ABI.
    pub wheels: Vec<(String, String)>,
    pub images: Vec<String>,
}

impl Selection {
    /// Selects all wheels, and all images except those with ThreadSanitizer, which are built only if they are named.
    pub fn all(matrix: &Matrix) -> Selection {
        let images = matrix.images.iter().filter(|image| !image.is_instrumented());
        Selection { wheels: rows(matrix, &[], &[]), images: images.map(|image| image.tag.to_string()).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.wheels.is_empty() && self.images.is_empty()
    }
}

/// Selects the wheels of these ABIs and packages; an empty list selects all.
pub fn wheels(matrix: &Matrix, abis: &[String], packages: &[String]) -> Result<Selection> {
    let known_abis: Vec<&str> = matrix.abis.iter().map(|abi| &*abi.id).collect();
    let known_packages: Vec<&str> = matrix.packages.iter().map(|package| &*package.id).collect();
    known("--abi", abis, &known_abis)?;
    known("--package", packages, &known_packages)?;
    Ok(Selection { wheels: rows(matrix, abis, packages), images: Vec::new() })
}

fn rows(matrix: &Matrix, abis: &[String], packages: &[String]) -> Vec<(String, String)> {
    let wanted = |list: &[String], id: &str| list.is_empty() || list.iter().any(|item| item == id);
    let packages = matrix.packages.iter().filter(|package| wanted(packages, &package.id));
    let abis = || matrix.abis.iter().filter(|abi| wanted(abis, &abi.id));
    packages.flat_map(|package| abis().map(|abi| (package.id.to_string(), abi.id.to_string()))).collect()
}

/// Returns the packages with these ids; an empty list selects all.
pub fn packages<'m>(matrix: &'m Matrix, ids: &[String]) -> Result<Vec<&'m Package>> {
    let choices: Vec<&str> = matrix.packages.iter().map(|package| &*package.id).collect();
    known("package", ids, &choices)?;
    let wanted = |package: &&Package| ids.is_empty() || ids.iter().any(|id| package.id == **id);
    Ok(matrix.packages.iter().filter(wanted).collect())
}

/// Returns the ABI with this id.
pub fn abi<'m>(matrix: &'m Matrix, id: &str) -> Result<&'m Abi> {
    matrix.abi(id).ok_or_else(|| {
        let choices = quoted(matrix.abis.iter().map(|abi| &abi.id));
        anyhow!(base::UsageError(format!("there is no ABI `{id}`; the choices are {choices}")))
    })
}

/// Selects the images with these tags; an empty list selects all except those with ThreadSanitizer.
pub fn images(matrix: &Matrix, tags: &[String]) -> Result<Selection> {
    let tags_known: Vec<&str> = matrix.images.iter().map(|image| &*image.tag).collect();
    known("image", tags, &tags_known)?;
    let wanted = |image: &&Image| match tags {
        [] => !image.is_instrumented(),
        tags => tags.iter().any(|tag| image.tag == **tag),
    };
    let images = matrix.images.iter().filter(wanted).map(|image| image.tag.to_string());
    Ok(Selection { wheels: Vec::new(), images: images.collect() })
}

fn known(what: &str, given: &[String], choices: &[&str]) -> Result<()> {
    for item in given {
        if !choices.contains(&item.as_str()) {
            let choices = match choices {
                [] => "it has none".to_owned(),
                choices => format!("the choices are {}", quoted(choices)),
            };
            bail!(base::UsageError(format!("there is no {what} `{item}` in the matrix; {choices}")));
        }
    }
    Ok(())
}
