//! Lock files of run-time requirements for one ABI, in pip's requirements format with hashes.

pub mod pylock;

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use wheelfile::same_name;

/// Pinned wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub name: String,
    pub version: String,
    pub sha256: String,
    /// URL of the wheel if it is not on the package index: `name @ https://…`.
    pub url: Option<String>,
    pub file: Option<String>,
    /// Position in the lock file: `file:line`.
    pub place: String,
}

/// Reads the pins of `file`, a path relative to `top`.
pub fn read(top: &Path, file: &str) -> Result<Vec<Pin>> {
    let text = std::fs::read_to_string(top.join(file)).map_err(anyhow::Error::from);
    text.and_then(|text| parse(&text, file)).with_context(|| format!("`{file}`"))
}

/// Parses lines of the form `name==version --hash=sha256:…` or `name @ https://….whl --hash=sha256:…`, with optional
/// `\` continuations. Like in pip, comments are ignored. Extras (`name[extra]`) are ignored as well, because the lock
/// file lists their requirements. Errors contain the line number.
pub fn parse(text: &str, file: &str) -> Result<Vec<Pin>> {
    let mut pins: Vec<Pin> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut whole = line.to_owned();
        while whole.trim_end().ends_with('\\') {
            whole.truncate(whole.trim_end().len() - 1);
            whole.push_str(lines.next().map_or("", |(_, line)| line));
        }
        let entry = without_comment(&whole);
        if entry.is_empty() {
            continue;
        }
        let Some(pin) = pin(entry, format!("{file}:{}", at + 1)) else {
            bail!(
                "line {}: `{entry}` is not `name==version --hash=sha256:<64 digits>` with exactly one wheel for this ABI",
                at + 1
            );
        };
        if pins.iter().any(|other| same_name(&other.name, &pin.name)) {
            bail!("line {}: `{}` occurs twice", at + 1, pin.name);
        }
        pins.push(pin);
    }
    Ok(pins)
}

/// A comment starts with `#` at the start of a line or after white space; elsewhere `#` is part of a URL.
fn without_comment(line: &str) -> &str {
    let starts = |at: &usize| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').map(|(at, _)| at).find(starts);
    line[..comment.unwrap_or(line.len())].trim()
}

fn pin(entry: &str, place: String) -> Option<Pin> {
    let (what, hash) = entry.split_once(" --hash=sha256:")?;
    let hash = hash.trim();
    if hash.len() != 64 || !hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
        return None;
    }
    let (name, version, url, file) = match what.split_once(" @ ") {
        Some((name, url)) => {
            let url = url.trim();
            // The version is part of the file name.
            let file = url.split('#').next()?.rsplit('/').next()?.replace("%2B", "+");
            let wheel = wheelfile::WheelName::parse(&file).ok()?;
            (name, wheel.version, Some(url.starts_with("https://").then(|| url.to_owned())?), Some(file))
        }
        None => what.split_once("==").map(|(name, version)| (name, version.trim().to_owned(), None, None))?,
    };
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c));
    let name = match name.trim().split_once('[') {
        Some((name, extras)) => extras.ends_with(']').then_some(name)?,
        None => name.trim(),
    };
    let name = name.trim().to_owned();
    (plain(&name) && plain(&version)).then(|| Pin { name, version, sha256: hash.to_owned(), url, file, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read() {
        let a = "a".repeat(64);
        let text = format!(
            "# made by …\n\nfastapi==0.1.2 \\\n    --hash=sha256:{a}\nnumpy==2.3 --hash=sha256:{a}\n\
             uvicorn[standard]==0.30 --hash=sha256:{a}  # via app\n\
             torch @ https://host.example/cpu/torch-2.9.0%2Bcpu-cp314-cp314t-manylinux_2_28_x86_64.whl --hash=sha256:{a}\n"
        );
        let pins = parse(&text, "locks/cp314t.txt").unwrap();
        let short: Vec<(&str, &str, bool)> =
            pins.iter().map(|pin| (&*pin.name, &*pin.version, pin.url.is_some())).collect();
        assert_eq!(
            short,
            [
                ("fastapi", "0.1.2", false),
                ("numpy", "2.3", false),
                ("uvicorn", "0.30", false),
                ("torch", "2.9.0+cpu", true)
            ]
        );
        assert_eq!((&*pins[0].place, &*pins[1].place), ("locks/cp314t.txt:3", "locks/cp314t.txt:5"));
    }

    #[test]
    fn other_lines_are_errors_with_a_line_number() {
        let a = "a".repeat(64);
        let cases = [
            "numpy==2.3".to_owned(),
            format!("numpy>=2.3 --hash=sha256:{a}"),
            format!("numpy==2.3 --hash=sha256:{a} --hash=sha256:{a}"),
            format!("numpy==2.3 --hash=md5:{a}"),
            format!("numpy==2.3; python_version<'3' --hash=sha256:{a}"),
            format!("torch @ http://host.example/torch-2.9.0-cp314-cp314t-linux_x86_64.whl --hash=sha256:{a}"),
            "-r other.txt".to_owned(),
        ];
        for case in cases {
            let error = parse(&format!("# a comment\n{case}\n"), "f").unwrap_err().to_string();
            assert!(error.starts_with("line 2: "), "{case}: {error}");
        }
        let twice = format!("a==1 --hash=sha256:{a}\na==2 --hash=sha256:{a}\n");
        assert_eq!(parse(&twice, "f").unwrap_err().to_string(), "line 2: `a` occurs twice");
        let spelled = format!("a-b==1 --hash=sha256:{a}\nA_B==2 --hash=sha256:{a}\n");
        assert_eq!(parse(&spelled, "f").unwrap_err().to_string(), "line 2: `A_B` occurs twice");
    }
}
