//! Finds a newer version of a program that is built from a crate, with `cargo info`.

use anyhow::Result;

use super::{PinnedInput, State};
use matrix::Crate;

/// Returns the row of a crate. `look_up` returns the output of `cargo info` for a version, and the SHA-256 of the
/// crate.
pub fn row(pinned: &Crate, look_up: &dyn Fn(&str) -> Result<(String, String)>) -> PinnedInput {
    let input = format!("crate {}", pinned.name);
    let newest = match look_up(&pinned.version) {
        Ok((said, _)) => newest(&said).map(str::to_owned),
        Err(error) => return PinnedInput::new(input, &pinned.version, State::Unasked, format!("{error:#}")),
    };
    let Some(newest) = newest else { return PinnedInput::new(input, &pinned.version, State::Current, "") };
    match look_up(&newest) {
        Ok((_, sha256)) => {
            let edits = vec![pinned.version.becomes(&newest), pinned.sha256.becomes(sha256)];
            PinnedInput::newer(input, &pinned.version, &newest, "", edits)
        }
        Err(error) => PinnedInput::newer(input, &pinned.version, &newest, format!("{error:#}"), Vec::new()),
    }
}

/// Parses `version: 0.20.1 (latest 0.20.2)`.
fn newest(said: &str) -> Option<&str> {
    let line = said.lines().find_map(|line| line.strip_prefix("version: "))?;
    line.split_once("(latest ")?.1.split(')').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix::{Matrix, replaced};

    const REAL: &str = fixture::MATRIX;

    #[test]
    fn a_newer_crate_is_written_with_its_digest() {
        let deny = Matrix::parse(REAL, "matrix.yaml").unwrap().ci.deny;
        let digest = "5a".repeat(32);
        let said = |asked: &str| match asked {
            "99.1.0" => "version: 99.1.0\n".to_owned(),
            pinned => format!("name\nversion: {pinned} (latest 99.1.0)\nlicense: MIT\n"),
        };
        let found = row(&deny, &|asked| Ok((said(asked), digest.clone())));
        assert_eq!((found.state, &*found.newest), (State::Newer, "99.1.0"));
        let text = replaced(REAL, &found.edits).unwrap();
        assert!(text.contains(&format!("version: 99.1.0, sha256: {digest}")), "{text}");
        assert_eq!(row(&deny, &|_| Ok(("version: 1\n".to_owned(), digest.clone()))).state, State::Current);
        assert_eq!(row(&deny, &|_| anyhow::bail!("no network")).state, State::Unasked);
    }
}
