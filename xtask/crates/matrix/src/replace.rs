//! Replaces scalars in the text of `matrix.yaml` and keeps comments and layout.

use anyhow::{Context, Result, ensure};

use crate::parse;
use crate::schema::Matrix;
use crate::words::{Digest, Location, Version, Word};

/// Replacement of one scalar: its position, its old text and its new text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edit {
    pub ordinal: usize,
    pub from: String,
    pub to: String,
}

macro_rules! becomes {
    ($($name:ident)*) => {$(
        impl $name {
            /// Returns the edit that replaces this scalar by another text.
            pub fn becomes(&self, to: impl Into<String>) -> Edit {
                Edit { ordinal: self.ordinal, from: self.to_string(), to: to.into() }
            }
        }
    )*};
}

becomes!(Digest Location Version Word);

/// Returns the text of a matrix with `edits` applied. Fails if the result is not a valid matrix.
pub fn replaced(text: &str, edits: &[Edit]) -> Result<String> {
    let mut places = edits
        .iter()
        .map(|edit| {
            let at =
                parse::place(text, edit.ordinal).with_context(|| format!("cannot find `{}` in the text", edit.from))?;
            Ok((at.byte, edit))
        })
        .collect::<Result<Vec<_>>>()?;
    places.sort();
    places.dedup();
    let mut out = text.to_owned();
    // Replace from the end, so that earlier positions stay valid.
    for (at, edit) in places.into_iter().rev() {
        let quote = out.as_bytes().get(at).is_some_and(|c| matches!(c, b'"' | b'\''));
        let start = at + usize::from(quote);
        let there = out.get(start..).is_some_and(|rest| rest.starts_with(&edit.from));
        ensure!(there, "`{}` has a YAML notation that cannot be replaced: edit it manually", edit.from);
        // Without quotes, YAML would read a version such as 26.3 or a digest without letters as a number.
        let number = !quote && edit.to.parse::<f64>().is_ok();
        let to = if number { format!("\"{}\"", edit.to) } else { edit.to.clone() };
        out.replace_range(start..start + edit.from.len(), &to);
    }
    Matrix::parse(&out, "the changed matrix.yaml")?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = fixture::MATRIX;

    #[test]
    fn only_the_scalars_change() {
        let matrix = Matrix::parse(FIXTURE, "matrix.yaml").unwrap();
        let pip = matrix.tools.iter().find(|tool| tool.name == *"pip").unwrap();
        let uv = matrix.tools.iter().find(|tool| tool.name == *"uv").unwrap();
        let digest = "a".repeat(64);
        // One value is already quoted; the other must be quoted, because it would be read as a number.
        let edits = [pip.version.becomes("99.1"), uv.version.becomes("99.2"), uv.sha256.becomes(&digest)];
        let text = replaced(FIXTURE, &edits).unwrap();
        let wanted = FIXTURE
            .replace(&format!("name: pip, version: \"{}\"", pip.version), "name: pip, version: \"99.1\"")
            .replace(&format!("name: uv, version: {}", uv.version), "name: uv, version: \"99.2\"")
            .replace(&*uv.sha256, &digest);
        assert_eq!(text, wanted);
        assert_ne!(text, FIXTURE);
    }

    #[test]
    fn the_position_of_every_scalar_is_found() {
        let matrix = Matrix::parse(FIXTURE, "matrix.yaml").unwrap();
        let image = matrix.root.image.as_ref().unwrap();
        let last = &matrix.server.as_ref().unwrap().image;
        let same = [image.becomes(image.to_string()), last.becomes(last.to_string())];
        assert_eq!(replaced(FIXTURE, &same).unwrap(), FIXTURE);
    }

    #[test]
    fn positions_are_byte_offsets() {
        let text = format!("# Übersicht: “ABIs”, packages, images\n{FIXTURE}");
        let last = |text: &str| Matrix::parse(text, "matrix.yaml").unwrap().server.unwrap().image;
        let other = format!("another@sha256:{}", "0".repeat(64));
        let edits = [last(&text).becomes(&other)];
        assert_eq!(replaced(&text, &edits).unwrap(), text.replace(&*last(FIXTURE), &other));
    }

    #[test]
    fn an_edit_to_an_invalid_matrix_is_an_error() {
        let matrix = Matrix::parse(FIXTURE, "matrix.yaml").unwrap();
        let error = replaced(FIXTURE, &[matrix.tools[0].sha256.becomes("short")]).unwrap_err();
        assert!(format!("{error:#}").contains("`short` is not a SHA-256"), "{error:#}");
        let elsewhere = Edit { from: "something else".to_owned(), ..matrix.tools[0].sha256.becomes("x") };
        assert!(replaced(FIXTURE, &[elsewhere]).is_err());
    }
}
