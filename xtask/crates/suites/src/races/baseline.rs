//! Baseline of reviewed races, each with a reason.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;

use super::RaceFinding;
use base::UsageError;
use build::Project;
use matrix::{Image, Matrix};

/// Contents of a baseline file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaceBaseline {
    pub races: Vec<Accepted>,
}

/// A race that was reviewed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The functions in which the threads met.
    pub functions: Vec<String>,
    /// Why it is accepted, as a sentence.
    pub reason: String,
}

impl RaceBaseline {
    /// Reads the file that `images[].races` names; empty without that field.
    pub fn read(project: &Project, image: &Image) -> Result<RaceBaseline> {
        let Some(file) = &image.races else { return Ok(RaceBaseline::default()) };
        let text = std::fs::read_to_string(project.folder.join(&**file))
            .with_context(|| format!("cannot read `{file}`"))
            .map_err(|error| anyhow!(UsageError(format!("images[].races of `{}`: {error:#}", image.tag))))?;
        RaceBaseline::parse(&text, file)
    }

    /// Parses a file. Errors refer to it as `file`.
    pub fn parse(text: &str, file: &str) -> Result<RaceBaseline> {
        let mut baseline: RaceBaseline = Matrix::read_beside(text, file)?;
        for accepted in &mut baseline.races {
            accepted.functions.sort();
            if accepted.reason.trim().is_empty() {
                bail!(UsageError(format!("{file}: the race of {} has no reason", accepted.functions.join(" and "))));
            }
        }
        Ok(baseline)
    }

    /// Returns the reason for which a race is accepted.
    pub fn reason(&self, finding: &RaceFinding) -> Option<&str> {
        let found = self.races.iter().find(|accepted| accepted.functions == finding.functions)?;
        Some(&found.reason)
    }
}
