//! Inserts rows into the lists of `matrix.yaml` and keeps comments and layout.

use anyhow::{Context as _, Result, bail, ensure};
use serde_yaml::Value;

/// Returns the text of a matrix with `row` added to the end of the top-level list `list`. The first line of `row` starts
/// with `- `; further lines are indented relative to it.
pub fn inserted(text: &str, list: &str, row: &str) -> Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let key = format!("{list}:");
    let mut out: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
    match lines.iter().position(|line| line.starts_with(&key)) {
        None => {
            out.extend([String::new(), key]);
            out.extend(indented(row, 2));
        }
        Some(at) => {
            let value = lines[at][key.len()..].split(" #").next().unwrap_or_default().trim();
            match value {
                "" => {
                    let (end, indent) = end_of_list(&lines, at);
                    out.splice(end..end, indented(row, indent));
                }
                "[]" => {
                    out[at] = key;
                    out.splice(at + 1..at + 1, indented(row, 2));
                }
                _ => bail!("`{list}` in matrix.yaml is not a list with one row per line: add the row manually"),
            }
        }
    }
    let new = out.join("\n") + "\n";
    check(text, &new, list, row)?;
    Ok(new)
}

/// Returns the index of the line after the last row of a list, and the indentation of its rows.
fn end_of_list(lines: &[&str], key: usize) -> (usize, usize) {
    let belongs = |line: &str| line.is_empty() || line.starts_with([' ', '-', '#']);
    let block: Vec<&&str> = lines[key + 1..].iter().take_while(|line| belongs(line)).collect();
    let row = |line: &&&str| line.trim_start().starts_with("- ");
    let indent = block.iter().find(|line| row(line)).map_or(2, |line| line.len() - line.trim_start().len());
    // Blank lines and comments after the last row belong to what follows.
    let content = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let last = block.iter().rposition(|line| content(line)).map_or(0, |at| at + 1);
    (key + 1 + last, indent)
}

fn indented(row: &str, indent: usize) -> Vec<String> {
    row.lines().map(|line| format!("{:indent$}{line}", "")).collect()
}

/// Checks that only the row was added.
fn check(old: &str, new: &str, list: &str, row: &str) -> Result<()> {
    let read = |text: &str| serde_yaml::from_str::<Value>(text).context("the changed matrix is not YAML");
    let (mut expected, changed) = (read(old)?, read(new)?);
    let rows: Value = read(row)?;
    let top = expected.as_mapping_mut().context("the matrix is not a mapping")?;
    let entry = top.entry(list.into()).or_insert(Value::Sequence(Vec::new()));
    if entry.is_null() {
        *entry = Value::Sequence(Vec::new());
    }
    let own = entry.as_sequence_mut().with_context(|| format!("`{list}` is not a list"))?;
    own.extend(rows.as_sequence().cloned().unwrap_or_default());
    ensure!(expected == changed, "cannot add a row to `{list}` in matrix.yaml automatically: add it manually");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "- id: new\n  import: [new]";

    #[test]
    fn a_row_is_added_after_the_last_one() {
        let text = "name: x\npackages:\n  # first\n  - id: a\n    b: c\n  # of the last row\n\n# images\nimages: []\n";
        let wanted = "name: x\npackages:\n  # first\n  - id: a\n    b: c\n  # of the last row\n  - id: new\n    import: [new]\n\n\
                      # images\nimages: []\n";
        assert_eq!(inserted(text, "packages", ROW).unwrap(), wanted);
    }

    #[test]
    fn empty_missing_and_unindented_lists_are_extended() {
        let row = "- {tag: a}";
        assert_eq!(inserted("images: [] # none\n", "images", row).unwrap(), "images:\n  - {tag: a}\n");
        assert_eq!(inserted("images:\nname: x\n", "images", row).unwrap(), "images:\n  - {tag: a}\nname: x\n");
        assert_eq!(inserted("name: x\n", "images", row).unwrap(), "name: x\n\nimages:\n  - {tag: a}\n");
        assert_eq!(inserted("images:\n- b\nname: x", "images", row).unwrap(), "images:\n- b\n- {tag: a}\nname: x\n");
        let own = fixture::MATRIX;
        let added = inserted(own, "images", "- {tag: new, abi: cp314t, packages: [acme-py], gil: \"off\"}").unwrap();
        assert_eq!(added.lines().count(), own.lines().count() + 1);
    }

    #[test]
    fn other_notations_are_errors() {
        for text in ["images: [{tag: b}]\n", "{images: []}\n", "images: word\n", "- a\n"] {
            assert!(inserted(text, "images", "- {tag: a}").is_err(), "{text}");
        }
    }
}
