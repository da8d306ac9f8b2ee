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
mod tests {
    use super::*;

    /// What a build misses that prints this.
    fn wanted(output: &str) -> Vec<Wanted> {
        let mut messages = Messages::default();
        for line in output.lines() {
            messages.read(line);
        }
        messages.wanted().to_vec()
    }

    #[test]
    fn a_missing_header_or_library_is_recognised() {
        let header = |name: &str| vec![Wanted::Header(name.to_owned())];
        let library = |name: &str| vec![Wanted::Library(name.to_owned())];
        for (output, expected) in [
            ("src/main/config.c:10:10: fatal error: yaml.h: No such file or directory", header("yaml.h")),
            ("a.h:3:10: fatal error: openssl/ssl.h: No such file or directory", header("openssl/ssl.h")),
            ("a.c:1:10: fatal error: 'ev.h' file not found", header("ev.h")),
            ("/usr/bin/ld: cannot find -lyaml: No such file or directory", library("yaml")),
            ("ld.lld: error: unable to find library -lyaml", library("yaml")),
            ("error: unable to find dynamic system library 'yaml' using strategy 'paths_first'", library("yaml")),
            ("  Unable to find libclang: \"couldn't find any valid shared libraries\"", library("clang")),
            ("OSError: libhdf5.so: cannot open shared object file: No such file or directory", library("hdf5")),
            ("The headers or library files could not be found for jpeg,", library("jpeg")),
            ("meson.build:7:13: ERROR: C shared or static library 'lz4' not found", library("lz4")),
            ("/usr/bin/ld: cannot find -lpython3.14t: No such file or directory", vec![]),
            ("error: yaml.h is odd", vec![]),
        ] {
            assert_eq!(wanted(output), expected, "{output}");
        }
    }

    #[test]
    fn a_missing_program_is_recognised() {
        for (output, expected) in [
            ("Error: pg_config executable not found.", "pg_config"),
            ("/bin/sh: 1: mysql_config: not found", "mysql_config"),
            ("bash: line 1: xslt-config: command not found", "xslt-config"),
            ("make[1]: cmake: No such file or directory", "cmake"),
            ("  Could not run curl-config: [Errno 2] No such file or directory: 'curl-config'", "curl-config"),
            ("error: command 'swig' failed: No such file or directory", "swig"),
            ("../meson.build:3:0: ERROR: Program 'flex' not found or not executable", "flex"),
            ("../meson.build:1:0: ERROR: Unknown compiler(s): [['gfortran'], ['flang']]", "gfortran"),
            ("scikit_build_core.errors.CMakeNotFoundError: Could not find CMake with version >=3.15", "cmake"),
            ("RuntimeError: CMake must be installed to build the extension", "cmake"),
            ("  is `cmake` not installed?", "cmake"),
            ("  Could not find `protoc`. If `protoc` is installed, try setting `PROTOC`", "protoc"),
            ("  The pkg-config command could not be found.", "pkg-config"),
        ] {
            assert_eq!(wanted(output), [Wanted::Program(expected.to_owned())], "{output}");
        }
        assert_eq!(wanted("[Errno 2] No such file or directory: 'data/x.json'"), []);
    }

    #[test]
    fn a_missing_module_of_pkg_config_or_package_of_cmake_is_recognised() {
        for output in [
            "Package libcurl was not found in the pkg-config search path.\n\
             Perhaps you should add the directory containing `libcurl.pc'\n\
             Package 'libcurl', required by 'virtual:world', not found\nNo package 'libcurl' found",
            "Command 'pkg-config --exists libcurl' returned non-zero exit status 1.",
            "../meson.build:9:7: ERROR: Dependency \"libcurl\" not found, tried pkgconfig and cmake",
            "  The system library `libcurl` required by crate `curl-sys` was not found.",
            "error: libcurl is not installed or not in path.",
            // pkgconf, called by CMake
            "-- Checking for module 'libcurl'\n--   Package 'libcurl', required by 'virtual:world', not found",
        ] {
            assert_eq!(wanted(output), [Wanted::PkgConfig("libcurl".to_owned())], "{output}");
        }
        let lxml = "Error: Please make sure the libxml2 and libxslt development packages are installed.";
        assert_eq!(wanted(lxml), ["xml2", "xslt"].map(|name| Wanted::Library(name.to_owned())));
        let cmake = "-- Could NOT find ZLIB (missing: ZLIB_LIBRARY)\n\
             CMake Error at FindPackageHandleStandardArgs.cmake:230 (message):\n\
             \x20 Could NOT find OpenSSL, try to set the path to OpenSSL root folder\n\
             Call Stack (most recent call first):\n\
             CMake Error at CMakeLists.txt:4 (find_package):\n\
             \x20 asked CMake to find a package configuration file provided by \"Eigen3\", but\n\
             \x20 CMake did not find one.\n";
        let found = ["OpenSSL", "Eigen3"].map(|name| Wanted::CMake(name.to_owned()));
        assert_eq!(wanted(cmake), found, "ZLIB is optional");
    }

    #[test]
    fn the_message_of_a_compiler_counts_more_than_that_of_a_script() {
        let output = "/bin/sh: 1: xslt-config: not found\na.c:1:1: fatal error: a.h: No such file or directory\n";
        assert_eq!(wanted(output), [Wanted::Header("a.h".to_owned())]);
        assert_eq!(wanted("/bin/sh: 1: xslt-config: not found\nModuleNotFoundError: No module named 'numpy'"), []);
    }

    #[test]
    fn requirements_of_the_backend_are_read() {
        let mut messages = Messages::default();
        messages.read("missing build requirement: Cython>=3.1; python_version>'3.8'");
        assert_eq!(messages.missing_requirements(), ["Cython>=3.1; python_version>'3.8'"]);
    }

    #[test]
    fn a_missing_build_requirement_is_found_without_uvs_advice() {
        let mut messages = Messages::default();
        // Output of uv 0.13.9.
        let output = "build-system.requires: setuptools\n\
            build-system.requires: numpy>=2\n\
            ModuleNotFoundError: No module named 'numpy'\n\
            error: Failed to build `/tmp/build/src`\n\
            hint: This error likely indicates that `a@1.0` depends on `numpy`, but doesn't declare it\n\
            \n\
            [tool.uv.extra-build-dependencies]\n\
            a = [\"numpy\"]\n\
            or `uv pip install numpy` into the environment and re-run with `--no-build-isolation`.\n\
            last line";
        let shown: Vec<&str> = output.lines().filter(|line| messages.read(line)).collect();
        assert_eq!(
            shown[2..].join("\n"),
            "ModuleNotFoundError: No module named 'numpy'\nerror: Failed to build `/tmp/build/src`\nlast line"
        );
        let hint = messages.hint("a", 2);
        assert!(
            hint.contains(
                "`build.requires` of `a` in matrix.yaml and run `cargo xtask lock a`; its pyproject.toml requires \
                 `setuptools`, `numpy>=2`"
            ),
            "{hint}"
        );
        assert_eq!(Messages::default().hint("a", 2), "");
    }

    #[test]
    fn a_missing_field_of_the_matrix_is_named() {
        for (output, expected) in [
            ("LookupError: setuptools-scm was unable to detect version for /tmp/build/src.", "SETUPTOOLS_SCM_PRETEND"),
            ("LookupError: Error getting the version from source `vcs`: setuptools-scm", "SETUPTOOLS_SCM_PRETEND"),
            ("Exception: Versioning for this project requires either an sdist tarball, or access", "PBR_VERSION"),
            ("error: can't find Rust compiler", "set `build: {rust: true}` for `a`"),
        ] {
            let mut messages = Messages::default();
            messages.read(output);
            let hint = messages.hint("a", 2);
            assert!(hint.contains(expected) && hint.contains("for `a` in matrix.yaml"), "{hint}");
            assert!(messages.name_cause() && messages.wanted().is_empty());
        }
    }

    #[test]
    fn a_build_that_wants_to_download_files_is_told_to_use_installed_ones() {
        let mut messages = Messages::default();
        messages.read("--   Package 'libzmq', required by 'virtual:world', not found");
        messages.read("          status_string: \"Could not resolve hostname\"");
        assert!(messages.hint("a", 2).contains("add its Debian package to the apt set of `a`"));
        assert_eq!(messages.wanted(), [Wanted::PkgConfig("libzmq".to_owned())], "it is added first");
    }

    #[test]
    fn the_error_of_a_compiler_is_the_cause_even_if_many_lines_follow() {
        let mut messages = Messages::default();
        let lines =
            ["a.c:6:5: error: unknown type name `x_t`", "a.c:7:5: error: `y` undeclared", "   12 |  y();", "cause: no"];
        for line in lines {
            messages.read(line);
        }
        let tail = |from: usize| lines[from..].iter().map(|line| line.to_string()).collect::<Vec<_>>();
        assert_eq!(messages.cause(&tail(2)).as_deref(), Some(lines[0]));
        assert_eq!(messages.cause(&tail(1)).as_deref(), Some(lines[1]), "a marked line at the end counts more");
        assert_eq!(Messages::default().cause(&tail(2)).as_deref(), Some("cause: no"));
    }

    #[test]
    fn a_failed_make_suggests_a_sequential_build() {
        let mut messages = Messages::default();
        messages.read("make[1]: *** No rule to make target 'generated.h', needed by 'a.o'.  Stop.");
        assert!(messages.hint("a", 2).contains("`build: {jobs: 1}` for `a`"));
        assert_eq!(messages.hint("a", 1), "");
    }
}
