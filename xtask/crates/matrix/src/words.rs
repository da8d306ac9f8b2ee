//! Scalar types of `matrix.yaml`, which validate their syntax and know their position in the file.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use anyhow::{Error, anyhow};
use base::platform::Platform;
use base::ui;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};

use wheelfile::is_identifier;

thread_local! {
    static ORDINAL: Cell<usize> = const { Cell::new(0) };
    static TRIPWIRE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Parses `text` and numbers the scalars from one, so that the position of each can be found again.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    ORDINAL.set(0);
    TRIPWIRE.set(None);
    serde_yaml::from_str(text)
}

/// Smallest ordinal of the scalars of the defaults that are part of the program.
const EMBEDDED: usize = usize::MAX / 2;

/// Parses a text that is part of the program, also while another text is being parsed. Its scalars have ordinals from
/// [`EMBEDDED`] on, so that they have no position in any other text.
pub fn read_embedded<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    let (ordinal, tripwire) = (ORDINAL.replace(EMBEDDED), TRIPWIRE.take());
    let read = serde_yaml::from_str(text);
    ORDINAL.set(ordinal);
    TRIPWIRE.set(tripwire);
    read
}

/// Returns whether the scalar `ordinal` is one of the defaults that are part of the program.
pub fn is_embedded(ordinal: usize) -> bool {
    ordinal > EMBEDDED
}

/// Parses any other YAML document into JSON data.
pub fn document(text: &str, file: &str) -> anyhow::Result<serde_json::Value> {
    serde_yaml::from_str(text).map_err(|error| located(file, &error))
}

/// Formats a parser error: file, line, column, message.
pub fn located(file: &str, error: &serde_yaml::Error) -> Error {
    let place = error.location().map(|at| format!(":{}:{}", at.line(), at.column()));
    let text = error.to_string();
    // The parser appends the position to its message; remove it.
    let text = match text.rfind(" at line ") {
        Some(at) if place.is_some() => &text[..at],
        _ => &text,
    };
    anyhow!("{file}{}: {text}", place.unwrap_or_default())
}

/// Validation error, to be reported at the scalar `ordinal`.
#[derive(Debug)]
pub struct ValidationError {
    pub ordinal: usize,
    pub field: String,
    pub message: String,
}

impl ValidationError {
    /// Adds file and line to the message.
    pub fn located(&self, place: Option<Position>, file: &str) -> Error {
        let place = place.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
        anyhow!("{file}{place}: {}: {}", self.field, self.message)
    }
}

/// Position of the start of a scalar, including quotes. Line and column count from one.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    pub byte: usize,
    pub line: usize,
    pub column: usize,
}

/// Returns the position of the scalar `ordinal` in the text of a `T`. The parser reveals positions only in errors, so
/// the text is parsed again and parsing fails deliberately at that scalar.
pub fn place<T: DeserializeOwned>(text: &str, ordinal: usize) -> Option<Position> {
    ORDINAL.set(0);
    TRIPWIRE.set(Some(ordinal));
    let tripped = serde_yaml::from_str::<T>(text);
    TRIPWIRE.set(None);
    let at = tripped.err()?.location()?;
    Some(Position { byte: at.index(), line: at.line(), column: at.column() })
}

fn scalar<'de, D: Deserializer<'de>>(
    deserializer: D,
    check: fn(&str) -> Result<(), String>,
) -> Result<(String, usize), D::Error> {
    struct Scalar(fn(&str) -> Result<(), String>);

    impl Visitor<'_> for Scalar {
        type Value = (String, usize);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text (numbers with a dot and words like on, off, yes in quotes)")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let ordinal = ORDINAL.get() + 1;
            ORDINAL.set(ordinal);
            if TRIPWIRE.get() == Some(ordinal) {
                return Err(E::custom("here"));
            }
            (self.0)(text).map_err(E::custom)?;
            Ok((text.to_owned(), ordinal))
        }

        // An integer such as in `tag: 311` is accepted as text, because it is unambiguous.
        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }
    }

    deserializer.deserialize_any(Scalar(check))
}

macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident: $check:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            text: String,
            pub ordinal: usize,
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (text, ordinal) = scalar(deserializer, $check)?;
                Ok($name { text, ordinal })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.text
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.text == other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }
    )*};
}

scalars! {
    /// Id or reference to an id, used in file names, image tags and labels.
    Word: |text| shape(text, "a name", "letters, digits, `.`, `_` and `-`, with a letter or digit first", |c, first| {
        c.is_ascii_alphanumeric() || (!first && "._-".contains(c))
    });
    /// Dotted module name, as in an `import` statement.
    Module: |text| {
        if text.split('.').all(is_identifier) { Ok(()) } else {
            Err(format!(
                "`{text}` is not a module name: write letters, digits and `_`, with `.` between the \
                 names of a package and a module in it"
            ))
        }
    };
    /// Version, restricted to the characters of PEP 440.
    Version: |text| shape(text, "a version", "digits, letters, `.`, `+`, `!`, `-` and `_`, with a digit first", |c, first| {
        if first { c.is_ascii_digit() } else { c.is_ascii_alphanumeric() || ".+!-_".contains(c) }
    });
    /// Name of a Debian package (Debian Policy 5.6.7) with an optional `=version` (5.6.12).
    AptName: |text| shape(text, "an apt package", "lower-case letters, digits, `+`, `-` and `.`, with an optional `=version`", |c, first| {
        if first { c.is_ascii_lowercase() || c.is_ascii_digit() }
        else { c.is_ascii_alphanumeric() || "+-.=:~".contains(c) }
    });
    /// Requirement of a Python package (PEP 508), such as `numpy>=2; python_version>"3.11"`.
    Requirement: |text| {
        let fine = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.chars().any(char::is_control);
        if fine { Ok(()) } else {
            Err(format!("`{text}` is not a requirement such as `numpy>=2`: it must start with the name of a package"))
        }
    };
    /// SHA-256 digest: 64 hexadecimal digits in lower case.
    Digest: |text| {
        let hex = base::digest::is_digest(text);
        if hex { Ok(()) } else {
            Err(format!("`{text}` is not a SHA-256: write 64 hexadecimal digits in lower case, as printed by `sha256sum`"))
        }
    };
    /// URL, path or image reference, without white space, quotes or shell characters.
    Location: |text| {
        let fine = !text.is_empty() && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/:._-+@~%=".contains(c));
        if fine { Ok(()) } else {
            Err(format!("`{text}` is not a URL or path: use letters, digits and `/:._-+@~%=`"))
        }
    };
}

fn shape(text: &str, what: &str, rule: &str, allowed: fn(char, bool) -> bool) -> Result<(), String> {
    let fine = !text.is_empty() && text.len() <= 128 && text.chars().enumerate().all(|(i, c)| allowed(c, i == 0));
    if fine { Ok(()) } else { Err(format!("`{text}` is not {what}: use {rule}")) }
}
/// Reads `linux/amd64`.
pub(crate) fn platform<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
    let text = String::deserialize(deserializer)?;
    Platform::parse(&text).ok_or_else(|| {
        let choices = ui::quoted(Platform::ALL.map(Platform::oci));
        D::Error::custom(format!("`{text}` is no platform; the choices are {choices}"))
    })
}
