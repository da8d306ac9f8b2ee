//! Names of the labels of images, containers and networks.

/// Precedes the names of all labels of this project.
pub const PREFIX: &str = "dev.wheel-matrix.";

/// The key of the step that made an image.
pub const KEY: &str = "dev.wheel-matrix.key";
/// What a step recorded about its result, as JSON; on images that travel through a registry.
pub const RESULT_METADATA: &str = "dev.wheel-matrix.passport";
/// How the interpreter of an image was compiled: `plain`, `optimized` or `tsan`.
pub const INTERPRETER_BUILD: &str = "dev.wheel-matrix.interpreter-build";
/// The ABI tag of an image's interpreter.
pub const ABI: &str = "dev.wheel-matrix.abi";
/// The state of the GIL that was proven: `off`, `on` or `forced off`.
pub const GIL: &str = "dev.wheel-matrix.gil";
/// The modules that do not declare that they run without the GIL.
pub const UNDECLARED: &str = "dev.wheel-matrix.gil.undeclared";
/// The TCP port of an image's service.
pub const PORT: &str = "dev.wheel-matrix.port";
/// The packages, separated by spaces, whose wheels in an image were built with `--quick`. Other images do not have it.
pub const QUICK: &str = "dev.wheel-matrix.quick";
/// Precedes the name of a package; the value is its version and the SHA-256 of its wheel.
const WHEEL: &str = "dev.wheel-matrix.wheel.";
/// A patch of the source that a wheel was built from: its file name and SHA-256; a property in the bill of materials.
pub const PATCH: &str = "dev.wheel-matrix.patch";
/// Whether the interpreter is free-threaded; a property in the bill of materials of an image.
pub const FREE_THREADED: &str = "dev.wheel-matrix.free-threaded";

/// Identifies the run that made a container or network, and so may remove it.
pub const RUN: &str = "dev.wheel-matrix.run";
/// Marks what `cargo xtask up` has started.
pub const UP: &str = "dev.wheel-matrix.up";
/// The port on this machine at which `up` offers the service.
pub const UP_PORT: &str = "dev.wheel-matrix.up.port";
/// The user who called `up`.
pub const UP_USER: &str = "dev.wheel-matrix.up.user";
/// The tag of the image that `up` started.
pub const UP_TAG: &str = "dev.wheel-matrix.up.tag";
/// The server that the service of `up` talks to.
pub const UP_SERVER: &str = "dev.wheel-matrix.up.server";
/// The network of `up`.
pub const UP_NETWORK: &str = "dev.wheel-matrix.up.network";

/// OCI's own names: <https://github.com/opencontainers/image-spec/blob/main/annotations.md>.
pub const TITLE: &str = "org.opencontainers.image.title";
pub const VERSION: &str = "org.opencontainers.image.version";
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// Returns the label that names the wheel of a package in an image.
pub fn wheel(package: &str) -> String {
    format!("{WHEEL}{package}")
}
