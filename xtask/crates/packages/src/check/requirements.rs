//! Reads requirements files of pip: <https://pip.pypa.io/en/stable/reference/requirements-file-format/>.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use pep440_rs::VersionSpecifiers;
use wheelfile::{WheelName, same_name};

use super::target::CheckTarget;
use super::wanted::{self, Elsewhere, WantedDistribution, WantedDistributions};

/// Options with a file.
const FILES: [(&str, &str); 2] = [("-r", "--requirement"), ("-c", "--constraint")];

/// Options that choose an index. The index of pip's configuration is asked instead.
const INDEXES: [&str; 4] = ["-i", "--index-url", "--extra-index-url", "--find-links"];

/// Reads a file and the files that it includes.
pub fn read(path: &Path, target: &CheckTarget, found: &mut WantedDistributions) -> Result<()> {
    let mut reader =
        Reader { target, files: Vec::new(), wanted: Vec::new(), constraints: Vec::new(), notes: Vec::new() };
    reader.file(path, false)?;
    for wanted in &mut reader.wanted {
        let same = reader.constraints.iter().filter(|constraint| same_name(&constraint.name, &wanted.name));
        let more: Vec<_> = same.flat_map(|constraint| constraint.versions.iter().cloned()).collect();
        wanted.versions = wanted.versions.iter().cloned().chain(more).collect::<VersionSpecifiers>();
    }
    found.wanted.append(&mut reader.wanted);
    found.notes.append(&mut reader.notes);
    Ok(())
}

struct Reader<'a> {
    target: &'a CheckTarget,
    /// Files that were read, to end cycles.
    files: Vec<PathBuf>,
    wanted: Vec<WantedDistribution>,
    constraints: Vec<WantedDistribution>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, constraint: bool) -> Result<()> {
        let cannot = || format!("cannot read `{}`", path.display());
        let same = path.canonicalize().with_context(cannot)?;
        if self.files.contains(&same) {
            return Ok(());
        }
        self.files.push(same);
        let text = std::fs::read_to_string(path).with_context(cannot)?;
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let mut whole = line.to_owned();
            while let Some(start) = whole.trim_end().strip_suffix('\\') {
                whole = format!("{start}{}", lines.next().map_or("", |(_, line)| line));
            }
            let entry = without_comment(&whole);
            if !entry.is_empty() {
                let place = || format!("`{}` line {}", path.display(), at + 1);
                self.line(entry, path, constraint).with_context(place)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, entry: &str, path: &Path, constraint: bool) -> Result<()> {
        for (short, long) in FILES {
            if let Some(file) = value(entry, short, long) {
                let folder = path.parent().unwrap_or(Path::new("."));
                return self.file(&folder.join(file), constraint || short == "-c");
            }
        }
        if let Some(place) = value(entry, "-e", "--editable") {
            return self.elsewhere(place);
        }
        if entry.starts_with('-') {
            let option = entry.split([' ', '=']).next().unwrap_or_default();
            if INDEXES.contains(&option) {
                self.notes.push(format!(
                    "`{}`: {option} is ignored: the index of pip's configuration is asked",
                    path.display()
                ));
            }
            return Ok(());
        }
        // Options of a requirement, such as `--hash`.
        let requirement = entry.split(" --").next().unwrap_or_default().trim();
        let is_place = ["./", "../", "/", "file:"].iter().any(|start| requirement.starts_with(start))
            || (requirement.contains("://") && !requirement.contains('@'));
        if is_place || requirement.starts_with("git+") {
            return self.elsewhere(requirement);
        }
        let wanted = wanted::requirement(requirement, self.target)
            .map_err(|error| anyhow!("`{}` is not a requirement: {error}", requirement.escape_debug()))?;
        if constraint {
            self.constraints.extend(wanted)
        } else {
            self.wanted.extend(wanted)
        }
        Ok(())
    }

    /// Adds a requirement that is only a place.
    fn elsewhere(&mut self, place: &str) -> Result<()> {
        let place = place.split(';').next().unwrap_or_default().trim();
        let file = wanted::file_name(place);
        let wheel = file.as_deref().and_then(|file| WheelName::parse(file).ok());
        let egg = place.split_once("#egg=").and_then(|(_, name)| name.split(['&', '[']).next());
        let last = place.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty());
        let name = wheel.map(|wheel| wheel.distribution).or_else(|| egg.or(last).map(str::to_owned));
        let Some(name) = name else { bail!("`{}` names no distribution", place.escape_debug()) };
        let elsewhere = Elsewhere { place: place.to_owned(), files: file.into_iter().collect() };
        self.wanted.push(WantedDistribution {
            elsewhere: Some(elsewhere),
            ..WantedDistribution::new(&name, Default::default())
        });
        Ok(())
    }
}

/// Returns the value of an option that is written `-r x`, `-rx`, `--requirement x` or `--requirement=x`.
fn value<'l>(line: &'l str, short: &str, long: &str) -> Option<&'l str> {
    let rest = match line.strip_prefix(long) {
        Some(rest) => rest.strip_prefix('=').or_else(|| rest.starts_with(char::is_whitespace).then_some(rest))?,
        None => line.strip_prefix(short).filter(|_| !line.starts_with("--"))?,
    };
    Some(rest.trim()).filter(|rest| !rest.is_empty())
}

/// A comment starts with `#` at the start of a line or after white space; elsewhere `#` is part of a URL.
fn without_comment(line: &str) -> &str {
    let starts = |at: &usize| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').map(|(at, _)| at).find(starts);
    line[..comment.unwrap_or(line.len())].trim()
}
