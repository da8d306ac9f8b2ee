//! Detects missing inputs from the output of a build.

use super::wanted::Wanted;
use base::cause;
use base::ui::quoted;

/// Prefix of lines in which build-wheel.sh prints requirements of the package's pyproject.toml.
const REQUIRES: &str = "build-system.requires: ";

/// Prefix of lines in which build-wheel.sh prints what the build backend asks for and is not installed.
const MISSING_REQUIREMENT: &str = "missing build requirement: ";

/// Parts of the messages of programs that cannot find a server, because a build has no network: of curl and CMake, of the
/// C library, and of Rust's.
const NO_NETWORK: [&str; 5] = [
    "Could not resolve host",
    "Temporary failure in name resolution",
    "Name or service not known",
    "nodename nor servname provided",
    "failed to lookup address information",
];

/// Parser of a build's output.
#[derive(Debug, Default)]
pub struct Messages {
    /// Headers and libraries that a compiler or linker did not find, in the order of the messages.
    required: Vec<Wanted>,
    /// What a build script did not find. It may also have been optional.
    tried: Vec<Wanted>,
    module: Option<String>,
    requires: Vec<String>,
    missing_requirements: Vec<String>,
    in_advice: bool,
    in_cmake_error: bool,
    field: Option<&'static str>,
    compiler_error: Option<String>,
    make_failed: bool,
    used_network: bool,
}

impl Messages {
    /// Processes a line. Returns whether to display it: uv's advice for its own projects does not apply here.
    pub fn read(&mut self, line: &str) -> bool {
        if let Some(requirement) = line.strip_prefix(REQUIRES) {
            self.requires.push(requirement.to_owned());
        }
        if let Some(requirement) = line.strip_prefix(MISSING_REQUIREMENT) {
            self.missing_requirements.push(requirement.to_owned());
        }
        // The lines of a message of CMake are indented.
        if !line.trim().is_empty() && !line.starts_with(' ') {
            self.in_cmake_error = line.starts_with("CMake Error");
        }
        let cmake = if self.in_cmake_error { missing_cmake_package(line) } else { None };
        let scripts = [missing_program(line), missing_description(line), cmake].into_iter().flatten();
        note(&mut self.required, missing_file(line));
        note(&mut self.tried, scripts.chain(requested_libraries(line)));
        self.field = self.field.or_else(|| missing_field(line));
        self.module = self.module.take().or_else(|| missing_module(line));
        if self.compiler_error.is_none() && line.contains(": error: ") {
            self.compiler_error = Some(line.trim().to_owned());
        }
        self.make_failed |= line.starts_with("make") && line.contains("***");
        self.used_network |= NO_NETWORK.iter().any(|part| line.contains(part));
        if line.starts_with("hint: This error likely indicates that `") {
            self.in_advice = true;
        }
        let shown = !self.in_advice && !line.starts_with("hint: Build failures usually indicate");
        if line.starts_with("or `uv pip install") {
            self.in_advice = false;
        }
        shown
    }

    /// Returns the line that explains best why the build failed. `tail` are the last lines of its output. The error of a
    /// compiler may come long before them, because a compiler continues with the rest of a file.
    pub fn cause(&self, tail: &[String]) -> Option<String> {
        if self.name_cause() {
            return None;
        }
        let last = cause::find(tail.iter().map(String::as_str));
        match (&self.compiler_error, last) {
            (Some(error), last) if !last.as_deref().is_some_and(cause::is_marked) => {
                Some(cause::shortened(error, 2 * cause::WIDTH))
            }
            (_, last) => last,
        }
    }

    /// Returns the requirements that the build backend asks for and that are not locked.
    pub fn missing_requirements(&self) -> &[String] {
        &self.missing_requirements
    }

    /// Returns what the build certainly misses; empty if the output does not say that.
    pub fn required(&self) -> &[Wanted] {
        &self.required
    }

    /// Returns what the build may miss, the most likely first.
    pub fn wanted(&self) -> &[Wanted] {
        match (self.required.is_empty(), self.name_cause()) {
            (false, _) => &self.required,
            (true, true) => &[],
            (true, false) => &self.tried,
        }
    }

    /// Returns the name of what the build most likely misses; `None` if the output does not say that it misses anything.
    pub fn first_missing(&self) -> Option<String> {
        self.wanted().first().map(Wanted::name).or_else(|| self.module.clone())
    }

    /// Returns whether the output names a missing Python module or field of matrix.yaml, which is more helpful than its
    /// last error.
    pub fn name_cause(&self) -> bool {
        self.module.is_some() || self.field.is_some()
    }

    /// Returns a remedy for a missing Python module or field of matrix.yaml, a download, or a failed parallel make, which
    /// ran `jobs` commands at a time. Empty if the output names no cause.
    pub fn hint(&self, package: &str, jobs: usize) -> String {
        if let Some(field) = self.field {
            return format!(": {}", field.replace("PACKAGE", package));
        }
        let Some(module) = &self.module else {
            return match (self.used_network, self.make_failed && jobs > 1) {
                (true, _) => format!(
                    ": the build wanted to download files, and has no network, because nobody could verify them; make it \
                     use an installed library instead: add its Debian package to the apt set of `{package}` in matrix.yaml, \
                     and what the documentation of `{package}` says to `build.env` or `build.config-settings`"
                ),
                (false, true) => format!(
                    ": make ran {jobs} commands at a time; if its makefiles do not allow that, set \
                     `build: {{jobs: 1}}` for `{package}` in matrix.yaml"
                ),
                (false, false) => String::new(),
            };
        };
        let requires = match self.requires.is_empty() {
            true => String::new(),
            false => format!("; its pyproject.toml requires {}", quoted(&self.requires)),
        };
        format!(
            ": the build needs the Python module `{module}`, which is missing: add the package that contains it to \
             `build.requires` of `{package}` in matrix.yaml and run `cargo xtask lock {package}`{requires}"
        )
    }
}

/// Returns what to do for a build that needs a field of matrix.yaml for `PACKAGE`.
fn missing_field(line: &str) -> Option<&'static str> {
    let has = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
    if has(&["etuptools-scm was unable to detect version", "etuptools_scm was unable to detect version"])
        || has(&["Error getting the version from source `vcs`"])
    {
        return Some(
            "the package takes its version from git, which the build does not see: set `build: {env: \
             {SETUPTOOLS_SCM_PRETEND_VERSION: VERSION}}` for `PACKAGE` in matrix.yaml, or add a tag to the working copy",
        );
    }
    if has(&["Versioning for this project requires either an sdist tarball"]) {
        return Some(
            "the package takes its version from git, which the build does not see: set `build: {env: {PBR_VERSION: \
             VERSION}}` for `PACKAGE` in matrix.yaml",
        );
    }
    if has(&["cannot find -lpython"]) {
        return Some(
            "the build of `PACKAGE` links the shared library of Python, which the interpreters of this tool do not have; \
             extension modules need no such library",
        );
    }
    let rust = [
        "can't find Rust compiler",
        "the Rust package manager, is not installed",
        "No such file or directory: 'cargo'",
    ];
    has(&rust).then_some("the build needs the Rust compiler: set `build: {rust: true}` for `PACKAGE` in matrix.yaml")
}

/// Extracts `numpy` from `ModuleNotFoundError: No module named 'numpy.core'`.
fn missing_module(line: &str) -> Option<String> {
    let name = line.strip_prefix("ModuleNotFoundError: No module named '")?.split('\'').next()?;
    name.split('.').next().map(str::to_owned)
}

fn note(list: &mut Vec<Wanted>, found: impl IntoIterator<Item = Wanted>) {
    for wanted in found {
        if !list.contains(&wanted) {
            list.push(wanted);
        }
    }
}

/// Extracts the missing header or library from the message of a compiler, linker or loader.
fn missing_file(line: &str) -> Option<Wanted> {
    if let Some((_, rest)) = line.split_once("fatal error: ") {
        let header = rest.split_once(": No such file").map(|(header, _)| header);
        // clang
        let header = header.or_else(|| rest.strip_suffix("' file not found")?.strip_prefix('\''));
        return header.map(|header| Wanted::Header(header.trim().to_owned()));
    }
    // GNU ld, lld, zig
    for start in ["cannot find -l", "unable to find library -l", "unable to find dynamic system library '"] {
        if let Some((_, rest)) = line.split_once(start) {
            // No Debian package has the library of this interpreter.
            return word(rest, "._+-").filter(|name| !name.starts_with("python")).map(Wanted::Library);
        }
    }
    // bindgen
    if line.contains("Unable to find libclang") {
        return Some(Wanted::Library("clang".to_owned()));
    }
    let (before, _) = line.split_once(".so: cannot open shared object file")?;
    let name = before.rsplit([' ', '/', '\'']).next()?.strip_prefix("lib")?;
    word(name, "._+-").map(Wanted::Library)
}

/// Extracts the missing program from the message of a shell, make, Python or a build system.
fn missing_program(line: &str) -> Option<Wanted> {
    let line = line.trim();
    let program = |name: &str| word(name, "._+-").filter(|found| found == name).map(Wanted::Program);
    for end in [" executable not found", " executable not found.", ": command not found", ": not found"] {
        if let Some(before) = line.strip_suffix(end) {
            return program(before.rsplit([' ', '/']).next()?);
        }
    }
    if let Some(rest) = line.strip_prefix("make") {
        let (_, rest) = rest.split_once(": ")?;
        return program(rest.strip_suffix(": No such file or directory")?);
    }
    for (start, end) in [
        // Python
        ("[Errno 2] No such file or directory: '", "'"),
        // setuptools
        ("error: command '", "' failed: No such file or directory"),
        // Meson
        ("ERROR: Program '", "' not found"),
        ("ERROR: Unknown compiler(s): [['", "'"),
    ] {
        if let Some((_, rest)) = line.split_once(start)
            && let Some((name, _)) = rest.split_once(end)
        {
            return program(name);
        }
    }
    // scikit-build-core, and the usual text of setup.py files that call CMake.
    let cmake = [
        "CMakeNotFoundError:",
        "CMake must be installed",
        "Problem with the CMake installation",
        // The crate `cmake`
        "is `cmake` not installed?",
    ];
    let ninja = ["NinjaNotFoundError:", "unable to find a build program corresponding to \"Ninja\""];
    let has = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
    // Meson, and the crate `pkg-config`
    let pkg_config = (line.contains("Pkg-config") && line.ends_with("not found. Giving up."))
        || has(&["The pkg-config command could not be found"]);
    // The crate `prost-build`
    match (has(&cmake), has(&ninja), pkg_config, has(&["Could not find `protoc`"])) {
        (true, ..) => program("cmake"),
        (_, true, ..) => program("ninja"),
        (.., true, _) => program("pkg-config"),
        (.., true) => program("protoc"),
        _ => None,
    }
}

/// Extracts the missing module of pkg-config, or the missing library, from the message of a build system.
fn missing_description(line: &str) -> Option<Wanted> {
    for (start, end) in [
        ("Package ", " was not found in the pkg-config search path"),
        ("No package '", "' found"),
        ("Package '", "' not found"),
        ("Package '", "', required by '"),
        ("Command 'pkg-config --exists ", "' returned non-zero exit status 1"),
        ("ERROR: Dependency \"", "\" not found"),
        ("ERROR: Dependency '", "' not found"),
        ("ERROR: Dependency lookup for ", " with method"),
        // The crate `pkg-config`
        ("The system library `", "` required by crate"),
    ] {
        if let Some((_, rest)) = line.split_once(start)
            && let Some((name, _)) = rest.split_once(end)
        {
            return word(name, "._+-").filter(|found| found == name).map(Wanted::PkgConfig);
        }
    }
    // Of setup.py files that use the Python package pkgconfig, for instance that of xmlsec.
    if let Some((before, _)) = line.split_once(" is not installed or not in path") {
        let name = before.rsplit(' ').next().unwrap_or_default();
        return word(name, "._+-").filter(|found| found == name).map(Wanted::PkgConfig);
    }
    let library = |rest: &str| word(rest, "._+-").map(Wanted::Library);
    if let Some((_, rest)) = line.split_once("shared or static library '") {
        return rest.contains("' not found").then(|| library(rest)).flatten();
    }
    // Pillow
    library(line.split_once("headers or library files could not be found for ")?.1)
}

/// Extracts the libraries from a sentence such as lxml's "make sure the libxml2 and libxslt development packages are
/// installed".
fn requested_libraries(line: &str) -> Vec<Wanted> {
    if !["development packages", "development files", "-dev package"].iter().any(|part| line.contains(part)) {
        return Vec::new();
    }
    let libraries = line.split(' ').filter_map(|word| word.strip_prefix("lib"));
    libraries.filter_map(|name| word(name.trim_end_matches("-dev"), "_+-.")).map(Wanted::Library).collect()
}

/// Extracts the missing package from an error of CMake. Its own module for Python is about the interpreter.
fn missing_cmake_package(line: &str) -> Option<Wanted> {
    let line = line.trim();
    let name = match line.strip_prefix("Could NOT find ") {
        Some(rest) => rest,
        None => line.split_once("package configuration file provided by \"")?.1,
    };
    word(name, "._+-").filter(|name| !name.starts_with("Python") && name != "Threads").map(Wanted::CMake)
}

/// Returns the beginning of a text up to the first character that is neither a letter, a digit nor one of `others`.
fn word(text: &str, others: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || others.contains(*c)).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
