//! Checks wheels: ABI, glibc version, RECORD and metadata. Installers check only the file name, so a bad wheel would
//! install.

mod archive;
mod check;
mod check_names_only;
mod differ;
mod elf;
mod expected;
mod fake;
mod fit;
mod imports;
mod info;
mod local;
mod mark;
mod name;
mod origin;
mod rewrite;
mod tags;
#[cfg(test)]
mod tests;

pub use check::{Extension, WheelReport, check};
pub use check_names_only::check_names_only;
pub use differ::{differences, find_local_paths};
pub use expected::ExpectedWheel;
pub use fake::{NewWheel, minimal_extension, write_wheel};
pub use fit::{AbiFit, Fit, TargetInterpreter};
pub use imports::{Importable, is_identifier};
pub use local::LocalBuild;
pub use mark::mark;
pub use name::{WheelName, is_file_of_release, is_release, normalise, platform_glibc, same_name, same_version};
pub use origin::{DeclaredRelease, read_metadata, read_release};
pub use rewrite::rewrite;
pub use tags::parse_glibc;
