//! Builds and proves a package that is not in the matrix yet, and finds out meanwhile what its row has to say.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::rows::{self, ImageRow, PackageRow};
use crate::lock;
use base::ui;
use build::exchange::Exchange;
use build::index::{self, File};
use build::lock::{pylock, required_names};
use build::manifest::{ArtefactKind, Entry, Manifest};
use build::plan::{Action, Proof, proof_id};
use build::run::{self, StepsFailed};
use build::{BuildOptions, Missing, Project, embedded, make, markers, planner, step};
use matrix::select::Selection;
use matrix::{GilState, LockPurpose, Matrix};
use wheelfile::{Importable, WheelName, normalise};

/// State of the GIL in an image.
#[derive(Default)]
pub struct Probed {
    pub on: bool,
    /// Modules that do not declare that they run without the GIL.
    pub undeclared: Vec<String>,
    /// Modules that cannot be loaded, with the reason, and that no import of the package reaches.
    pub not_loadable: Vec<String>,
    /// Libraries of the system that the image lacks and an import needs, each with the Debian packages that have it.
    pub missing_libraries: Vec<(String, Vec<String>)>,
}

impl Probed {
    /// Returns a loadable module that would enable the GIL, if no import of the package has reached one.
    fn unreached(&self) -> Option<&str> {
        let fails = |module: &str| self.not_loadable.iter().any(|line| line.split(':').next() == Some(module));
        let loadable = |module: &&String| !fails(module);
        self.undeclared.iter().find(loadable).filter(|_| !self.on).map(String::as_str)
    }
}

/// A package that was built, and whose lock files were written.
pub struct Added {
    /// `None` without an image.
    pub image: Option<ImageRow>,
    /// The wheel for the last of the ABIs.
    pub wheel: Entry,
    /// `None` without an image.
    pub probed: Option<Probed>,
    /// Extension modules that the wheel lacks and the vendor's wheel of the same version has; `None` if there is no such
    /// wheel to compare with.
    pub lacking: Option<Vec<String>>,
}

/// A package that is being added.
pub struct Adding<'a> {
    /// Its matrix is changed in memory.
    pub project: &'a mut Project,
    pub build: &'a BuildOptions,
    /// Text of the matrix without the package.
    pub old: &'a str,
    pub abis: &'a [String],
    pub package: PackageRow,
    /// Tag of the image to add.
    pub image: Option<String>,
    /// Wheel of the vendor to compare the built one with.
    pub vendors_wheel: Option<File>,
}

impl Adding<'_> {
    /// Builds and proves the package. If that fails, no lock file is left.
    pub fn run(&mut self) -> Result<Added> {
        let folder = self.project.folder.join(self.lock_folder()?);
        let existed = folder.exists();
        let added = self.try_run();
        if added.is_err() && !existed && folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        added
    }

    fn try_run(&mut self) -> Result<Added> {
        let id = self.package.id.clone();
        // Without `import`: the wheel has the names.
        self.change(None)?;
        self.lock(&[LockPurpose::Build])?;
        // The first build finds what is missing, and whether its wheel serves other ABIs.
        let with_gil = |abi: &&String| !abi.ends_with('t');
        let first = self.abis.iter().find(with_gil).or(self.abis.first()).into_iter();
        for abis in [first.cloned().collect(), self.abis.to_vec()] {
            let wheels = abis.into_iter().map(|abi| (id.clone(), abi)).collect();
            self.build(&Selection { wheels, images: Vec::new() })?;
            self.notice_abi3()?;
        }
        let built = self.wheels()?;
        let modules = self.importable(&built)?;
        self.package.import = rows::import_names(&modules);
        if self.package.import.is_empty() {
            bail!("the wheel of `{}` has no module to import", self.package.id);
        }
        let lacking = self.lacking(&modules)?;
        // The run-time requirements are locked for the ABI of the image.
        let packages = self.with_required()?;
        let guessed = self.image.as_ref().map(|tag| ImageRow::guessed(tag, self.abis, &packages));
        self.change(guessed.as_ref())?;
        self.lock(&[LockPurpose::Runtime])?;
        let (mut image, mut probed) = (None, None);
        if let Some(tag) = self.image.clone() {
            let mut found = self.probe_with_libraries(&tag, &packages)?;
            // The import of the package alone leaves the GIL off; what applications import besides does not. The row
            // names such a module, so that the image promises what happens to them.
            if let Some(module) = found.unreached().map(str::to_owned) {
                self.package.import.push(module);
                found.on = true;
            }
            image = Some(ImageRow::proven(&tag, self.abis, &packages, found.on));
            probed = Some(found);
        }
        self.change(image.as_ref())?;
        if let Some(tag) = &self.image {
            self.build(&Selection { wheels: Vec::new(), images: vec![tag.clone()] })?;
        }
        let wheel = built.into_iter().next_back().context("no wheel was built: this is a bug")?;
        Ok(Added { image, wheel, probed, lacking })
    }

    /// Returns the folder of the package's lock files, relative to the matrix.
    fn lock_folder(&self) -> Result<PathBuf> {
        let file = PathBuf::from(self.project.matrix.lock_file(&self.package.id, LockPurpose::Runtime));
        Ok(file.parent().context("a lock file without a folder: this is a bug")?.to_owned())
    }

    /// Makes the present rows those of the project, in memory only.
    fn change(&mut self, image: Option<&ImageRow>) -> Result<()> {
        let new = rows::text(self.old, &self.package, image)?;
        self.project.matrix = Matrix::parse(&new, "matrix.yaml with the new rows")?;
        Ok(())
    }

    fn lock(&self, purposes: &[LockPurpose]) -> Result<()> {
        let package = self.project.matrix.package(&self.package.id).context("the row is missing: this is a bug")?;
        for lock in lock::resolve(self.project, &[package], purposes, false)? {
            lock.write(self.project)?;
        }
        Ok(())
    }

    /// Builds rows. If a build misses a Debian package or a requirement, that is added and the build is tried again.
    fn build(&mut self, selection: &Selection) -> Result<()> {
        loop {
            let wheels = self.project.wheels();
            let error = match make::make(self.project, selection, self.build, &wheels) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let failed = error.chain().find_map(|cause| cause.downcast_ref::<StepsFailed>());
            let missing = failed.and_then(|failed| failed.missing.first());
            let added = missing.and_then(|missing| Some((missing, self.package.provide(missing)?)));
            let Some((missing, text)) = added else { return Err(error) };
            self.project.ui.say(&format!("[add] {text}"));
            let requirements = matches!(missing, Missing::Requirements(_) | Missing::Container(_));
            self.change(None)?;
            if requirements {
                self.lock(&[LockPurpose::Build])?;
            }
        }
    }

    /// Makes the row say that a wheel of the stable ABI serves later ABIs too.
    fn notice_abi3(&mut self) -> Result<()> {
        let mut wheels = Vec::new();
        for wheel in self.wheels()? {
            wheels.push((wheel.tag, WheelName::parse(&wheel.file)?));
        }
        if let Some(text) = self.package.notice_abi3(wheels.iter().map(|(abi, name)| (abi.as_str(), name))) {
            self.project.ui.say(&format!("[add] {text}"));
            self.change(None)?;
        }
        Ok(())
    }

    /// Returns the wheels of the package that were built, in the order of the ABIs.
    fn wheels(&self) -> Result<Vec<Entry>> {
        let manifest = Manifest::read(&self.project.wheels())?;
        let own = |entry: &&Entry| entry.kind == ArtefactKind::Wheel && entry.name == self.package.id;
        let mut wheels: Vec<Entry> = manifest.artefacts.iter().filter(own).cloned().collect();
        wheels.retain(|wheel| self.abis.contains(&wheel.tag));
        wheels.sort_by_key(|wheel| self.abis.iter().position(|abi| *abi == wheel.tag));
        Ok(wheels)
    }

    /// Returns the rows of the packages that the package requires, and its own as the last one.
    fn with_required(&self) -> Result<Vec<String>> {
        let matrix = &self.project.matrix;
        let abi = matrix.abi(self.abis.last().map_or("", String::as_str)).context("no ABI: this is a bug")?;
        let environment = markers::environment(&pylock::python_version(abi)?, matrix.platform)?;
        let mut open = vec![&*self.package.id];
        let mut found: Vec<String> = Vec::new();
        while let Some(id) = open.pop() {
            found.retain(|known| known != id);
            found.insert(0, id.to_owned());
            let Some(package) = matrix.package(id) else { continue };
            let names = required_names(&lock::built_metadata(self.project, package)?.unwrap_or_default(), &environment);
            let row = |name: &String| matrix.packages.iter().find(|row| normalise(row.distribution()) == *name);
            let rows = names.iter().filter_map(row).map(|row| &*row.id);
            open.extend(rows.filter(|id| !found.iter().any(|known| known == id)));
        }
        Ok(found)
    }

    /// Returns what can be imported from the wheels.
    fn importable(&self, wheels: &[Entry]) -> Result<Importable> {
        let mut modules = Importable::default();
        for wheel in wheels {
            let name = WheelName::parse(&wheel.file)?;
            modules.add(&self.project.cache.blob(&wheel.sha256), &name.distribution, &name.version)?;
        }
        Ok(modules)
    }

    /// Returns the extension modules of the vendor's wheel that the built wheels lack. Many builds leave a module out
    /// without an error if its library is not installed.
    fn lacking(&self, built: &Importable) -> Result<Option<Vec<String>>> {
        let Some(file) = self.vendors_wheel.as_ref().filter(|_| !self.project.fake) else { return Ok(None) };
        let task = self.project.ui.start("add", &format!("compare with {}", file.name), &self.project.cache.log("add"));
        task.open_log()?;
        let scratch = self.project.cache.scratch("add")?;
        let path = scratch.path().join("wheel");
        let url = index::index_url(&self.project.tools()?.join("bin/python"))?;
        let cancel = &self.project.cancel;
        let done = index::with_index(&url, scratch.path(), &task, cancel, |index| index.download(file, &path));
        task.end(if done.is_ok() { "ok" } else { "FAILED" });
        done?;
        let name = WheelName::parse(&file.name)?;
        let mut vendors = Importable::default();
        vendors.add(&path, &name.distribution, &name.version)?;
        let lacking: Vec<String> = vendors.extensions().difference(&built.extensions()).cloned().collect();
        if !lacking.is_empty() {
            self.project.ui.say(&format!("[add] `{}` also has {}", file.name, ui::quoted(&lacking)));
        }
        Ok(Some(lacking))
    }

    /// Probes the image. If an import misses a library of the system, its Debian package is added and the image is probed
    /// again.
    fn probe_with_libraries(&mut self, tag: &str, packages: &[String]) -> Result<Probed> {
        loop {
            let found = self.probe(tag, packages)?;
            let provide = |(library, names): &(String, Vec<String>)| self.package.provide_library(library, names);
            let Some(text) = found.missing_libraries.iter().find_map(provide) else { return Ok(found) };
            self.project.ui.say(&format!("[add] {text}"));
        }
    }

    /// Assembles the image and asks its interpreter for the state of the GIL, before the matrix promises one.
    fn probe(&mut self, tag: &str, packages: &[String]) -> Result<Probed> {
        let image = ImageRow::guessed(tag, self.abis, packages);
        self.change(Some(&image))?;
        let project = &*self.project;
        if project.fake {
            return Ok(Probed { on: !image.is_free_threaded(), ..Probed::default() });
        }
        let facts = project.facts(self.build.quick)?;
        let selection = Selection { wheels: Vec::new(), images: vec![tag.to_owned()] };
        let mut plan = planner::plan(&project.matrix, &selection, &facts);
        let proof = plan.step(&proof_id(tag)).map(|step| step.action.clone());
        plan.steps.retain(|step| step.id != proof_id(tag));
        let nobody = Exchange::new(None, None);
        let docker = project.prepare(&plan, &facts, self.build.yes, &nobody)?;
        let docker = docker.context("an image needs a Docker engine: this is a bug")?;
        let context = step::RunContext {
            engine_cores: project.engine_cores(Some(&docker)),
            ..project.context(&facts, Some(&docker))
        };
        let assembled = format!("image-{tag}");
        let done = run::execute_with(&plan, &|step| step.id == assembled, &context, &nobody)?;
        let outcome = done.get(&assembled).context("the image was not assembled: this is a bug")?;
        let name = outcome.record.output.image.as_ref().context("the image has no id: this is a bug")?;
        let Some(Action::Proof(Proof { imports, .. })) = proof else { bail!("the plan has no proof: this is a bug") };
        let script = embedded::gil_probe();
        let (report, _) = step::proof::probe(&docker, &name.id, script, &imports, &project.cancel)?;
        report.lines().iter().for_each(|line| project.ui.say(&format!("[add] {line}")));
        let undeclared = report.modules("undeclared").into_iter().map(str::to_owned).collect();
        let on = report.effective.state == GilState::On.to_string();
        let mut missing_libraries = Vec::new();
        for library in report.missing_libraries() {
            match step::contents::of_library(library, &name.id, &context) {
                Ok(packages) => missing_libraries.push((library.to_owned(), packages)),
                // The proof reports that the library is missing.
                Err(error) => project.ui.say(&format!("[add] {error:#}")),
            }
        }
        Ok(Probed { on, undeclared, not_loadable: report.not_loadable(), missing_libraries })
    }
}

#[cfg(test)]
mod tests {
    use super::Probed;

    #[test]
    fn a_module_that_no_import_reaches_is_found() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let mut probed = Probed {
            undeclared: names(&["a.x", "a.y"]),
            not_loadable: names(&["a.x: no", "a.yy: no"]),
            ..Probed::default()
        };
        assert_eq!(probed.unreached(), Some("a.y"), "the other cannot be imported");
        probed.on = true;
        assert_eq!(probed.unreached(), None);
        assert_eq!(Probed::default().unreached(), None);
    }
}
