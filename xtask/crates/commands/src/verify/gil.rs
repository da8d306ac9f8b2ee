//! `cargo xtask verify --gil off WHEEL`: imports each extension module of wheels that others built in a free-threaded
//! interpreter, and fails if one of them enables the GIL.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use base::environment::{self, Purpose};
use base::{UsageError, ui};
use build::exchange::Exchange;
use build::{Project, embedded, planner, run};
use docker::{Content, ContextFile, Docker, Job, Network};
use matrix::Abi;
use matrix::gil::{GilReport, ProbedModule};
use wheelfile::{ExpectedWheel, Extension, TargetInterpreter, WheelName, WheelReport, parse_glibc};

/// Unpacks the wheels and starts the probe.
const UNPACK: &str = include_str!("unpack.py");

/// Prints what must be known of an interpreter.
const ASK: &str = "import json, sys, sysconfig
print(json.dumps({
    'abi': f'cp{sys.version_info[0]}{sys.version_info[1]}',
    'free_threaded': bool(sysconfig.get_config_var('Py_GIL_DISABLED')),
}))";

/// Checks the wheels, then imports their modules with `python`, by default in a container of a base image.
pub fn check(project: &Project, wheels: &[String], python: Option<&Path>) -> Result<()> {
    let mut files = Vec::new();
    for wheel in wheels {
        let path = std::path::absolute(wheel)?;
        ensure!(path.is_file(), UsageError(format!("`{wheel}` is not a file: --gil checks wheel files")));
        files.push(path);
    }
    let names = files.iter().map(|path| name_of(path)).collect::<Result<Vec<WheelName>>>()?;
    let interpreter = match python {
        Some(python) => Interpreter::of_this_machine(project, python)?,
        None => Interpreter::of_matrix(project, &names)?,
    };
    let mut checked = Vec::new();
    for (path, name) in files.iter().zip(&names) {
        checked.push(interpreter.check_contents(project, path, name)?);
    }
    if checked.iter().all(|wheel| wheel.extensions.is_empty()) {
        let names = ui::quoted(checked.iter().map(|wheel| &wheel.file_name));
        return ui::print_result(&format!("{names}: no extension modules, so the GIL stays off\n  ok\n"));
    }
    let report = match python {
        Some(python) => probe_here(project, python, &files)?,
        None => probe_in_container(project, &interpreter.abi, &files)?,
    };
    ensure!(report.interpreter.free_threaded, "the interpreter that imported the modules is not free-threaded");
    let (text, problems) = judge(&checked, &report);
    ui::print_result(&text)?;
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    ui::print_result("  ok\n")
}

fn name_of(path: &Path) -> Result<WheelName> {
    WheelName::parse(&path.file_name().unwrap_or_default().to_string_lossy())
}

/// Interpreter that imports the modules.
struct Interpreter {
    abi: String,
    /// glibc version of its system; `None` if the wheels are imported on this machine.
    glibc: Option<(u32, u32)>,
}

impl Interpreter {
    /// Asks an interpreter of this machine for its ABI.
    fn of_this_machine(project: &Project, python: &Path) -> Result<Interpreter> {
        #[derive(Deserialize)]
        struct Answer {
            abi: String,
            free_threaded: bool,
        }
        // A name without a folder is looked up in PATH.
        if python.components().count() > 1 && !python.is_file() {
            return Err(anyhow!(UsageError(format!("--python: there is no file `{}`", python.display()))));
        }
        let shell = Shell::new()?;
        let command = environment::apply(cmd!(shell, "{python} -c {ASK}").quiet(), Purpose::Local);
        let said = project.ask("gil", "ask the interpreter", command, "")?;
        let answer: Answer = serde_json::from_str(&said)
            .map_err(|_| anyhow!(UsageError(format!("`{}` is not a Python interpreter", python.display()))))?;
        if !answer.free_threaded {
            let (python, abi) = (python.display(), answer.abi);
            return Err(anyhow!(UsageError(format!(
                "`{python}` is a {abi} interpreter with a GIL: --python needs a free-threaded one, such as python3.14t"
            ))));
        }
        Ok(Interpreter { abi: format!("{}t", answer.abi), glibc: None })
    }

    /// Chooses the first free-threaded ABI of the matrix that all wheels fit.
    fn of_matrix(project: &Project, names: &[WheelName]) -> Result<Interpreter> {
        let matrix = &project.matrix;
        let glibc = parse_glibc(&matrix.root.glibc).context("the glibc version of `root` is not valid")?;
        let fits = |abi: &&Abi| {
            let target = TargetInterpreter { abi: &abi.id, machine: matrix.platform.machine(), glibc };
            abi.free_threaded() && names.iter().all(|name| target.fit_abi(name).is_some())
        };
        let abi = matrix.abis.iter().find(fits).ok_or_else(|| {
            let tags = ui::quoted(names.iter().map(|name| name.abi.join(".")));
            let known = ui::quoted(matrix.abis.iter().filter(|abi| abi.free_threaded()).map(|abi| &abi.id));
            anyhow!(UsageError(format!(
                "no free-threaded interpreter of the matrix can load all of these wheels, whose ABIs are {tags}: give \
                 only wheels for one of {known}, or name an interpreter with --python"
            )))
        })?;
        Ok(Interpreter { abi: abi.id.to_string(), glibc: Some(glibc) })
    }

    /// Checks a wheel without running anything of it.
    fn check_contents(&self, project: &Project, path: &Path, name: &WheelName) -> Result<WheelReport> {
        // Only the ABI is compared here; `wheelfile::check` compares the platform.
        let target = TargetInterpreter { abi: &self.abi, machine: project.matrix.platform.machine(), glibc: (0, 0) };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if target.fit_abi(name).is_none() {
            let (tags, abi) = (name.abi.join("."), &self.abi);
            return Err(anyhow!(UsageError(format!(
                "`{file}` has the ABI `{tags}`, which a {abi} interpreter cannot load"
            ))));
        }
        let expect = ExpectedWheel {
            distribution: &name.distribution,
            version: Some(&name.version),
            abi: &self.abi,
            platform: None,
            max_glibc: self.glibc,
        };
        wheelfile::check(path, &expect).with_context(|| format!("`{file}` is refused"))
    }
}

/// Imports the modules with an interpreter of this machine.
fn probe_here(project: &Project, python: &Path, wheels: &[PathBuf]) -> Result<GilReport> {
    let scratch = project.cache.scratch("gil")?;
    let [probe, unpack, site] = ["gil_probe.py", "unpack.py", "site"].map(|name| scratch.path().join(name));
    for (path, text) in [(&probe, embedded::gil_probe()), (&unpack, UNPACK)] {
        fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let shell = Shell::new()?;
    let command = cmd!(shell, "{python} {unpack} {probe} {site} {wheels...}").quiet();
    let said = project.ask("gil", "import the modules", environment::apply(command, Purpose::Local), "")?;
    serde_json::from_str(&said).context("the output of the GIL probe is not a valid report")
}

/// Imports the modules in a container of the base image, which is built if necessary.
fn probe_in_container(project: &Project, abi: &str, wheels: &[PathBuf]) -> Result<GilReport> {
    let (docker, image) = base_image(project, abi)?;
    let text = |path: &str, text: &str| {
        let source = Content::Bytes(text.as_bytes().to_vec());
        ContextFile { path: path.to_owned(), source, mode: 0o644 }
    };
    let mut inputs = vec![text("/probe/gil_probe.py", embedded::gil_probe()), text("/probe/unpack.py", UNPACK)];
    let mut command = ["python", "/probe/unpack.py", "/probe/gil_probe.py", "/tmp/site"].map(str::to_owned).to_vec();
    for wheel in wheels {
        let name = wheel.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("/wheels/{name}");
        inputs.push(ContextFile { path: path.clone(), source: Content::File(wheel.clone()), mode: 0o644 });
        command.push(path);
    }
    let timeout = Some(Duration::from_secs(600));
    let job = Job { image: &image, command, network: Network::None, inputs, timeout, ..Job::default() };
    let result = docker.run(&job, &|_| {}, &project.cancel)?;
    if result.exit != 0 {
        let last = result.stderr.trim().lines().last().unwrap_or("it printed nothing").to_owned();
        bail!("the GIL probe failed with exit code {}: {last}", result.exit);
    }
    serde_json::from_str(&result.stdout).context("the output of the GIL probe is not a valid report")
}

/// Returns the engine and the reference of the base image with an interpreter without PGO: what a module declares does
/// not depend on it.
fn base_image(project: &Project, abi: &str) -> Result<(Docker, String)> {
    let abi = project.matrix.abi(abi).context("the matrix has no such ABI: this is a bug")?;
    let facts = project.facts(true)?;
    let plan = planner::base(&project.matrix, &facts, abi);
    let exchange = Exchange::new(None, None);
    let docker = project.prepare(&plan, &facts, false, &exchange)?;
    let docker = docker.context("nothing is imported with --fake")?;
    let engine_cores = project.engine_cores(Some(&docker));
    let context = build::step::RunContext { engine_cores, ..project.context(&facts, Some(&docker)) };
    let outcomes = run::execute(&plan, &context, &exchange)?;
    let last = plan.steps.last().and_then(|step| outcomes.get(&step.id));
    let image = last.and_then(|outcome| outcome.record.output.image.as_ref());
    let reference = image.context("the base image was not built: this is a bug")?.reference.clone();
    Ok((docker, reference))
}

/// Returns the description of the wheels, and what is wrong with them.
fn judge(wheels: &[WheelReport], report: &GilReport) -> (String, Vec<String>) {
    let (mut text, mut undeclared, mut problems) = (String::new(), Vec::new(), Vec::new());
    for wheel in wheels {
        text.push_str(&format!("{}\n  sha256      {}\n", wheel.file_name, wheel.sha256));
        let of_wheel = |name: &str| wheelfile::same_name(name, &wheel.name.distribution);
        let probed = report.distributions.iter().filter(|distribution| of_wheel(&distribution.name));
        let modules: BTreeMap<&str, &ProbedModule> =
            probed.flat_map(|probed| &probed.modules).map(|module| (module.name.as_str(), module)).collect();
        for Extension { module, .. } in &wheel.extensions {
            let status = match modules.get(module.as_str()).map(|probed| (&*probed.status, probed.not_loadable())) {
                None => {
                    problems.push(format!("the interpreter did not find `{module}`"));
                    "not found"
                }
                Some(("undeclared", _)) => {
                    undeclared.push(module);
                    "undeclared"
                }
                Some((_, Some(why))) => {
                    problems.push(format!("`{module}` cannot be imported: {why}"));
                    "load failed"
                }
                Some((status, None)) => status,
            };
            text.push_str(&format!("  {status:12}{module}\n"));
        }
    }
    let (names, version) = (ui::quoted(&undeclared), &report.interpreter.version);
    let state = match (undeclared.is_empty(), problems.is_empty()) {
        (false, _) => format!("on in CPython {version}t, enabled by {names}"),
        (true, false) => format!("unknown in CPython {version}t"),
        (true, true) => format!("off in CPython {version}t"),
    };
    text.push_str(&format!("  GIL         {state}\n"));
    if !undeclared.is_empty() {
        problems
            .push(format!("{names} does not declare that it runs without the GIL, and enables it when it is imported"));
    }
    (text, problems)
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::json;
    use wheelfile::{Extension, WheelName, WheelReport};

    fn judged(modules: serde_json::Value) -> (String, Vec<String>) {
        let file_name = "demo-1.0-cp314-cp314t-manylinux_2_28_x86_64.whl".to_owned();
        let extension = |module: &str| {
            let path = format!("{module}.so");
            Extension { path, module: module.to_owned(), glibc: None, needed: Vec::new() }
        };
        let wheel = WheelReport {
            name: WheelName::parse(&file_name).unwrap(),
            file_name,
            sha256: "0".repeat(64),
            size: 1,
            extensions: vec![extension("demo.one"), extension("demo.two")],
            glibc: None,
            bundled: Vec::new(),
        };
        // A module of another distribution, which the interpreter may have, is not judged.
        let other = json!([{"name": "other", "status": "undeclared", "error": null}]);
        let report = json!({
            "interpreter": {"version": "3.14.7", "free_threaded": true, "python_gil": null},
            "distributions": [
                {"name": "Demo", "version": "1.0", "modules": modules},
                {"name": "other", "version": "1.0", "modules": other},
            ],
            "effective": {"state": "off", "switched_on_by": [], "error": null},
        });
        judge(&[wheel], &serde_json::from_value(report).unwrap())
    }

    #[test]
    fn every_module_must_be_found_loaded_and_declared() {
        let module =
            |name: &str, status: &str, error: Option<&str>| json!({"name": name, "status": status, "error": error});
        let one = module("demo.one", "declared", None);
        let (text, problems) = judged(json!([one, module("demo.two", "declared", None)]));
        assert!(problems.is_empty() && text.ends_with("GIL         off in CPython 3.14.7t\n"), "{text}{problems:?}");

        let (text, problems) = judged(json!([one, module("demo.two", "undeclared", None)]));
        assert!(text.contains("undeclared  demo.two") && text.contains("enabled by `demo.two`"), "{text}");
        assert_eq!(problems.len(), 1, "{problems:?}");

        let (text, problems) = judged(json!([one, module("demo.two", "error", Some("ImportError: libx.so.1"))]));
        assert!(text.contains("load failed") && text.contains("unknown"), "{text}");
        assert!(problems[0].contains("libx.so.1"), "{problems:?}");

        let (text, problems) = judged(json!([one]));
        assert!(text.contains("not found   demo.two") && problems[0].contains("did not find"), "{text}{problems:?}");
    }
}
