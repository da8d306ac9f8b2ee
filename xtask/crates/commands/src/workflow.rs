//! `cargo xtask workflow`: generates the parts of the workflows that depend on the matrix, and lints all workflows.

mod lint;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use base::ui;
use build::{Project, cache};
use matrix::Matrix;

/// Marks between which the lines of a workflow are generated.
const BEGIN: &str = "# written by `cargo xtask workflow`:";
const END: &str = "# until here";

/// Updates the generated parts. With `check`, fails if a file would change or a linter reports problems.
pub fn run(project: &Project, check: bool) -> Result<()> {
    let files = files(&project.folder)?;
    let mut drifted = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let name = shown(project, path);
        let wanted = written(&text, &project.matrix).with_context(|| format!("`{name}`"))?;
        if text == wanted {
            continue;
        }
        if !check {
            cache::write(path, wanted.as_bytes())?;
            ui::print_result(&format!("{name}\n"))?;
        }
        drifted.push(name);
    }
    if !check {
        return Ok(());
    }
    if !drifted.is_empty() {
        bail!("out of date with matrix.yaml: {}: run `cargo xtask workflow`", ui::quoted(drifted));
    }
    lint::run(project, &files)
}

/// Returns the workflows, composite actions and Dependabot rules, sorted.
fn files(project: &Path) -> Result<Vec<PathBuf>> {
    let workflows = fs::read_dir(project.join(".github/workflows")).context("cannot list `.github/workflows`")?;
    let mut files = workflows.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    for entry in fs::read_dir(project.join(".github/actions")).into_iter().flatten() {
        files.push(entry?.path().join("action.yml"));
    }
    files.push(project.join(".github/dependabot.yml"));
    files.retain(|path| path.extension().is_some_and(|ext| ext == "yml" || ext == "yaml") && path.is_file());
    files.sort();
    ensure!(!files.is_empty(), "`.github/workflows` has no workflow");
    Ok(files)
}

fn shown(project: &Project, path: &Path) -> String {
    path.strip_prefix(&project.folder).unwrap_or(path).display().to_string()
}

/// Returns the text of a workflow with regenerated lines between the marks.
fn written(text: &str, matrix: &Matrix) -> Result<String> {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some((indent, what)) = line.split_once(BEGIN) else { continue };
        let what = what.trim();
        let choices: Vec<String> = match what {
            "images" => matrix.images.iter().map(|image| image.tag.to_string()).collect(),
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
    use super::{BEGIN, END, written};
    use matrix::Matrix;

    #[test]
    fn only_what_is_between_the_marks_is_written() {
        let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        let text = |inner: &str| format!("a: 1\n  {BEGIN} images\n{inner}  {END}\nb: 2\n");
        let found = written(&text("  - old\n"), &matrix).unwrap();
        assert!(found.starts_with(&text("").split(END).next().unwrap().trim_end().to_owned()), "{found}");
        assert!(found.contains("\n  - \"all\"\n  - \"311\"\n") && !found.contains("old"), "{found}");
        assert!(found.ends_with(&format!("  {END}\nb: 2\n")), "{found}");
        assert_eq!(written(&found, &matrix).unwrap(), found);
        assert!(written(&format!("{BEGIN} images\n"), &matrix).unwrap_err().to_string().contains(END));
        assert!(written(&format!("{BEGIN} rows\n{END}\n"), &matrix).unwrap_err().to_string().contains("`rows`"));
    }
}
