//! Collects the files for the container: the runner, its plan, the adapters, and the tests from checkouts.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::options::{Options, Suite};
use base::UsageError;
use base::labels;
use base::working_copy;
use build::Project;
use build::source::{self, UnpackedSource};
use docker::{Content, ContextFile};
use matrix::{Image, Known, Location, Matrix, Package, Upstream, UpstreamEnv};

/// How many times slower programs with ThreadSanitizer are.
const SLOWER: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const CONTROLS: &str = "/controls";
const TOP: &str = "/suites";
const SOURCES: &str = "/sources";
const WHEELS: &str = "/wheels";
const PARALLEL_WHEELS: &str = "/wheels-parallel";
/// Writable folders in the container.
const TOOLS: &str = "/tmp/tools";
const PARALLEL: &str = "/tmp/parallel";
pub const PLAN: &str = "/suites/plan.json";

/// Configuration of pytest, which is copied with the folders of `tests.pytest` if it lies in one of the folders above.
const CONFIGURATION: [&str; 6] = ["conftest.py", "pyproject.toml", "pytest.ini", ".pytest.ini", "setup.cfg", "tox.ini"];

/// Package whose own tests are run.
pub struct PackageTests<'a> {
    pub package: &'a Package,
    /// Files and folders of the source that are copied into the container.
    pub take: Vec<PathBuf>,
    /// Folders with tests.
    pub folders: Vec<&'a str>,
    /// Variables with the address of a server, if the tests need one.
    pub env: Option<&'a UpstreamEnv>,
    /// Folder with a checkout. Without it, the tests are in the source that the wheel is built from.
    pub checkout: Option<PathBuf>,
}

/// The source of a package's tests.
pub struct TestSource {
    pub top: PathBuf,
    /// Files relative to the top.
    files: Vec<PathBuf>,
    /// The source of the package, which may be a folder that is removed on drop.
    _unpacked: Option<UnpackedSource>,
}

impl<'a> PackageTests<'a> {
    /// Returns the tests that the matrix lists for a package.
    fn of(package: &'a Package) -> Option<PackageTests<'a>> {
        let tests = package.tests.as_ref()?;
        let texts = |list: &'a [Location]| list.iter().map(|text| &**text).collect::<Vec<&str>>();
        if let Some(folders) = &tests.pytest {
            let folders = texts(folders.all());
            let take = take(&folders);
            return Some(PackageTests { package, take, folders, env: None, checkout: None });
        }
        let Upstream { source: _, take, folders, env } = tests.upstream.as_ref()?;
        let (take, folders) = (texts(take).iter().map(PathBuf::from).collect(), texts(folders));
        Some(PackageTests { package, take, folders, env: env.as_ref(), checkout: None })
    }

    /// Returns the source with the tests. An sdist is downloaded if it is not cached.
    pub fn source(&self, project: &Project) -> Result<TestSource> {
        if let Some(top) = &self.checkout {
            return Ok(TestSource { top: top.clone(), files: working_copy::list_folder(top)?, _unpacked: None });
        }
        let unpacked = source::unpack(project, &[self.package])?.pop();
        let unpacked = unpacked.context("no source was unpacked: this is a bug")?;
        let below =
            self.package.source.subdirectory.as_ref().map(|folder| PathBuf::from(&**folder)).unwrap_or_default();
        let files = unpacked.files.iter().filter_map(|file| Some(file.strip_prefix(&below).ok()?.to_owned()));
        Ok(TestSource { top: unpacked.top.join(&below), files: files.collect(), _unpacked: Some(unpacked) })
    }
}

/// Returns what is copied for folders with tests.
fn take(folders: &[&str]) -> Vec<PathBuf> {
    let above = folders.iter().flat_map(|folder| Path::new(folder).ancestors().skip(1));
    let configuration = above.flat_map(|folder| CONFIGURATION.map(|name| folder.join(name)));
    folders.iter().map(PathBuf::from).chain(configuration).collect()
}

/// Returns the packages of the image whose own tests can be run, according to `--source` and the matrix.
pub fn own<'a>(project: &'a Project, image: &Image, sources: &[String]) -> Result<Vec<PackageTests<'a>>> {
    let packages = || project.matrix.packages_of(image);
    let able: Vec<PackageTests> = packages().filter_map(PackageTests::of).collect();
    let mut named: Vec<(&str, PathBuf)> = Vec::new();
    for source in sources {
        let by_name = source.split_once('=').filter(|(id, _)| packages().any(|package| package.id == **id));
        let (id, path) = match (by_name, able.as_slice()) {
            (Some((id, path)), _) => (id, path),
            (None, [own]) => (&*own.package.id, source.as_str()),
            _ => bail!(UsageError(format!("`{source}`: write PACKAGE=PATH, for a package of `{}`", image.tag))),
        };
        if !able.iter().any(|own| own.package.id == *id) {
            bail!(UsageError(format!(
                "`{id}` has neither `tests.pytest` nor `tests.upstream` in matrix.yaml, one of which is required to run \
                 its tests"
            )));
        }
        named.push((id, PathBuf::from(path)));
    }
    let mut found = Vec::new();
    for own in able {
        let tests = own.package.tests.as_ref();
        let option = named.iter().find(|(id, _)| own.package.id == **id).map(|(_, path)| path.clone());
        let listed = tests.and_then(|tests| tests.upstream.as_ref()?.source.as_ref());
        let checkout = option.or(listed.map(|path| project.folder.join(&**path)));
        if let Some(checkout) = checkout.as_ref().filter(|folder| !folder.is_dir()) {
            let id = &own.package.id;
            bail!(UsageError(format!("`{}` is not a folder: specify a checkout of `{id}`", checkout.display())));
        }
        // The sdist of a package with `upstream` need not have the tests.
        if checkout.is_some() || tests.is_some_and(|tests| tests.pytest.is_some()) {
            found.push(PackageTests { checkout, ..own });
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
        Suite::Upstream | Suite::Parallel => own.iter().any(|own| own.env.is_some()),
        Suite::Imports | Suite::Driven => false,
    })
}

macro_rules! proving {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../../docker/suites/proving/", $name)))),*]
    };
}

/// The Python package that runs the suites in the container, which is part of this program.
pub const PROVING: [(&str, &str); 21] = proving! {
    "__init__.py"
    "child.py"
    "client.py"
    "drive.py"
    "driven.py"
    "errors.py"
    "find.py"
    "imports.py"
    "lines.py"
    "parallel.py"
    "process.py"
    "records.py"
    "runner.py"
    "sanitizer.py"
    "smoke.py"
    "storm.py"
    "threaded.py"
    "threads.py"
    "upstream.py"
    "values.py"
    "watch.py"
};

/// Wheels for the packages' own tests, by file name.
#[derive(Default)]
pub struct TestWheels {
    /// What the tests need.
    pub required: Vec<(String, PathBuf)>,
    /// What runs them in threads.
    pub parallel: Vec<(String, PathBuf)>,
}

/// Image and packages under test.
pub struct Tested<'a> {
    pub project: &'a Project,
    pub options: &'a Options,
    pub image: &'a Image,
    /// Image in the engine.
    pub found: &'a docker::Image,
    pub suites: &'a [Suite],
    pub own: &'a [(PackageTests<'a>, TestSource)],
    pub wheels: &'a TestWheels,
    /// Controls of ThreadSanitizer, by file name; empty for images without it.
    pub controls: &'a [(String, PathBuf)],
}

/// Returns all files for the container. `server` is host and port.
pub fn inputs(tested: &Tested, server: Option<(&str, u16)>) -> Result<Vec<ContextFile>> {
    let Tested { project, options, image, found, suites, own, wheels, controls } = tested;
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
    for (own, source) in *own {
        let top = format!("{SOURCES}/{}", own.package.id);
        let folders = sources(own, source, &top, &mut files)?;
        let mut env = BTreeMap::new();
        if let (Some(names), Some((host, port))) = (own.env, server) {
            env.insert(names.host.to_string(), host.to_owned());
            env.insert(names.port.to_string(), port.to_string());
        }
        env.extend(options.env.iter().cloned());
        upstream.push(json!({
            "id": own.package.id, "imports": own.package.import, "folders": folders, "source": top, "env": env,
        }));
    }
    let folders = [(WHEELS, TOOLS, &wheels.required), (PARALLEL_WHEELS, PARALLEL, &wheels.parallel)];
    for (folder, _, wheels) in folders {
        for (name, path) in wheels {
            let source = Content::File(path.clone());
            files.push(ContextFile { path: format!("{folder}/{name}"), source, mode: 0o644 });
        }
    }
    let unpack = folders.iter().filter(|(.., wheels)| !wheels.is_empty()).map(|(folder, to, _)| [folder, to]);
    for (name, path) in *controls {
        let source = Content::File(path.clone());
        files.push(ContextFile { path: format!("{CONTROLS}/{name}"), source, mode: 0o755 });
    }
    // Programs with ThreadSanitizer are about ten times slower.
    let limit = options.limit.saturating_mul(if image.is_instrumented() { SLOWER } else { NonZeroU32::MIN });
    let plan = json!({
        "sanitizer": (!controls.is_empty()).then_some(CONTROLS),
        "host": server.map(|(host, _)| host),
        "port": server.map(|(_, port)| port),
        "limit": limit,
        "suites": suites.iter().map(|suite| suite.name()).collect::<Vec<_>>(),
        "repeat": options.repeat.get(),
        "scenarios": options.scenarios,
        "without": options.without,
        "fail_fast": options.fail_fast,
        "seed": options.seed,
        // As found when the image was checked.
        "undeclared": found.labels.get(labels::UNDECLARED).map_or(Vec::new(), |names| names.split_whitespace().collect()),
        "unpack": unpack.collect::<Vec<_>>(),
        "tools": TOOLS,
        "parallel": PARALLEL,
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

/// Adds the tests of a source and returns the folders with tests that exist. Nothing else of the source is copied, so it
/// cannot shadow the installed package.
fn sources<'a>(
    own: &PackageTests<'a>,
    source: &TestSource,
    top: &str,
    files: &mut Vec<ContextFile>,
) -> Result<Vec<&'a str>> {
    let has = |folder: &&str| source.files.iter().any(|name| name.starts_with(folder));
    let folders: Vec<&str> = own.folders.iter().copied().filter(has).collect();
    if folders.is_empty() {
        let (wanted, id) = (base::ui::quoted(&own.folders), &own.package.id);
        let message = match (&own.checkout, &own.package.source.path) {
            (Some(folder), _) => {
                format!("`{}` contains none of {wanted}: specify a checkout of `{id}`, not its sdist", folder.display())
            }
            (None, Some(path)) => format!("`{path}` contains none of {wanted}: correct `tests.pytest` of `{id}`"),
            (None, None) => {
                format!("the sdist of `{id}` contains none of {wanted}: specify a checkout with `--source`")
            }
        };
        return Err(anyhow!(UsageError(message)));
    }
    for name in &source.files {
        let Some(text) = name.to_str() else { continue };
        if own.take.iter().any(|path| name.starts_with(path)) {
            let source = Content::File(source.top.join(name));
            files.push(ContextFile { path: format!("{top}/{text}"), source, mode: 0o644 });
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::{PackageTests, TestSource, sources, take};
    use base::UsageError;
    use base::working_copy::list_folder;
    use fixture::Folder;
    use matrix::Matrix;

    #[test]
    fn only_tests_and_the_configuration_of_pytest_are_copied() {
        let copy = Folder::new("pytest");
        copy.write("tests/unit/test_a.py", "")
            .write("conftest.py", "")
            .write("acme/__init__.py", "")
            .write("acme/conftest.py", "")
            .write("acme/core/core.py", "")
            .write("acme/core/tests/test_b.py", "")
            .write("acme/other/conftest.py", "")
            .write("setup.py", "");
        let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        let package = matrix.package("acme").unwrap();
        let source = TestSource { top: copy.0.clone(), files: list_folder(&copy.0).unwrap(), _unpacked: None };
        let copied = |folders: &[&'static str]| {
            let own =
                PackageTests { package, take: take(folders), folders: folders.to_vec(), env: None, checkout: None };
            let mut files = Vec::new();
            let found = sources(&own, &source, "/sources/acme", &mut files)?;
            anyhow::Ok((found, files.into_iter().map(|file| file.path).collect::<Vec<_>>()))
        };
        let (found, files) = copied(&["tests/unit", "benchmarks"]).unwrap();
        assert_eq!(found, ["tests/unit"]);
        assert_eq!(files, ["/sources/acme/conftest.py", "/sources/acme/tests/unit/test_a.py"]);
        let (_, files) = copied(&["acme/core/tests"]).unwrap();
        let expected = ["acme/conftest.py", "acme/core/tests/test_b.py", "conftest.py"];
        assert_eq!(files, expected.map(|name| format!("/sources/acme/{name}")));
        let error = copied(&["test"]).unwrap_err();
        assert!(error.is::<UsageError>());
        assert_eq!(
            error.to_string(),
            "the sdist of `acme` contains none of `test`: specify a checkout with `--source`"
        );
    }
}
