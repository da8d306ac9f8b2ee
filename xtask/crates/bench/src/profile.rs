//! Stacks of threads as text in the collapsed format of flame graphs: in each line the functions, outermost first,
//! separated by `;`, and the number of samples.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::record::Stacks;
use base::digest;
use build::cache;

/// Functions, outermost first, with the number of samples.
pub type Samples = BTreeMap<String, u64>;

/// Function in the tree of calls.
#[derive(Debug, Default, PartialEq)]
pub struct Call {
    pub samples: u64,
    /// Functions that it called.
    pub calls: BTreeMap<String, Call>,
}

/// Writes stacks, and returns the SHA-256 of the file.
pub fn write(path: &Path, stacks: &Samples) -> Result<String> {
    let text: String = stacks.iter().map(|(stack, samples)| format!("{stack} {samples}\n")).collect();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    cache::write(path, text.as_bytes())?;
    Ok(digest::of(&text))
}

/// Reads the stacks of a profile in a result folder.
pub fn read(folder: &Path, stacks: &Stacks) -> Result<Samples> {
    let path = folder.join(&stacks.file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    ensure!(digest::of(&text) == stacks.sha256, "`{}` was changed after the measurement", path.display());
    let line = |line: &str| {
        let (stack, samples) = line.rsplit_once(' ')?;
        Some((stack.to_owned(), samples.parse().ok()?))
    };
    text.lines().map(|text| line(text).with_context(|| format!("`{}` is damaged: `{text}`", path.display()))).collect()
}

/// Returns the calls of all stacks as one tree, below a function without a name.
pub fn tree(stacks: &Samples) -> Call {
    let mut top = Call::default();
    for (stack, samples) in stacks {
        top.samples += samples;
        let mut at = &mut top;
        for function in stack.split(';') {
            at = at.calls.entry(function.to_owned()).or_default();
            at.samples += samples;
        }
    }
    top
}

/// Returns the functions in which threads were, innermost in their stacks, with their samples; the most frequent first.
pub fn innermost(stacks: &Samples) -> Vec<(&str, u64)> {
    let mut own: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, samples) in stacks {
        *own.entry(stack.rsplit(';').next().unwrap_or(stack)).or_default() += samples;
    }
    let mut own: Vec<(&str, u64)> = own.into_iter().collect();
    own.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixture::Folder;

    fn samples(stacks: &[(&str, u64)]) -> Samples {
        stacks.iter().map(|(stack, samples)| ((*stack).to_owned(), *samples)).collect()
    }

    #[test]
    fn stacks_are_a_tree_of_calls() {
        let stacks = samples(&[("a;b", 3), ("a;b;c", 2), ("a;d", 1), ("c", 4)]);
        let top = tree(&stacks);
        assert_eq!((top.samples, top.calls["a"].samples, top.calls["a"].calls["b"].samples), (10, 6, 5));
        assert_eq!(innermost(&stacks), [("c", 6), ("b", 3), ("d", 1)]);
    }

    #[test]
    fn a_changed_file_is_refused() {
        let folder = Folder::new("stacks");
        let written = samples(&[("f (a b.py);g (c.py)", 2)]);
        let sha256 = write(&folder.0.join("profiles/x.folded"), &written).unwrap();
        let file = "profiles/x.folded".to_owned();
        let stacks = Stacks { tool: String::new(), looks: 1, failed: 0, running: 2, gil_waits: None, file, sha256 };
        assert_eq!(read(&folder.0, &stacks).unwrap(), written);
        folder.write("profiles/x.folded", "f 3\n");
        let error = read(&folder.0, &stacks).unwrap_err().to_string();
        assert!(error.contains("was changed after the measurement"), "{error}");
    }
}
