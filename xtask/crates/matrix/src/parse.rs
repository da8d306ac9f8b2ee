//! Parses and validates a matrix.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::schema::Matrix;
use crate::validate;
use crate::words::{self, Position};

impl Matrix {
    /// Reads and validates the matrix at `path`. Errors refer to it as `file`.
    pub fn load(path: &Path, file: &str) -> Result<Matrix> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read `{}`: run the command inside a clone of the project, or name the file with --matrix",
                path.display()
            )
        })?;
        Matrix::parse(&text, file)
    }

    /// Parses and validates `text`. Errors refer to it as `file`.
    pub fn parse(text: &str, file: &str) -> Result<Matrix> {
        let matrix: Matrix = words::read(text).map_err(|e| words::located(file, &e))?;
        validate::validate(&matrix).map_err(|problem| problem.located(place(text, problem.ordinal), file))?;
        Ok(matrix)
    }

    /// Parses another YAML file of the project. Errors refer to it as `file`.
    pub fn read_beside<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
        words::read(text).map_err(|e| words::located(file, &e))
    }
}

/// Returns the position of the scalar `ordinal` in the text of a matrix.
pub fn place(text: &str, ordinal: usize) -> Option<Position> {
    words::place::<Matrix>(text, ordinal)
}
