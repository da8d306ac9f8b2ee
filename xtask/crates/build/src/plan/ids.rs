//! Ids of steps, used on the command line, in logs, artefacts and CI.

use std::collections::BTreeSet;

use matrix::InterpreterBuild;

/// Returns the id of the step that fetches a package's source.
pub fn sdist_id(package: &str) -> String {
    format!("sdist-{package}")
}

/// Returns the id of the step that applies a package's patches to its sdist.
pub fn patched_id(package: &str) -> String {
    format!("patched-{package}")
}

/// Returns the id of a wheel's row.
pub fn wheel_id(package: &str, abi: &str) -> String {
    format!("wheel-{package}-{abi}")
}

/// Returns the id of a base image's row. `build` is how its interpreter is compiled, if not as the ABI says, and `sets` are
/// the sets of Debian packages that it has besides what the interpreter needs.
pub fn base_id(abi: &str, build: Option<InterpreterBuild>, sets: &BTreeSet<&str>) -> String {
    let build = build.map(InterpreterBuild::as_str);
    ["base", abi].into_iter().chain(build).chain(sets.iter().copied()).collect::<Vec<_>>().join("-")
}

/// Returns the id of the row of a wheel that is compiled with ThreadSanitizer.
pub fn instrumented_id(package: &str, abi: &str) -> String {
    format!("wheel-{package}-{abi}-tsan")
}

/// Returns the id of the step that fetches a package's run-time requirements.
pub fn locked_id(package: &str, abi: &str) -> String {
    format!("locked-{package}-{abi}")
}

/// Returns the id of an image's row.
pub fn proof_id(tag: &str) -> String {
    format!("proof-{tag}")
}
