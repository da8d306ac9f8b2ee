//! A wheel may come from anywhere, so its archive is read within limits and never unpacked to disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Result, ensure};
use zip::ZipArchive;

use super::elf::Elf;
use super::info::{Info, Member, Members, OTHER_ALGORITHMS, is_safe, other_hash, record_hash};
use super::{WheelName, is_release};
use base::ui::quoted;

/// Sizes in bytes, unpacked.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub member: u64,
    pub archive: u64,
}

pub(super) const LIMITS: Limits = Limits { member: 1 << 30, archive: 4 << 30 };
/// These are kept in memory while the rest is read.
const METADATA_LIMIT: u64 = 64 << 20;

/// What [`read`] keeps of a wheel: enough to judge it without holding it unpacked.
#[derive(Default)]
pub(super) struct Contents {
    pub info: Info,
    pub members: Members,
    pub elves: Vec<(String, Elf)>,
}

/// Reads every member once. Anything wrong that leaves the rest readable is a problem; an error
/// is an archive that cannot or should not be read further.
pub(super) fn read(path: &Path, name: &WheelName, limits: Limits, problems: &mut Vec<String>) -> Result<Contents> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    if archive.has_duplicate_names() {
        problems.push("the archive holds two members of the same name".to_owned());
    } else if let Err(error) = archive.validate_header_consistency() {
        problems.push(format!("the archive contradicts itself: {error}"));
    }
    let mut contents = Contents::default();
    contents.info.directory = info_directory(&archive, name, problems)?;
    let others = other_algorithms(&mut archive, contents.info.directory.as_deref());

    let mut total: u64 = 0;
    for index in 0..archive.len() {
        let mut member = match archive.by_index(index) {
            Ok(member) => member,
            Err(error) => {
                problems.push(format!("member {index} cannot be read: {error}"));
                continue;
            }
        };
        let path = member.name()?.into_owned();
        if !is_safe(path.strip_suffix('/').unwrap_or(&path)) {
            problems.push(format!("the archive holds the unsafe path `{path}`"));
        }
        if member.is_symlink() {
            problems.push(format!("`{path}` is a symbolic link"));
        }
        let leaf = contents.info.leaf(&path).map(str::to_owned);
        let limit = limits.member.min(if leaf.is_some() { METADATA_LIMIT } else { u64::MAX });
        // What is counted is what comes out: the sizes in the headers are the file's own claim.
        let mut data = Vec::new();
        if let Err(error) = member.by_ref().take(limit + 1).read_to_end(&mut data) {
            problems.push(format!("`{path}` cannot be read: {error}"));
            continue;
        }
        let length = data.len() as u64;
        total += length;
        ensure!(length <= limit, "`{path}` unpacks to more than {limit} bytes");
        ensure!(total <= limits.archive, "unpacks to more than {} bytes", limits.archive);
        if path.ends_with('/') && data.is_empty() {
            continue;
        }
        if data.starts_with(b"\x7fELF") {
            match Elf::parse(&data) {
                Ok(file) => contents.elves.push((path.clone(), file)),
                Err(error) => problems.push(format!("`{path}` cannot be judged: {error:#}")),
            }
        } else if path.ends_with(".so") {
            problems.push(format!("`{path}` is not an ELF file"));
        }
        let mut hashes = vec![record_hash(&data)];
        hashes.extend(others.iter().map(|algorithm| other_hash(algorithm, &data)));
        if let Some(leaf) = leaf
            && let Ok(text) = String::from_utf8(data)
        {
            contents.info.texts.insert(leaf, text);
        }
        // Two encodings of one name are two members to the zip reader above.
        if contents.members.insert(path.clone(), Member { hashes, length }).is_some() {
            problems.push(format!("the archive holds `{path}` twice"));
        }
    }
    Ok(contents)
}

/// The hash algorithms beside SHA-256 that RECORD uses.
fn other_algorithms(archive: &mut ZipArchive<BufReader<File>>, directory: Option<&str>) -> Vec<&'static str> {
    let Some(directory) = directory else { return Vec::new() };
    let mut record = String::new();
    let member = archive.by_name(&format!("{directory}/RECORD"));
    // What cannot be read is a problem later, when all members are.
    let _ = member.map(|member| member.take(METADATA_LIMIT).read_to_string(&mut record));
    OTHER_ALGORITHMS.into_iter().filter(|algorithm| record.contains(&format!(",{algorithm}="))).collect()
}

/// Reads WHEEL and METADATA, and nothing else.
pub(super) fn read_info(path: &Path, name: &WheelName, problems: &mut Vec<String>) -> Result<Info> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut info = Info::default();
    let Some(directory) = info_directory(&archive, name, problems)? else { return Ok(info) };
    for leaf in ["WHEEL", "METADATA"] {
        let mut text = String::new();
        let member = archive.by_name(&format!("{directory}/{leaf}"));
        if member.is_ok_and(|member| member.take(METADATA_LIMIT).read_to_string(&mut text).is_ok()) {
            info.texts.insert(leaf.to_owned(), text);
        }
    }
    Ok(info)
}

/// The one `.dist-info` directory, whose name repeats the distribution and version (PEP 427).
fn info_directory(
    archive: &ZipArchive<BufReader<File>>,
    name: &WheelName,
    problems: &mut Vec<String>,
) -> Result<Option<String>> {
    let mut found = BTreeSet::new();
    for path in archive.file_names() {
        let path = path?;
        if let Some((top, _)) = path.split_once('/')
            && top.ends_with(".dist-info")
        {
            found.insert(top.to_owned());
        }
    }
    if found.len() > 1 {
        problems.push(format!("there are several metadata directories: {}", quoted(found)));
        return Ok(None);
    }
    let Some(info) = found.pop_first() else {
        problems.push("there is no .dist-info directory".to_owned());
        return Ok(None);
    };
    let wanted = format!("{}-{}.dist-info", name.distribution, name.version);
    let stem = info.strip_suffix(".dist-info");
    if !stem.is_some_and(|stem| is_release(stem, &name.distribution, &name.version)) {
        problems.push(format!("metadata directory is `{info}`, not `{wanted}`"));
    }
    Ok(Some(info))
}
