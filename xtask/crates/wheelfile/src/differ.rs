//! Lists the differences between two builds of a wheel, and the paths of the build machine in a wheel.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};
use zip::ZipArchive;

use crate::archive::LIMITS;

/// Number of bytes shown per difference, and number of differences shown per member.
const SHOWN: usize = 16;
const PLACES: usize = 3;

/// ArchiveMember of an archive with its metadata.
struct ArchiveMember {
    name: String,
    time: String,
    mode: String,
    method: String,
    data: Vec<u8>,
}

/// Returns one line per difference, with indented detail lines; empty if the files are identical.
pub fn differences(one: &Path, other: &Path) -> Result<Vec<String>> {
    let (one, other) = (read(one)?, read(other)?);
    if one == other {
        return Ok(Vec::new());
    }
    let (first, second) = (members(&one)?, members(&other)?);
    let mut found = Vec::new();
    let has = |members: &[ArchiveMember], name: &str| members.iter().any(|member| member.name == name);
    for (these, those, which) in [(&first, &second, "first"), (&second, &first, "second")] {
        for member in these.iter().filter(|member| !has(those, &member.name)) {
            found.push(format!("{}: only in the {which} build", member.name));
        }
    }
    let common = |these: &'_ [ArchiveMember], those: &[ArchiveMember]| -> Vec<String> {
        these.iter().filter(|member| has(those, &member.name)).map(|member| member.name.clone()).collect()
    };
    let (order, other_order) = (common(&first, &second), common(&second, &first));
    if let Some((a, b)) = order.iter().zip(&other_order).find(|(a, b)| a != b) {
        found.push(format!("order of members: the first build has {a} where the second build has {b}"));
    }
    for a in &first {
        let Some(b) = second.iter().find(|b| b.name == a.name) else { continue };
        for (what, x, y) in
            [("time", &a.time, &b.time), ("mode", &a.mode, &b.mode), ("compression", &a.method, &b.method)]
        {
            if x != y {
                found.push(format!("{}: {what} is {x} in the first build, {y} in the second", a.name));
            }
        }
        found.extend(content_differences(&a.name, &a.data, &b.data));
    }
    if found.is_empty() {
        // The compression or an archive field outside the members' data differs.
        found.extend(content_differences("the archive itself, with the same members", &one, &other));
    }
    Ok(found)
}

/// Returns where a wheel contains one of `paths` as a complete folder name; `/home/me` does not match `/home/member`.
pub fn find_local_paths(wheel: &Path, paths: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for member in members(&read(wheel)?)? {
        for path in paths {
            let places: Vec<usize> = occurrences(&member.data, path.as_bytes());
            if let Some(&at) = places.first() {
                let times = if places.len() == 1 { "once" } else { &format!("{} times", places.len()) };
                let end = member.data.len().min(at + path.len() + 60);
                let text = member.data[at..end].iter().take_while(|byte| (0x20..0x7f).contains(*byte));
                let text: String = text.map(|byte| char::from(*byte)).collect();
                found.push(format!(
                    "{}: contains the local folder `{path}` {times}, first at {}: {text}",
                    member.name,
                    describe_offset(&member.data, at)
                ));
            }
        }
    }
    Ok(found)
}

fn occurrences(data: &[u8], path: &[u8]) -> Vec<usize> {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
    let starts = data.iter().enumerate().filter(|(_, byte)| Some(*byte) == path.first()).map(|(at, _)| at);
    let whole = |at: &usize| {
        data[*at..].starts_with(path)
            && !part(data.get(at + path.len()))
            && !part(at.checked_sub(1).and_then(|before| data.get(before)))
    };
    starts.filter(whole).collect()
}

/// Describes how many bytes differ, and the first differences.
fn content_differences(name: &str, one: &[u8], other: &[u8]) -> Vec<String> {
    if one == other {
        return Vec::new();
    }
    let at: Vec<usize> = one.iter().zip(other).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
    let mut found = vec![if one.len() == other.len() {
        format!("{name}: {} of {} bytes differ", at.len(), one.len())
    } else {
        format!("{name}: {} bytes in the first build, {} in the second", one.len(), other.len())
    }];
    // If one file is a prefix of the other, the difference is at the end of the shorter one.
    let end = one.len().min(other.len());
    let mut places: Vec<usize> = Vec::new();
    for at in at.into_iter().chain((one.len() != other.len()).then_some(end)) {
        if places.last().is_none_or(|last| at >= last + SHOWN) {
            places.push(at);
        }
        // After an insertion all bytes are shifted, so only the first difference is useful.
        if places.len() == if one.len() == other.len() { PLACES } else { 1 } {
            break;
        }
    }
    for at in places {
        found.push(format!("  at {}", describe_offset(one, at)));
        found.push(format!("    first   {}", dump(one, at)));
        found.push(format!("    second  {}", dump(other, at)));
    }
    found
}

/// Formats an offset with its ELF section: `0x1c6 in .debug_str`.
fn describe_offset(data: &[u8], at: usize) -> String {
    match section(data, at as u64) {
        Some(section) => format!("{at:#x} in {section}"),
        None => format!("{at:#x}"),
    }
}

/// Returns the section of an ELF file that contains the offset `at`.
fn section(data: &[u8], at: u64) -> Option<String> {
    let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let holds = |section: &&elf::SectionHeader64<LittleEndian>| {
        section.file_range(endian).is_some_and(|(start, size)| (start..start.saturating_add(size)).contains(&at))
    };
    let name = sections.section_name(endian, sections.iter().find(holds)?).ok()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Formats bytes like `hexdump -C`.
fn dump(data: &[u8], at: usize) -> String {
    let bytes = data.get(at..data.len().min(at + SHOWN)).unwrap_or_default();
    if bytes.is_empty() {
        return "ends here".to_owned();
    }
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = bytes.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' });
    format!("{:width$}  |{}|", hex.join(" "), text.collect::<String>(), width = 3 * SHOWN - 1)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    file.take(LIMITS.archive).read_to_end(&mut data).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(data)
}

fn members(archive: &[u8]) -> Result<Vec<ArchiveMember>> {
    let mut archive = ZipArchive::new(std::io::Cursor::new(archive))?;
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let mut data = Vec::new();
        member.by_ref().take(LIMITS.member).read_to_end(&mut data)?;
        members.push(ArchiveMember {
            name: member.name()?.into_owned(),
            time: member.last_modified().map_or("none".to_owned(), |time| time.to_string()),
            mode: member.unix_mode().map_or("none".to_owned(), |mode| format!("{mode:o}")),
            method: member.compression().to_string(),
            data,
        });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, DateTime, ZipWriter};

    use super::*;
    use crate::minimal_extension;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("differ-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn zip(
            &self,
            name: &str,
            members: &[(&str, &[u8])],
            change: impl Fn(SimpleFileOptions) -> SimpleFileOptions,
        ) -> std::path::PathBuf {
            let path = self.0.join(name);
            let mut archive = ZipWriter::new(File::create(&path).unwrap());
            let plain = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(DateTime::default())
                .unix_permissions(0o644);
            for (name, data) in members {
                archive.start_file(*name, change(plain)).unwrap();
                archive.write_all(data).unwrap();
            }
            archive.finish().unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Returns the differences between two archives with these members.
    fn said(name: &str, one: &[(&str, &[u8])], other: &[(&str, &[u8])]) -> String {
        let folder = Folder::new(name);
        let (one, other) = (folder.zip("one", one, |plain| plain), folder.zip("other", other, |plain| plain));
        differences(&one, &other).unwrap().join("\n")
    }

    #[test]
    fn identical_wheels_have_no_differences() {
        assert_eq!(said("same", &[("a", b"x"), ("b", b"y")], &[("a", b"x"), ("b", b"y")]), "");
    }

    #[test]
    fn missing_members_and_their_order_are_reported() {
        let said = said("members", &[("a", b""), ("b", b""), ("c", b"")], &[("d", b""), ("c", b""), ("a", b"")]);
        assert_eq!(
            said,
            "b: only in the first build\nd: only in the second build\n\
             order of members: the first build has a where the second build has c"
        );
    }

    #[test]
    fn differing_bytes_are_shown_in_hex_and_as_text() {
        let text = said("bytes", &[("a", b"built at 10:01 by me")], &[("a", b"built at 10:59 by me")]);
        assert_eq!(
            text,
            "a: 2 of 20 bytes differ\n  at 0xc\n    \
             first   30 31 20 62 79 20 6d 65                          |01 by me|\n    \
             second  35 39 20 62 79 20 6d 65                          |59 by me|"
        );
        let text = said("longer", &[("a", b"x")], &[("a", b"xyz")]);
        assert!(text.starts_with("a: 1 bytes in the first build, 3 in the second\n  at 0x1\n"), "{text}");
        assert!(text.contains("first   ends here") && text.ends_with("|yz|"), "{text}");
    }

    #[test]
    fn the_number_of_differences_shown_is_limited() {
        let (one, other) = (vec![0; 1000], vec![1; 1000]);
        let text = said("many", &[("a", &one)], &[("a", &other)]);
        assert!(text.starts_with("a: 1000 of 1000 bytes differ") && text.matches("  at 0x").count() == 3, "{text}");
    }

    #[test]
    fn the_elf_section_of_a_difference_is_named() {
        let one = minimal_extension("m", "x86_64", None).unwrap();
        let at = one.windows(8).position(|bytes| bytes == b"PyInit_m").unwrap();
        let mut other = one.clone();
        other[at + 7] = b'n';
        let text = said("elf", &[("m.so", &one)], &[("m.so", &other)]);
        assert!(text.contains(&format!("  at {:#x} in .dynstr\n", at + 7)), "{text}");
    }

    #[test]
    fn differing_archive_metadata_is_reported() {
        let folder = Folder::new("header");
        let members: &[(&str, &[u8])] = &[("a", &[b'x'; 100])];
        let plain = folder.zip("plain", members, |plain| plain);
        let later = DateTime::from_date_and_time(2026, 1, 2, 3, 4, 6).unwrap();
        let time = folder.zip("time", members, |plain| plain.last_modified_time(later));
        let mode = folder.zip("mode", members, |plain| plain.unix_permissions(0o600));
        let packed = folder.zip("packed", members, |plain| plain.compression_method(CompressionMethod::Deflated));
        for (other, words) in
            [(time, "time is 1980-01-01"), (mode, "mode is 100644"), (packed, "compression is Stored")]
        {
            let said = differences(&plain, &other).unwrap();
            assert!(said.len() == 1 && said[0].starts_with("a: ") && said[0].contains(words), "{said:?}");
        }
        // "Version made by" does not belong to the data of any member.
        let mut bytes = std::fs::read(&plain).unwrap();
        let at = bytes.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        bytes[at + 4] ^= 1;
        let made_by = folder.0.join("made-by");
        std::fs::write(&made_by, bytes).unwrap();
        let said = differences(&plain, &made_by).unwrap();
        assert!(said[0].starts_with("the archive itself, with the same members: "), "{said:?}");
    }

    #[test]
    fn local_folders_are_found_only_as_complete_names() {
        let folder = Folder::new("find_local_paths");
        let members: &[(&str, &[u8])] = &[
            ("good", b"/home/member /srv/home/me /home/me2 /home/me.d"),
            ("bad", b"compiled in\0/home/me/.cache/x\0 and \"/home/me\""),
        ];
        let wheel = folder.zip("wheel", members, |plain| plain);
        let found = find_local_paths(&wheel, &["/home/me".to_owned()]).unwrap();
        assert_eq!(found, ["bad: contains the local folder `/home/me` 2 times, first at 0xc: /home/me/.cache/x"]);
    }
}
