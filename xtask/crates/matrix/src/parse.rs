//! Reads a matrix from its text.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::schema::Matrix;
use crate::validate;
use crate::words::{self, Place};

impl Matrix {
    /// Reads and validates the matrix at `path`, which errors call `file`.
    pub fn load(path: &Path, file: &str) -> Result<Matrix> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read `{}`: run the command inside a clone of the project, or name the file with --matrix",
                path.display()
            )
        })?;
        Matrix::parse(&text, file)
    }

    /// Parses and validates `text`; `file` is what errors call it.
    pub fn parse(text: &str, file: &str) -> Result<Matrix> {
        let matrix: Matrix = words::read(text).map_err(|e| words::located(file, &e))?;
        validate::validate(&matrix).map_err(|problem| problem.located(place(text, problem.ordinal), file))?;
        Ok(matrix)
    }

    /// Another YAML file of the project; `file` is what errors call it.
    pub fn read_beside<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
        words::read(text).map_err(|e| words::located(file, &e))
    }
}

/// The place of the scalar `ordinal` in the text of a matrix.
pub fn place(text: &str, ordinal: usize) -> Option<Place> {
    words::place::<Matrix>(text, ordinal)
}
