//! Reads the requirements of a package from its source, without running code of the package.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use pep508_rs::{ExtraName, MarkerEnvironment, Requirement, VerbatimUrl, VersionOrUrl};
use serde::Deserialize;

use super::pylock;
use crate::build_system::{self, BuildSystem};
use matrix::{Abi, LockPurpose, Package};
use wheelfile::{normalise, same_name};

/// Requirement (PEP 508), read strictly.
type Pep508 = Requirement<VerbatimUrl>;

/// Requirements that a build backend asks for when a build starts (`get_requires_for_build_wheel` of PEP 517), so they
/// are not in `build-system.requires`.
const BACKENDS: [(&str, &[&str]); 2] = [("mesonpy", &["ninja"]), ("scikit_build_core", &["cmake", "ninja"])];

/// Names of the dependency groups and extras with the requirements of a package's tests.
const TEST_GROUPS: [&str; 4] = ["test", "tests", "testing", "dev"];

/// Parts of a `pyproject.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyProject {
    project: Option<ProjectTable>,
    #[serde(default)]
    dependency_groups: BTreeMap<String, Vec<GroupEntry>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ProjectTable {
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    dynamic: Vec<String>,
    requires_python: Option<String>,
}

/// Entry of a dependency group (PEP 735).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum GroupEntry {
    Requirement(String),
    #[serde(rename_all = "kebab-case")]
    Group {
        include_group: String,
    },
}

/// What the source of a package says about its requirements.
#[derive(Debug)]
pub struct SourceMetadata {
    build_system: BuildSystem,
    pyproject: PyProject,
    /// Values of `Requires-Dist` and `Requires-Python` in core metadata, if the source or a wheel has such.
    core: Option<CoreMetadata>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct CoreMetadata {
    requires: Vec<String>,
    python: Option<String>,
}

impl SourceMetadata {
    /// Reads `pyproject.toml` and, in an sdist, `PKG-INFO` in `folder`. `built` is the METADATA of a wheel that was
    /// built from the source.
    pub fn read(folder: &Path, built: Option<&str>) -> Result<SourceMetadata> {
        let read = |name: &str| match fs::read_to_string(folder.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => text.map(Some).with_context(|| format!("cannot read `{name}`")),
        };
        let text = read("pyproject.toml")?.unwrap_or_default();
        let pyproject = toml::from_str(&text).context("`pyproject.toml`")?;
        let info = read("PKG-INFO")?;
        let core = built.or(info.as_deref()).map(CoreMetadata::parse);
        Ok(SourceMetadata { build_system: build_system::parse(&text)?, pyproject, core })
    }

    /// Returns the Python versions that the package supports.
    pub fn requires_python(&self) -> Option<&str> {
        let table = self.pyproject.project.as_ref().and_then(|project| project.requires_python.as_deref());
        table.or_else(|| self.core.as_ref()?.python.as_deref())
    }

    /// Returns whether the run-time requirements are those of core metadata, not of `pyproject.toml`.
    pub fn runtime_is_computed(&self) -> bool {
        self.static_dependencies().is_none()
    }

    /// Returns whether the run-time requirements are known. If they are computed by the build, they are known afterwards.
    pub fn knows_runtime(&self) -> bool {
        self.runtime(&[]).is_some()
    }

    /// Returns whether the package supports the Python version of an ABI.
    pub fn supports(&self, abi: &Abi) -> bool {
        self.requires_python().is_none_or(|text| pylock::check_abi(abi, text).is_ok())
    }

    /// Returns the requirements of `package` for a purpose, those of the matrix included.
    pub fn requirements(&self, package: &Package, purpose: LockPurpose) -> Result<Vec<String>> {
        let texts = |list: &[matrix::Requirement]| list.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        let mut found = match purpose {
            LockPurpose::Build => [texts(&package.build.requires), self.build()].concat(),
            LockPurpose::Runtime => {
                let extras: Vec<&str> = package.extras.iter().map(|extra| &**extra).collect();
                let own = self.runtime(&extras).context("the source does not say what the package needs")?;
                [texts(&package.requires), own].concat()
            }
            LockPurpose::Tests => match package.tests.as_ref().map(|tests| texts(&tests.requires)) {
                Some(listed) if !listed.is_empty() => listed,
                _ => [vec!["pytest".to_owned()], self.tests(package.distribution())?].concat(),
            },
        };
        found.sort();
        found.dedup();
        for text in &found {
            let requirement = Pep508::from_str(text);
            let requirement = requirement.with_context(|| format!("cannot read the requirement `{text}`"))?;
            if let Some(VersionOrUrl::Url(_)) = requirement.version_or_url {
                bail!("the requirement `{text}` names a URL instead of a version, which cannot be locked");
            }
        }
        Ok(found)
    }

    fn build(&self) -> Vec<String> {
        let mut requires = self.build_system.requires.clone();
        let backend = self.build_system.backend.split(['.', ':']).next().unwrap_or_default();
        let more = BACKENDS.iter().filter(|(name, _)| *name == backend).flat_map(|(_, more)| more.iter());
        requires.extend(more.map(|name| name.to_string()));
        requires
    }

    /// Returns the table with the dependencies, unless the build computes them.
    fn static_dependencies(&self) -> Option<&ProjectTable> {
        let computed = |field: &String| field == "dependencies" || field == "optional-dependencies";
        self.pyproject.project.as_ref().filter(|project| !project.dynamic.iter().any(computed))
    }

    /// Returns the run-time requirements; `None` if the source does not know them.
    fn runtime(&self, extras: &[&str]) -> Option<Vec<String>> {
        if let Some(project) = self.static_dependencies() {
            let of_extras = extras.iter().filter_map(|extra| of_name(&project.optional_dependencies, extra)).flatten();
            return Some(project.dependencies.iter().chain(of_extras).cloned().collect());
        }
        let core = self.core.as_ref()?;
        Some(core.requires.iter().filter_map(|text| without_extra(text, extras)).collect())
    }

    /// Returns the requirements of the tests in the first group or extra that has a usual name.
    fn tests(&self, distribution: &str) -> Result<Vec<String>> {
        for name in TEST_GROUPS {
            if of_name(&self.pyproject.dependency_groups, name).is_some() {
                return self.group(name, distribution, 0);
            }
            let optional = self.pyproject.project.as_ref().map(|project| &project.optional_dependencies);
            if let Some(extra) = optional.and_then(|optional| of_name(optional, name)) {
                return Ok(self.without_self(extra.clone(), distribution));
            }
        }
        Ok(Vec::new())
    }

    fn group(&self, name: &str, distribution: &str, depth: usize) -> Result<Vec<String>> {
        if depth > 16 {
            bail!("the dependency groups in pyproject.toml include each other");
        }
        let entries = of_name(&self.pyproject.dependency_groups, name);
        let entries = entries.with_context(|| format!("pyproject.toml has no dependency group `{name}`"))?;
        let mut found = Vec::new();
        for entry in entries {
            match entry {
                GroupEntry::Requirement(text) => found.push(text.clone()),
                GroupEntry::Group { include_group } => {
                    found.extend(self.group(include_group, distribution, depth + 1)?)
                }
            }
        }
        Ok(self.without_self(found, distribution))
    }

    /// Replaces a requirement of the package itself, such as `demo[test]`, by the requirements of its extras.
    fn without_self(&self, requirements: Vec<String>, distribution: &str) -> Vec<String> {
        let optional = self.pyproject.project.as_ref().map(|project| &project.optional_dependencies);
        let expand = |text: String| match Pep508::from_str(&text) {
            Ok(own) if same_name(own.name.as_ref(), distribution) => {
                let extras = own.extras.iter().filter_map(|extra| of_name(optional?, extra.as_ref()));
                extras.flatten().filter(|text| !text.starts_with(distribution)).cloned().collect()
            }
            _ => vec![text],
        };
        requirements.into_iter().flat_map(expand).collect()
    }
}

impl CoreMetadata {
    /// Parses the head of core metadata (PKG-INFO or METADATA).
    fn parse(text: &str) -> CoreMetadata {
        let mut core = CoreMetadata::default();
        for line in text.lines().take_while(|line| !line.trim().is_empty()) {
            if let Some(value) = line.strip_prefix("Requires-Dist:") {
                core.requires.push(value.trim().to_owned());
            } else if let Some(value) = line.strip_prefix("Requires-Python:") {
                core.python = Some(value.trim().to_owned());
            }
        }
        core
    }
}

/// Returns the normalised names of the distributions that a METADATA requires in an environment, without extras.
pub fn required_names(metadata: &str, environment: &MarkerEnvironment) -> Vec<String> {
    let texts = CoreMetadata::parse(metadata).requires;
    let parsed = texts.iter().filter_map(|text| Pep508::from_str(text).ok());
    let needed = parsed.filter(|requirement| requirement.marker.evaluate(environment, &[]));
    needed.map(|requirement| normalise(requirement.name.as_ref())).collect()
}

/// Returns the entry of a table with this name, as names of extras and groups are compared (PEP 685).
fn of_name<'t, T>(table: &'t BTreeMap<String, T>, name: &str) -> Option<&'t T> {
    table.iter().find(|(key, _)| same_name(key, name)).map(|(_, value)| value)
}

/// Returns a requirement of core metadata without its condition on extras; `None` if it belongs to another extra.
fn without_extra(text: &str, extras: &[&str]) -> Option<String> {
    let Ok(mut requirement) = Pep508::from_str(text) else {
        return Some(text.to_owned());
    };
    let extras: Vec<ExtraName> = extras.iter().filter_map(|extra| ExtraName::from_str(extra).ok()).collect();
    if !requirement.marker.evaluate_extras(&extras) {
        return None;
    }
    requirement.marker = requirement.marker.simplify_extras(&extras);
    Some(requirement.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixture::Folder;
    use matrix::Matrix;

    fn metadata(pyproject: &str, info: &str) -> SourceMetadata {
        let folder = Folder::new("requirements");
        folder.write("pyproject.toml", pyproject);
        if !info.is_empty() {
            folder.write("PKG-INFO", info);
        }
        SourceMetadata::read(&folder.0, None).unwrap()
    }

    fn package(row: &str) -> Package {
        let text = fixture::MATRIX.replacen("  - id: acme\n", &format!("  - id: acme\n{row}"), 1);
        Matrix::parse(&text, "matrix.yaml").unwrap().package("acme").unwrap().clone()
    }

    #[test]
    fn build_requirements_include_those_of_the_matrix_and_of_the_backend() {
        let build = |text: &str| metadata(text, "").requirements(&package(""), LockPurpose::Build).unwrap();
        assert_eq!(build(""), ["setuptools"], "PEP 518");
        let meson = "[build-system]\nrequires = ['meson-python>=0.18']\nbuild-backend = 'mesonpy'";
        assert_eq!(build(meson), ["meson-python>=0.18", "ninja"]);
        let mut package = package("");
        package.build.requires = Matrix::parse(
            &fixture::MATRIX.replacen("apt: acme-build\n", "apt: acme-build\n      requires: [wheel]\n", 1),
            "matrix.yaml",
        )
        .unwrap()
        .package("acme")
        .unwrap()
        .build
        .requires
        .clone();
        assert_eq!(metadata("", "").requirements(&package, LockPurpose::Build).unwrap(), ["setuptools", "wheel"]);
    }

    #[test]
    fn run_time_requirements_come_from_the_table_or_from_core_metadata() {
        let runtime = |text: &str, info: &str, row: &str| {
            metadata(text, info).requirements(&package(row), LockPurpose::Runtime).map_err(|error| format!("{error:#}"))
        };
        let table = "[project]\nname = 'acme'\ndependencies = ['a>=1']\n[project.optional-dependencies]\nX_y = ['b']\n";
        assert_eq!(runtime(table, "", "").unwrap(), ["a>=1"]);
        assert_eq!(runtime(table, "", "    extras: [x-y]\n    requires: [c]\n").unwrap(), ["a>=1", "b", "c"]);
        let dynamic = "[project]\nname = 'acme'\ndynamic = ['dependencies']\n";
        assert!(runtime(dynamic, "", "").is_err() && !metadata(dynamic, "").knows_runtime());
        let info = "Metadata-Version: 2.1\nRequires-Dist: a>=1\nRequires-Dist: b; extra == 'x'\nRequires-Dist: \
                    c; python_version < '3.12'\n\nRequires-Dist: not-this\n";
        assert_eq!(runtime(dynamic, info, "").unwrap(), ["a>=1", "c ; python_full_version < '3.12'"]);
        assert_eq!(runtime(dynamic, info, "    extras: [x]\n").unwrap().len(), 3);
        let url = "[project]\nname = 'acme'\ndependencies = ['a @ https://host.example/a-1-py3-none-any.whl']\n";
        assert!(runtime(url, "", "").unwrap_err().contains("names a URL"));
    }

    #[test]
    fn required_names_are_those_of_the_platform_without_extras() {
        let python = pep440_rs::Version::from_str("3.14.0").unwrap();
        let environment = crate::markers::environment(&python, base::platform::Platform::LinuxAmd64).unwrap();
        let metadata = "Metadata-Version: 2.1\nRequires-Dist: Or_json>=3 ; platform_system == 'Linux'\n\
                        Requires-Dist: pywin32 ; sys_platform == 'win32'\nRequires-Dist: x ; extra == 'y'\n\
                        Requires-Dist: ???\n\nRequires-Dist: text\n";
        assert_eq!(required_names(metadata, &environment), ["or-json"]);
    }

    #[test]
    fn requirements_of_tests_come_from_a_group_or_an_extra() {
        let tests = |text: &str| metadata(text, "").requirements(&package(""), LockPurpose::Tests);
        assert_eq!(tests("").unwrap(), ["pytest"]);
        let group = "[dependency-groups]\ntest = ['hypothesis', {include-group = 'more'}]\nmore = ['numpy', 'acme[x]']\n\
                     [project]\nname = 'acme'\n[project.optional-dependencies]\nx = ['y']\n";
        assert_eq!(tests(group).unwrap(), ["hypothesis", "numpy", "pytest", "y"]);
        let circle = "[dependency-groups]\ntest = [{include-group = 'test'}]\n";
        assert!(format!("{:#}", tests(circle).unwrap_err()).contains("include each other"));
        let extra = "[project]\nname = 'acme'\n[project.optional-dependencies]\ntesting = ['pytest-asyncio']\n";
        assert_eq!(tests(extra).unwrap(), ["pytest", "pytest-asyncio"]);
    }
}
