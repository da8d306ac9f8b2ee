//! Creates plans from the matrix and a selection. All dependencies between steps are defined here.

mod image;
mod instrumented;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

pub use instrumented::controls;

use crate::facts::Facts;
use crate::lock::Pin;
use crate::origin::Origin;
use crate::plan::{
    Action, Apt, Container, Download, Fetch, Imports, Maturin, Patch, Plan, Published, Root, Stable, Step, Tools, Wheel,
};
use crate::plan::{patched_id, sdist_id, wheel_id};
use crate::step::{self, quick};
use base::digest;
use base::platform::Platform;
use matrix::select::Selection;
use matrix::{Abi, Builder, Digest, InterpreterBuild, LockPurpose, Matrix, Package, Tool, Version};
use wheelfile::{normalise, same_name};

/// Tools whose versions affect a wheel built with maturin.
const WHEEL_TOOLS: [&str; 2] = ["maturin", "ziglang"];

/// Returns the steps that build the selected wheels and images.
pub fn plan(matrix: &Matrix, selection: &Selection, facts: &Facts) -> Plan {
    let mut planner = Planner { matrix, facts, plan: Plan::default() };
    for tag in &selection.images {
        planner.proof(tag);
    }
    for (package, abi) in &selection.wheels {
        if let (Some(package), Some(abi)) = (matrix.package(package), matrix.abi(abi)) {
            planner.wheel(package, abi);
        }
    }
    planner.plan
}

/// Checks that the build requirements of all planned wheels are locked.
pub fn check_build_locks(facts: &Facts, matrix: &Matrix, plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        let Action::Container(Container { wheel, .. }) = &step.action else { continue };
        if let (Some(package), Some(abi)) = (matrix.package(&wheel.package), matrix.abi(&wheel.abi))
            && package.build.with == Builder::Container
        {
            facts.required(matrix, package, LockPurpose::Build, abi)?;
        }
    }
    Ok(())
}

/// Returns the steps that fetch the sources of these packages from the package index.
pub fn sources(matrix: &Matrix, packages: &[&Package], facts: &Facts) -> Plan {
    let mut planner = Planner { matrix, facts, plan: Plan::default() };
    for package in packages {
        planner.sdist(package);
    }
    planner.plan
}

/// Returns the step that installs the pinned tools.
pub fn tools(matrix: &Matrix, facts: &Facts) -> Plan {
    let mut planner = Planner { matrix, facts, plan: Plan { whole: true, ..Plan::default() } };
    planner.tools();
    planner.plan
}

/// Returns the steps that build the base image of an ABI, which the last step does.
pub fn base(matrix: &Matrix, facts: &Facts, abi: &Abi) -> Plan {
    let mut planner = Planner { matrix, facts, plan: Plan::default() };
    planner.base(abi, None, &BTreeSet::new());
    planner.plan
}

/// Returns the steps that fetch pinned wheels not belonging to an image. The last step has the id `id`.
pub fn fetch(matrix: &Matrix, facts: &Facts, id: &str, pins: &[Pin]) -> Plan {
    let mut planner = Planner { matrix, facts, plan: Plan::default() };
    planner.index(id.to_owned(), downloads(pins));
    planner.plan
}

/// Returns the steps that fetch the wheel of a tool, which the last step does; `None` if the matrix has no such tool.
pub fn tool(matrix: &Matrix, facts: &Facts, name: &str) -> Option<Plan> {
    let mut planner = Planner { matrix, facts, plan: Plan::default() };
    planner.tool(name)?;
    Some(planner.plan)
}

/// Returns the steps that assemble an image with further pinned wheels, without its proof. The last step is the image;
/// `None` if the matrix has no such image.
pub fn assembly(matrix: &Matrix, facts: &Facts, tag: &str, pins: &[Pin]) -> Option<Plan> {
    let mut planner = Planner { matrix, facts, plan: Plan::default() };
    let further = planner.index(format!("further-{tag}"), downloads(pins));
    planner.image(tag)?;
    let step = planner.plan.steps.last_mut()?;
    let Action::Image(image) = &mut step.action else { return None };
    image.locked.push(further.clone());
    step.needs.push(further);
    Some(planner.plan)
}

fn downloads(pins: &[Pin]) -> Vec<Download> {
    let download = |pin: &Pin| Download {
        name: pin.file.clone().unwrap_or_else(|| format!("{}=={}", pin.name, pin.version)),
        sha256: pin.sha256.clone(),
        from: pin.url.iter().cloned().collect(),
        origin: pin.origin.clone(),
    };
    pins.iter().map(download).collect()
}

struct Planner<'a> {
    matrix: &'a Matrix,
    facts: &'a Facts,
    plan: Plan,
}

impl Planner<'_> {
    /// Adds a step unless it exists. `files` are the files below `docker/` that it uses.
    fn add(&mut self, id: String, needs: Vec<String>, files: &[&str], action: Action) -> String {
        if self.plan.step(&id).is_none() {
            let mut inputs: BTreeMap<String, String> = files
                .iter()
                .map(|name| (name.to_string(), digest::of(self.facts.files.get(*name).map_or("", |text| text))))
                .collect();
            inputs.insert("revision".to_owned(), step::revision(&action));
            // Without this input the key is that of the default platform.
            if self.facts.platform != Platform::default() {
                inputs.insert("platform".to_owned(), self.facts.platform.oci().to_owned());
            }
            if self.facts.fake {
                inputs.insert("fake".to_owned(), "yes".to_owned());
            }
            let rustc = |wheel: &Wheel| self.facts.rustc(wheel.toolchain.as_deref()).to_owned();
            match &action {
                Action::Maturin(Maturin { wheel, .. }) => {
                    inputs.insert("rustc".to_owned(), rustc(wheel));
                    inputs.insert("cargo-config".to_owned(), self.facts.cargo_config.clone());
                }
                Action::Container(Container { wheel, rust: true, instrumented: None, .. }) => {
                    inputs.insert("rustc".to_owned(), rustc(wheel));
                }
                // These do not use the Rust compiler of this machine.
                Action::Tools(_)
                | Action::Fetch(_)
                | Action::Patch(_)
                | Action::Root(_)
                | Action::Apt(_)
                | Action::Python(_)
                | Action::Base(_)
                | Action::Container(_)
                | Action::Controls(_)
                | Action::Published(_)
                | Action::Stable(_)
                | Action::Image(_)
                | Action::Proof(_) => {}
            }
            self.plan.steps.push(Step { id: id.clone(), needs, inputs, action });
        }
        id
    }

    fn tools(&mut self) -> String {
        let tools = self.matrix.tools.iter().filter(|tool| !tool.tests).cloned();
        let action = Action::Tools(Tools { tools: tools.collect() });
        self.add("tools".to_owned(), vec![], &[], action)
    }

    /// Adds a step that fetches pinned files of the package index.
    fn pinned(&mut self, id: String, files: Vec<(&str, &Version, &Digest)>) -> String {
        let files = files.into_iter().map(|(name, version, sha256)| Download {
            name: format!("{name}=={version}"),
            sha256: sha256.to_string(),
            from: Vec::new(),
            origin: Origin::Matrix(sha256.ordinal),
        });
        self.index(id, files.collect())
    }

    fn index(&mut self, id: String, files: Vec<Download>) -> String {
        // The pip of the tools determines the user's package index.
        let tools = self.tools();
        self.add(id, vec![tools], &[], Action::Fetch(Fetch { files }))
    }

    /// Adds a step that fetches the wheel of a tool, for use in containers.
    fn tool(&mut self, name: &str) -> Option<String> {
        let tool = self.matrix.tools.iter().find(|tool| tool.name == *name)?;
        Some(self.pinned(format!("tool-{name}"), vec![(name, &tool.version, &tool.sha256)]))
    }

    fn archive(&mut self, id: &str) -> String {
        let files = self
            .matrix
            .source(id)
            .map(|source| Download {
                name: id.to_owned(),
                sha256: source.sha256.to_string(),
                from: source.from.iter().map(|place| place.to_string()).collect(),
                origin: Origin::Matrix(source.sha256.ordinal),
            })
            .into_iter()
            .collect();
        let action = Action::Fetch(Fetch { files });
        self.add(format!("source-{id}"), vec![], &[], action)
    }

    fn root(&mut self) -> String {
        let root = &self.matrix.root;
        let action = Action::Root(Root {
            suite: root.suite.to_string(),
            image: root.image.as_ref().map(|image| image.to_string()),
        });
        self.add("root".to_owned(), vec![], &[], action)
    }

    fn apt(&mut self, id: String, base: String, set: &str) -> String {
        let action = Action::Apt(Apt { base: base.clone(), packages: self.matrix.apt_packages(set) });
        self.add(id, vec![base], &["docker/builder.Dockerfile"], action)
    }

    fn wheel(&mut self, package: &Package, abi: &Abi) -> String {
        let id = wheel_id(&package.id, &abi.id);
        let glibc = self.matrix.root.glibc.to_string();
        let version = package.wheel_version();
        if let (Some(pin), Some(pypi)) = (package.published_for(&abi.id), &package.source.pypi) {
            let file = vec![(package.distribution(), &pypi.version, pin)];
            let fetch = self.pinned(format!("published-{}-{}", package.id, abi.id), file);
            let action = Action::Published(Published {
                package: package.id.to_string(),
                version,
                abi: abi.id.to_string(),
                glibc,
                fetch: fetch.clone(),
                imports: self.imports(package, abi),
            });
            return self.add(id, vec![fetch], &[], action);
        }
        if let Some(first) = self.matrix.abi3_for(package, abi) {
            let wheel = self.wheel(package, first);
            let action = Action::Stable(Stable {
                package: package.id.to_string(),
                distribution: package.distribution.as_ref().map(|name| name.to_string()),
                version,
                abi: abi.id.to_string(),
                glibc,
                wheel: wheel.clone(),
                imports: self.imports(package, abi),
            });
            return self.add(id, vec![wheel], &[], action);
        }
        let wheel = self.built_wheel(package, abi);
        let sdist = wheel.sdist.clone();
        match package.build.with {
            Builder::Maturin => {
                let mut needs = vec![self.tools()];
                needs.extend(sdist);
                let pinned = |tool: &&Tool| WHEEL_TOOLS.contains(&&*tool.name);
                let action = Action::Maturin(Maturin {
                    wheel,
                    tools: self.matrix.tools.iter().filter(pinned).cloned().collect(),
                    interpreter: format!("python{}", abi.interpreter_name()),
                    jobs: package.build.jobs,
                    profile: if self.facts.quick { quick::profile() } else { BTreeMap::new() },
                    abis: self.matrix.abis.iter().map(|abi| abi.id.to_string()).collect(),
                });
                self.add(id, needs, &[], action)
            }
            Builder::Container => {
                let devel = self.devel(package, abi);
                let requires = self.requires(package, abi);
                let container = Container {
                    rust: package.build.rust,
                    debug_info: package.build.debug_info,
                    ..self.container(package, abi, wheel, (devel, requires))
                };
                self.add_container(id, container, &[])
            }
        }
    }

    fn built_wheel(&mut self, package: &Package, abi: &Abi) -> Wheel {
        Wheel {
            package: package.id.to_string(),
            distribution: package.distribution.as_ref().map(|name| name.to_string()),
            version: package.wheel_version(),
            abi: abi.id.to_string(),
            platform: package.platform_tag(self.facts.platform),
            glibc: self.matrix.root.glibc.to_string(),
            subdirectory: package.source.subdirectory.as_ref().map(|folder| folder.to_string()),
            env: self.facts.build_env(package),
            toolchain: package.build.toolchain.as_ref().map(|name| name.to_string()),
            sdist: self.sdist(package),
            working_copy: self.facts.working_copies.get(&*package.id).cloned(),
            folder: package.working_copy(&self.facts.project),
            imports: self.imports(package, abi),
        }
    }

    /// Returns the definition of a build in a container, with the steps of its image and of its build requirements.
    fn container(&self, package: &Package, abi: &Abi, wheel: Wheel, (devel, requires): (String, String)) -> Container {
        let settings = package.build.config_settings.iter();
        Container {
            wheel,
            python: format!("python{}", abi.interpreter_name()),
            devel,
            requires,
            jobs: package.build.jobs,
            rust: false,
            config_settings: settings.map(|(name, setting)| (name.clone(), setting.values().to_vec())).collect(),
            debug_info: false,
            instrumented: None,
        }
    }

    fn add_container(&mut self, id: String, container: Container, files: &[&str]) -> String {
        let mut needs = vec![container.devel.clone(), container.requires.clone()];
        needs.extend(container.wheel.sdist.clone());
        let mut scripts = vec!["docker/build-wheel.sh", "docker/parallel_compile.py"];
        scripts.extend(files);
        self.add(id, needs, &scripts, Action::Container(container))
    }

    fn imports(&self, package: &Package, abi: &Abi) -> Imports {
        // Any distribution in the lock file may provide a module. Wheels are selected only for the ABIs of images.
        let locked = self.facts.runtime.get(&(package.id.to_string(), abi.id.to_string()));
        if self.facts.locks.contains_key(&(package.id.to_string(), LockPurpose::Runtime)) && locked.is_none() {
            return Imports::default();
        }
        Imports {
            names: package.import.iter().map(|name| (name.to_string(), name.ordinal)).collect(),
            locked: locked.cloned().unwrap_or_default(),
        }
    }

    fn sdist(&mut self, package: &Package) -> Option<String> {
        let pypi = package.source.pypi.as_ref()?;
        let name = package.distribution();
        let sdist = self.pinned(sdist_id(name), vec![(name, &pypi.version, &pypi.sha256)]);
        let Some(patches) = self.facts.patches.get(&*package.id) else { return Some(sdist) };
        let action = Action::Patch(Patch {
            package: package.id.to_string(),
            version: package.wheel_version().unwrap_or_default(),
            sdist: sdist.clone(),
            patches: patches.clone(),
        });
        Some(self.add(patched_id(&package.id), vec![sdist], &[], action))
    }

    /// Adds the image in which a package's C code is compiled for an ABI. The optimisation of the interpreter does
    /// not affect wheels, so the build without PGO and LTO is used.
    fn devel(&mut self, package: &Package, abi: &Abi) -> String {
        let set = package.build.apt.as_ref().map(|set| set.to_string()).unwrap_or_default();
        let base = match (&abi.interpreter.source, &abi.interpreter.distribution) {
            (Some(from), _) => self.python(abi, from, InterpreterBuild::Plain),
            (None, Some(debian)) => {
                let root = self.root();
                self.apt(format!("apt-{}", debian.devel_apt), root, &debian.devel_apt)
            }
            (None, None) => self.root(),
        };
        self.apt(format!("devel-{}-{}", package.id, abi.id), base, &set)
    }

    /// Adds the step that fetches the build requirements of an sdist, for a build without network.
    fn requires(&mut self, package: &Package, abi: &Abi) -> String {
        // `check_build_locks` reports an error.
        let mut pins = self.facts.required(self.matrix, package, LockPurpose::Build, abi).unwrap_or_default();
        // A package for maturin needs no lock file, because maturin is one of the tools.
        let builds =
            |tool: &&Tool| tool.container || (package.build.with == Builder::Maturin && tool.name == *WHEEL_TOOLS[0]);
        for tool in self.matrix.tools.iter().filter(builds) {
            if !pins.iter().any(|pin| same_name(&pin.name, &tool.name)) {
                pins.push(Pin::of_tool(tool));
            }
        }
        pins.sort_by_key(|pin| normalise(&pin.name));
        self.index(format!("requires-{}-{}", package.id, abi.id), downloads(&pins))
    }
}

#[cfg(test)]
mod tests;
