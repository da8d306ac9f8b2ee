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
