//! Changes members of a wheel and updates its RECORD. All other bytes stay unchanged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::archive::LIMITS;
use crate::info::record_hash;

/// Replaces the content of each member by the return value of `change`.
pub fn rewrite(wheel: &Path, change: impl Fn(&str, &[u8]) -> Vec<u8>) -> Result<()> {
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
        let new = change(&name, &data);
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

/// Returns RECORD with new hashes and sizes. Each line has a path, which may be quoted, a hash and a size.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExpectedWheel, NewWheel, check, differences, minimal_extension, write_wheel};

    #[test]
    fn a_changed_wheel_passes_the_checks() {
        let folder = std::env::temp_dir().join(format!("rewrite-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let extension = minimal_extension("m", "x86_64", None).unwrap();
        let new = NewWheel {
            distribution: "m",
            version: "1",
            python: "cp314",
            abi: "cp314t",
            platform: "manylinux_2_28_x86_64",
            files: vec![
                ("m.cpython-314t-x86_64-linux-gnu.so".to_owned(), extension),
                ("a,\"b\".txt".to_owned(), b"built in /home/me/x".to_vec()),
                ("c.txt".to_owned(), b"built in /home/me/x".to_vec()),
            ],
        };
        let (before, after) = (folder.join("before"), folder.join(new.file_name()));
        write_wheel(&before, &new).unwrap();
        write_wheel(&after, &new).unwrap();
        rewrite(&after, |_, data| data.to_vec()).unwrap();
        assert!(differences(&before, &after).unwrap().is_empty(), "without changes the bytes stay the same");

        let change = |name: &str, data: &[u8]| match name.contains('b') {
            true => String::from_utf8_lossy(data).replace("/home/me/x", "/src").into_bytes(),
            false => data.to_vec(),
        };
        rewrite(&after, change).unwrap();
        // The check includes RECORD.
        let expect = ExpectedWheel { distribution: "m", version: None, abi: "cp314t", platform: None, max_glibc: None };
        check(&after, &expect).unwrap();
        let said = differences(&before, &after).unwrap().join("\n");
        assert!(said.starts_with("a,\"b\".txt: 19 bytes in the first build, 13 in the second\n"), "{said}");
        assert!(said.contains("m-1.dist-info/RECORD: ") && !said.contains("c.txt: "), "{said}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
