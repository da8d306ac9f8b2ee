//! Runs the suites in a container of the image and reports the results.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::options::{Options, Suite, suites};
use crate::plan::{self, PackageTests, TestSource, TestWheels, Tested};
use crate::races::{self, RaceBaseline, RaceFinding};
use crate::result::{self, Case, Results};
use crate::{junit, published, table};
use base::{UsageError, ui};
use build::exchange::Exchange;
use build::facts::Facts;
use build::lock::Pin;
use build::plan::Plan;
use build::{Project, cache};
use docker::{Docker, Job, Network};
use matrix::gil::GilRule;
use matrix::{GilState, LockPurpose};
use service::Borrowed;
use wheelfile::same_name;

/// The plugin of pytest that runs tests in threads, a tool of the matrix.
const RUN_PARALLEL: &str = "pytest-run-parallel";

pub fn run(project: &Project, options: &Options) -> Result<()> {
    matrix::select::images(&project.matrix, std::slice::from_ref(&options.tag))?;
    let image = project.matrix.image(&options.tag).context("the image is not in the matrix: this is a bug")?;
    let image = &only(image, &options.packages)?;
    let own = plan::own(project, image, &options.sources)?;
    let suites = suites(options, !own.is_empty(), plan::has_client(&project.matrix, image))?;
    let docker = service::engine(project, options.yes)?;
    let found = service::image_of(project, &docker, &options.tag)?;
    let own = if suites.iter().any(|suite| suite.is_own_tests()) { own } else { Vec::new() };
    let needs_server = plan::needs_server(&project.matrix, image, &suites, &own);
    if let Some(server) = options.server.as_ref().filter(|_| !needs_server) {
        bail!(UsageError(format!(
            "none of the selected tests uses a server: remove `--server {server}`, or configure in matrix.yaml which tests do, \
             with `tests.client` or `tests.upstream.env`"
        )));
    }
    let wheels = wheels(project, image, &own, suites.contains(&Suite::Parallel))?;
    let controls = controls(project, &docker, image)?;
    let baseline = RaceBaseline::read(project, image)?;
    let sources = own.iter().map(|own| own.source(project)).collect::<Result<Vec<_>>>()?;
    let own: Vec<(PackageTests, TestSource)> = own.into_iter().zip(sources).collect();

    let server = match needs_server {
        true => Some(Borrowed::open(project, &docker, options.server.as_ref())?),
        false => None,
    };
    // What calls unknown functions has no network, even if other suites have.
    let (calling, others): (Vec<Suite>, Vec<Suite>) = suites.iter().partition(|suite| suite.calls_unknown());
    let run_in = |suites: &[Suite], server: Option<&Borrowed>| {
        let (found, own, wheels, controls) = (&found, &own, &wheels, &controls);
        let tested = Tested { project, options, image, found, suites, own, wheels, controls };
        if suites.is_empty() { Ok(Results::default()) } else { in_container(&tested, &docker, server) }
    };
    let results = run_in(&others, server.as_ref()).and_then(|results| Ok(results.followed_by(run_in(&calling, None)?)));
    let kind = server.as_ref().map_or("none".to_owned(), |server| server.kind.clone());
    let returned = server.map_or(Ok(()), Borrowed::give_back);
    let results = results?;
    returned.context("cannot remove the server started for the tests")?;

    let races = races::findings(&results, &baseline, &project.matrix, image)?;
    let known = plan::known(project, image);
    let cases = result::cases(&results, &known, options.fail_fast);
    let free_threaded = project.matrix.abi(&image.abi).is_some_and(matrix::Abi::free_threaded);
    let rule = GilRule::new(image.gil, free_threaded, image.env.get("PYTHON_GIL").map(String::as_str));
    let broken = result::broken_promises(&results, &rule);
    let out = options.out.clone().unwrap_or_else(|| project.folder.join("test-results").join(&options.tag));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create `{}`", out.display()))?;
    cache::write(&out.join("junit.xml"), junit::document(&options.tag, &results, &cases, &races)?.as_bytes())?;

    let server = said_by_server(&kind, &results.servers);
    let free = if free_threaded { "t" } else { "" };
    let python = format!("{}{free}", results.python);
    ui::print_result(&format!("{}:{}, CPython {python}, server: {server}\n", project.matrix.name, options.tag))?;
    ui::print_result(&table::table(&cases))?;
    ui::print_result(&gil_line(image.gil, &results, &broken))?;
    ui::print_result(&table::verdicts(&options.tag, &cases, image.gil))?;
    if image.is_instrumented() {
        let log = serde_json::to_string_pretty(&races::document(&options.tag, &races))?;
        cache::write(&out.join("races.sarif"), log.as_bytes())?;
        ui::print_result(&races::table(&races, &results.libraries))?;
    }
    ui::print_result(&format!("{}\n", out.join("junit.xml").display()))?;
    if options.write {
        let sources = own.iter().map(|(own, source)| (own.package.id.to_string(), revision(own, source))).collect();
        let record = published::ImageRecord::new(published::TestRun {
            found: &found,
            image,
            python,
            server,
            repeat: options.repeat.get(),
            sources,
            cases: &cases,
        })?;
        published::publish(&project.folder, &project.matrix, &options.tag, record)?;
    }
    let bad: Vec<&Case> = cases.iter().filter(|case| case.bad()).collect();
    if let Some((process, how)) = broken.first() {
        let where_ = format!("`{}` of {}", process.case, process.client);
        bail!(
            "the image promises `gil: {}`, but {how}, in {} processes; the first is {where_}",
            image.gil,
            broken.len()
        );
    }
    let new: Vec<&RaceFinding> = races.iter().filter(|finding| finding.reason.is_none()).collect();
    if let Some(first) = new.first() {
        bail!(
            "ThreadSanitizer reported {} new races; the first is a {} in `{}`; see `{}`, and list those that are \
             accepted in the file that `images[].races` of `{}` names",
            new.len(),
            first.kind,
            first.title(),
            out.join("races.sarif").display(),
            image.tag
        );
    }
    if let Some(first) = bad.first() {
        let what = format!("{} of {}, `{}`", first.suite, first.client, first.name);
        bail!(
            "{} of {} cases failed; the first is {what}; see `{}` for the output of each process",
            bad.len(),
            cases.len(),
            out.join("junit.xml").display()
        );
    }
    Ok(())
}

/// Returns the image with only these packages; all if the list is empty.
pub fn only(image: &matrix::Image, packages: &[String]) -> Result<matrix::Image> {
    let mut image = image.clone();
    if let Some(unknown) = packages.iter().find(|id| !image.has_package(id)) {
        let choices = ui::quoted(&image.packages);
        bail!(UsageError(format!("`{}` has no package `{unknown}`; the choices are {choices}", image.tag)));
    }
    image.packages.retain(|id| packages.is_empty() || packages.iter().any(|wanted| **id == **wanted));
    Ok(image)
}

/// Runs the tests in a container as the image's user, who can write only to /tmp, in the server's network or without
/// network.
fn in_container(tested: &Tested, docker: &Docker, server: Option<&Borrowed>) -> Result<Results> {
    let Tested { project, options, suites, .. } = tested;
    let address = server.map(|server| host_and_port(&server.address)).transpose()?;
    let job = Job {
        image: &tested.found.id,
        command: ["python", "-P", "-m", "proving.runner", plan::PLAN].map(str::to_owned).to_vec(),
        env: [("PYTHONPATH", "/suites"), ("PYTHONDONTWRITEBYTECODE", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        network: Network::None,
        join: server.map(|server| server.network.as_str()),
        read_only: true,
        inputs: plan::inputs(tested, address)?,
        ..Job::default()
    };
    let names = suites.iter().map(|suite| suite.name()).collect::<Vec<_>>().join(", ");
    let id = format!("test-{}", options.tag);
    let task = project.ui.start(&id, &names, &project.cache.log(&id));
    task.open_log()?;
    let ended = docker.run(&job, &|line| task.line(line), &project.cancel);
    let results = ended.and_then(|ended| {
        let last = ended.stderr.trim().lines().last().unwrap_or_default().to_owned();
        Results::read(&ended.stdout).with_context(|| format!("exit code {}: {last}", ended.exit))
    });
    task.end(if results.is_ok() { "done" } else { "FAILED" });
    let results = results?;
    if tested.image.is_instrumented() {
        races::check(&results.controls, &results.libraries)
            .context("ThreadSanitizer does not work in this image, so the tests would show nothing")?;
    }
    Ok(results)
}

/// Splits `HOST:PORT` and removes the brackets of an IPv6 address.
fn host_and_port(address: &str) -> Result<(&str, u16)> {
    let (host, port) = address.rsplit_once(':').context("a server without a port: this is a bug")?;
    let port = port.parse().context("a server without a port: this is a bug")?;
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// Returns the controls of ThreadSanitizer, which are compiled if they are not cached; none for images without it.
fn controls(project: &Project, docker: &Docker, image: &matrix::Image) -> Result<Vec<(String, PathBuf)>> {
    if !image.is_instrumented() {
        return Ok(Vec::new());
    }
    let facts = project.facts(false)?;
    let abi = project.matrix.abi(&image.abi).context("an image without an ABI: this is a bug")?;
    let plan = build::planner::controls(&project.matrix, &facts, abi)
        .context("an interpreter with ThreadSanitizer that is not compiled: this is a bug")?;
    let id = plan.steps.last().map(|step| step.id.clone()).unwrap_or_default();
    let context = project.context(&facts, Some(docker));
    let outcomes = build::run::execute_with(&plan, &|step| step.id == id, &context, &Exchange::new(None, None))?;
    let built = outcomes.get(&id).context("the controls have no result: this is a bug")?;
    let files = built.record.output.files.iter();
    Ok(files.map(|file| (file.name.clone(), project.cache.blob(&file.sha256))).collect())
}

/// Returns the wheels for the packages' own tests, from the cache or the package index, verified by digest.
fn wheels(project: &Project, image: &matrix::Image, own: &[PackageTests], parallel: bool) -> Result<TestWheels> {
    if own.is_empty() {
        return Ok(TestWheels::default());
    }
    let facts = project.facts(false)?;
    let abi = project.matrix.abi(&image.abi).context("an image without an ABI: this is a bug")?;
    let mut pins: Vec<Pin> = Vec::new();
    for own in own {
        for pin in facts.required(&project.matrix, own.package, LockPurpose::Tests, abi)? {
            match pins.iter().find(|other| same_name(&other.name, &pin.name)) {
                None => pins.push(pin),
                Some(other) if other.sha256 == pin.sha256 => {}
                Some(_) => {
                    bail!(UsageError(format!("the locks of the packages' tests pin different files of `{}`", pin.name)))
                }
            }
        }
    }
    let id = format!("tests-{}", image.abi);
    let required = fetched(project, &facts, &build::planner::fetch(&project.matrix, &facts, &id, &pins))?;
    let parallel = match parallel {
        true => {
            let plan = build::planner::tool(&project.matrix, &facts, RUN_PARALLEL);
            fetched(project, &facts, &plan.with_context(|| format!("the matrix has no tool `{RUN_PARALLEL}`"))?)?
        }
        false => Vec::new(),
    };
    Ok(TestWheels { required, parallel })
}

/// Returns the files of the last step of a plan, which fetches them.
fn fetched(project: &Project, facts: &Facts, plan: &Plan) -> Result<Vec<(String, PathBuf)>> {
    let id = &plan.steps.last().context("a plan without steps: this is a bug")?.id;
    let context = project.context(facts, None);
    let outcomes = build::run::execute_with(plan, &|step| step.id == *id, &context, &Exchange::new(None, None))?;
    let fetched = outcomes.get(id).context("the fetch step has no result: this is a bug")?;
    let files = fetched.record.output.files.iter();
    Ok(files.map(|file| (file.name.clone(), project.cache.blob(&file.sha256))).collect())
}

/// Summarises the GIL states of the processes. A storm with the GIL enabled does not test free-threading.
pub fn gil_line(promise: GilState, results: &Results, broken: &[(&result::Process, String)]) -> String {
    if let Some((first, how)) = broken.first() {
        return format!("FAILED  GIL: {promise} was promised, and {how} in `{}` of {}\n", first.case, first.client);
    }
    let off = results.processes.iter().filter(|process| process.gil_after == Some(false)).count();
    let aside = match promise {
        GilState::On if off > 0 => format!("; off in {off} of them, which imported no undeclared module"),
        _ => String::new(),
    };
    format!("ok      GIL {promise} as promised, in {} processes{aside}\n", results.processes.len())
}

/// Describes the server, with the information that it reports itself.
fn said_by_server(kind: &str, said: &[String]) -> String {
    match said {
        [] => kind.to_owned(),
        said => format!("{kind} ({})", said.join("; ")),
    }
}

/// Returns the commit of a checkout, with the suffix `-dirty` if tracked files differ from it; the version of an sdist.
fn revision(own: &PackageTests, source: &TestSource) -> String {
    if let (None, Some(version)) = (&own.checkout, own.package.version()) {
        return version.to_owned();
    }
    let checkout = &source.top;
    let described = base::git::output(checkout, &["describe", "--tags", "--always"]);
    // The folder may not be a git repository.
    let Ok(described) = described else { return "unknown".to_owned() };
    let dirty = base::git::changed(checkout, &[]).unwrap_or(true);
    format!("{}{}", String::from_utf8_lossy(&described).trim(), if dirty { "-dirty" } else { "" })
}
