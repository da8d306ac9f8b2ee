//! Data races that ThreadSanitizer reported in the processes of the suites.

mod baseline;
mod control;
mod report;
mod sarif;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anyhow::{Result, bail};

pub use baseline::RaceBaseline;
pub use control::check;
pub use report::RaceReport;
pub use sarif::document;
pub use table::table;

use crate::result::{Libraries, Results};
use matrix::{Image, Matrix};
use report::Frame;
use wheelfile::normalise;

/// Whose code a race is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The threads met in the package, by its id.
    Package(String),
    /// The threads met elsewhere, but a function of the package is among the callers.
    Reached(String),
    Python,
    /// A library that is neither.
    Library(String),
}

impl Owner {
    /// Returns the owner in a few words.
    pub fn describe(&self) -> String {
        match self {
            Owner::Package(package) => package.clone(),
            Owner::Reached(package) => format!("reached from {package}"),
            Owner::Python => "CPython".to_owned(),
            Owner::Library(module) => module.clone(),
        }
    }
}

/// All reports of one race.
#[derive(Debug, Clone)]
pub struct RaceFinding {
    pub kind: String,
    /// The functions in which the threads met, sorted. Together with the kind, they identify the race.
    pub functions: Vec<String>,
    pub owner: Owner,
    /// Number of reports.
    pub count: usize,
    /// The first report.
    pub first: RaceReport,
    /// Suites and cases in which it was reported.
    pub cases: BTreeSet<String>,
    /// Why it is accepted, if it was reviewed.
    pub reason: Option<String>,
}

impl RaceFinding {
    /// Returns the number of reports as text: `1 report` or `3 reports`.
    pub fn reports(&self) -> String {
        format!("{} report{}", self.count, if self.count == 1 { "" } else { "s" })
    }

    /// Formats the stacks of the first report.
    pub fn stacks(&self) -> String {
        let mut out = String::new();
        for stack in &self.first.stacks {
            out.push_str(&format!("{}\n", stack.title));
            stack.frames.iter().for_each(|frame| out.push_str(&format!("  {}\n", frame.describe())));
        }
        out
    }

    /// Returns the functions as one text.
    pub fn title(&self) -> String {
        self.functions.join(" / ")
    }
}

/// The folders of the packages of an image, to find out whose a library is.
struct Packages(Vec<(String, Vec<String>)>);

impl Packages {
    fn of(matrix: &Matrix, image: &Image) -> Packages {
        let names = |package: &matrix::Package| {
            // auditwheel puts the libraries of `a-b` into `a_b.libs`.
            let libs = format!("{}.libs", normalise(package.distribution()).replace('-', "_"));
            let modules = package.import.iter().map(|name| name.split('.').next().unwrap_or_default().to_owned());
            modules.chain([libs]).collect()
        };
        Packages(matrix.packages_of(image).map(|package| (package.id.to_string(), names(package))).collect())
    }

    /// Returns the package that a library in `site-packages` belongs to.
    fn owner(&self, path: &str) -> Option<&str> {
        let below = path.split_once("/site-packages/")?.1;
        let top = below.split('/').next()?;
        let is =
            |name: &String| top == name || top.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'));
        self.0.iter().find(|(_, names)| names.iter().any(is)).map(|(id, _)| id.as_str())
    }
}

/// Returns the races in the order of their owners, packages first. A report that cannot be parsed is an error, because it
/// would go unseen.
pub fn findings(
    results: &Results,
    baseline: &RaceBaseline,
    matrix: &Matrix,
    image: &Image,
) -> Result<Vec<RaceFinding>> {
    let packages = Packages::of(matrix, image);
    let mut found: Vec<RaceFinding> = Vec::new();
    for race in &results.races {
        let Some(report) = RaceReport::parse(&race.text) else {
            let first = race.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            bail!("ThreadSanitizer wrote something else than a report, so it may have failed itself: `{first}`")
        };
        let (kind, functions) = (report.kind.clone(), report.functions());
        let case = format!("{} of {}, {}", race.suite, race.client, race.case);
        match found.iter_mut().find(|known| known.kind == kind && known.functions == functions) {
            Some(known) => {
                known.count += 1;
                known.cases.insert(case);
            }
            None => {
                let owner = owner(&report, &results.libraries, &packages);
                let cases = BTreeSet::from([case]);
                found.push(RaceFinding { kind, functions, owner, count: 1, first: report, cases, reason: None });
            }
        }
    }
    for finding in &mut found {
        finding.reason = baseline.reason(finding).map(str::to_owned);
    }
    found.sort_by(|one, other| (&one.owner, &one.functions).cmp(&(&other.owner, &other.functions)));
    Ok(found)
}

/// Returns whose code the race is in. Reports have only the file names of libraries, not their folders.
fn owner(report: &RaceReport, libraries: &Libraries, packages: &Packages) -> Owner {
    let path = |frame: &Frame| {
        let named = |path: &&str| path.rsplit('/').next() == Some(&*frame.module);
        libraries.libraries.iter().map(|library| library.path.as_str()).find(named)
    };
    let package = |frame: &Frame| path(frame).and_then(|path| packages.owner(path)).map(str::to_owned);
    if let Some(id) = report.tops().find_map(package) {
        return Owner::Package(id);
    }
    if let Some(id) = report.stacks.iter().take(2).flat_map(|stack| &stack.frames).find_map(package) {
        return Owner::Reached(id);
    }
    let python = |frame: &Frame| {
        frame.module.starts_with("python3") || path(frame).is_some_and(|path| path.contains("/lib-dynload/"))
    };
    match report.tops().find(|frame| !python(frame)) {
        Some(frame) => Owner::Library(frame.module.clone()),
        None => Owner::Python,
    }
}
