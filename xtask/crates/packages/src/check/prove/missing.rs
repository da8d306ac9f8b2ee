//! Builds the distributions that have no wheel.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use build::exchange::Exchange;
use build::plan::wheel_id;
use build::run::{Attempt, NotBuilt};
use build::{Missing, OpenOptions, Project, debian, run};
use matrix::{LockPurpose, select};
use wheelfile::{Importable, WheelName};

use super::ProveOptions;
use super::dependents::CachedWheel;
use super::draft;
use crate::add::rows::{self, PackageRow};
use crate::check::target::CheckTarget;
use crate::lock;

/// Maximum number of builds of a distribution, each with the Debian packages that the last one missed.
const ROUNDS: usize = 13;

/// Result of the builds: the distributions that were built, with their wheels.
pub struct Built {
    pub packages: Vec<PackageRow>,
    pub wheels: Vec<CachedWheel>,
    /// Why the others were not built, by id.
    pub failed: BTreeMap<String, String>,
}

/// Temporary project in a folder.
pub struct Workshop<'a> {
    pub project: &'a Project,
    pub target: &'a CheckTarget,
    pub folder: &'a Path,
    pub options: ProveOptions,
}

impl Workshop<'_> {
    /// Builds the wheels of `packages`. Debian packages and requirements that a build misses are added, and it is tried
    /// again.
    pub fn build(&self, mut packages: Vec<PackageRow>) -> Result<Built> {
        let mut failed = BTreeMap::new();
        self.lock(&mut packages, &mut failed)?;
        let mut wheels = Vec::new();
        let mut open: Vec<String> = packages.iter().map(|package| package.id.clone()).collect();
        for _ in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            let attempt = self.attempt(&open, &packages)?;
            for package in packages.iter_mut().filter(|package| open.contains(&package.id)) {
                match self.wheel(package, &attempt)? {
                    Ok(sha256) => {
                        failed.remove(&package.id);
                        wheels.push(CachedWheel { name: package.id.clone(), sha256 });
                    }
                    Err(why) => {
                        failed.insert(package.id.clone(), why);
                    }
                }
            }
            open = self.provide(&mut packages, &attempt);
            if attempt.missing.iter().any(|missing| matches!(missing, Missing::Requirements(_) | Missing::Container(_)))
            {
                self.lock(&mut packages, &mut failed)?;
            }
        }
        packages.retain(|package| !failed.contains_key(&package.id));
        Ok(Built { packages, wheels, failed })
    }

    /// Locks the build requirements of each distribution.
    fn lock(&self, packages: &mut Vec<PackageRow>, failed: &mut BTreeMap<String, String>) -> Result<()> {
        let inner = self.open(packages)?;
        for package in &inner.matrix.packages {
            let locks = lock::resolve(&inner, &[package], &[LockPurpose::Build], false);
            let written = locks.and_then(|locks| locks.iter().try_for_each(|lock| lock.write(&inner)));
            self.project.cancel.check()?;
            if let Err(error) = written {
                let first = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
                failed.insert(package.id.to_string(), format!("its build requirements cannot be locked: {first}"));
            }
        }
        packages.retain(|package| !failed.contains_key(&package.id));
        Ok(())
    }

    /// Builds the distributions with these ids once.
    fn attempt(&self, ids: &[String], packages: &[PackageRow]) -> Result<Attempt> {
        let inner = self.open(packages)?;
        let selection = select::wheels(&inner.matrix, std::slice::from_ref(&self.target.abi), ids)?;
        let (plan, facts) = inner.plan(&selection, self.options.quick)?;
        let exchange = Exchange::new(None, None);
        let docker = inner.prepare(&plan, &facts, self.options.yes, &exchange)?;
        let engine_cores = inner.engine_cores(docker.as_ref());
        let context = build::step::RunContext { engine_cores, ..inner.context(&facts, docker.as_ref()) };
        debian::check(&inner.matrix, &plan, &context, &exchange)?;
        let attempt = run::attempt(&plan, &|_| false, &context, &exchange, true);
        ensure!(!attempt.interrupted, "interrupted");
        Ok(attempt)
    }

    /// Returns the SHA-256 of the wheel, whose modules are added to the row, or why it was not built.
    fn wheel(&self, package: &mut PackageRow, attempt: &Attempt) -> Result<Result<String, String>> {
        let id = wheel_id(&package.id, &self.target.abi);
        let Some(file) = attempt.done.get(&id).and_then(|outcome| outcome.record.output.files.first()) else {
            let step = match attempt.not_built.get(&id) {
                Some(NotBuilt::Needs(step)) => step,
                _ => &id,
            };
            return Ok(Err(attempt.causes.get(step).map_or("its build was not started", |cause| cause).to_owned()));
        };
        let (name, mut modules) = (WheelName::parse(&file.name)?, Importable::default());
        modules.add(&self.project.cache.blob(&file.sha256), &name.distribution, &name.version)?;
        package.import = rows::import_names(&modules);
        Ok(match package.import.is_empty() {
            true => Err("its wheel has no module to import".to_owned()),
            false => Ok(file.sha256.clone()),
        })
    }

    /// Adds what builds missed, and returns the ids of the distributions that got something.
    fn provide(&self, packages: &mut [PackageRow], attempt: &Attempt) -> Vec<String> {
        let mut again = Vec::new();
        for missing in &attempt.missing {
            let Some(package) = packages.iter_mut().find(|package| package.id == missing.package()) else { continue };
            if let Some(text) = package.provide(missing) {
                self.project.ui.say(&format!("[check] {}: {text}", package.id));
                again.push(package.id.clone());
            }
        }
        again
    }

    /// Writes the `matrix.yaml` with these distributions and opens its project.
    pub fn open(&self, packages: &[PackageRow]) -> Result<Project> {
        let file = self.folder.join("matrix.yaml");
        let text = draft::matrix(packages, &self.target.abi)?;
        std::fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
        let options = OpenOptions {
            matrix: Some(&file),
            jobs: NonZeroUsize::new(self.project.cores).filter(|_| !self.project.all_cores),
            fake: self.project.fake,
            needs_matrix: true,
            prunes: false,
        };
        Project::open(&options, self.project.cancel.clone())
    }
}
