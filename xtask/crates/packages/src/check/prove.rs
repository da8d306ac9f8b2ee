//! `cargo xtask check --prove`: builds what has no wheel, installs all in an image, and says which modules switch the GIL
//! on.

mod dependents;
mod draft;
mod missing;

use anyhow::{Context as _, Result, anyhow};
use base::{UsageError, ui};
use build::exchange::Exchange;
use build::index::File;
use build::lock::Pin;
use build::origin::Origin;
use build::step::proof;
use build::{Project, embedded, planner, run};
use docker::Docker;
use matrix::gil::{GilReport, ProbedDistribution};
use matrix::{Abi, Matrix};
use serde::Serialize;
use wheelfile::{normalise, same_name};

use super::Checked;
use super::judge::{Row, WheelState};
use dependents::CachedWheel;
use missing::{Built, Workshop};

/// How the image is made.
#[derive(Debug, Clone, Copy)]
pub struct ProveOptions {
    /// `--yes`
    pub yes: bool,
    /// `--quick`
    pub quick: bool,
}

/// What an image with the wheels of a target showed.
pub struct ProvenImage {
    /// Version of the interpreter.
    pub python: String,
    /// For each row, in the same order.
    pub verdicts: Vec<GilVerdict>,
}

/// What the extension modules of a distribution do with the GIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GilVerdict {
    /// Why the distribution is not in the image.
    pub missing: Option<String>,
    /// Number of modules that declare that they run without the GIL.
    pub declared: usize,
    /// Modules that switch the GIL on when they are imported.
    pub undeclared: Vec<String>,
    /// Modules that cannot be loaded, with the reason.
    pub not_loadable: Vec<String>,
}

/// State of the GIL after the import of a distribution's modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProvenGilState {
    /// It has no extension modules.
    NoExtensionModule,
    Off,
    On,
    /// No module can be loaded.
    Unknown,
    /// The distribution is not in the image.
    Missing,
}

impl ProvenGilState {
    pub fn is_off(self) -> bool {
        matches!(self, ProvenGilState::NoExtensionModule | ProvenGilState::Off)
    }
}

impl GilVerdict {
    pub fn state(&self) -> ProvenGilState {
        match (self.declared, self.undeclared.len(), self.not_loadable.len()) {
            _ if self.missing.is_some() => ProvenGilState::Missing,
            (0, 0, 0) => ProvenGilState::NoExtensionModule,
            (0, 0, _) => ProvenGilState::Unknown,
            (_, 0, _) => ProvenGilState::Off,
            _ => ProvenGilState::On,
        }
    }

    fn of(distribution: &ProbedDistribution) -> GilVerdict {
        let mut verdict = GilVerdict::default();
        for module in &distribution.modules {
            match module.status.as_str() {
                "declared" => verdict.declared += 1,
                "undeclared" => verdict.undeclared.push(module.name.clone()),
                _ => {
                    let why = module.not_loadable().unwrap_or_default();
                    verdict.not_loadable.push(format!("{}: {why}", module.name));
                }
            }
        }
        verdict
    }
}

/// Checks that `--prove` is possible for an ABI.
pub fn check_abi(abi: &str) -> Result<()> {
    let matrix = Matrix::without_rows()?;
    if matrix.abi(abi).is_some_and(Abi::free_threaded) {
        return Ok(());
    }
    let choices = ui::quoted(matrix.abis.iter().filter(|abi| abi.free_threaded()).map(|abi| &abi.id));
    let why = if abi.ends_with('t') { "has no default interpreter in this tool" } else { "always has the GIL" };
    Err(anyhow!(UsageError(format!("--prove: `{abi}` {why}; possible with --abi is {choices}"))))
}

/// Builds what has no wheel, assembles the image of a target, and runs the GIL probe in it.
pub fn prove(project: &Project, checked: &Checked, options: ProveOptions) -> Result<ProvenImage> {
    let target = &checked.target;
    let folder = project.cache.scratch("prove")?;
    let workshop = Workshop { project, target, folder: folder.path(), options };
    let unready = checked.rows.iter().filter(|row| !row.is_ready());
    let unbuilt = unready.filter_map(|row| draft::package(row).transpose());
    let Built { mut packages, mut wheels, failed: mut missing } = workshop.build(unbuilt.collect::<Result<_>>()?)?;
    for row in checked
        .rows
        .iter()
        .filter(|row| row.wheel.is_none() && !packages.iter().any(|package| package.id == normalise(&row.name)))
    {
        missing.entry(normalise(&row.name)).or_insert_with(|| no_source(row));
    }
    if !missing.is_empty() {
        wheels.extend(download(&workshop.open(&[])?, &pins(checked.rows.iter()))?);
        dependents::add(&project.cache, &wheels, target, &mut missing)?;
    }
    packages.retain(|package| !missing.contains_key(&package.id));
    let missing = |row: &Row| missing.get(&normalise(&row.name));
    let present = checked.rows.iter().filter(|row| missing(row).is_none());
    let report = probe(&workshop.open(&packages)?, &pins(present), options)?;
    let verdict = |row: &Row| match report.distributions.iter().find(|probed| same_name(&probed.name, &row.name)) {
        _ if missing(row).is_some() => GilVerdict { missing: missing(row).cloned(), ..GilVerdict::default() },
        Some(probed) => GilVerdict::of(probed),
        None => GilVerdict::default(),
    };
    Ok(ProvenImage { python: report.interpreter.version.clone(), verdicts: checked.rows.iter().map(verdict).collect() })
}

/// Returns why a distribution without a wheel was not built.
fn no_source(row: &Row) -> String {
    match (&row.sdist, row.judged.verdict) {
        (Some(sdist), _) => format!("its source distribution is `{}`, but only .tar.gz can be built", sdist.name),
        (None, WheelState::NotFound) => "the index does not have it".to_owned(),
        (None, _) => "it has no source distribution".to_owned(),
    }
}

/// Returns the wheels to install.
fn pins<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<Pin> {
    let pin = |row: &Row| {
        let File { sha256, .. } = row.wheel.as_ref()?;
        Some(Pin {
            name: row.name.clone(),
            version: row.version.clone()?,
            sha256: sha256.clone(),
            url: None,
            file: None,
            origin: Origin::Unknown,
        })
    };
    rows.filter_map(pin).collect()
}

/// Downloads wheels to the cache.
fn download(project: &Project, pins: &[Pin]) -> Result<Vec<CachedWheel>> {
    const ID: &str = "published-wheels";
    let facts = project.facts(false)?;
    let plan = planner::fetch(&project.matrix, &facts, ID, pins);
    let exchange = Exchange::new(None, None);
    run::execute_with(&plan, &|step| step.id == ID, &project.context(&facts, None), &exchange)?;
    Ok(pins.iter().map(|pin| CachedWheel { name: normalise(&pin.name), sha256: pin.sha256.clone() }).collect())
}

/// Assembles the image and runs the probe, which imports each extension module.
fn probe(project: &Project, pins: &[Pin], options: ProveOptions) -> Result<GilReport> {
    let facts = project.facts(options.quick)?;
    let plan =
        planner::assembly(&project.matrix, &facts, draft::TAG, pins).context("no image to assemble: this is a bug")?;
    let exchange = Exchange::new(None, None);
    let docker: Docker =
        project.prepare(&plan, &facts, options.yes, &exchange)?.context("--prove needs a Docker engine")?;
    let context = build::step::RunContext {
        engine_cores: project.engine_cores(Some(&docker)),
        ..project.context(&facts, Some(&docker))
    };
    let image = plan.steps.last().map(|step| step.id.clone()).unwrap_or_default();
    let outcomes = run::execute_with(&plan, &|step| step.id == image, &context, &exchange)?;
    let built = outcomes.get(&image).and_then(|outcome| outcome.record.output.image.as_ref());
    let built = built.context("the image has no record: this is a bug")?;
    let (report, _) = proof::probe(&docker, &built.reference, embedded::gil_probe(), &[], &project.cancel)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(modules: &[(&str, &str)]) -> GilVerdict {
        let module = |(name, status): &(&str, &str)| {
            let error = if *status == "error" { r#""ImportError: no Tk""# } else { "null" };
            format!(r#"{{"name": "{name}", "status": "{status}", "error": {error}}}"#)
        };
        let modules: Vec<String> = modules.iter().map(module).collect();
        let text = format!(r#"{{"name": "x", "version": "1", "modules": [{}]}}"#, modules.join(","));
        GilVerdict::of(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn one_undeclared_module_switches_the_gil_on() {
        let state = |modules: &[(&str, &str)]| verdict(modules).state();
        assert_eq!(state(&[]), ProvenGilState::NoExtensionModule);
        assert_eq!(state(&[("a", "declared"), ("b", "declared")]), ProvenGilState::Off);
        assert_eq!(state(&[("a", "declared"), ("b", "undeclared")]), ProvenGilState::On);
        assert_eq!(state(&[("a", "undeclared")]), ProvenGilState::On);
        // A module that cannot be loaded cannot switch the GIL on.
        assert_eq!(state(&[("a", "declared"), ("b", "error")]), ProvenGilState::Off);
        assert_eq!(state(&[("a", "error")]), ProvenGilState::Unknown);
        assert_eq!(verdict(&[("a", "error")]).not_loadable, ["a: ImportError: no Tk"]);
        let missing = GilVerdict { missing: Some("not built".to_owned()), ..GilVerdict::default() };
        assert_eq!(missing.state(), ProvenGilState::Missing);
        assert!(!missing.state().is_off() && ProvenGilState::NoExtensionModule.is_off());
    }

    #[test]
    fn only_abis_with_an_interpreter_and_without_a_gil_can_be_proven() {
        assert!(check_abi("cp314t").is_ok());
        let error = |abi: &str| check_abi(abi).unwrap_err().to_string();
        assert!(error("cp314").contains("`cp314` always has the GIL; possible with --abi is `cp314t`"));
        assert!(error("cp399t").contains("no default interpreter"));
    }
}
