//! Distributions that cannot be installed because they need one that was not built.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use build::cache::Cache;
use build::lock::required_names;

use crate::check::target::CheckTarget;

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
    target: &CheckTarget,
    missing: &mut BTreeMap<String, String>,
) -> Result<()> {
    let mut needs = Vec::new();
    for CachedWheel { name, sha256 } in wheels {
        let metadata = wheelfile::read_metadata(&cache.blob(sha256));
        let metadata = metadata.with_context(|| format!("cannot read the metadata of `{name}`"))?;
        needs.push((name.clone(), required_names(&metadata.unwrap_or_default(), &target.markers)));
    }
    spread(&needs, missing);
    Ok(())
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
}
