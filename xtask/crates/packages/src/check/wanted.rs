//! Distributions that the user asks about.

use std::str::FromStr as _;

use anyhow::{Result, anyhow};
use pep440_rs::{Operator, Version, VersionSpecifiers};
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};

use super::target::CheckTarget;

/// Distribution with the versions that are admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDistribution {
    pub name: String,
    pub versions: VersionSpecifiers,
    /// Where it comes from, if not from the package index: a URL, or `git+` and a URL.
    pub elsewhere: Option<Elsewhere>,
}

/// Place that is not a package index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    pub place: String,
    /// Names of its files, if known.
    pub files: Vec<String>,
}

impl WantedDistribution {
    pub fn new(name: &str, versions: VersionSpecifiers) -> WantedDistribution {
        WantedDistribution { name: name.to_owned(), versions, elsewhere: None }
    }

    /// Returns the name if the distribution is on the package index.
    pub fn on_index(&self) -> Option<&str> {
        self.elsewhere.is_none().then_some(&*self.name)
    }

    /// Returns the version if only one is admitted.
    pub fn pinned(&self) -> Option<&Version> {
        let pins = |operator: &Operator| matches!(operator, Operator::Equal | Operator::ExactEqual);
        self.versions.iter().find(|one| pins(one.operator())).map(|one| one.version())
    }
}

/// Distributions that apply to the target, in order.
#[derive(Debug, Default)]
pub struct WantedDistributions {
    pub wanted: Vec<WantedDistribution>,
    /// What was ignored.
    pub notes: Vec<String>,
    /// Whether an argument does not list what its distributions depend on.
    pub partial: bool,
}

/// Parses a requirement (PEP 508). `None` if its marker does not apply to the target.
pub fn requirement(text: &str, target: &CheckTarget) -> Result<Option<WantedDistribution>> {
    let parsed = Requirement::<VerbatimUrl>::from_str(text);
    // The error has a second line that points at a column.
    let first = |text: String| text.lines().next().unwrap_or_default().replace(char::is_control, "?");
    let parsed = parsed.map_err(|error| anyhow!(first(error.to_string())))?;
    if !parsed.marker.evaluate(&target.markers, &[]) {
        return Ok(None);
    }
    let name = parsed.name.to_string();
    Ok(Some(match parsed.version_or_url {
        None => WantedDistribution::new(&name, Default::default()),
        Some(VersionOrUrl::VersionSpecifier(versions)) => WantedDistribution::new(&name, versions),
        Some(VersionOrUrl::Url(url)) => {
            let place = url.to_string();
            let files = file_name(&place).into_iter().collect();
            WantedDistribution {
                elsewhere: Some(Elsewhere { place, files }),
                ..WantedDistribution::new(&name, Default::default())
            }
        }
    }))
}

/// Returns the name of a wheel or source distribution at the end of a URL or path.
pub fn file_name(place: &str) -> Option<String> {
    let name = place.split(['#', '?']).next()?.rsplit('/').next()?;
    let name = name.replace("%2B", "+").replace("%2b", "+");
    [".whl", ".tar.gz", ".zip"].iter().any(|suffix| name.ends_with(suffix)).then_some(name)
}
