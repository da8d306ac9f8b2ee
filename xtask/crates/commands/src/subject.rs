//! Resolves command line arguments that name a wheel or an image.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use base::{UsageError, labels, ui};
use build::manifest::{ArtefactKind, Entry, Manifest};
use build::{Project, doctor};
use docker::Docker;
use matrix::Package;
use wheelfile::parse_glibc;
use wheelfile::{ExpectedWheel, WheelName, WheelReport, same_version};

/// Manifest with its location.
pub struct Listed {
    pub manifest: Manifest,
    pub folder: PathBuf,
    pub shown: String,
    /// Whether the user specified the manifest; then unlisted subjects are an error.
    pub named: bool,
}

pub enum Subject<'p> {
    Wheel(PathBuf),
    Image {
        /// Reference in the engine.
        reference: String,
        image: &'p matrix::Image,
    },
}

impl Listed {
    /// Reads the manifest at `path`, by default that of the clone.
    pub fn read(project: &Project, path: Option<&Path>) -> Result<Listed> {
        let Some(path) = path else {
            let (folder, shown) = (project.wheels(), "wheels/manifest.json".to_owned());
            return Ok(Listed { manifest: Manifest::read(&folder)?, folder, shown, named: false });
        };
        let shown = path.display().to_string();
        let text =
            std::fs::read(path).map_err(|error| anyhow!(UsageError(format!("--manifest `{shown}`: {error}"))))?;
        let manifest = Manifest::parse(&text).with_context(|| format!("`{shown}` is not a manifest"))?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Listed { manifest, folder, shown, named: true })
    }

    pub fn wheel(&self, file: &str) -> Option<&Entry> {
        self.manifest.artefacts.iter().find(|entry| entry.kind == ArtefactKind::Wheel && entry.file == file)
    }

    pub fn image(&self, tag: &str) -> Option<&Entry> {
        self.manifest.artefacts.iter().find(|entry| entry.kind == ArtefactKind::Image && entry.tag == tag)
    }

    /// Returns a hint how to obtain the listed artefacts.
    pub fn again(&self, command: &str) -> String {
        match self.named {
            true => "use nothing of it, and get it again from where it is published".to_owned(),
            false => format!("run `{command}` to restore it"),
        }
    }

    /// Returns a message for an unlisted subject, or an error if it must be listed.
    pub fn missing(&self, what: &str) -> Result<String> {
        if self.named {
            bail!("`{}` does not list {what}", self.shown);
        }
        Ok("not listed there, so its digest could not be compared".to_owned())
    }
}

/// Finds an image by its tag in the matrix or its name in the engine, or a wheel by its file or row.
pub fn find<'p>(project: &'p Project, listed: &Listed, item: &str) -> Result<Subject<'p>> {
    if let Some(image) = project.matrix.image(item) {
        return Ok(Subject::Image { reference: format!("{}:{}", project.matrix.name, image.tag), image });
    }
    let row = listed.manifest.artefacts.iter().find(|entry| entry.kind == ArtefactKind::Wheel && entry.id == item);
    let path = row.map_or_else(|| PathBuf::from(item), |entry| listed.folder.join(&entry.file));
    if path.is_file() {
        return Ok(Subject::Wheel(path));
    }
    if item.contains(':') {
        return downloaded(project, item);
    }
    let tags = project.matrix.images.iter().map(|image| image.tag.to_string());
    let wheels = listed
        .manifest
        .artefacts
        .iter()
        .filter(|entry| entry.kind == ArtefactKind::Wheel)
        .map(|entry| entry.id.clone());
    let known = ui::quoted(tags.chain(wheels));
    Err(anyhow!(UsageError(format!(
        "`{item}` is neither a wheel file, nor an image of the engine, nor one of {known}"
    ))))
}

/// Returns the engine and a built image of the matrix.
pub fn built_image(project: &Project, reference: &str, image: &matrix::Image) -> Result<(Docker, docker::Image)> {
    let docker = doctor::connect(project.matrix.platform)?;
    let found = docker.image(reference)?.with_context(|| {
        format!("the engine has no image `{reference}`: `cargo xtask image {}` builds it", image.tag)
    })?;
    Ok((docker, found))
}

/// Finds the matrix image of an image with any name, by its label.
fn downloaded<'p>(project: &'p Project, reference: &str) -> Result<Subject<'p>> {
    let docker = doctor::connect(project.matrix.platform)?;
    let found = docker.image(reference)?;
    let found = found.with_context(|| format!("the engine has no image `{reference}`: pull or load it first"))?;
    let tag = found.labels.get(labels::VERSION).map_or("", String::as_str);
    let image = project.matrix.image(tag).with_context(|| {
        let known = ui::quoted(project.matrix.images.iter().map(|image| &image.tag));
        format!("the labels of `{reference}` do not name an image of the matrix; its images: {known}")
    })?;
    Ok(Subject::Image { reference: reference.to_owned(), image })
}

/// Checks a wheel for the ABI in its name and returns its contents.
pub fn checked(project: &Project, path: &Path, listed: &Listed) -> Result<WheelReport> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = WheelName::parse(&file)?;
    // Without packages in the matrix, the wheel is someone else's, and its name says what it should be.
    let package = if project.matrix.packages.is_empty() { None } else { Some(package_of(project, &name)?) };
    let abi = match name.abi.as_slice() {
        // A wheel for any ABI is checked for the one that it was built for.
        [abi] if abi == "none" || abi == "abi3" => match (listed.wheel(&file), project.matrix.abis.first()) {
            (Some(entry), _) => &entry.tag,
            (None, Some(first)) => &*first.id,
            (None, None) => bail!("the matrix has no ABI"),
        },
        [abi] if package.is_none() || project.matrix.abi(abi).is_some() => abi.as_str(),
        tags => {
            let known = ui::quoted(project.matrix.abis.iter().map(|abi| &abi.id));
            bail!("its ABI tag `{}` is not in the matrix; its ABIs: {known}", tags.join("."));
        }
    };
    let version = match package {
        Some(package) => package.wheel_version(),
        None => Some(name.version.clone()),
    };
    let expect = ExpectedWheel {
        distribution: package.map_or(&name.distribution, Package::distribution),
        version: version.as_deref(),
        abi,
        platform: None,
        max_glibc: parse_glibc(&project.matrix.root.glibc),
    };
    wheelfile::check(path, &expect)
}

fn package_of<'p>(project: &'p Project, name: &WheelName) -> Result<&'p Package> {
    let named = |package: &&Package| wheelfile::same_name(package.distribution(), &name.distribution);
    let built =
        |package: &&Package| package.wheel_version().is_some_and(|version| same_version(&version, &name.version));
    let packages = || project.matrix.packages.iter().filter(named);
    // A distribution may have a row as it is and a row with patches; the wheel's version tells which one it is.
    packages().find(built).or_else(|| packages().next()).with_context(|| {
        let known = ui::quoted(project.matrix.packages.iter().map(|package| &package.id));
        format!("`{}` is not a package of the matrix; its packages: {known}", name.distribution)
    })
}
