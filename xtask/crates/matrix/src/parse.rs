//! Parses and validates a matrix.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::defaults::{self, Defaults};
use crate::schema::Matrix;
use crate::validate;
use crate::words::{self, Position};

impl Matrix {
    /// Reads and validates the matrix at `path`. Errors refer to it as `file`.
    pub fn load(path: &Path, file: &str) -> Result<Matrix> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read `{}`: run the command in the folder of a matrix.yaml, or name the file with --matrix",
                path.display()
            )
        })?;
        Matrix::parse(&text, file)
    }

    /// Parses and validates `text`. Errors refer to it as `file`.
    pub fn parse(text: &str, file: &str) -> Result<Matrix> {
        let mut matrix: Matrix = words::read(text).map_err(|e| words::located(file, &e))?;
        complete(&mut matrix);
        validate::validate(&matrix).map_err(|problem| problem.located(place(text, problem.ordinal), file))?;
        Ok(matrix)
    }

    /// Returns the matrix of a folder without `matrix.yaml`: the default interpreters and tools, without packages and
    /// images.
    pub fn without_rows() -> Result<Matrix> {
        Matrix::parse("{name: wheel-matrix, packages: [], images: []}", "the default matrix")
    }

    /// Returns the matrix without the pins that are defaults of this tool, which no edit of `matrix.yaml` can change.
    pub fn without_defaults(mut self) -> Matrix {
        let own = |ordinal: usize| !words::is_embedded(ordinal);
        self.root.image = self.root.image.filter(|image| own(image.ordinal));
        self.apt.retain(|set| own(set.id.ordinal));
        self.sources.retain(|source| own(source.id.ordinal));
        self.tools.retain(|tool| own(tool.name.ordinal));
        self.ci.checks.retain(|tool| own(tool.name.ordinal));
        self
    }

    /// Parses another YAML file of the project. Errors refer to it as `file`.
    pub fn read_beside<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
        words::read(text).map_err(|e| words::located(file, &e))
    }
}

/// Adds the default rows to `apt`, `sources` and `tools`, except those that the matrix has itself, and fills in `abis`
/// and `ci.checks` if they are empty.
fn complete(matrix: &mut Matrix) {
    let Defaults { root: _, apt, sources, tools, abis, tsan: _, ci } = defaults::read();
    add(&mut matrix.apt, apt, |set| &set.id);
    add(&mut matrix.sources, sources, |source| &source.id);
    add(&mut matrix.tools, tools, |tool| &tool.name);
    if matrix.abis.is_empty() {
        matrix.abis = abis;
    }
    if matrix.ci.checks.is_empty() {
        matrix.ci.checks = ci.checks;
    }
}

fn add<T>(rows: &mut Vec<T>, defaults: Vec<T>, id: impl Fn(&T) -> &str) {
    for row in defaults {
        if !rows.iter().any(|own| id(own) == id(&row)) {
            rows.push(row);
        }
    }
}

/// Returns the position of the scalar `ordinal` in the text of a matrix.
pub fn place(text: &str, ordinal: usize) -> Option<Position> {
    words::place::<Matrix>(text, ordinal)
}
