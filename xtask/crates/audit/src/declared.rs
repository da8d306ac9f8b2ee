//! Determines whether extension modules of built wheels declare free-threading support: a hint from the file, and the
//! result of an import in an image.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use serde_json::{Value, json};
use zip::ZipArchive;

use build::Project;
use build::manifest::{Entry, Manifest};
use build::plan;
use matrix::Package;
use matrix::gil::GilReport;
use wheelfile::same_name;

/// Slot number of `Py_mod_gil` and its value for the declaration, from CPython's moduleobject.h.
const SLOT: u64 = 4;
const NOT_USED: u64 = 1;

/// Declaration of an extension module.
#[derive(Debug, Clone)]
pub struct Declared {
    abi: String,
    /// Import name from the check of an image, otherwise the path in the wheel.
    module: String,
    hint: &'static str,
    proof: String,
}

impl Declared {
    pub fn line(&self) -> String {
        format!("{} {}: file: {}; import: {}", self.abi, self.module, self.hint, self.proof)
    }

    pub fn json(&self) -> Value {
        json!({"abi": self.abi, "module": self.module, "hint": self.hint, "proof": self.proof})
    }
}

/// Returns the modules of the wheels in `wheels/` for free-threaded interpreters.
pub fn of(project: &Project, package: &Package) -> Result<Vec<Declared>> {
    let manifest = Manifest::read(&project.wheels())?;
    let mut found = Vec::new();
    for abi in project.matrix.abis.iter().filter(|abi| abi.free_threaded()) {
        let id = plan::wheel_id(&package.id, &abi.id);
        let Some(wheel) = manifest.artefacts.iter().find(|entry| entry.id == id) else { continue };
        let path = project.wheels().join(&wheel.file);
        let hints = hints(&path).with_context(|| format!("cannot look into `{}`", path.display()))?;
        for (file, hint) in hints {
            // `package/module.cpython-314t-x86_64-linux-gnu.so`
            let module = file.split('.').next().unwrap_or_default().replace('/', ".");
            let proof = proof(project, package, &manifest, wheel, &module)?;
            found.push(Declared { abi: abi.id.to_string(), module, hint, proof });
        }
    }
    Ok(found)
}

/// Returns the result of importing a module in an image.
fn proof(project: &Project, package: &Package, all: &Manifest, wheel: &Entry, module: &str) -> Result<String> {
    let images = || project.matrix.images.iter().filter(|image| image.abi == *wheel.tag);
    let with = images().filter(|image| image.has_package(&package.id));
    let mut offer = None;
    for image in with {
        offer.get_or_insert(&image.tag);
        let Some(entry) = all.artefacts.iter().find(|entry| entry.id == format!("proof-{}", image.tag)) else {
            continue;
        };
        let Some(record) = project.cache.record(&entry.key)? else { continue };
        let Some(file) = record.output.files.first() else { continue };
        let path = project.cache.blob(&file.sha256);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let verdict: GilReport =
            serde_json::from_str(&text).with_context(|| format!("`{}` is not a proof of the GIL", path.display()))?;
        let same = |name: &str| same_name(name, package.distribution());
        let found = verdict.distributions.iter().find(|distribution| same(&distribution.name));
        if let Some(found) = found.and_then(|found| found.modules.iter().find(|found| found.name == module)) {
            // The image may be older than the wheel.
            let other = entry.inputs.get(&wheel.id).is_some_and(|key| *key != wheel.key);
            let which = if other { ", of another build" } else { "" };
            return Ok(format!("{} (image {}{which})", found.status, image.tag));
        }
    }
    Ok(match offer {
        Some(tag) => format!("not imported: run `cargo xtask image {tag}`"),
        None => "not imported: no image has the package".to_owned(),
    })
}

/// Returns the extension modules of a wheel by path, with the hints from their files.
fn hints(wheel: &Path) -> Result<Vec<(String, &'static str)>> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(wheel)?))?;
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let path = member.name()?.into_owned();
        if !path.ends_with(".so") || path.contains(".libs/") {
            continue;
        }
        let mut data = Vec::new();
        member.read_to_end(&mut data)?;
        if let Some(hint) = hint(&data).with_context(|| format!("cannot read `{path}`"))? {
            found.push((path, hint));
        }
    }
    Ok(found)
}

/// Returns `None` if the file is not an extension module.
fn hint(data: &[u8]) -> Result<Option<&'static str>> {
    let header = FileHeader64::<LittleEndian>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    let (mut module, mut single, mut multi, mut says) = (false, false, false, false);
    for symbol in symbols.iter() {
        match symbol.name(endian, symbols.strings())? {
            b"PyModule_Create2" => single = true,
            b"PyModuleDef_Init" => multi = true,
            b"PyUnstable_Module_SetGIL" => says = true,
            name if name.starts_with(b"PyInit_") && !symbol.is_undefined(endian) => module = true,
            _ => {}
        }
    }
    // The array of slot and value pairs contains no relocations, so it can be found in the file.
    let slot: Vec<u8> = [SLOT, NOT_USED].iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut declared = false;
    for section in sections.iter().filter(|section| section.sh_type(endian) == elf::SHT_PROGBITS) {
        let name = sections.section_name(endian, section).unwrap_or_default();
        if name.starts_with(b".data") || name.starts_with(b".rodata") {
            let content = section.data(endian, data)?;
            declared |=
                content.chunks_exact(8).zip(content.chunks_exact(8).skip(1)).any(|(a, b)| [a, b].concat() == slot);
        }
    }
    Ok(module.then_some(match (multi, single) {
        _ if says => "speaks of the GIL",
        (true, _) if declared => "multi-phase, with a slot like Py_mod_gil",
        (true, _) => "multi-phase, no slot Py_mod_gil seen",
        (false, true) => "single-phase, undeclared",
        (false, false) => "neither way of init seen",
    }))
}

#[cfg(test)]
mod tests;
