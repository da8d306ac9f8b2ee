//! Finds newer source archives of interpreters by requesting the URLs of the next versions.

use anyhow::Result;

use super::{Answer, PinnedInput, Reached, State};
use build::host;
use matrix::{Edit, Matrix, Source};

/// Number of subsequent versions to check. If more are missing, run the command again.
const AHEAD: u64 = 6;

/// Downloads a file and returns its SHA-256.
type Digest<'a> = &'a dyn Fn(&str) -> Result<String>;

/// Returns the mirrors that apt uses.
pub fn mirrors() -> Vec<String> {
    host::index_targets("$(SITE)").into_iter().filter(|site| site.starts_with("http")).collect()
}

/// Returns all URLs that a newer archive could have.
pub fn addresses(matrix: &Matrix, mirrors: &[String]) -> Vec<String> {
    let of = |source| {
        let version = version(matrix, source);
        version.map(|version| candidates(source, version, mirrors)).unwrap_or_default()
    };
    matrix.sources.iter().flat_map(of).flat_map(|(_, addresses)| addresses).collect()
}

/// Returns a row for each source. Without `digest`, there are no edits.
pub fn rows(matrix: &Matrix, mirrors: &[String], answer: &Answer, digest: Option<Digest>) -> Result<Vec<PinnedInput>> {
    matrix.sources.iter().map(|source| row(matrix, source, mirrors, answer, digest)).collect()
}

fn row(
    matrix: &Matrix,
    source: &Source,
    mirrors: &[String],
    answer: &Answer,
    digest: Option<Digest>,
) -> Result<PinnedInput> {
    let input = format!("source {}", source.id);
    let Some(version) = version(matrix, source) else {
        return Ok(PinnedInput::new(
            input,
            "?",
            State::Unasked,
            "no ABI is built from it, so its version is not known",
        ));
    };
    let candidates = candidates(source, version, mirrors);
    let reached = |address: &String| answer.addresses.get(address);
    let there = |address: &&String| matches!(reached(address), Some(Reached::Exists(true)));
    let newest = candidates.iter().rev().find_map(|(version, addresses)| {
        let places: Vec<&str> = addresses.iter().filter(there).map(String::as_str).collect();
        (!places.is_empty()).then_some((version, places))
    });
    let all = || candidates.iter().flat_map(|(_, addresses)| addresses);
    let mut failed: Vec<String> = all()
        .filter_map(|address| match reached(address) {
            Some(Reached::Failed(why)) => Some(format!("not checked: {} ({why})", host(address))),
            _ => None,
        })
        .collect();
    failed.sort();
    failed.dedup();
    let note = failed.join("\n");
    let asked = all().any(|address| matches!(reached(address), Some(Reached::Exists(_))));
    Ok(match newest {
        None if asked => PinnedInput::new(input, version, State::Current, note),
        None if note.is_empty() => PinnedInput::new(input, version, State::Unasked, "no place of it could be asked"),
        None => PinnedInput::new(input, version, State::Unasked, note),
        Some((next, places)) => {
            let confirmed = match digest {
                Some(digest) => confirmed(&places, digest)?,
                None => Err(String::new()),
            };
            let (edits, doubt) = match confirmed {
                Ok(sha256) => (edits(matrix, source, version, next, &sha256), String::new()),
                Err(doubt) => (Vec::new(), doubt),
            };
            let note = [note, doubt].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("\n");
            PinnedInput::newer(input, version, next, note, edits)
        }
    })
}

/// Returns the digest of a file available at all of these URLs if it was downloaded over HTTPS or from two hosts with
/// the same result; otherwise a note.
fn confirmed(places: &[&str], digest: Digest) -> Result<Result<String, String>> {
    if let Some(place) = places.iter().find(|place| place.starts_with("https://")) {
        return digest(place).map(Ok);
    }
    let mut found: Vec<(&str, String)> = Vec::new();
    for place in places {
        if found.iter().all(|(known, _)| *known != host(place)) && found.len() < 2 {
            found.push((host(place), digest(place)?));
        }
    }
    Ok(match &found[..] {
        [(_, one), (_, other)] if one == other => Ok(one.clone()),
        [(first, one), (second, other)] => {
            Err(format!("not written: the file at {first} has the SHA-256 {one}, the one at {second} {other}"))
        }
        _ => {
            let place = places.first().copied().unwrap_or_default();
            let sha256 = found.first().map(|(_, sha256)| sha256.as_str()).unwrap_or_default();
            Err(format!(
                "not written, since its digest comes over plain HTTP from one place only: compare\n  {sha256} of \
                 {place}\n  with what the publisher says, then write it into matrix.yaml"
            ))
        }
    })
}

/// Returns the version of the interpreters built from a source.
fn version<'m>(matrix: &'m Matrix, source: &Source) -> Option<&'m str> {
    let built = |abi: &&matrix::Abi| abi.interpreter.source.as_ref().is_some_and(|from| *from.archive == *source.id);
    matrix.abis.iter().find(built).map(|abi| &*abi.python)
}

/// Returns the versions after `version` within the same minor release, which the ABI tag fixes, with their URLs.
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

/// Returns the edits of the version in all places of the matrix: in the source and the ABIs built from it.
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
