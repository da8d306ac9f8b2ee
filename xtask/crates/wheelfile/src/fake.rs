//! Writes small valid wheels without a compiler or network, for tests and `--fake`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use object::elf;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::elf::MACHINES;
use crate::info::record_hash;
use crate::name::{WheelName, normalise};

/// Contents of a wheel to be written by [`write`]. The tag fields may be compressed tag sets.
#[derive(Debug, Clone)]
pub struct NewWheel<'a> {
    pub distribution: &'a str,
    pub version: &'a str,
    pub python: &'a str,
    pub abi: &'a str,
    pub platform: &'a str,
    pub files: Vec<(String, Vec<u8>)>,
}

impl NewWheel<'_> {
    /// Returns the file name under which the wheel is installable (PEP 427).
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}-{}.whl", self.stem(), self.python, self.abi, self.platform)
    }

    fn stem(&self) -> String {
        format!("{}-{}", normalise(self.distribution).replace('-', "_"), self.version)
    }

    pub(super) fn members(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let info = format!("{}.dist-info", self.stem());
        let tags = WheelName::parse(&self.file_name())?.expanded();
        let tags: String = tags.iter().map(|tag| format!("Tag: {tag}\n")).collect();
        let wheel =
            format!("Wheel-Version: 1.0\nGenerator: xtask\nRoot-Is-Purelib: {}\n{tags}", self.platform == "any");
        let metadata = format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n", self.distribution, self.version);
        let mut members = self.files.clone();
        members.push((format!("{info}/METADATA"), metadata.into_bytes()));
        members.push((format!("{info}/WHEEL"), wheel.into_bytes()));
        let mut record = String::new();
        for (path, data) in &members {
            let path = if path.contains([',', '"', '\r', '\n']) {
                format!("\"{}\"", path.replace('"', "\"\""))
            } else {
                path.clone()
            };
            record.push_str(&format!("{path},{},{}\n", record_hash(data), data.len()));
        }
        record.push_str(&format!("{info}/RECORD,,\n"));
        members.push((format!("{info}/RECORD"), record.into_bytes()));
        Ok(members)
    }
}

/// Writes a small valid wheel (PEP 427) with correct WHEEL, METADATA and RECORD. The output depends only on `spec`.
/// `path` is used as given, so tests can store a wheel under a wrong name.
pub fn write_wheel(path: &Path, spec: &NewWheel) -> Result<()> {
    store(path, &spec.members()?)
}

pub(super) fn store(path: &Path, members: &[(String, Vec<u8>)]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create `{}`", path.display()))?;
    let mut archive = ZipWriter::new(BufWriter::new(file));
    // No compression and no dates: the digest must not depend on the version of the compressor or on the clock.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    for (name, data) in members {
        archive.start_file(name, options)?;
        archive.write_all(data)?;
    }
    archive.finish()?.flush()?;
    Ok(())
}

/// Returns a minimal ELF64 shared object that exports `PyInit_<last part of module>` and, if `glibc` is given, needs
/// that version of `libc.so.6`. The loader accepts it, but importing it fails.
pub fn minimal_extension(module: &str, arch: &str, glibc: Option<(u32, u32)>) -> Result<Vec<u8>> {
    let machine = MACHINES.iter().find(|(name, _)| *name == arch);
    let (_, machine) = machine.with_context(|| format!("no tiny extension for `{arch}`"))?;
    // Return NULL, which the import reports as an error.
    let code: u64 = if arch == "x86_64" { 0x00c3_c031 } else { 0xd65f_03c0_d280_0000 };
    let init = format!("PyInit_{}", module.rsplit('.').next().unwrap_or(module));
    let node = glibc.map(|(major, minor)| format!("GLIBC_{major}.{minor}")).unwrap_or_default();
    let strings = format!("\0libc.so.6\0{init}\0{node}\0").into_bytes();
    let (libc, init, node_at) = (1, 11, 11 + init.len() as u64 + 1);

    let mut image = ElfBuilder { body: Vec::new(), sections: vec![vec![0; 64]], names: vec![0] };
    let text = image.add(".text", elf::SHT_PROGBITS, [0, 0, 0], &pack([8], [code]));
    let strtab = image.add(".dynstr", elf::SHT_STRTAB, [0, 0, 0], &strings);
    // st_name, st_info (a global function), st_other, st_shndx (text), st_value, st_size
    let symbol = pack([4, 1, 1, 2, 8, 8], [init, 0x12, 0, 1, text, 8]);
    let symtab = image.add(".dynsym", elf::SHT_DYNSYM, [2, 1, 24], &[vec![0; 24], symbol].concat());
    // One bucket, whose chain contains the only symbol.
    let hash = image.add(".hash", elf::SHT_HASH, [3, 0, 4], &pack([4; 5], [1, 2, 1, 0, 0]));
    let mut dynamic = vec![
        (elf::DT_NEEDED, libc),
        (elf::DT_HASH, hash),
        (elf::DT_STRTAB, strtab),
        (elf::DT_SYMTAB, symtab),
        (elf::DT_STRSZ, strings.len() as u64),
        (elf::DT_SYMENT, 24),
    ];
    if glibc.is_some() {
        let versym = image.add(".gnu.version", elf::SHT_GNU_VERSYM, [3, 0, 2], &pack([2; 2], [0, 1]));
        // vn_version, vn_cnt, vn_file, vn_aux, vn_next
        let mut needs = pack([2, 2, 4, 4, 4], [1, 1, libc, 16, 0]);
        // vna_hash, vna_flags, vna_other, vna_name, vna_next
        needs.extend(pack([4, 2, 2, 4, 4], [u64::from(sysv_hash(&node)), 0, 2, node_at, 0]));
        let verneed = image.add(".gnu.version_r", elf::SHT_GNU_VERNEED, [2, 1, 0], &needs);
        dynamic.extend([(elf::DT_VERSYM, versym), (elf::DT_VERNEED, verneed)]);
        dynamic.push((elf::DT_VERNEEDNUM, 1));
    }
    dynamic.push((elf::DT_NULL, 0));
    let words = dynamic.iter().flat_map(|&(tag, value)| pack([8; 2], [tag.0 as u64, value]));
    let dynamic: Vec<u8> = words.collect();
    let dynamic_at = image.add(".dynamic", elf::SHT_DYNAMIC, [2, 0, 16], &dynamic);
    let names = [image.names.as_slice(), b".shstrtab\0"].concat();
    image.add(".shstrtab", elf::SHT_STRTAB, [0, 0, 0], &names);

    let end = HEADERS + image.body.len() as u64;
    let count = image.sections.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // e_type (a shared object), e_machine, e_version, e_entry, e_phoff, e_shoff
    out.extend(pack([2, 2, 4, 8, 8, 8], [3, machine.0.into(), 1, 0, 64, end]));
    // e_flags, e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    out.extend(pack([4, 2, 2, 2, 2, 2, 2], [0, 64, 56, 2, 64, count, count - 1]));
    // PT_LOAD and PT_DYNAMIC: p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align. Writable,
    // because the loader relocates the dynamic table in place.
    let size = dynamic.len() as u64;
    out.extend(pack(PROGRAM_HEADER, [1, 7, 0, 0, 0, end, end, 0x10000]));
    out.extend(pack(PROGRAM_HEADER, [2, 6, dynamic_at, dynamic_at, dynamic_at, size, size, 8]));
    out.extend(image.body);
    out.extend(image.sections.concat());
    Ok(out)
}

const HEADERS: u64 = 64 + 2 * 56;
const PROGRAM_HEADER: [usize; 8] = [4, 4, 8, 8, 8, 8, 8, 8];

/// File contents after the headers. Addresses equal file offsets, so one loaded segment covers everything.
struct ElfBuilder {
    body: Vec<u8>,
    sections: Vec<Vec<u8>>,
    names: Vec<u8>,
}

impl ElfBuilder {
    /// Appends a section and returns its offset.
    fn add(&mut self, name: &str, kind: elf::SectionType, extra: [u64; 3], data: &[u8]) -> u64 {
        let (at, size) = (HEADERS + self.body.len() as u64, data.len() as u64);
        let [link, info, entry] = extra;
        let name_at = self.names.len() as u64;
        self.names.extend(name.bytes().chain([0]));
        // sh_name, sh_type, sh_flags (allocated), sh_addr, sh_offset, sh_size
        let mut header = pack([4, 4, 8, 8, 8, 8], [name_at, kind.0.into(), 2, at, at, size]);
        // sh_link, sh_info, sh_addralign, sh_entsize
        header.extend(pack([4, 4, 8, 8], [link, info, 8, entry]));
        self.sections.push(header);
        self.body.extend_from_slice(data);
        self.body.resize(self.body.len().next_multiple_of(8), 0);
        at
    }
}

/// Returns the hash of the System V ABI by which the loader compares version names.
fn sysv_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

/// Encodes little-endian integers of the given widths, the layout of all ELF structures.
fn pack<const N: usize>(widths: [usize; N], values: [u64; N]) -> Vec<u8> {
    let pairs = values.into_iter().zip(widths);
    pairs.flat_map(|(value, width)| value.to_le_bytes().into_iter().take(width)).collect()
}
