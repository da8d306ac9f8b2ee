//! Scalars of `matrix.yaml` written anew where they stand, so that comments and layout stay.

use anyhow::{Context, Result, ensure};

use crate::parse;
use crate::schema::Matrix;
use crate::words::{Digest, Location, Version, Word};

/// One scalar: where it stands, what stands there, and what is to stand there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edit {
    pub ordinal: usize,
    pub from: String,
    pub to: String,
}

macro_rules! becomes {
    ($($name:ident)*) => {$(
        impl $name {
            /// This scalar with another text.
            pub fn becomes(&self, to: impl Into<String>) -> Edit {
                Edit { ordinal: self.ordinal, from: self.to_string(), to: to.into() }
            }
        }
    )*};
}

becomes!(Digest Location Version Word);

/// The text of a matrix with `edits` made; an error where the result would not be a matrix.
pub fn replaced(text: &str, edits: &[Edit]) -> Result<String> {
    let mut places = edits
        .iter()
        .map(|edit| {
            let at = parse::place(text, edit.ordinal).with_context(|| format!("cannot find `{}` again", edit.from))?;
            Ok((at.byte, edit))
        })
        .collect::<Result<Vec<_>>>()?;
    places.sort();
    places.dedup();
    let mut out = text.to_owned();
    // From the end, so that what stands before keeps its place.
    for (at, edit) in places.into_iter().rev() {
        let quote = out.as_bytes().get(at).is_some_and(|c| matches!(c, b'"' | b'\''));
        let start = at + usize::from(quote);
        let there = out.get(start..).is_some_and(|rest| rest.starts_with(&edit.from));
        ensure!(there, "`{}` is written in a way that cannot be replaced: change it by hand", edit.from);
        // A version like 26.3, or a digest without letters, is a number unless it stands in quotes.
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

    const REAL: &str = fixture::MATRIX;

    #[test]
    fn only_the_scalars_change() {
        let matrix = Matrix::parse(REAL, "matrix.yaml").unwrap();
        let pip = matrix.tools.iter().find(|tool| tool.name == *"pip").unwrap();
        let uv = matrix.tools.iter().find(|tool| tool.name == *"uv").unwrap();
        let digest = "a".repeat(64);
        // One stands in quotes, the other gets them, since it would be a number.
        let edits = [pip.version.becomes("99.1"), uv.version.becomes("99.2"), uv.sha256.becomes(&digest)];
        let text = replaced(REAL, &edits).unwrap();
        let wanted = REAL
            .replace(&format!("name: pip, version: \"{}\"", pip.version), "name: pip, version: \"99.1\"")
            .replace(&format!("name: uv, version: {}", uv.version), "name: uv, version: \"99.2\"")
            .replace(&*uv.sha256, &digest);
        assert_eq!(text, wanted);
        assert_ne!(text, REAL);
    }

    #[test]
    fn every_scalar_is_found_where_it_stands() {
        let matrix = Matrix::parse(REAL, "matrix.yaml").unwrap();
        let image = matrix.root.image.as_ref().unwrap();
        let last = &matrix.server.as_ref().unwrap().image;
        let same = [image.becomes(image.to_string()), last.becomes(last.to_string())];
        assert_eq!(replaced(REAL, &same).unwrap(), REAL);
    }

    #[test]
    fn places_are_counted_in_bytes() {
        let text = format!("# Übersicht: “ABIs”, packages, images\n{REAL}");
        let last = |text: &str| Matrix::parse(text, "matrix.yaml").unwrap().server.unwrap().image;
        let other = format!("another@sha256:{}", "0".repeat(64));
        let edits = [last(&text).becomes(&other)];
        assert_eq!(replaced(&text, &edits).unwrap(), text.replace(&*last(REAL), &other));
    }

    #[test]
    fn what_would_be_no_matrix_is_refused() {
        let matrix = Matrix::parse(REAL, "matrix.yaml").unwrap();
        let error = replaced(REAL, &[matrix.tools[0].sha256.becomes("short")]).unwrap_err();
        assert!(format!("{error:#}").contains("`short` is not a SHA-256"), "{error:#}");
        let elsewhere = Edit { from: "something else".to_owned(), ..matrix.tools[0].sha256.becomes("x") };
        assert!(replaced(REAL, &[elsewhere]).is_err());
    }
}
