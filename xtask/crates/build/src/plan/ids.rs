//! Ids of steps: the same on the command line, in logs, artefacts and CI.

/// The id of the step that fetches a package's source.
pub fn sdist_id(package: &str) -> String {
    format!("sdist-{package}")
}

/// The id of the step that applies a package's patches to its sdist.
pub fn patched_id(package: &str) -> String {
    format!("patched-{package}")
}

/// The id of a wheel's row.
pub fn wheel_id(package: &str, abi: &str) -> String {
    format!("wheel-{package}-{abi}")
}

/// The id of the step that fetches what a package needs at run time.
pub fn locked_id(package: &str, abi: &str) -> String {
    format!("locked-{package}-{abi}")
}

/// The id of an image's row.
pub fn proof_id(tag: &str) -> String {
    format!("proof-{tag}")
}
