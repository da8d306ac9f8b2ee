//! Parts of GitHub workflows that depend on the matrix.

use anyhow::{Context as _, Result, bail};

use crate::schema::Matrix;

/// Marks between which the lines of a workflow are generated.
const BEGIN: &str = "# written by `cargo xtask workflow`:";
const END: &str = "# until here";

/// Returns the text of a workflow with regenerated lines between the marks.
pub fn workflow(text: &str, matrix: &Matrix) -> Result<String> {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some((indent, what)) = line.split_once(BEGIN) else { continue };
        let what = what.trim();
        let choices: Vec<String> = match what {
            "images" => matrix
                .images
                .iter()
                .filter(|image| !image.is_instrumented())
                .map(|image| image.tag.to_string())
                .collect(),
            other => bail!("unknown part `{other}`: only `images` is supported"),
        };
        for choice in std::iter::once("all".to_owned()).chain(choices) {
            // Quoted, because a tag may look like a number.
            out.push_str(&format!("{indent}- \"{choice}\"\n"));
        }
        let end = lines.find(|line| line.trim() == END);
        out.push_str(end.with_context(|| format!("`{BEGIN} {what}` has no `{END}`"))?);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, workflow};
    use crate::schema::Matrix;

    #[test]
    fn only_what_is_between_the_marks_is_written() {
        let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        let text = |inner: &str| format!("a: 1\n  {BEGIN} images\n{inner}  {END}\nb: 2\n");
        let found = workflow(&text("  - old\n"), &matrix).unwrap();
        assert!(found.starts_with(&text("").split(END).next().unwrap().trim_end().to_owned()), "{found}");
        assert!(found.contains("\n  - \"all\"\n  - \"311\"\n") && !found.contains("old"), "{found}");
        assert!(found.ends_with(&format!("  {END}\nb: 2\n")), "{found}");
        assert_eq!(workflow(&found, &matrix).unwrap(), found);
        assert!(workflow(&format!("{BEGIN} images\n"), &matrix).unwrap_err().to_string().contains(END));
        assert!(workflow(&format!("{BEGIN} rows\n{END}\n"), &matrix).unwrap_err().to_string().contains("`rows`"));
    }
}
