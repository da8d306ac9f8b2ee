//! Steps of interpreters and images.

use std::collections::{BTreeMap, BTreeSet};

use super::{Planner, downloads};
use crate::plan::{Action, Base, Image, Proof, Python};
use crate::plan::{base_id, locked_id, proof_id};
use matrix::{Abi, FromSource, InterpreterBuild, Package};

impl Planner<'_> {
    /// Adds the steps of an image with compiler, interpreter and headers.
    pub(super) fn python(&mut self, abi: &Abi, from: &FromSource, build: InterpreterBuild) -> String {
        let root = self.root();
        let mut builder = self.apt(format!("apt-{}", from.build_apt), root, &from.build_apt);
        let (mut llvm, mut file) = (None, "docker/python.Dockerfile");
        if build == InterpreterBuild::Tsan {
            let tsan = &self.matrix.tsan;
            builder = self.apt(format!("apt-{}-{}", from.build_apt, tsan.build_apt), builder, &tsan.build_apt);
            (llvm, file) = (Some(tsan.llvm.to_string()), "docker/tsan/python.Dockerfile");
        }
        let archive = self.archive(&from.archive);
        let needs = vec![builder.clone(), archive.clone()];
        let action = Action::Python(Python {
            version: abi.python.to_string(),
            free_threaded: abi.free_threaded(),
            build,
            builder,
            archive,
            llvm,
        });
        let id = match build {
            InterpreterBuild::Plain => format!("python-{}", abi.id),
            build => format!("python-{}-{}", abi.id, build.as_str()),
        };
        self.add(id, needs, &[file], action)
    }

    /// Adds the step of a base image. `wanted` is how its interpreter is compiled, if not as the ABI says, and `sets` are
    /// the sets of Debian packages that it has besides what the interpreter needs.
    pub(super) fn base(&mut self, abi: &Abi, wanted: Option<InterpreterBuild>, sets: &BTreeSet<&str>) -> String {
        let root = self.root();
        let interpreter = &abi.interpreter;
        let mut other = None;
        let (mut runtime, python, build) = match (&interpreter.source, &interpreter.distribution) {
            (Some(from), _) => {
                let quick = self.facts.quick;
                let build = wanted.unwrap_or(from.build).with_quick(quick);
                other = Some(build).filter(|build| *build != from.build.with_quick(quick));
                let python = self.python(abi, from, build);
                let mut runtime = self.apt(format!("apt-{}", from.runtime_apt), root, &from.runtime_apt);
                if build == InterpreterBuild::Tsan {
                    let set = &self.matrix.tsan.runtime_apt;
                    runtime = self.apt(format!("apt-{}-{set}", from.runtime_apt), runtime, set);
                }
                (runtime, Some(python), build)
            }
            (None, Some(debian)) => {
                // Debian builds its interpreters with PGO and LTO.
                (
                    self.apt(format!("apt-{}", debian.runtime_apt), root, &debian.runtime_apt),
                    None,
                    InterpreterBuild::Optimized,
                )
            }
            (None, None) => (root, None, InterpreterBuild::Plain),
        };
        let mut tag = abi.base_tag(other);
        for set in sets {
            runtime = self.apt(format!("{runtime}-{set}"), runtime, set);
            tag.push_str(&format!("-{set}"));
        }
        let mut needs = vec![runtime.clone()];
        needs.extend(python.clone());
        needs.extend(self.tool("pip"));
        let action = Action::Base(Base {
            repository: self.matrix.name.to_string(),
            tag,
            version: abi.python.to_string(),
            python,
            runtime,
            build,
        });
        self.add(base_id(&abi.id, other, sets), needs, &["docker/base.Dockerfile"], action)
    }

    pub(super) fn image(&mut self, tag: &str) -> Option<String> {
        let matrix = self.matrix;
        let image = matrix.image(tag)?;
        let abi = matrix.abi(&image.abi)?;
        let packages = || matrix.packages_of(image);
        let base = self.base(abi, image.interpreter, &matrix.runtime_sets(image));
        let wheels: BTreeMap<String, String> =
            packages().map(|package| (package.id.to_string(), self.image_wheel(image, package, abi))).collect();
        let locked: Vec<String> = packages().filter_map(|package| self.locked(package, abi)).collect();
        let mut needs = vec![base.clone()];
        needs.extend(wheels.values().chain(&locked).cloned());
        needs.extend(self.tool("uv"));
        let action = Action::Image(Image {
            repository: matrix.name.to_string(),
            tag: tag.to_owned(),
            abi: abi.id.to_string(),
            base,
            wheels,
            locked,
            serve: packages().find_map(|package| package.serve.clone()),
            env: image.env.clone(),
        });
        let files = ["docker/image.Dockerfile", "docker/compile_bytecode.py", "docker/compile_added.py"];
        Some(self.add(format!("image-{tag}"), needs, &files, action))
    }

    /// Adds the step that fetches the run-time requirements of a package.
    fn locked(&mut self, package: &Package, abi: &Abi) -> Option<String> {
        let facts = self.facts;
        let pins = facts.runtime.get(&(package.id.to_string(), abi.id.to_string()))?;
        Some(self.index(locked_id(&package.id, &abi.id), downloads(pins)))
    }

    pub(super) fn proof(&mut self, tag: &str) {
        let matrix = self.matrix;
        let (Some(assembled), Some(image)) = (self.image(tag), matrix.image(tag)) else { return };
        let imports = image
            .packages
            .iter()
            .filter_map(|id| matrix.package(id))
            .flat_map(|package| package.import.iter().map(|name| name.to_string()))
            .collect();
        let action = Action::Proof(Proof {
            repository: matrix.name.to_string(),
            tag: tag.to_owned(),
            image: assembled.clone(),
            imports,
            promise: image.gil,
        });
        self.add(proof_id(tag), vec![assembled], &["docker/gil_probe.py"], action);
    }
}
