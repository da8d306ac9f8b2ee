//! Distributions that cannot be installed because they need one that was not built.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use build::cache::Cache;
use pep508_rs::{Requirement, VerbatimUrl};
use wheelfile::normalise;

use crate::check::target::Target;

/// Wheel in the cache.
pub struct CachedWheel {
    /// Normalised name of the distribution.
    pub name: String,
    pub sha256: String,
}

/// Adds to `missing`, by normalised name, the distributions that need a missing one, directly or not, with the reason.
pub fn add(
    cache: &Cache,
    wheels: &[CachedWheel],
    target: &Target,
    missing: &mut BTreeMap<String, String>,
) -> Result<()> {
    let mut needs = Vec::new();
    for CachedWheel { name, sha256 } in wheels {
        let metadata = wheelfile::read_metadata(&cache.blob(sha256));
        let metadata = metadata.with_context(|| format!("cannot read the metadata of `{name}`"))?;
        needs.push((name.clone(), requirements(&metadata.unwrap_or_default(), target)));
    }
    spread(&needs, missing);
    Ok(())
}

/// Returns the normalised names of the distributions that a METADATA requires on the target, without extras.
fn requirements(metadata: &str, target: &Target) -> Vec<String> {
    let fields = metadata.lines().take_while(|line| !line.is_empty());
    let values = fields.filter_map(|line| line.strip_prefix("Requires-Dist:"));
    let parsed = values.filter_map(|text| Requirement::<VerbatimUrl>::from_str(text.trim()).ok());
    let needed = parsed.filter(|requirement| requirement.marker.evaluate(&target.markers, &[]));
    needed.map(|requirement| normalise(requirement.name.as_ref())).collect()
}

fn spread(needs: &[(String, Vec<String>)], missing: &mut BTreeMap<String, String>) {
    loop {
        let next = needs.iter().find_map(|(name, needed)| {
            let open = !missing.contains_key(name);
            let found = needed.iter().find(|needed| missing.contains_key(*needed)).filter(|_| open)?;
            Some((name.clone(), format!("it requires `{found}`, which is missing")))
        });
        let Some((name, why)) = next else { return };
        missing.insert(name, why);
    }
}

#[cfg(test)]
mod tests {
    use matrix::Matrix;

    use super::*;

    #[test]
    fn whatever_needs_a_missing_distribution_is_missing_too() {
        let need = |name: &str, needed: &[&str]| {
            (name.to_owned(), needed.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let needs = [need("top", &["middle"]), need("middle", &["x", "lost"]), need("other", &["x"])];
        let mut missing = BTreeMap::from([("lost".to_owned(), "not built".to_owned())]);
        spread(&needs, &mut missing);
        let wanted = [
            ("lost", "not built"),
            ("middle", "it requires `lost`, which is missing"),
            ("top", "it requires `middle`, which is missing"),
        ];
        assert_eq!(missing.iter().map(|(name, why)| (&**name, &**why)).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn requirements_are_those_of_the_platform_without_extras() {
        let target = Target::new("cp314t", &Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap()).unwrap();
        let metadata = "Metadata-Version: 2.1\nRequires-Dist: Or_json>=3 ; platform_system == 'Linux'\n\
                        Requires-Dist: pywin32 ; sys_platform == 'win32'\nRequires-Dist: x ; extra == 'y'\n\
                        Requires-Dist: ???\n\nRequires-Dist: text\n";
        assert_eq!(requirements(metadata, &target), ["or-json"]);
    }
}
