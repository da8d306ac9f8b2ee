//! `cargo xtask bench serve`: load-tests the services of images. Each configuration is run several times in fresh
//! containers, in random order.

mod k6;
mod measure;
mod options;
mod paired;
mod profile;
mod run;
mod scale;
mod vary;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::comparable::comparisons;
use crate::machine::{self, file_time};
use crate::random::Random;
use crate::record::{Config, FILE, Load, MeasuredServer, Record, Sequential, Setup};
use crate::report;
use base::{UsageError, labels, ui};
use build::Project;
use docker::Docker;
use k6::K6;
use matrix::{BenchServe, InterpreterBuild, Matrix, ReferenceFigures, ServeConfig, Word};
pub use options::Options;
use run::Bench;
use service::PreparedServer;

pub fn run(project: &Project, options: &Options) -> Result<()> {
    options.check()?;
    let serve = project.matrix.bench.as_ref().and_then(|bench| bench.serve.as_ref()).ok_or_else(|| {
        anyhow!(UsageError("matrix.yaml has no `bench.serve`, which is required for `bench serve`".to_owned()))
    })?;
    let configs = chosen("configuration", &options.configs, &serve.configs, |config| &config.id)?;
    let configs = vary::varied(&configs, &options.vary)?;
    let scenarios = chosen("scenario", &options.scenarios, &serve.scenarios, |scenario| scenario)?;
    let scenarios = if options.scale.is_some() { vec![closed(&scenarios, serve)?] } else { scenarios };
    let original = original(&project.folder, serve)?;
    let out = match &options.out {
        Some(out) => std::path::absolute(out)?,
        None => project.folder.join("bench-results").join(file_time()?),
    };
    ensure!(
        !out.join(FILE).exists(),
        UsageError(format!("`{}` already contains results: choose another folder with --out", out.display()))
    );

    let docker = service::engine(project, options.yes)?;
    let quick = configs.iter().map(|config| quick_wheels(project, &docker, config)).collect::<Result<Vec<_>>>()?;
    let quick: BTreeSet<String> = quick.into_iter().flatten().collect();
    let configs = configs.iter().map(|config| found(project, &docker, config)).collect::<Result<Vec<_>>>()?;
    let waiting = || project.ui.say("[serve] waiting for another benchmark to finish");
    let _lock = project.cache.lock("bench.lock", &project.cancel, waiting)?;
    let k6 = K6::find(project, &docker, serve)?;
    let tags: Vec<&str> = configs.iter().map(|config| &*config.asked.image).collect();
    let ready = PreparedServer::find(project, &docker, &tags, options.server.as_ref())?;

    let seed = options.seed.unwrap_or_else(|| now() & 0xffff_ffff);
    let load = Load {
        repeat: options.repeat,
        seconds: options.duration,
        vus: options.scale.as_ref().and_then(|users| users.0.last().copied()).unwrap_or(options.vus),
        rate: options.rate,
        records: options.records,
        open: serve
            .open
            .as_ref()
            .filter(|open| scenarios.iter().any(|one| **one == ***open))
            .map(|open| open.to_string()),
        scenarios: scenarios.into_iter().map(|scenario| scenario.to_string()).collect(),
        slice: options.paired.then_some(options.slice),
    };
    let order = order(&configs, options.repeat, seed);
    let server = MeasuredServer {
        kind: ready.server.as_ref().map_or("none".to_owned(), ToString::to_string),
        image: ready.digest()?,
        standin: ready.server == Some(service::ServerChoice::Standin),
    };
    let hardware = format!("{}.", machine::hardware(Some(&docker)).join("; "));
    let mut record = Record::new(Setup {
        when: machine::when(&project.folder)?,
        machine: hardware,
        seed,
        load,
        server,
        k6: k6.record.clone(),
        scripts: k6.scripts.clone(),
        configs,
        metrics: serve.metrics.clone(),
        original,
        order,
    });
    (record.pinned, record.warnings) = pins(&docker, &k6)?;
    let scaled = design(&mut record, options, &docker)?;
    announce(project, &record);
    record.warnings.extend(quick);
    record.warnings.iter().for_each(|warning| project.ui.say(&format!("[serve] warning: {warning}")));

    fs::create_dir_all(out.join("samples")).with_context(|| format!("cannot create `{}`", out.display()))?;
    record.write(&out)?;
    let bench = Bench { project, serve, options, k6: &k6, ready: &ready, out: &out };
    let ended = match (options.paired, scaled.is_empty()) {
        (true, _) => paired::all(&bench, &mut record),
        (false, true) => bench.all(&mut record),
        (false, false) => scale::all(&bench, &mut record, &scaled),
    };
    let ended = match (ended, options.profile) {
        (Ok(()), true) => profile::all(&bench, &mut record),
        (ended, _) => ended,
    };
    // Keep the completed measurements, and record why the rest is missing.
    record.ended = ended.as_ref().err().map(|error| format!("{error:#}").replace('\n', " "));
    record.write(&out)?;
    let failed = report::draw(&out)?;
    ui::print_result(&failed.map(|line| format!("warning: {line}\n")).unwrap_or_default())?;
    ui::print_result(&format!("{}\n{}\n", out.join("report.md").display(), out.join("report.html").display()))?;
    ended?;
    match record.incomplete() {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// Plans what `--precision` and `--scale` ask for, and returns the order of scaling runs.
fn design(record: &mut Record, options: &Options, docker: &Docker) -> Result<Vec<(String, u16)>> {
    let (first, most) = (options.repeat, options.max_repeat);
    record.sequential = options.precision.map(|precision| Sequential { precision, first, most, needed: None });
    ensure!(
        record.sequential.is_none() || !comparisons(record).made.is_empty(),
        UsageError(
            "--precision needs two configurations that differ in one thing; choose others with --config".to_owned()
        )
    );
    let Some(users) = &options.scale else { return Ok(Vec::new()) };
    let own = match &record.pinned {
        Some([_, service, _]) => scale::listed(service),
        None => (0..u16::try_from(docker.info()?.cpus).unwrap_or(1)).collect(),
    };
    let plan = scale::plan(users, options.cpus.as_ref(), own)?;
    let ids: Vec<String> = record.configs.iter().map(|config| config.asked.id.to_string()).collect();
    let order = scale::order(&ids, &plan, options.repeat, record.seed);
    record.order = order.iter().map(|(id, _)| id.clone()).collect();
    record.scale = Some(plan);
    Ok(order)
}

/// Returns the requested items; all if none is requested.
fn chosen<'m, T>(what: &str, asked: &[String], all: &'m [T], name: fn(&T) -> &Word) -> Result<Vec<&'m T>> {
    if let Some(unknown) = asked.iter().find(|asked| !all.iter().any(|one| **name(one) == ***asked)) {
        let choices = ui::quoted(all.iter().map(name));
        bail!(UsageError(format!("there is no {what} `{unknown}`; the choices are {choices}")));
    }
    Ok(all.iter().filter(|one| asked.is_empty() || asked.iter().any(|asked| **name(one) == **asked)).collect())
}

/// Returns the first scenario in which users wait for their answers, because others do not know a number of users.
fn closed<'m>(scenarios: &[&'m Word], serve: &BenchServe) -> Result<&'m Word> {
    let open = |scenario: &Word| serve.open.as_ref().is_some_and(|open| **open == **scenario);
    let found = scenarios.iter().find(|scenario| !open(scenario)).copied();
    found.ok_or_else(|| {
        let names = ui::quoted(scenarios);
        anyhow!(UsageError(format!("--scale needs a scenario whose users wait for their answers, and {names} is none")))
    })
}

fn original(folder: &Path, serve: &BenchServe) -> Result<Option<ReferenceFigures>> {
    let Some(file) = &serve.original else { return Ok(None) };
    let path = folder.join(&**file);
    let text = fs::read_to_string(&path);
    let text = text.map_err(|error| anyhow!(UsageError(format!("cannot read `{}`: {error}", path.display()))))?;
    Matrix::read_beside(&text, file).map(Some).map_err(|error| anyhow!(UsageError(format!("{error:#}"))))
}

/// Returns a warning if an image has wheels that `--quick` built.
fn quick_wheels(project: &Project, docker: &Docker, config: &ServeConfig) -> Result<Option<String>> {
    let (tag, image) = (&config.image, service::image_of(project, docker, &config.image)?);
    let warning = |packages: &String| {
        format!(
            "The image `{tag}` has wheels that were built with `--quick` and are slower than others: {packages}. \
             `cargo xtask image {tag}` builds it without them."
        )
    };
    Ok(image.labels.get(labels::QUICK).map(warning))
}

/// Returns a configuration with its image in the engine.
fn found(project: &Project, docker: &Docker, config: &ServeConfig) -> Result<Config> {
    let image = service::image_of(project, docker, &config.image)?;
    let label = |name: &str| image.labels.get(name).cloned().unwrap_or_default();
    let row = project.matrix.image(&config.image).context("the image is gone from the matrix: this is a bug")?;
    let version = |id: &str| label(&labels::wheel(id)).split(' ').next().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, String> = row.packages.iter().map(|id| (id.to_string(), version(id))).collect();
    let variables = row.env.iter().chain(&config.env).map(|(name, value)| (name.to_string(), value.to_string()));
    Ok(Config {
        asked: config.clone(),
        abi: Some(label(labels::ABI)),
        interpreter: Some(label(labels::INTERPRETER_BUILD)),
        quick: Some(label(labels::QUICK)),
        variables: Some(variables.collect()),
        key: label(labels::KEY),
        optimized: InterpreterBuild::parse(&label(labels::INTERPRETER_BUILD))
            .is_some_and(InterpreterBuild::is_optimized),
        packages,
        digest: image.id,
    })
}

/// Returns the order of runs: each configuration once per round, in random order, so that drift affects all
/// configurations equally.
fn order(configs: &[Config], repeat: u16, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let round = |_| {
        let mut round: Vec<String> = configs.iter().map(|config| config.asked.id.to_string()).collect();
        random.shuffle(&mut round);
        round
    };
    (0..repeat).flat_map(round).collect()
}

fn announce(project: &Project, record: &Record) {
    let Record { load, server, .. } = record;
    let (runs, points) = (record.order.len(), record.scale.as_ref().map_or(1, |scale| scale.users.len()));
    let each = load.seconds * (load.scenarios.len() * points) as u64 + run::warm_up(load.seconds) + 15;
    let minutes = (each * runs as u64).div_ceil(60);
    project.ui.say(&format!("[serve] server: {}", server.kind));
    project
        .ui
        .say(&format!("[serve] {runs} runs, about {minutes} min; do not use the machine meanwhile; stop with Ctrl-C"));
}

/// Returns the processors assigned to each program, and warnings if there are too few processors.
fn pins(docker: &Docker, k6: &K6) -> Result<(Option<[String; 3]>, Vec<String>)> {
    let cores = usize::try_from(docker.info()?.cpus).unwrap_or(1);
    let pinned = watch::shares(cores).filter(|_| which::which("taskset").is_ok() && k6.is_seen());
    let mut warnings = Vec::new();
    if pinned.is_none() {
        warnings.push(format!(
            "Server, application and load generator share {cores} processors and take time from each other: latencies are \
             longer than they would be apart, and a gain of the one can be hidden by the others."
        ));
    }
    if !k6.is_seen() {
        warnings.push("k6 runs in a container: its own processor time is among that of others.".to_owned());
    }
    Ok((pinned, warnings))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_each_configuration_once() {
        let folder = super::super::fixture::folder("order", 1, 1.0);
        let configs = Record::read(&folder.0).unwrap().configs;
        let drawn = order(&configs, 20, 7);
        assert_eq!(drawn, order(&configs, 20, 7));
        assert_ne!(drawn, order(&configs, 20, 8));
        assert!(drawn.chunks(2).all(|round| round[0] != round[1]), "{drawn:?}");
        // The first configuration of a round varies.
        assert!(drawn.chunks(2).any(|round| round[0] == drawn[1]), "{drawn:?}");
    }

    #[test]
    fn what_is_not_there_is_told_with_the_choices() {
        let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        let serve = matrix.bench.unwrap().serve.unwrap();
        let pick = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|asked| (*asked).to_owned()).collect();
            chosen("configuration", &asked, &serve.configs, |config| &config.id).map(|found| found.len())
        };
        assert_eq!((pick(&[]).unwrap(), pick(&["314t", "311"]).unwrap()), (serve.configs.len(), 2));
        let error = pick(&["313t"]).unwrap_err().to_string();
        assert!(error.contains("no configuration `313t`") && error.contains("`314t-with-acme`"), "{error}");
    }

    /// Every figure of the original has a place in our report.
    #[test]
    fn the_original_speaks_of_what_is_measured() {
        let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        let serve = matrix.bench.unwrap().serve.unwrap();
        let top = fixture::invented();
        let original = original(&top, &serve).unwrap().unwrap();
        assert!(!original.figures.is_empty());
        let stages = serve.metrics.as_ref().unwrap().stages.as_ref().unwrap();
        for theirs in &original.figures {
            let config = serve.configs.iter().find(|config| *config.id == *theirs.config);
            let config = config.unwrap_or_else(|| panic!("{theirs:?}"));
            let client = theirs.client.is_empty() || config.clients.iter().any(|client| **client == *theirs.client);
            let scenario = theirs.scenario == "all" || serve.scenarios.iter().any(|one| **one == *theirs.scenario);
            let stage = theirs.figure.strip_prefix("stage ");
            let stage = stage.is_none_or(|stage| stages.order.iter().any(|one| **one == *stage));
            assert!(client && scenario && stage, "{theirs:?}");
        }
    }
}
