//! Compares pins with the package index: newer releases, and published wheels for ABIs that are built so far.

use std::collections::BTreeMap;

use super::{Answer, BUILT, File, PinnedInput, Release, State};
use base::platform::Platform;
use matrix::{Digest, Edit, Matrix, Package, Pypi, Tool, Word};
use wheelfile::parse_glibc;
use wheelfile::{WheelName, same_version};

/// Returns the projects to query, each with its pinned digests.
pub fn projects(matrix: &Matrix) -> BTreeMap<String, Vec<String>> {
    let mut projects: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, tool) in tools(matrix) {
        projects.entry(tool.name.to_string()).or_default().push(tool.sha256.to_string());
    }
    for package in &matrix.packages {
        if let Some(pypi) = &package.source.pypi {
            projects.entry(package.distribution().to_owned()).or_default().push(pypi.sha256.to_string());
        }
    }
    projects
}

/// Returns a row for each pinned file, and for each built wheel that its vendor might publish.
pub fn rows(matrix: &Matrix, text: &str, answer: &Answer) -> Vec<PinnedInput> {
    let target = ImagePlatform { platform: matrix.platform, glibc: parse_glibc(&matrix.root.glibc) };
    let releases = |project: &str| answer.projects.get(project).map_or(&[][..], Vec::as_slice);
    let mut rows: Vec<PinnedInput> =
        tools(matrix).map(|(input, tool)| row(input, tool, releases(&tool.name), target)).collect();
    for package in &matrix.packages {
        if let Some(pypi) = &package.source.pypi {
            let releases = releases(package.distribution());
            rows.extend(PackageOnIndex { matrix, text, package, pypi, releases, target }.rows());
        }
    }
    rows
}

/// Returns all wheels pinned by name, version and digest, with their names in the table.
fn tools(matrix: &Matrix) -> impl Iterator<Item = (String, &Tool)> {
    let tools = matrix.tools.iter().map(|tool| ("tool".to_owned(), tool));
    let checks = matrix.ci.checks.iter().map(|tool| ("check".to_owned(), tool));
    tools.chain(checks).map(|(what, tool)| (format!("{what} {}", tool.name), tool))
}

fn row(input: String, tool: &Tool, releases: &[Release], target: ImagePlatform) -> PinnedInput {
    let (file, release) = match newest(releases, &tool.sha256) {
        Err(why) => return PinnedInput::new(input, &tool.version, State::Unasked, why),
        Ok(Newest { file, release: None }) => {
            return PinnedInput::new(input, &tool.version, State::Current, withdrawn(file));
        }
        Ok(Newest { file, release: Some(release) }) => (file, release),
    };
    match successor(&file.name, release, target) {
        Some(next) => {
            let edits = vec![tool.version.becomes(&release.version), tool.sha256.becomes(&next.sha256)];
            PinnedInput::newer(input, &tool.version, &release.version, withdrawn(file), edits)
        }
        None => {
            PinnedInput::newer(input, &tool.version, &release.version, no_successor(&file.name, release), Vec::new())
        }
    }
}

/// A package that is pinned on the package index.
struct PackageOnIndex<'a> {
    matrix: &'a Matrix,
    /// The text of the matrix.
    text: &'a str,
    package: &'a Package,
    pypi: &'a Pypi,
    /// The releases on the index, oldest first.
    releases: &'a [Release],
    target: ImagePlatform,
}

impl PackageOnIndex<'_> {
    /// The sdist with the published wheels of the same version, which change together; then the ABIs
    /// whose wheels are built.
    fn rows(&self) -> Vec<PinnedInput> {
        let PackageOnIndex { matrix, package, pypi, releases, target, .. } = *self;
        let (input, version) = (format!("sdist {}", package.id), &*pypi.version);
        let published = |abi: &Word| format!("wheel {} {abi}", package.id);
        let Newest { file, release } = match newest(releases, &pypi.sha256) {
            Ok(newest) => newest,
            Err(why) => {
                let unasked = |input, pinned| PinnedInput::new(input, pinned, State::Unasked, &*why);
                let wheels = matrix.abis.iter().map(|abi| {
                    let pinned = if package.published_for(&abi.id).is_some() { version } else { BUILT };
                    unasked(published(&abi.id), pinned)
                });
                return [unasked(input, version)].into_iter().chain(wheels).collect();
            }
        };
        let mut rows = Vec::new();
        if let Some(release) = release {
            let pins = [&pypi.sha256].into_iter().chain(package.published.iter().map(|wheel| &wheel.sha256));
            let next: Result<Vec<Edit>, String> = pins.map(|pin| replacement(releases, pin, release, target)).collect();
            let (note, mut edits) = match next {
                Ok(edits) => (withdrawn(file).to_owned(), edits),
                Err(why) => (why, Vec::new()),
            };
            if !edits.is_empty() {
                edits.push(pypi.version.becomes(&release.version));
            }
            rows.push(PinnedInput::newer(input, version, &release.version, note, edits));
            for wheel in &package.published {
                rows.push(PinnedInput::newer(
                    published(&wheel.abi),
                    version,
                    &release.version,
                    "changes with the sdist",
                    Vec::new(),
                ));
            }
        } else {
            rows.push(PinnedInput::new(input, version, State::Current, withdrawn(file)));
            for wheel in &package.published {
                rows.push(match find(releases, &wheel.sha256) {
                    Some((_, file)) => {
                        PinnedInput::new(published(&wheel.abi), version, State::Current, withdrawn(file))
                    }
                    None => PinnedInput::new(published(&wheel.abi), version, State::Unasked, MISSING),
                });
            }
        }
        let pinned = find(releases, &pypi.sha256).map(|(at, _)| &releases[at]);
        for abi in matrix.abis.iter().filter(|abi| package.published_for(&abi.id).is_none()) {
            rows.push(self.built(&abi.id, pinned, release));
        }
        rows
    }

    /// A wheel that is built here: does the vendor publish it by now, for the pinned version or the newest?
    fn built(&self, abi: &str, pinned: Option<&Release>, newest: Option<&Release>) -> PinnedInput {
        let PackageOnIndex { package, text, target, .. } = *self;
        let input = format!("wheel {} {abi}", package.id);
        let wheel = |release| vendor_wheel(release, abi, target).map(|file| (release, file));
        let Some((release, file)) = pinned.and_then(wheel).or_else(|| newest.and_then(wheel)) else {
            return PinnedInput::new(input, BUILT, State::Current, "the vendor publishes none");
        };
        // Who wants published wheels has said so for at least one ABI.
        let Some(at) = package.published.last().and_then(|wheel| matrix::place(text, wheel.sha256.ordinal)) else {
            let note = "published too, but the matrix has no `published` for the package: it is built on purpose";
            return PinnedInput::new(input, BUILT, State::Current, note);
        };
        let with = if package.version().is_some_and(|version| same_version(version, &release.version)) {
            ""
        } else {
            "with that version, "
        };
        let note = format!(
            "{} is published for it: {with}after line {} of matrix.yaml, put\n  - {{abi: {abi}, sha256: {}}}",
            release.version, at.line, file.sha256
        );
        PinnedInput::newer(input, BUILT, &release.version, note, Vec::new())
    }
}

const SILENT: &str = "the package index did not answer, or has no such project";
const MISSING: &str = "the package index no longer lists the pinned file: choose another version";

struct Newest<'r> {
    /// Pinned file.
    file: &'r File,
    /// Newest later release, if any.
    release: Option<&'r Release>,
}

fn newest<'r>(releases: &'r [Release], pin: &Digest) -> Result<Newest<'r>, String> {
    if releases.is_empty() {
        return Err(SILENT.to_owned());
    }
    let (at, file) = find(releases, pin).ok_or(MISSING)?;
    // Skip yanked versions, and pre-releases unless one is pinned.
    let fine = |release: &&Release| {
        (release.stable || !releases[at].stable) && release.files.iter().any(|file| !file.withdrawn)
    };
    Ok(Newest { file, release: releases[at + 1..].iter().rev().find(fine) })
}

fn find<'r>(releases: &'r [Release], pin: &Digest) -> Option<(usize, &'r File)> {
    let of = |release: &'r Release| release.files.iter().find(|file| *pin == *file.sha256);
    releases.iter().enumerate().find_map(|(at, release)| of(release).map(|file| (at, file)))
}

fn withdrawn(file: &File) -> &'static str {
    if file.withdrawn { "the pinned version was withdrawn by its author" } else { "" }
}

fn replacement(releases: &[Release], pin: &Digest, release: &Release, target: ImagePlatform) -> Result<Edit, String> {
    let (_, file) = find(releases, pin).ok_or(MISSING)?;
    let next = successor(&file.name, release, target).ok_or_else(|| no_successor(&file.name, release))?;
    Ok(pin.becomes(&next.sha256))
}

fn no_successor(name: &str, release: &Release) -> String {
    format!("{} has no file corresponding to `{name}`: edit the matrix manually", release.version)
}

/// Returns the file of `release` that corresponds to the file `name` of an earlier release.
fn successor<'r>(name: &str, release: &'r Release, target: ImagePlatform) -> Option<&'r File> {
    let mut files = release.files.iter().filter(|file| !file.withdrawn);
    let Ok(old) = WheelName::parse(name) else {
        let kind = [".tar.gz", ".zip"].into_iter().find(|kind| name.ends_with(kind))?;
        return files.find(|file| file.name.ends_with(kind));
    };
    let alike: Vec<(&File, WheelName)> = files
        .filter_map(|file| Some((file, WheelName::parse(&file.name).ok()?)))
        .filter(|(_, new)| new.python == old.python && new.abi == old.abi)
        .collect();
    let same = alike.iter().find(|(_, new)| new.platform == old.platform);
    let other = || alike.iter().filter(|(_, new)| target.runs(&new.platform)).min_by_key(|(file, _)| &file.name);
    same.or_else(other).map(|(file, _)| *file)
}

/// Returns the wheel that a vendor publishes for exactly this ABI.
fn vendor_wheel<'r>(release: &'r Release, abi: &str, target: ImagePlatform) -> Option<&'r File> {
    let fits = |file: &&File| {
        let name = WheelName::parse(&file.name);
        !file.withdrawn && name.is_ok_and(|name| name.abi == [abi] && target.runs(&name.platform))
    };
    release.files.iter().filter(fits).min_by_key(|file| &file.name)
}

/// Platform and glibc of the images, with which a wheel must be compatible.
#[derive(Debug, Clone, Copy)]
struct ImagePlatform {
    platform: Platform,
    glibc: Option<(u32, u32)>,
}

impl ImagePlatform {
    /// Returns whether one of a wheel's platform tags (PEP 600, PEP 425) is compatible.
    fn runs(self, tags: &[String]) -> bool {
        let machine = self.platform.machine();
        tags.iter().any(|tag| {
            let promised = wheelfile::platform_glibc(tag).filter(|(of, _)| *of == machine).and_then(|(_, glibc)| glibc);
            tag == "any" || promised.is_some_and(|needs| self.glibc.is_none_or(|glibc| needs <= glibc))
        })
    }
}
