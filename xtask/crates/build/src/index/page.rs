//! Parses the files that a package index lists for a project, in JSON (PEP 691, PEP 700) or HTML (PEP 503). Both may
//! have the fields of PEP 592 (yanked) and PEP 345 (required Python).

use anyhow::{Result, bail};
use serde_json::Value;

use base::platform::Platform;
use wheelfile::{WheelName, is_file_of_release};

/// Maximum number of files in an error.
const SHOWN: usize = 20;

/// Maximum length of a link before its hash, in bytes.
const LONGEST: usize = 8 << 10;

/// Unchecked index entry of a file with a SHA-256.
pub struct Entry {
    /// File name in the index.
    pub name: String,
    /// URL, possibly relative to the page.
    pub link: String,
    /// Lower case.
    pub sha256: String,
    /// Size in bytes.
    pub size: Option<u64>,
    pub yanked: bool,
    pub requires_python: Option<String>,
}

/// Returns the files on the page of a project. Files without SHA-256 are skipped, because they cannot be pinned.
pub fn entries(text: &str) -> Result<Vec<Entry>> {
    let (version, entries) = match serde_json::from_str::<Value>(text) {
        Ok(json) => (json["meta"]["api-version"].as_str().map(str::to_owned), json_entries(&json)),
        Err(_) => (html_version(text), html_entries(text)),
    };
    // PEP 629: other major versions must be rejected; the default is 1.0.
    let version = version.unwrap_or_else(|| "1.0".to_owned());
    if version.split('.').next() != Some("1") {
        bail!("it uses version `{version}` of the package index API; only version 1 is supported");
    }
    Ok(entries)
}

fn json_entries(json: &Value) -> Vec<Entry> {
    let entry = |file: &Value| {
        Some(Entry {
            name: file["filename"].as_str()?.to_owned(),
            link: file["url"].as_str()?.to_owned(),
            sha256: file["hashes"]["sha256"].as_str()?.to_ascii_lowercase(),
            size: file["size"].as_u64(),
            yanked: !matches!(file["yanked"], Value::Null | Value::Bool(false)),
            requires_python: file["requires-python"].as_str().map(str::to_owned),
        })
    };
    json["files"].as_array().into_iter().flatten().filter_map(entry).collect()
}

/// Returns the version of an HTML page: `<meta name="pypi:repository-version" content="1.0">`.
fn html_version(text: &str) -> Option<String> {
    let at = text.find("pypi:repository-version")?;
    let tag = &text[text[..at].rfind('<')?..];
    let tag = &tag[..tag.find('>')?];
    let value = tag.split_once("content=")?.1.trim_start_matches(['"', '\'']);
    Some(value.split(['"', '\'', ' ', '/']).next()?.to_owned())
}

/// Parses links, which end with the hash of their file.
fn html_entries(text: &str) -> Vec<Entry> {
    const MARK: &str = "#sha256=";
    let mut entries = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(MARK) {
        // Longer links are rejected anyway; the limit prevents quadratic time on malicious pages.
        let before = &text[text.floor_char_boundary(start.max(at.saturating_sub(LONGEST)))..at];
        start = at + MARK.len();
        let after = &text[start..text.floor_char_boundary(start.saturating_add(LONGEST))];
        let (open, close) = (before.rfind('<').unwrap_or(0), after.find('>').unwrap_or(0));
        let attribute = |name| attribute(&before[open..], name).or_else(|| attribute(&after[..close], name));
        // The attribute value may be unquoted; then the last quote belongs to an earlier tag.
        let quoted =
            before.rfind(['"', '\'']).map(|quote| &before[quote + 1..]).filter(|link| !link.contains(['<', '>']));
        let link = quoted.or_else(|| before.rsplit_once("href=").map(|(_, link)| link));
        if let (Some(link), Some(sha256)) = (link, text.get(start..start + 64)) {
            let link = link.replace("&amp;", "&");
            let name = decode(link.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default());
            entries.push(Entry {
                name,
                link,
                sha256: sha256.to_ascii_lowercase(),
                size: None,
                yanked: attribute("data-yanked").is_some(),
                requires_python: attribute("data-requires-python"),
            });
        }
    }
    entries
}

/// Returns the value of an attribute in a part of a tag; empty for an attribute without value.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let separates = |c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '/');
    let after = tag.match_indices(name).find_map(|(at, _)| {
        let rest = &tag[at + name.len()..];
        let ends = rest.is_empty() || rest.starts_with(|c: char| separates(c) || c == '=');
        (ends && tag[..at].ends_with(separates)).then_some(rest)
    })?;
    let Some(value) = after.trim_start().strip_prefix('=') else { return Some(String::new()) };
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next(),
        _ => value.split(|c: char| c.is_ascii_whitespace()).next(),
    };
    let value = value.unwrap_or_default();
    Some(["&gt;>", "&lt;<", "&quot;\"", "&#39;'", "&amp;&"].iter().fold(value.to_owned(), |text, pair| {
        let (entity, character) = pair.split_at(pair.len() - 1);
        text.replace(entity, character)
    }))
}

/// Decodes `%2B` and similar sequences in a URL path.
fn decode(part: &str) -> String {
    let mut pieces = part.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => bytes.extend([&[byte], &piece.as_bytes()[2..]].concat()),
            None => bytes.extend([b"%", piece.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Lists the files of a version that the platform can use with their digests, for an error.
pub fn describe(entries: &[Entry], project: &str, version: &str, platform: Platform) -> String {
    let usable = |name: &str| WheelName::parse(name).map_or(true, |wheel| wheel.suits_machine(platform.machine()));
    let files: Vec<&Entry> = entries
        .iter()
        .filter(|entry| is_file_of_release(&entry.name, project, version) && usable(&entry.name))
        .collect();
    if files.is_empty() {
        return format!("the index has no file of `{project}` {version}");
    }
    let mut text = format!("of `{project}` {version} the index has");
    for Entry { name, sha256, .. } in files.iter().take(SHOWN) {
        // Text from the index is untrusted.
        text.push_str(&format!("\n      {sha256}  {}", name.replace(char::is_control, "?")));
    }
    if files.len() > SHOWN {
        text.push_str(&format!("\n      and {} more", files.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<(String, String)> {
        entries(text).unwrap().into_iter().map(|entry| (entry.name, entry.link)).collect()
    }

    #[test]
    fn a_malicious_page_is_parsed_in_linear_time_and_memory() {
        let hash = format!("#sha256={}", "a".repeat(64));
        for start in ["", "\"", "<a href="] {
            let page = format!("{start}{}", hash.repeat((16 << 20) / hash.len()));
            assert!(entries(&page).unwrap().len() <= 1);
        }
    }

    #[test]
    fn all_html_notations_are_parsed() {
        let a = "A".repeat(64);
        let page = format!(
            "<!DOCTYPE html><meta name='pypi:repository-version' content='1.3'>\n\
             <a href=\"../../f/x-1%212.0%2Bcpu.tar.gz#sha256={a}\" data-requires-python=\"&gt;=3\">x</a>\n\
             <a data-yanked href='https://h.example/x-3.zip?a=b&amp;c=d#sha256={a}'>x</a>\n\
             <a href=x-4.tar.gz#sha256={a}>x</a> <a href=\"x-5.tar.gz#md5=0\">x</a> #sha256=short"
        );
        let wanted = [
            ("x-1!2.0+cpu.tar.gz", "../../f/x-1%212.0%2Bcpu.tar.gz"),
            ("x-3.zip", "https://h.example/x-3.zip?a=b&c=d"),
            ("x-4.tar.gz", "x-4.tar.gz"),
        ];
        assert_eq!(listed(&page), wanted.map(|(name, link)| (name.to_owned(), link.to_owned())));
        assert_eq!(entries(&page).unwrap()[0].sha256, "a".repeat(64));
        assert_eq!((decode("a%"), decode("a%zz%4"), decode("%41b")), ("a%".into(), "a%zz%4".into(), "Ab".into()));
    }

    #[test]
    fn the_optional_fields_are_read_from_both_formats() {
        let a = "a".repeat(64);
        let json = format!(
            r#"{{"files": [
            {{"filename": "x-1.whl", "url": "x", "hashes": {{"sha256": "{a}"}}, "yanked": "bad", "size": 3,
              "requires-python": ">=3.9,<4"}},
            {{"filename": "x-2.whl", "url": "x", "hashes": {{"sha256": "{a}"}}, "yanked": false,
              "requires-python": null}}]}}"#
        );
        let html = format!(
            "<a data-yanked='' href=\"x-1.whl#sha256={a}\" data-requires-python=\"&gt;=3.9,&lt;4\">x</a>\n\
             <a href='x-2.whl#sha256={a}' title='data-yanked-not'>x</a><a data-yanked></a>"
        );
        for page in [json, html] {
            let fields: Vec<_> = entries(&page)
                .unwrap()
                .into_iter()
                .map(|entry| (entry.name, entry.yanked, entry.requires_python))
                .collect();
            let wanted =
                [("x-1.whl".to_owned(), true, Some(">=3.9,<4".to_owned())), ("x-2.whl".to_owned(), false, None)];
            assert_eq!(fields, wanted, "{page}");
        }
    }

    #[test]
    fn pages_of_another_api_version_are_errors() {
        let json = |meta: &str| format!(r#"{{"meta": {meta}, "files": [], "versions": ["1"]}}"#);
        assert!(entries(&json(r#"{"api-version": "1.4"}"#)).is_ok() && entries(&json("{}")).is_ok());
        assert!(entries(&json(r#"{"api-version": "2.0"}"#)).is_err());
        assert!(entries("<meta content=\"2.0\" name=\"pypi:repository-version\">").is_err());
        assert!(entries("<html></html>").unwrap().is_empty());
    }

    #[test]
    fn files_without_a_sha256_are_skipped() {
        let a = "a".repeat(64);
        let json = format!(
            r#"{{"files": [{{"filename": "x-1.tar.gz", "url": "x", "hashes": {{"sha256": "{a}"}}, "yanked": "bad"}},
            {{"filename": "x-2.tar.gz", "url": "x", "hashes": {{}}}}]}}"#
        );
        assert_eq!(listed(&json), [("x-1.tar.gz".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn an_error_lists_the_files_of_a_version() {
        let entry = |name: &str, digit: &str| Entry {
            name: name.to_owned(),
            link: String::new(),
            sha256: digit.repeat(64),
            size: None,
            yanked: false,
            requires_python: None,
        };
        let entries = [
            entry("x_y-2.0-cp314-cp314t-manylinux_2_28_x86_64.whl", "a"),
            entry("x_y-2.0-cp314-cp314t-win_amd64.whl", "b"),
            entry("x_y-2.0.tar.gz", "c"),
            entry("x_y-2.1.tar.gz", "d"),
        ];
        let (a, c) = ("a".repeat(64), "c".repeat(64));
        assert_eq!(
            describe(&entries, "X.y", "2", Platform::LinuxAmd64),
            format!(
                "of `X.y` 2 the index has\n      {a}  x_y-2.0-cp314-cp314t-manylinux_2_28_x86_64.whl\n      {c}  x_y-2.0.tar.gz"
            )
        );
        assert_eq!(describe(&entries, "x-y", "3", Platform::LinuxAmd64), "the index has no file of `x-y` 3");
    }
}
