//! Collects the files for the container: the runner, its plan, the adapters, and the tests from checkouts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::options::{Options, Suite};
use base::UsageError;
use base::labels;
use base::working_copy;
use build::Project;
use docker::{Content, ContextFile};
use matrix::{Image, Known, Matrix, Package, Upstream};

const TOP: &str = "/suites";
const SOURCES: &str = "/sources";
const WHEELS: &str = "/wheels";
/// Writable folder in the container.
const TOOLS: &str = "/tmp/tools";
pub const PLAN: &str = "/suites/plan.json";

/// Package whose own tests are run from a checkout.
pub struct PackageTests<'a> {
    pub package: &'a Package,
    pub upstream: &'a Upstream,
    pub checkout: PathBuf,
}

/// Returns the packages of the image whose own tests can be run, according to `--source` and the matrix.
pub fn own<'a>(project: &'a Project, image: &Image, sources: &[String]) -> Result<Vec<PackageTests<'a>>> {
    let packages = || project.matrix.packages_of(image);
    let able: Vec<(&Package, &Upstream)> =
        packages().filter_map(|package| Some((package, package.tests.as_ref()?.upstream.as_ref()?))).collect();
    let mut named: Vec<(&str, PathBuf)> = Vec::new();
    for source in sources {
        let by_name = source.split_once('=').filter(|(id, _)| packages().any(|package| package.id == **id));
        let (id, path) = match (by_name, able.as_slice()) {
            (Some((id, path)), _) => (id, path),
            (None, [(package, _)]) => (&*package.id, source.as_str()),
            _ => bail!(UsageError(format!("`{source}`: write PACKAGE=PATH, for a package of `{}`", image.tag))),
        };
        if !able.iter().any(|(package, _)| package.id == *id) {
            bail!(UsageError(format!(
                "`{id}` has no `tests.upstream` in matrix.yaml, which is required to run its tests"
            )));
        }
        named.push((id, PathBuf::from(path)));
    }
    let mut found = Vec::new();
    for (package, upstream) in able {
        let options = named.iter().find(|(id, _)| package.id == **id).map(|(_, path)| path.clone());
        let listed = upstream.source.as_ref().map(|path| project.folder.join(&**path));
        if let Some(checkout) = options.or(listed) {
            if !checkout.is_dir() {
                bail!(UsageError(format!(
                    "`{}` is not a folder: specify a checkout of `{}`",
                    checkout.display(),
                    package.id
                )));
            }
            found.push(PackageTests { package, upstream, checkout });
        }
    }
    Ok(found)
}

/// Returns the known crashes of the image with their clients.
pub fn known(project: &Project, image: &Image) -> Vec<(String, Known)> {
    let packages = project.matrix.packages_of(image);
    let rows = packages.flat_map(|package| {
        package.tests.iter().flat_map(|tests| &tests.known).map(|known| (package.id.to_string(), known.clone()))
    });
    rows.filter(|(_, known)| known.promise == image.gil).collect()
}

/// Returns whether a package of the image has an adapter, with which smoke and storm access a server.
pub fn has_client(matrix: &Matrix, image: &Image) -> bool {
    let mut tests = matrix.packages_of(image).filter_map(|package| package.tests.as_ref());
    tests.any(|tests| tests.client.is_some())
}

/// Returns whether these suites need a server according to the matrix: because of an adapter, or of variables for the
/// package's own tests.
pub fn needs_server(matrix: &Matrix, image: &Image, suites: &[Suite], own: &[PackageTests]) -> bool {
    suites.iter().any(|suite| match suite {
        Suite::Smoke | Suite::Storm => has_client(matrix, image),
        Suite::Upstream => own.iter().any(|own| own.upstream.env.is_some()),
    })
}

macro_rules! proving {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../../docker/suites/proving/", $name)))),*]
    };
}

/// The Python package that runs the suites in the container, which is part of this program.
pub const PROVING: [(&str, &str); 10] = proving! {
    "__init__.py"
    "child.py"
    "client.py"
    "errors.py"
    "process.py"
    "records.py"
    "runner.py"
    "smoke.py"
    "storm.py"
    "upstream.py"
};

/// Image and packages under test.
pub struct Tested<'a> {
    pub project: &'a Project,
    pub options: &'a Options,
    pub image: &'a Image,
    /// Image in the engine.
    pub found: &'a docker::Image,
    pub suites: &'a [Suite],
    pub own: &'a [PackageTests<'a>],
    /// Wheels that the packages' own tests need, by file name.
    pub wheels: &'a [(String, PathBuf)],
}

/// Returns all files for the container. `server` is host and port.
pub fn inputs(tested: &Tested, server: Option<(&str, u16)>) -> Result<Vec<ContextFile>> {
    let Tested { project, options, image, found, suites, own, wheels } = tested;
    let mut files = Vec::new();
    for (name, text) in PROVING {
        let source = Content::Bytes(text.as_bytes().to_vec());
        files.push(ContextFile { path: format!("{TOP}/proving/{name}"), source, mode: 0o644 });
    }
    let known = known(project, image);
    let (mut packages, mut clients) = (Vec::new(), Vec::new());
    for package in project.matrix.packages_of(image) {
        packages.push(json!({"id": package.id, "imports": package.import}));
        let Some(client) = package.tests.as_ref().and_then(|tests| tests.client.as_ref()) else { continue };
        let adapter = project.folder.join(&**client);
        ensure!(
            adapter.is_file(),
            UsageError(format!("matrix.yaml: packages[].tests.client of `{}`: `{client}` does not exist", package.id))
        );
        let adapter = file(&format!("{TOP}/clients/{}", package.id), &adapter)?;
        let rows = known.iter().filter(|(id, _)| package.id == **id);
        let rows: Vec<Value> =
            rows.map(|(_, known)| json!({"scenario": known.scenario, "without": known.without})).collect();
        clients.push(json!({
            "id": package.id, "file": adapter.path, "imports": package.import, "known": rows,
        }));
        files.push(adapter);
    }
    let mut upstream = Vec::new();
    for own in *own {
        let top = format!("{SOURCES}/{}", own.package.id);
        let folders = sources(own, &top, &mut files)?;
        let mut env = BTreeMap::new();
        if let (Some(names), Some((host, port))) = (&own.upstream.env, server) {
            env.insert(names.host.to_string(), host.to_owned());
            env.insert(names.port.to_string(), port.to_string());
        }
        env.extend(options.env.iter().cloned());
        upstream.push(json!({
            "id": own.package.id, "imports": own.package.import, "folders": folders, "source": top, "env": env,
        }));
    }
    for (name, path) in *wheels {
        let source = Content::File(path.clone());
        files.push(ContextFile { path: format!("{WHEELS}/{name}"), source, mode: 0o644 });
    }
    let plan = json!({
        "host": server.map(|(host, _)| host),
        "port": server.map(|(_, port)| port),
        "limit": options.limit,
        "suites": suites.iter().map(|suite| suite.name()).collect::<Vec<_>>(),
        "repeat": options.repeat.get(),
        "scenarios": options.scenarios,
        "without": options.without,
        "fail_fast": options.fail_fast,
        // As found when the image was checked.
        "undeclared": found.labels.get(labels::UNDECLARED).map_or(Vec::new(), |names| names.split_whitespace().collect()),
        "wheels": (!wheels.is_empty()).then_some(WHEELS),
        "tools": TOOLS,
        "packages": packages,
        "clients": clients,
        "upstream": upstream,
    });
    files.push(ContextFile {
        path: PLAN.to_owned(),
        source: Content::Bytes(plan.to_string().into_bytes()),
        mode: 0o644,
    });
    Ok(files)
}

fn file(folder: &str, path: &Path) -> Result<ContextFile> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("`{}` has an unsupported file name", path.display()))?;
    Ok(ContextFile { path: format!("{folder}/{name}"), source: Content::File(path.to_owned()), mode: 0o644 })
}

/// Adds the tests of a checkout and returns the folders with tests that exist. Nothing else of the checkout is
/// copied, so it cannot shadow the installed package.
fn sources(own: &PackageTests, top: &str, files: &mut Vec<ContextFile>) -> Result<Vec<String>> {
    let listed = working_copy::list_folder(&own.checkout)?;
    let mut taken = 0;
    for name in &listed {
        let Some(text) = name.to_str() else { continue };
        if own.upstream.take.iter().any(|path| name.starts_with(&**path)) {
            let source = Content::File(own.checkout.join(name));
            files.push(ContextFile { path: format!("{top}/{text}"), source, mode: 0o644 });
            taken += 1;
        }
    }
    let folders = own.upstream.folders.iter().filter(|folder| listed.iter().any(|name| name.starts_with(&***folder)));
    let folders: Vec<String> = folders.map(|folder| folder.to_string()).collect();
    if taken == 0 || folders.is_empty() {
        let wanted = base::ui::quoted(&own.upstream.folders);
        return Err(anyhow!(UsageError(format!(
            "`{}` contains none of {wanted}: specify a checkout of `{}`, not its sdist",
            own.checkout.display(),
            own.package.id
        ))));
    }
    Ok(folders)
}
