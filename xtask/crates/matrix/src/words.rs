//! The scalars of `matrix.yaml`: each knows what it may look like and where in the file it stands.

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

/// Parses `text`, numbering the scalars from one so that each can be found again.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    ORDINAL.set(0);
    TRIPWIRE.set(None);
    serde_yaml::from_str(text)
}

/// Any other document of this form, as data.
pub fn document(text: &str, file: &str) -> anyhow::Result<serde_json::Value> {
    serde_yaml::from_str(text).map_err(|error| located(file, &error))
}

/// The error of the parser as this project prints it: file, line, column, then what is wrong.
pub fn located(file: &str, error: &serde_yaml::Error) -> Error {
    let place = error.location().map(|at| format!(":{}:{}", at.line(), at.column()));
    let text = error.to_string();
    // The parser repeats the place at the end of its message.
    let text = match text.rfind(" at line ") {
        Some(at) if place.is_some() => &text[..at],
        _ => &text,
    };
    anyhow!("{file}{}: {text}", place.unwrap_or_default())
}

/// A fault that spans rows, to be shown at the scalar `ordinal`.
#[derive(Debug)]
pub struct Problem {
    pub ordinal: usize,
    pub field: String,
    pub message: String,
}

impl Problem {
    /// Adds the line.
    pub fn located(&self, place: Option<Place>, file: &str) -> Error {
        let place = place.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
        anyhow!("{file}{place}: {}: {}", self.field, self.message)
    }
}

/// Where a scalar begins, its quotes included; line and column count from one.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub byte: usize,
    pub line: usize,
    pub column: usize,
}

/// The place of the scalar `ordinal` in the text of a `T`. The parser tells a place only in an error, so the text is
/// parsed again with a trip wire at the scalar in question.
pub fn place<T: DeserializeOwned>(text: &str, ordinal: usize) -> Option<Place> {
    ORDINAL.set(0);
    TRIPWIRE.set(Some(ordinal));
    let tripped = serde_yaml::from_str::<T>(text);
    TRIPWIRE.set(None);
    let at = tripped.err()?.location()?;
    Some(Place { byte: at.index(), line: at.line(), column: at.column() })
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

        // `tag: 311` is what one writes, and nothing else can be meant by it.
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
    /// An id or a reference to one. It becomes part of file names, image tags and labels.
    Word: |text| shape(text, "a name", "letters, digits, `.`, `_` and `-`, with a letter or digit first", |c, first| {
        c.is_ascii_alphanumeric() || (!first && "._-".contains(c))
    });
    /// The name of a module as `import` takes it.
    Module: |text| {
        if text.split('.').all(is_identifier) { Ok(()) } else {
            Err(format!(
                "`{text}` is not a module's name, as `import` takes it: letters, digits, `_`, and `.` between the \
                 name of a package and that of a module in it are expected"
            ))
        }
    };
    /// A version (PEP 440's characters).
    Version: |text| shape(text, "a version", "digits, letters, `.`, `+`, `!`, `-` and `_`, with a digit first", |c, first| {
        if first { c.is_ascii_digit() } else { c.is_ascii_alphanumeric() || ".+!-_".contains(c) }
    });
    /// A Debian package name (Debian Policy 5.6.7), with an optional `=version` (5.6.12).
    AptName: |text| shape(text, "an apt package", "lower-case letters, digits, `+`, `-` and `.`, with an optional `=version`", |c, first| {
        if first { c.is_ascii_lowercase() || c.is_ascii_digit() }
        else { c.is_ascii_alphanumeric() || "+-.=:~".contains(c) }
    });
    /// A SHA-256: 64 hexadecimal digits in lower case.
    Digest: |text| {
        let hex = base::digest::is_digest(text);
        if hex { Ok(()) } else {
            Err(format!("`{text}` is not a SHA-256: 64 hexadecimal digits in lower case are expected, as `sha256sum` prints them"))
        }
    };
    /// A URL, a path or an image reference: no white space, quotes or shell characters.
    Location: |text| {
        let fine = !text.is_empty() && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/:._-+@~%=".contains(c));
        if fine { Ok(()) } else {
            Err(format!("`{text}` is not a location: letters, digits and `/:._-+@~%=` are expected"))
        }
    };
}

fn shape(text: &str, what: &str, rule: &str, allowed: fn(char, bool) -> bool) -> Result<(), String> {
    let fine = !text.is_empty() && text.len() <= 128 && text.chars().enumerate().all(|(i, c)| allowed(c, i == 0));
    if fine { Ok(()) } else { Err(format!("`{text}` is not {what}: {rule} are expected")) }
}
/// Reads `linux/amd64`.
pub(crate) fn platform<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
    let text = String::deserialize(deserializer)?;
    Platform::parse(&text).ok_or_else(|| {
        let choices = ui::quoted(Platform::ALL.map(Platform::oci));
        D::Error::custom(format!("`{text}` is no platform; the choices are {choices}"))
    })
}
