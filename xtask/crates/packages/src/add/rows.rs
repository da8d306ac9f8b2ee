//! The rows that `add` writes.

use anyhow::Result;
use base::ui;
use build::{Missing, MissingDebianPackages, MissingRequirements, NeedsContainer};

use super::target::{Source, Target};
use matrix::{Builder, GilState, Matrix, inserted};
use wheelfile::{Importable, WheelName, is_identifier};

/// Maximum number of Debian packages that are added to the apt set of a package.
const MOST_APT_PACKAGES: usize = 12;

/// Set of Debian packages with a compiler, one of the defaults of the matrix.
const COMPILE: &str = "compile";

/// Top-level modules of a wheel that are not what users import.
const NOT_IMPORTED: [&str; 7] = ["benchmarks", "docs", "examples", "scripts", "test", "tests", "tools"];

/// Row of a package.
#[derive(Debug, Clone)]
pub struct PackageRow {
    pub id: String,
    pub import: Vec<String>,
    source: Source,
    builder: Builder,
    rust: bool,
    /// ABI whose wheel serves later ABIs with a GIL too.
    pub abi3: Option<String>,
    /// Build requirements that its build backend asks for when a build starts.
    pub requires: Vec<String>,
    /// Debian packages that its build needs besides a compiler.
    pub apt: Vec<String>,
    /// Debian packages that its images need besides those of the interpreter.
    pub runtime_apt: Vec<String>,
    /// Whether the matrix has a set with a compiler.
    has_compile: bool,
    /// ABIs with a wheel on the index, with the digest of the wheel.
    published: Vec<(String, String)>,
}

impl PackageRow {
    /// Returns the row as far as it is known before the first build.
    pub fn new(target: &Target, matrix: &Matrix) -> PackageRow {
        PackageRow {
            id: target.id.clone(),
            import: Vec::new(),
            source: target.source.clone(),
            builder: target.builder,
            rust: target.rust,
            abi3: None,
            requires: Vec::new(),
            apt: Vec::new(),
            runtime_apt: Vec::new(),
            has_compile: matrix.apt.iter().any(|set| set.id == *COMPILE),
            published: target.published.clone(),
        }
    }

    /// Adds what a failed build missed, and describes that. `None` if the row has it already, or if it is not known.
    pub fn provide(&mut self, missing: &Missing) -> Option<String> {
        match missing {
            Missing::DebianPackages(MissingDebianPackages { file, candidates, .. }) => {
                let next = candidates.iter().flatten().find(|name| !self.apt.contains(name));
                let next = next.filter(|_| self.apt.len() < MOST_APT_PACKAGES)?.clone();
                let text = format!("`{file}` is missing: adding the Debian package `{next}`");
                self.apt.push(next);
                Some(text)
            }
            Missing::Requirements(MissingRequirements { requirements, .. }) => {
                let new: Vec<String> =
                    requirements.iter().filter(|text| !self.requires.contains(text)).cloned().collect();
                let text = format!("the build backend needs {}: adding it to `build.requires`", ui::quoted(&new));
                self.requires.extend(new.clone());
                (!new.is_empty()).then_some(text)
            }
            Missing::Container(NeedsContainer { what, .. }) => {
                let changed = self.builder == Builder::Maturin;
                (self.builder, self.rust) = (Builder::Container, true);
                changed.then(|| {
                    format!("`{what}` is needed, which maturin cannot use on this machine: building in a container")
                })
            }
        }
    }

    /// Adds a Debian package with a shared library that an import missed, and describes that. `None` if all candidates are
    /// there already.
    pub fn provide_library(&mut self, library: &str, candidates: &[String]) -> Option<String> {
        let next = candidates.iter().find(|name| !self.runtime_apt.contains(name));
        let next = next.filter(|_| self.runtime_apt.len() < MOST_APT_PACKAGES)?.clone();
        let text = format!("`{library}` is missing in the image: adding the Debian package `{next}`");
        self.runtime_apt.push(next);
        Some(text)
    }

    /// Notes that the first of the wheels with a GIL serves later ABIs too, if its tag says so. `wheels` are ABIs with the
    /// file name of their wheel. Returns a description of the change.
    pub fn notice_abi3<'w>(&mut self, wheels: impl IntoIterator<Item = (&'w str, &'w WheelName)>) -> Option<String> {
        let with_gil = |abi: &str| !abi.ends_with('t') && !self.published.iter().any(|(known, _)| known == abi);
        let (abi, name) = wheels.into_iter().find(|(abi, _)| with_gil(abi))?;
        if self.abi3.is_some() || !name.abi.iter().any(|tag| tag == "abi3") {
            return None;
        }
        self.abi3 = Some(abi.to_owned());
        Some(format!("the wheel for `{abi}` has the stable ABI (abi3): it serves all later ABIs with a GIL"))
    }

    /// Returns the id of the apt set that the row names.
    fn apt_set(&self) -> String {
        match self.apt.is_empty() && self.has_compile {
            true => COMPILE.to_owned(),
            false => format!("{}-build", self.id),
        }
    }

    /// Returns the row in `apt`, if the package needs one of its own.
    fn apt_text(&self) -> Option<String> {
        if self.builder != Builder::Container || self.apt_set() == COMPILE {
            return None;
        }
        let packages = match self.has_compile {
            true => self.apt.clone(),
            false => ["build-essential", "pkg-config"].map(str::to_owned).into_iter().chain(self.apt.clone()).collect(),
        };
        let include = if self.has_compile { format!("  include: [{COMPILE}]\n") } else { String::new() };
        Some(format!("- id: {}\n{include}  packages: [{}]\n", self.apt_set(), packages.join(", ")))
    }

    /// Returns the row in `apt` for the images with the package, if they need one.
    fn runtime_apt_text(&self) -> Option<String> {
        let packages = self.runtime_apt.join(", ");
        (!packages.is_empty()).then(|| format!("- id: {}-runtime\n  packages: [{packages}]\n", self.id))
    }

    fn text(&self) -> String {
        let abi3 = self.abi3.as_ref().map(|abi| format!(", abi3: {abi}")).unwrap_or_default();
        let build = match self.builder {
            Builder::Maturin => format!("{{with: maturin{abi3}}}"),
            Builder::Container => {
                let rust = if self.rust { ", rust: true" } else { "" };
                let requires: Vec<String> = self.requires.iter().map(|text| in_quotes(text)).collect();
                let requires = match requires.is_empty() {
                    true => String::new(),
                    false => format!(", requires: [{}]", requires.join(", ")),
                };
                format!("{{with: container, apt: {}{rust}{abi3}{requires}}}", self.apt_set())
            }
        };
        let source = match &self.source {
            Source::Index { version, sha256 } => {
                format!("  source:\n    pypi: {{version: {}, sha256: {sha256}}}\n", quoted(version))
            }
            Source::Folder(path) => format!("  source: {{path: {path}}}\n"),
        };
        let import = match self.import.is_empty() {
            true => String::new(),
            false => format!("  import: [{}]\n", self.import.join(", ")),
        };
        let mut text = format!("- id: {}\n{import}{source}  build: {build}\n", self.id);
        if !self.runtime_apt.is_empty() {
            text.push_str(&format!("  runtime_apt: {}-runtime\n", self.id));
        }
        if !self.published.is_empty() {
            text.push_str("  published:\n");
            for (abi, sha256) in &self.published {
                text.push_str(&format!("    - {{abi: {abi}, sha256: {sha256}}}\n"));
            }
        }
        text
    }
}

/// Row of an image with the package.
#[derive(Debug, Clone)]
pub struct ImageRow {
    tag: String,
    abi: String,
    /// Rows of packages, those that the last one requires first.
    packages: Vec<String>,
    gil: GilState,
}

impl ImageRow {
    /// Returns the row as expected before a proof: without the GIL, if the interpreter can do that.
    pub fn guessed(tag: &str, abis: &[String], packages: &[String]) -> ImageRow {
        // A free-threaded ABI is preferred: its image is what is to be proven.
        let abi = abis.iter().rfind(|abi| abi.ends_with('t')).or(abis.last()).cloned().unwrap_or_default();
        let gil = if abi.ends_with('t') { GilState::Off } else { GilState::On };
        ImageRow { tag: tag.to_owned(), abi, packages: packages.to_vec(), gil }
    }

    /// Returns the row with the state that the interpreter of the image reported.
    pub fn proven(tag: &str, abis: &[String], packages: &[String], on: bool) -> ImageRow {
        ImageRow { gil: if on { GilState::On } else { GilState::Off }, ..ImageRow::guessed(tag, abis, packages) }
    }

    pub fn is_free_threaded(&self) -> bool {
        self.abi.ends_with('t')
    }

    fn text(&self) -> String {
        let ImageRow { tag, abi, packages, gil } = self;
        format!("- {{tag: {}, abi: {abi}, packages: [{}], gil: \"{gil}\"}}\n", quoted(tag), packages.join(", "))
    }
}

/// Returns a scalar of YAML in double quotes.
fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns a scalar of YAML. Text that YAML would read as a number stands in quotes.
fn quoted(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(_) => format!("\"{text}\""),
        Err(_) => text.to_owned(),
    }
}

/// Returns the modules of wheels that users import.
pub fn import_names(modules: &Importable) -> Vec<String> {
    let all: Vec<&str> = modules.top_levels().into_iter().filter(|name| is_identifier(name)).collect();
    let public = |name: &&&str| !name.starts_with('_') && !NOT_IMPORTED.contains(*name);
    let mut chosen: Vec<&&str> = all.iter().filter(public).collect();
    if chosen.is_empty() {
        chosen = all.iter().collect();
    }
    chosen.iter().map(|name| name.to_string()).collect()
}

/// Returns the rows for users, each below the name of its list and marked with `+`.
pub fn listing(package: &PackageRow, image: Option<&ImageRow>) -> String {
    let sets = [package.apt_text(), package.runtime_apt_text()].into_iter().flatten().collect::<String>();
    let lists = [
        ("apt", Some(sets).filter(|rows| !rows.is_empty())),
        ("packages", Some(package.text())),
        ("images", image.map(ImageRow::text)),
    ];
    let mut text = String::new();
    for (list, row) in lists {
        let Some(row) = row else { continue };
        text.push_str(&format!("+ {list}:\n"));
        row.lines().for_each(|line| text.push_str(&format!("+   {line}\n")));
    }
    text
}

/// Returns the text of a matrix with the rows.
pub fn text(old: &str, package: &PackageRow, image: Option<&ImageRow>) -> Result<String> {
    let mut text = old.to_owned();
    for row in [package.apt_text(), package.runtime_apt_text()].into_iter().flatten() {
        text = inserted(&text, "apt", &row)?;
    }
    text = inserted(&text, "packages", &package.text())?;
    if let Some(image) = image {
        text = inserted(&text, "images", &image.text())?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(builder: Builder) -> PackageRow {
        let target = Target {
            id: "demo".to_owned(),
            source: Source::Folder("demo".to_owned()),
            builder,
            backend: "x".to_owned(),
            rust: false,
            published: Vec::new(),
            vendors_wheel: None,
        };
        PackageRow::new(&target, &Matrix::without_rows().unwrap())
    }

    #[test]
    fn a_wheel_of_the_stable_abi_serves_later_abis() {
        let wheel =
            |abi, tags: &str| (abi, WheelName::parse(&format!("demo-1-{tags}-manylinux_2_28_x86_64.whl")).unwrap());
        let notice = |wheels: &[(&'static str, WheelName)]| {
            let mut row = row(Builder::Maturin);
            row.notice_abi3(wheels.iter().map(|(abi, name)| (*abi, name)));
            (row.abi3.clone(), row.text())
        };
        let stable = [wheel("cp311", "cp39-abi3"), wheel("cp314", "cp39-abi3"), wheel("cp314t", "cp314-cp314t")];
        let (abi, text) = notice(&stable);
        assert_eq!(abi.as_deref(), Some("cp311"));
        assert!(text.contains("build: {with: maturin, abi3: cp311}"), "{text}");
        assert_eq!(notice(&stable[2..]).0, None, "a free-threaded interpreter has a wheel of its own");
        assert_eq!(notice(&[wheel("cp311", "cp311-cp311")]).0, None);
    }

    #[test]
    fn a_build_that_maturin_cannot_do_is_done_in_a_container() {
        let mut row = row(Builder::Maturin);
        let missing = Missing::Container(NeedsContainer { package: "demo".to_owned(), what: "ssl.h".to_owned() });
        assert!(row.provide(&missing).is_some_and(|text| text.contains("`ssl.h`")));
        assert!(row.text().contains("build: {with: container, apt: compile, rust: true}"), "{}", row.text());
        assert_eq!(row.provide(&missing), None);
    }

    #[test]
    fn what_a_build_missed_is_added_once() {
        let mut row = row(Builder::Container);
        let requirements = vec!["cython>=3; python_version>\"3.8\"".to_owned()];
        let missing = Missing::Requirements(MissingRequirements { package: "demo".to_owned(), requirements });
        assert!(row.provide(&missing).is_some_and(|text| text.contains("`build.requires`")));
        assert_eq!(row.provide(&missing), None, "the row has it already");
        let candidates = Some(vec!["liba-dev".to_owned(), "libb-dev".to_owned()]);
        let file = "a.h".to_owned();
        let missing = Missing::DebianPackages(MissingDebianPackages { package: "demo".to_owned(), file, candidates });
        let added: Vec<bool> = (0..3).map(|_| row.provide(&missing).is_some()).collect();
        assert_eq!(added, [true, true, false], "every candidate is tried once");
        let libraries = ["libc1".to_owned(), "libd1".to_owned()];
        assert!(row.provide_library("libc.so.1", &libraries[..1]).is_some_and(|text| text.contains("`libc1`")));
        assert_eq!(row.provide_library("libc.so.1", &libraries[..1]), None);
        assert!(row.provide_library("libd.so.1", &libraries).is_some());
        let text = text("name: x\npackages: []\nimages: []\n", &row, None).unwrap();
        assert!(
            text.contains("  packages: [libc1, libd1]\n") && text.contains("  runtime_apt: demo-runtime\n"),
            "{text}"
        );
        let build = "build: {with: container, apt: demo-build, requires: [\"cython>=3; python_version>\\\"3.8\\\"\"]}";
        assert!(text.contains(build) && text.contains("packages: [liba-dev, libb-dev]"), "{text}");
        assert!(Matrix::parse(&text, "matrix.yaml").is_ok());
    }
}
