//! Finds with the pinned uv what distributions depend on.

use anyhow::{Context as _, Result};
use base::ui;
use build::Project;
use pep440_rs::VersionSpecifiers;
use wheelfile::normalise;

use crate::uv::{self, Resolution, WithoutWheels};

use super::locked;
use super::target::CheckTarget;
use super::wanted::WantedDistribution;

/// Returns the distributions with everything that they depend on, each with its version. What those without wheels depend
/// on is not known before they are built; they are returned as they are.
pub fn resolve(
    project: &Project,
    wanted: &[WantedDistribution],
    target: &CheckTarget,
) -> Result<Vec<WantedDistribution>> {
    let resolver = Resolver { project, target, python: target.python.to_string() };
    let mut left_out: Vec<String> = Vec::new();
    let mut alone = false;
    let mut found = loop {
        let error = match resolver.ask(wanted, &left_out) {
            Ok(found) => break found,
            Err(error) => error,
        };
        project.cancel.check()?;
        let new = match error.downcast_ref::<WithoutWheels>() {
            Some(without) => without.names.iter().filter(|name| !left_out.contains(name)).cloned().collect(),
            // For instance a name that the index does not have, or a version for other versions of Python.
            None if !std::mem::replace(&mut alone, true) => resolver.unresolvable(wanted, &left_out)?,
            None => Vec::new(),
        };
        if new.is_empty() {
            return Err(error.context(
                "cannot find what the distributions depend on; `--prove` of a uv.lock or pylock.toml needs no search",
            ));
        }
        left_out.extend(new);
    };
    if !left_out.is_empty() {
        project.ui.say(&format!(
            "note: without a wheel for this version of Python: {}; what they depend on is not known",
            ui::quoted(&left_out)
        ));
    }
    for name in left_out {
        let listed = wanted.iter().find(|wanted| normalise(&wanted.name) == name).cloned();
        found.push(listed.unwrap_or_else(|| WantedDistribution::new(&name, VersionSpecifiers::default())));
    }
    Ok(found)
}

struct Resolver<'a> {
    project: &'a Project,
    target: &'a CheckTarget,
    python: String,
}

impl Resolver<'_> {
    fn ask(&self, wanted: &[WantedDistribution], left_out: &[String]) -> Result<Vec<WantedDistribution>> {
        let text = |wanted: &WantedDistribution| match &wanted.elsewhere {
            None => format!("{}{}\n", wanted.name, wanted.versions),
            Some(elsewhere) => format!("{} @ {}\n", wanted.name, elsewhere.place),
        };
        let included = wanted.iter().filter(|wanted| !left_out.contains(&normalise(&wanted.name)));
        let requirements: String = included.map(text).collect();
        if requirements.is_empty() {
            return Ok(Vec::new());
        }
        let resolution = Resolution {
            id: "check",
            what: "find what they depend on",
            requirements: &requirements,
            python: &self.python,
            left_out: left_out.to_vec(),
            ..Resolution::default()
        };
        let text = uv::resolve(self.project, &self.project.tools()?, &resolution)?;
        locked::parse(&text, self.target).context("the answer of uv")
    }

    /// Returns the normalised names of the distributions that cannot be resolved each by itself.
    fn unresolvable(&self, wanted: &[WantedDistribution], left_out: &[String]) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for one in wanted.iter().filter(|wanted| !left_out.contains(&normalise(&wanted.name))) {
            if self.ask(std::slice::from_ref(one), left_out).is_err() {
                self.project.cancel.check()?;
                names.push(normalise(&one.name));
            }
        }
        Ok(names)
    }
}
