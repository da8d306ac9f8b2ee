//! Decides from file names whether a distribution has a wheel for a target. Pure functions of what the index lists.

use std::collections::BTreeSet;

use build::build_system::BuildSystem;
use build::index::{File, FileKind, ProjectFiles, Release};
use serde::Serialize;
use wheelfile::{AbiFit, WheelName};

use super::target::CheckTarget;
use super::wanted::WantedDistribution;

/// What a distribution has for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WheelState {
    /// A wheel for exactly this ABI.
    Wheel,
    /// A wheel for a stable ABI that the interpreter loads: `abi3t`, or `abi3` with a GIL.
    StableAbi,
    /// A wheel without extension modules, for any platform.
    Pure,
    /// A wheel without extension modules, with programs or libraries for the platform.
    NoExtensionModule,
    /// Wheels for other platforms: those for the ABI, or all wheels.
    OtherPlatform,
    /// Wheels, but for other ABIs.
    OtherAbi,
    /// Source distribution only.
    SourceOnly,
    /// No file that admits the Python version.
    OtherPython,
    /// The index has no such project or no such version.
    NotFound,
    /// Not on an index, and its files are not known.
    NotOnIndex,
}

impl WheelState {
    pub fn is_ready(self) -> bool {
        use WheelState::{NoExtensionModule, Pure, StableAbi, Wheel};
        matches!(self, Wheel | StableAbi | Pure | NoExtensionModule)
    }

    /// Returns whether the wheel has extension modules, so that there was a first release with such a wheel.
    fn is_native(self) -> bool {
        matches!(self, WheelState::Wheel | WheelState::StableAbi)
    }
}

/// State with what explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub verdict: WheelState,
    /// The wheel that fits best.
    pub file: Option<String>,
    /// The ABIs, platforms or Python versions that it has instead.
    pub instead: Vec<String>,
}

/// How a distribution without a wheel is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdistContents {
    Read(BuildSystem),
    /// Why the source distribution could not be read.
    Unreadable(String),
}

/// Answer for one distribution.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub version: Option<String>,
    pub judged: Judged,
    /// First release with a wheel with extension modules for the target.
    pub since: Option<String>,
    /// First later release that is ready, if this one is not.
    pub later: Option<String>,
    pub newest: Option<String>,
    pub withdrawn: bool,
    /// The wheel on the index that fits best.
    pub wheel: Option<File>,
    pub sdist: Option<File>,
    pub source: Option<SdistContents>,
    /// Where it comes from, if not from the index.
    pub place: Option<String>,
}

impl Row {
    pub fn is_ready(&self) -> bool {
        self.judged.verdict.is_ready()
    }

    /// Returns the source distribution of a distribution that must be built, if it is small and can be read.
    pub fn cheap_sdist(&self, largest: u64) -> Option<&File> {
        let small = |file: &&File| file.name.ends_with(".tar.gz") && file.size.is_some_and(|size| size <= largest);
        self.sdist.as_ref().filter(|_| !self.is_ready()).filter(small)
    }
}

/// File of a release.
struct Candidate<'a> {
    name: &'a str,
    wheel: Option<WheelName>,
    requires_python: Option<&'a str>,
    supported: bool,
}

/// Judges a distribution. `project` is `None` if the index has none of this name, or is not asked.
pub fn row(wanted: &WantedDistribution, project: Option<&ProjectFiles>, target: &CheckTarget) -> Row {
    let mut row = Row {
        name: wanted.name.clone(),
        version: wanted.pinned().map(ToString::to_string),
        judged: Judged { verdict: WheelState::NotFound, file: None, instead: Vec::new() },
        since: None,
        later: None,
        newest: None,
        withdrawn: false,
        wheel: None,
        sdist: None,
        source: None,
        place: None,
    };
    if let Some(elsewhere) = &wanted.elsewhere {
        row.place = Some(elsewhere.place.clone());
        let files: Vec<Candidate> = elsewhere.files.iter().map(|name| named(name)).collect();
        row.version = files.iter().find_map(|file| Some(file.wheel.as_ref()?.version.clone()));
        row.judged = judge(&files, target);
        if row.judged.verdict == WheelState::NotFound {
            row.judged.verdict = WheelState::NotOnIndex;
        }
        return row;
    }
    let Some(project) = project else { return row };
    row.newest = project.newest().map(|release| release.version.to_string());
    let Some(release) = choose(wanted, project, target) else { return row };
    row.version = Some(release.version.to_string());
    row.withdrawn = release.is_yanked();
    row.judged = judge_release(release, target);
    row.wheel = release.files.iter().find(|file| Some(&file.name) == row.judged.file.as_ref()).cloned();
    let stable = || project.releases.iter().filter(|release| !release.is_yanked() && !release.is_prerelease());
    let first = stable().find(|release| judge_release(release, target).verdict.is_native());
    row.since = first.map(|release| release.version.to_string());
    if !row.is_ready() {
        let newer = |other: &&Release| other.version > release.version && !other.is_yanked();
        let ready = |other: &&Release| judge_release(other, target).verdict.is_ready();
        let later = stable().filter(newer).find(ready).or_else(|| project.releases.iter().filter(newer).find(ready));
        row.later = later.map(|release| release.version.to_string());
        row.sdist = release.sdist().filter(|file| file.supports(&target.python)).cloned();
    }
    row
}

/// Returns the newest release that the requirement admits: a pre-release or a withdrawn one only if it is pinned or
/// there is no other.
fn choose<'p>(wanted: &WantedDistribution, project: &'p ProjectFiles, target: &CheckTarget) -> Option<&'p Release> {
    if let Some(version) = wanted.pinned() {
        return project.release(version);
    }
    let admitted = || project.releases.iter().rev().filter(|release| wanted.versions.contains(&release.version));
    let usable = || admitted().filter(|release| !release.is_yanked());
    let supports = |release: &&Release| release.files.iter().any(|file| file.supports(&target.python));
    let stable = || usable().filter(|release| !release.is_prerelease());
    stable().find(supports).or_else(|| usable().find(supports)).or_else(|| stable().next()).or_else(|| usable().next())
}

fn judge_release(release: &Release, target: &CheckTarget) -> Judged {
    let files: Vec<Candidate> = release.files.iter().map(|file| candidate(file, target)).collect();
    judge(&files, target)
}

fn candidate<'f>(file: &'f File, target: &CheckTarget) -> Candidate<'f> {
    let wheel = match &file.kind {
        FileKind::Wheel(name) => Some(name.clone()),
        FileKind::Sdist => None,
    };
    Candidate {
        name: &file.name,
        wheel,
        requires_python: file.requires_python.as_deref(),
        supported: file.supports(&target.python),
    }
}

fn named(name: &str) -> Candidate<'_> {
    Candidate { name, wheel: WheelName::parse(name).ok(), requires_python: None, supported: true }
}

fn judge(files: &[Candidate], target: &CheckTarget) -> Judged {
    let judged = |verdict, instead| Judged { verdict, file: None, instead };
    let interpreter = target.interpreter();
    let usable = || files.iter().filter(|file| file.supported);
    let wheels = || usable().filter_map(|file| Some((file, file.wheel.as_ref()?)));
    let best =
        wheels().filter_map(|(file, wheel)| Some((interpreter.fit(wheel)?, file, wheel))).max_by_key(|(fit, ..)| *fit);
    if let Some((_, file, wheel)) = best {
        let verdict = match interpreter.fit_abi(wheel) {
            Some(AbiFit::Own) => WheelState::Wheel,
            Some(AbiFit::Stable) => WheelState::StableAbi,
            _ if wheel.platform.iter().any(|tag| tag == "any") => WheelState::Pure,
            _ => WheelState::NoExtensionModule,
        };
        return Judged { verdict, file: Some(file.name.to_owned()), instead: Vec::new() };
    }
    if files.is_empty() {
        return judged(WheelState::NotFound, Vec::new());
    }
    if usable().next().is_none() {
        let required: BTreeSet<&str> = files.iter().filter_map(|file| file.requires_python).collect();
        return judged(WheelState::OtherPython, required.into_iter().map(str::to_owned).collect());
    }
    // Of wheels for this ABI, else of all wheels if none is for this platform.
    let for_abi = || wheels().filter(|(_, wheel)| interpreter.fit_abi(wheel).is_some());
    let platforms = |wheel: &WheelName| wheel.platform.clone();
    let mut elsewhere: BTreeSet<String> = for_abi().flat_map(|(_, wheel)| platforms(wheel)).collect();
    if elsewhere.is_empty() && !wheels().any(|(_, wheel)| interpreter.fits_platform(wheel)) {
        elsewhere = wheels().flat_map(|(_, wheel)| platforms(wheel)).collect();
    }
    if !elsewhere.is_empty() {
        return judged(WheelState::OtherPlatform, elsewhere.into_iter().collect());
    }
    // Wheels without extension modules have the ABI `none`; they are for another version of Python.
    let abi = |(_, wheel): (&Candidate, &WheelName)| match wheel.abi.iter().any(|abi| abi == "none") {
        true => wheel.python.clone(),
        false => wheel.abi.clone(),
    };
    let mut abis: Vec<String> = wheels().flat_map(abi).collect();
    abis.sort_by_key(|abi| (abi.len(), abi.clone()));
    abis.dedup();
    judged(if abis.is_empty() { WheelState::SourceOnly } else { WheelState::OtherAbi }, abis)
}
