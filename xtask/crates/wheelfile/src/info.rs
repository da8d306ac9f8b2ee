//! Checks the `.dist-info` directory of a wheel against the archive, which installers do not do.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::expected::ExpectedWheel;
use crate::local::LocalBuild;
use crate::name::{WheelName, same_name, same_version};

const REQUIRED: [&str; 3] = ["WHEEL", "METADATA", "RECORD"];

/// All files in the archive, by path.
pub(super) type Members = BTreeMap<String, RecordedFile>;

/// Hashes and size of a file, for comparison with RECORD.
pub(super) struct RecordedFile {
    /// Hashes in the notation of RECORD, SHA-256 first.
    pub hashes: Vec<String>,
    /// Size in bytes.
    pub length: u64,
}

/// Hash algorithms other than SHA-256 that RECORD may use ("sha256 or better", PEP 427), as far as tools write them.
pub(super) const OTHER_ALGORITHMS: [&str; 2] = ["sha384", "sha512"];

#[derive(Default)]
pub(super) struct DistInfo {
    /// `None` unless the wheel has exactly one.
    pub directory: Option<String>,
    /// The [`REQUIRED`] files that exist, by name.
    pub texts: BTreeMap<String, String>,
}

impl DistInfo {
    /// Returns the file name in `path` if it is one of the required files.
    pub(super) fn leaf<'a>(&self, path: &'a str) -> Option<&'a str> {
        let leaf = path.strip_prefix(self.directory.as_deref()?)?.strip_prefix('/')?;
        REQUIRED.contains(&leaf).then_some(leaf)
    }
}

/// Returns whether a path stays inside the directory it is unpacked to, on every operating system.
pub(super) fn is_safe(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    !path.contains(|c: char| c == '\\' || c.is_control()) && path.split('/').all(plain)
}

/// Returns the hash of a file in the notation of RECORD (PEP 376, PEP 427).
pub(super) fn record_hash(data: &[u8]) -> String {
    format!("sha256={}", URL_SAFE_NO_PAD.encode(Sha256::digest(data)))
}

/// Returns a hash with one of [`OTHER_ALGORITHMS`] in the same notation.
pub(super) fn other_hash(algorithm: &str, data: &[u8]) -> String {
    let digest = match algorithm {
        "sha384" => URL_SAFE_NO_PAD.encode(Sha384::digest(data)),
        _ => URL_SAFE_NO_PAD.encode(Sha512::digest(data)),
    };
    format!("{algorithm}={digest}")
}

/// Parses the rows of RECORD in the CSV dialect of Python's `csv` module (PEP 376).
fn record_rows(text: &str) -> Result<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let rows = reader.records().map(|row| Ok(row?.iter().map(str::to_owned).collect()));
    rows.collect()
}

/// Compares RECORD with the archive (PEP 427; PEP 627 keeps the columns).
fn check_record(text: &str, info: &str, members: &Members, problems: &mut Vec<String>) {
    let rows = record_rows(text).unwrap_or_else(|error| {
        problems.push(format!("RECORD cannot be read: {error:#}"));
        Vec::new()
    });
    // RECORD cannot contain its own hash, and the signatures are created after it.
    let exempt = ["RECORD", "RECORD.jws", "RECORD.p7s"].map(|name| format!("{info}/{name}"));
    let mut listed = BTreeSet::new();
    for row in &rows {
        let [path, hash, size] = row.as_slice() else {
            problems.push(format!("RECORD row `{}` does not have three fields", row.join(",")));
            continue;
        };
        if !is_safe(path) {
            problems.push(format!("RECORD lists the unsafe path `{path}`"));
        }
        // A path may be listed several times; every row must be correct.
        listed.insert(path);
        match members.get(path) {
            None => problems.push(format!("RECORD lists `{path}`, which is not in the archive")),
            Some(_) if exempt.contains(path) => {}
            Some(RecordedFile { hashes, length }) => {
                if !hashes.contains(hash) {
                    problems.push(format!("`{path}` has `{}`, but RECORD says `{hash}`", hashes.join("` and `")));
                }
                // PEP 376 allows an empty size.
                if !size.is_empty() && *size != length.to_string() {
                    problems.push(format!("`{path}` has {length} bytes, but RECORD says `{size}`"));
                }
            }
        }
    }
    let missing = members.keys().filter(|path| !listed.contains(path) && !exempt.contains(path));
    problems.extend(missing.map(|path| format!("`{path}` is not listed in RECORD")));
}

/// Compares the `Tag` lines with the file name (PEP 427).
fn check_tags(text: &str, name: &WheelName, problems: &mut Vec<String>) {
    let listed: BTreeSet<String> = values(text, "Tag").map(str::to_owned).collect();
    let wanted = name.expanded();
    for tag in wanted.difference(&listed) {
        problems.push(format!("WHEEL lacks the file name's tag `{tag}`"));
    }
    for tag in listed.difference(&wanted) {
        problems.push(format!("WHEEL has the tag `{tag}`, which the file name lacks"));
    }
}

/// Compares `Name` and `Version` with the file name and with the caller's expectation.
fn check_metadata(text: &str, name: &WheelName, expect: &ExpectedWheel, problems: &mut Vec<String>) {
    check_format(text, "METADATA", "Metadata-Version", &["1", "2"], problems);
    let mut compare = |key: &str, same: fn(&str, &str) -> bool, wanted: [Option<&str>; 2]| {
        let found: Vec<&str> = values(text, key).collect();
        let [value] = found.as_slice() else {
            problems.push(format!("METADATA has {} `{key}` fields, not one", found.len()));
            return;
        };
        let mut wanted: Vec<&str> = wanted.into_iter().flatten().collect();
        wanted.dedup_by(|one, other| same(one, other));
        for wanted in wanted.iter().filter(|wanted| !same(wanted, value)) {
            problems.push(format!("METADATA has {key} `{value}`, not `{wanted}`"));
        }
    };
    compare("Name", same_name, [Some(&name.distribution), Some(expect.distribution)]);
    compare("Version", same_version, [Some(&name.version), expect.version]);
}

/// Returns the values of a field in the header of a WHEEL or METADATA file.
pub(super) fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let header = text.lines().take_while(|line| !line.is_empty());
    let pairs = header.filter_map(|line| line.split_once(':'));
    pairs.filter(move |(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.trim())
}

/// Checks that the major format version in the field `key` is one of `known`.
fn check_format(text: &str, file: &str, key: &str, known: &[&str], problems: &mut Vec<String>) {
    let found: Vec<&str> = values(text, key).collect();
    let major = |version: &str| known.contains(&version.split('.').next().unwrap_or_default());
    if !matches!(found.as_slice(), [version] if major(version)) {
        let (found, known) = (found.join("`, `"), known.join(" and "));
        problems.push(format!("{file} has {key} `{found}`; supported major versions: {known}"));
    }
}

fn check_wheel(text: &str, name: &WheelName, problems: &mut Vec<String>) {
    check_format(text, "WHEEL", "Wheel-Version", &["1"], problems);
    check_tags(text, name, problems);
    // A wheel that is not for others must not pass for another one by its name.
    for build in LocalBuild::ALL {
        let mark = build.tag();
        match (values(text, "Build").any(|value| value == mark), name.local_build() == Some(build)) {
            (true, false) => {
                problems.push(format!("WHEEL has Build `{mark}`, but the file name has no such build tag"))
            }
            (false, true) => {
                problems.push(format!("the file name has the build tag `{mark}`, but WHEEL has no such Build"))
            }
            (true, true) | (false, false) => {}
        }
    }
}

/// Checks WHEEL and METADATA against the file name and the expectation.
pub(super) fn check_names(info: &DistInfo, name: &WheelName, expect: &ExpectedWheel, problems: &mut Vec<String>) {
    match info.texts.get("WHEEL") {
        None => problems.push("there is no WHEEL file".to_owned()),
        Some(text) => check_wheel(text, name, problems),
    }
    match info.texts.get("METADATA") {
        None => problems.push("there is no METADATA file".to_owned()),
        Some(text) => check_metadata(text, name, expect, problems),
    }
}

/// Checks the three files required by PEP 427 against the file name, the archive and the expectation.
pub(super) fn check(
    info: &DistInfo,
    members: &Members,
    name: &WheelName,
    expect: &ExpectedWheel,
    problems: &mut Vec<String>,
) {
    let Some(directory) = &info.directory else {
        return;
    };
    for leaf in REQUIRED {
        match (leaf, info.texts.get(leaf)) {
            (_, None) => problems.push(format!("`{directory}/{leaf}` is missing or not UTF-8")),
            ("WHEEL", Some(text)) => check_wheel(text, name, problems),
            ("METADATA", Some(text)) => check_metadata(text, name, expect, problems),
            (_, Some(text)) => check_record(text, directory, members, problems),
        }
    }
}
