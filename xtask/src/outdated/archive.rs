//! Newer archives of the interpreters: the same places, asked for the versions that come next.

use anyhow::Result;

use super::{Answer, Reached, Row, State};
use crate::matrix::{Edit, Matrix, Source};
use crate::step::apt;

/// So many versions after the pinned one are asked for; who is further behind runs the command again.
const AHEAD: u64 = 6;

/// Downloads the file at an address, and tells its SHA-256.
type Digest<'a> = &'a dyn Fn(&str) -> Result<String>;

/// The mirrors that apt takes packages from.
pub fn mirrors() -> Vec<String> {
    apt::index_targets("$(SITE)").into_iter().filter(|site| site.starts_with("http")).collect()
}

/// All addresses that a newer archive would have.
pub fn addresses(matrix: &Matrix, mirrors: &[String]) -> Vec<String> {
    let of = |source| {
        let version = version(matrix, source);
        version.map(|version| candidates(source, version, mirrors)).unwrap_or_default()
    };
    matrix.sources.iter().flat_map(of).flat_map(|(_, addresses)| addresses).collect()
}

/// A row for each source; without `digest` no edits are made.
pub fn rows(matrix: &Matrix, mirrors: &[String], answer: &Answer, digest: Option<Digest>) -> Result<Vec<Row>> {
    matrix.sources.iter().map(|source| row(matrix, source, mirrors, answer, digest)).collect()
}

fn row(matrix: &Matrix, source: &Source, mirrors: &[String], answer: &Answer, digest: Option<Digest>) -> Result<Row> {
    let input = format!("source {}", source.id);
    let Some(version) = version(matrix, source) else {
        return Ok(Row::new(input, "?", State::Unasked, "no ABI is built from it, so its version is not known"));
    };
    let candidates = candidates(source, version, mirrors);
    let reached = |address: &String| answer.addresses.get(address);
    let newest = candidates.iter().rev().find_map(|(version, addresses)| {
        let there = addresses.iter().find(|address| matches!(reached(address), Some(Reached::Exists(true))));
        there.map(|address| (version, address))
    });
    let all = || candidates.iter().flat_map(|(_, addresses)| addresses);
    let mut failed: Vec<String> = all()
        .filter_map(|address| match reached(address) {
            Some(Reached::Failed(why)) => Some(format!("not asked: {} ({why})", host(address))),
            _ => None,
        })
        .collect();
    failed.sort();
    failed.dedup();
    let note = failed.join("\n");
    let asked = all().any(|address| matches!(reached(address), Some(Reached::Exists(_))));
    Ok(match newest {
        None if asked => Row::new(input, version, State::Current, note),
        None if note.is_empty() => Row::new(input, version, State::Unasked, "no place of it could be asked"),
        None => Row::new(input, version, State::Unasked, note),
        Some((next, address)) => {
            let edits = match digest {
                Some(digest) => edits(matrix, source, version, next, &digest(address)?),
                None => Vec::new(),
            };
            Row::newer(input, version, next, note, edits)
        }
    })
}

/// The version of the interpreters that are built from a source.
fn version<'m>(matrix: &'m Matrix, source: &Source) -> Option<&'m str> {
    let built =
        |abi: &&crate::matrix::Abi| abi.interpreter.source.as_ref().is_some_and(|from| *from.archive == *source.id);
    matrix.abis.iter().find(built).map(|abi| &*abi.python)
}

/// The versions after `version` with the same first numbers, which an ABI tag fixes, and where they would be.
fn candidates(source: &Source, version: &str, mirrors: &[String]) -> Vec<(String, Vec<String>)> {
    let Some((series, Ok(last))) = version.rsplit_once('.').map(|(series, last)| (series, last.parse::<u64>())) else {
        return Vec::new();
    };
    let next = (last + 1..=last + AHEAD).map(|last| format!("{series}.{last}"));
    next.map(|next| {
        let places =
            source.from.iter().filter(|place| place.contains(version)).map(|place| place.replace(version, &next));
        let addresses = places.flat_map(|place| match place.strip_prefix("debian:") {
            Some(path) => mirrors.iter().map(|mirror| format!("{}/{path}", mirror.trim_end_matches('/'))).collect(),
            None => vec![place],
        });
        let addresses = addresses.collect();
        (next, addresses)
    })
    .collect()
}

/// The version wherever the matrix has it: in the source's row, and in those of the ABIs made from it.
fn edits(matrix: &Matrix, source: &Source, version: &str, next: &str, sha256: &str) -> Vec<Edit> {
    let mut edits = vec![source.sha256.becomes(sha256), source.id.becomes(source.id.replace(version, next))];
    edits.extend(source.from.iter().map(|place| place.becomes(place.replace(version, next))));
    for abi in &matrix.abis {
        if let Some(from) = abi.interpreter.source.as_ref().filter(|from| *from.archive == *source.id) {
            edits.push(abi.python.becomes(next));
            edits.push(from.archive.becomes(from.archive.replace(version, next)));
        }
    }
    edits
}

fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().and_then(|host| host.rsplit('@').next()).unwrap_or(rest)
}
