//! Validation of the settings that a package's build receives.

use std::collections::BTreeMap;

use super::{Check, at};
use crate::package::{Builder, ConfigSetting};
use crate::words::Word;
use base::ui::quoted;

/// Variables that every build sets itself.
const OWN: [&str; 4] = ["PATH", "TMPDIR", "SOURCE_DATE_EPOCH", "VIRTUAL_ENV"];

/// Variables that a build with maturin sets itself, or that the flags of this tool replace.
const OWN_OF_MATURIN: [&str; 14] = [
    "CARGO_BUILD_JOBS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "CARGO_TERM_COLOR",
    "CC_SHELL_ESCAPED_FLAGS",
    "HOME",
    "LANG",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "XDG_CACHE_HOME",
    "ZIG_GLOBAL_CACHE_DIR",
];

/// Checks `build.env` and `build.config-settings` of the package `id`.
pub fn check_settings(
    id: &Word,
    with: Builder,
    env: &BTreeMap<String, String>,
    settings: &BTreeMap<String, ConfigSetting>,
) -> Check {
    for (name, value) in env {
        check_variable(id, "packages[].build.env", name)?;
        let flags = name.starts_with("CFLAGS") || name.starts_with("CXXFLAGS");
        let maturin = with == Builder::Maturin && (flags || OWN_OF_MATURIN.contains(&name.as_str()));
        if maturin || OWN.contains(&name.as_str()) || name.starts_with("UV_") {
            let way_out = match (flags, name.as_str()) {
                (true, _) | (_, "RUSTFLAGS" | "CARGO_BUILD_RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS") => {
                    "; write the flags into `.cargo/config.toml` of the package"
                }
                _ => "",
            };
            return at(id, "packages[].build.env", format!("the build of `{id}` sets `{name}` itself{way_out}"));
        }
        if value.chars().any(char::is_control) {
            let message = format!("the value {value:?} of `{name}` contains a control character");
            return at(id, "packages[].build.env", message);
        }
    }
    if let (Builder::Maturin, false) = (with, settings.is_empty()) {
        let names = quoted(settings.keys());
        let message = format!(
            "{names} of `{id}`: settings are allowed for `with: container` only; maturin reads `[tool.maturin]` of \
             pyproject.toml"
        );
        return at(id, "packages[].build.config-settings", message);
    }
    for (name, setting) in settings {
        let values = setting.values();
        if name.is_empty() || name.contains('=') || name.chars().any(char::is_control) {
            let message = format!("{name:?} is not the name of a setting");
            return at(id, "packages[].build.config-settings", message);
        }
        if values.is_empty() || values.iter().any(|value| value.chars().any(char::is_control)) {
            let message = format!("the setting `{name}` must be a text or a list of texts, without control characters");
            return at(id, "packages[].build.config-settings", message);
        }
    }
    Ok(())
}

/// Checks the name of an environment variable.
pub fn check_variable(row: &Word, field: &str, name: &str) -> Check {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        let message = format!("{name:?} is not a valid variable name: use letters, digits and `_`");
        return at(row, field, message);
    }
    Ok(())
}
