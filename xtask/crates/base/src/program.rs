//! The command with which this program was started, for messages.

use std::borrow::Cow;

/// The command in a clone of this tool, as all texts in the code write it.
const IN_CLONE: &str = "cargo xtask";

/// The name of the installed program.
const INSTALLED: &str = "wheel-matrix";

/// Returns `cargo xtask` if Cargo runs this program, which it then tells by environment variables, and otherwise
/// `wheel-matrix`.
pub fn command() -> &'static str {
    match std::env::var_os("CARGO_PKG_NAME") {
        Some(package) if package == "xtask" => IN_CLONE,
        _ => INSTALLED,
    }
}

/// Replaces `cargo xtask` at the start of quoted commands by the command with which this program was started.
pub fn with_command(text: &str) -> Cow<'_, str> {
    replaced(text, command())
}

fn replaced<'t>(text: &'t str, command: &str) -> Cow<'t, str> {
    // With its quote, so that the same words in the output of other programs stay.
    let quoted = format!("`{IN_CLONE}");
    match command == IN_CLONE || !text.contains(&quoted) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.replace(&quoted, &format!("`{command}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{IN_CLONE, INSTALLED, replaced};

    #[test]
    fn only_quoted_commands_are_replaced() {
        let text = "run `cargo xtask image 314t`; a build printed: cargo xtask codegen";
        assert_eq!(replaced(text, IN_CLONE), text);
        let expected = "run `wheel-matrix image 314t`; a build printed: cargo xtask codegen";
        assert_eq!(replaced(text, INSTALLED), expected);
    }
}
