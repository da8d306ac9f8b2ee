//! Changes members of a wheel, and its RECORD with them; all else stays as it is, to the byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::archive::LIMITS;
use super::info::record_hash;

/// `change` answers each member with what it is to contain.
pub fn rewrite(wheel: &Path, change: impl Fn(&str, &[u8]) -> Result<Vec<u8>>) -> Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(wheel)?))?;
    let mut changed: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut record = None;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let name = member.name()?.into_owned();
        let mut data = Vec::new();
        member.by_ref().take(LIMITS.member).read_to_end(&mut data)?;
        if name.ends_with(".dist-info/RECORD") {
            record = Some((name, String::from_utf8(data)?));
            continue;
        }
        let new = change(&name, &data)?;
        if new != data {
            changed.insert(name, new);
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let (name, text) = record.context("the wheel has no RECORD")?;
    changed.insert(name, listed(&text, &changed).into_bytes());

    let part = wheel.with_extension("part");
    let mut out = ZipWriter::new(BufWriter::new(File::create(&part)?));
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index)?;
        match changed.get(&*member.name()?) {
            None => out.raw_copy_file(member)?,
            Some(data) => {
                let options = SimpleFileOptions::default()
                    .compression_method(member.compression())
                    .last_modified_time(member.last_modified().unwrap_or_default())
                    .unix_permissions(member.unix_mode().unwrap_or(0o644));
                out.start_file(member.name()?.into_owned(), options)?;
                out.write_all(data)?;
            }
        }
    }
    out.finish()?.flush()?;
    std::fs::rename(&part, wheel)?;
    Ok(())
}

/// RECORD with new hashes and sizes: a path that may stand in quotes, a hash and a size per line.
fn listed(record: &str, changed: &BTreeMap<String, Vec<u8>>) -> String {
    let line = |line: &str| {
        let path = line.rsplitn(3, ',').nth(2)?;
        let plain =
            path.strip_prefix('"').and_then(|path| path.strip_suffix('"')).map(|path| path.replace("\"\"", "\""));
        let data = changed.get(plain.as_deref().unwrap_or(path))?;
        Some(format!("{path},{},{}", record_hash(data), data.len()))
    };
    let text = |end: &str| record.lines().map(|l| line(l).unwrap_or_else(|| l.to_owned()) + end).collect();
    text(if record.contains("\r\n") { "\r\n" } else { "\n" })
}
