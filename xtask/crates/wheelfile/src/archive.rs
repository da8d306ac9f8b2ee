//! Reads wheel archives from untrusted sources within size limits, without unpacking them to disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Result, ensure};
use zip::ZipArchive;

use crate::elf::Elf;
use crate::info::{DistInfo, Members, OTHER_ALGORITHMS, RecordedFile, is_safe, other_hash, record_hash};
use crate::name::{WheelName, is_release};
use base::ui::quoted;

/// Maximum unpacked sizes in bytes.
#[derive(Clone, Copy)]
pub(super) struct ArchiveLimits {
    pub member: u64,
    pub archive: u64,
}

pub(super) const LIMITS: ArchiveLimits = ArchiveLimits { member: 1 << 30, archive: 4 << 30 };
/// Maximum size of a metadata file, which is held in memory.
const METADATA_LIMIT: u64 = 64 << 20;

/// ArchiveContents of a wheel as far as the checks need them.
#[derive(Default)]
pub(super) struct ArchiveContents {
    pub info: DistInfo,
    pub members: Members,
    pub elves: Vec<(String, Elf)>,
}

/// Reads every member once. Adds faults to `problems` if the rest can still be read; fails if the archive cannot or
/// must not be read further.
pub(super) fn read(
    path: &Path,
    name: &WheelName,
    limits: ArchiveLimits,
    problems: &mut Vec<String>,
) -> Result<ArchiveContents> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    if archive.has_duplicate_names() {
        problems.push("the archive holds two members of the same name".to_owned());
    } else if let Err(error) = archive.validate_header_consistency() {
        problems.push(format!("the archive contradicts itself: {error}"));
    }
    let mut contents = ArchiveContents::default();
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
        // Count the unpacked bytes: the sizes in the headers cannot be trusted.
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
                Err(error) => problems.push(format!("`{path}` cannot be checked: {error:#}")),
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
        // The zip reader treats two encodings of one name as two members.
        if contents.members.insert(path.clone(), RecordedFile { hashes, length }).is_some() {
            problems.push(format!("the archive holds `{path}` twice"));
        }
    }
    Ok(contents)
}

/// Returns the hash algorithms other than SHA-256 that RECORD uses.
fn other_algorithms(archive: &mut ZipArchive<BufReader<File>>, directory: Option<&str>) -> Vec<&'static str> {
    let Some(directory) = directory else { return Vec::new() };
    let mut record = String::new();
    let member = archive.by_name(&format!("{directory}/RECORD"));
    // An unreadable RECORD is reported later, when all members are read.
    let _ = member.map(|member| member.take(METADATA_LIMIT).read_to_string(&mut record));
    OTHER_ALGORITHMS.into_iter().filter(|algorithm| record.contains(&format!(",{algorithm}="))).collect()
}

/// Reads only WHEEL and METADATA.
pub(super) fn read_info(path: &Path, name: &WheelName, problems: &mut Vec<String>) -> Result<DistInfo> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut info = DistInfo::default();
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

/// Returns the only `.dist-info` directory and checks that its name contains the distribution and version (PEP 427).
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
