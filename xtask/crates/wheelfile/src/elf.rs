//! What the dynamic loader will make of a file cannot be told from its name, so it is read from the file.

use anyhow::{Result, ensure};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, Sym};

/// Real files need a few dozen; overlapping records could otherwise be walked for hours.
const VERSION_LIMIT: usize = 1 << 16;

/// The machines wheels are built for here, as platform tags and `EXT_SUFFIX` spell them.
pub(super) const MACHINES: [(&str, elf::Machine); 2] = [("x86_64", elf::EM_X86_64), ("aarch64", elf::EM_AARCH64)];

pub(super) struct Elf {
    pub machine: u16,
    /// `None` when the machine is not one of [`MACHINES`].
    pub arch: Option<&'static str>,
    pub exports_init: bool,
    pub glibc: Option<(u32, u32)>,
    pub needed: Vec<String>,
    /// Its code has something to do when a thread is unwound (a Rust destructor, a C++ handler), and
    /// asks an unwinder of its own for it instead of the process's, which is libgcc_s.
    pub own_unwinder: bool,
    /// A program, which is a process of its own.
    pub program: bool,
}

/// The release that introduced a `GLIBC_*` version node, or `None` for another library's node.
pub(super) fn glibc_release(node: &str) -> Option<Result<(u32, u32)>> {
    let version = node.strip_prefix("GLIBC_")?;
    let mut parts = version.split('.').map(str::parse);
    Some(match (version, parts.next(), parts.next()) {
        // Marker nodes name a loader feature instead of the release that brought it.
        ("ABI_DT_RELR", ..) => Ok((2, 36)),
        ("ABI_GNU_TLS" | "ABI_GNU2_TLS", ..) => Ok((2, 42)),
        (_, Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(anyhow::anyhow!("needs `{node}`, which belongs to no glibc release")),
    })
}

impl Elf {
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let header = FileHeader64::<LittleEndian>::parse(data)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, data)?;

        // The loader reads PT_DYNAMIC and never the section table, so a stripped or stale section
        // table would hide the very needs looked for below.
        for segment in header.program_headers(endian, data)? {
            let Some(loaded) = segment.dynamic(endian, data)? else {
                continue;
            };
            for (tag, kind) in [(elf::DT_SYMTAB, elf::SHT_DYNSYM), (elf::DT_VERNEED, elf::SHT_GNU_VERNEED)] {
                let wanted = loaded.iter().find(|d| d.d_tag(endian) == tag).map(|d| d.d_val(endian));
                let listed = sections.iter().find(|s| s.sh_type(endian) == kind).map(|s| s.sh_addr(endian));
                ensure!(wanted == listed, "its section table disagrees with its dynamic segment");
            }
        }

        let mut needed = Vec::new();
        let dynamic = sections.dynamic_table(endian, data)?;
        for entry in dynamic.iter().filter(|entry| entry.tag == elf::DT_NEEDED) {
            needed.push(String::from_utf8_lossy(dynamic.string(entry)?).into_owned());
        }

        let names = sections.iter().map(|section| sections.section_name(endian, section));
        let lands = names.flatten().any(|name| name.starts_with(b".gcc_except_table"));

        let program = header.program_headers(endian, data)?.iter().any(|h| h.p_type(endian) == elf::PT_INTERP);

        let mut exports_init = false;
        let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
        for symbol in symbols.iter().filter(|s| !s.is_undefined(endian) && !s.is_local()) {
            let name = symbol.name(endian, symbols.strings())?;
            // PEP 489 mangles non-ASCII names with U, and PEP 793 adds a second entry point.
            exports_init |= [&b"PyInit_"[..], b"PyInitU_", b"PyModExport_"].iter().any(|p| name.starts_with(p));
        }

        let outside = symbols.iter().filter(|symbol| symbol.is_undefined(endian));
        // Of C++ often only the personality routine, which libstdc++ has with libgcc_s.
        let unwinds = |name: &[u8]| name.starts_with(b"_Unwind_") || name.ends_with(b"_personality_v0");
        let unwinds = |symbol| symbols.symbol_name(endian, symbol).is_ok_and(unwinds);
        let own_unwinder = lands && !outside.into_iter().any(unwinds);

        let mut glibc = None;
        let mut seen = 0;
        if let Some((libraries, link)) = sections.gnu_verneed(endian, data)? {
            let strings = sections.strings(endian, data, link)?;
            for library in libraries {
                for node in library?.1 {
                    seen += 1;
                    ensure!(seen <= VERSION_LIMIT, "needs more than {VERSION_LIMIT} symbol versions");
                    let node = String::from_utf8_lossy(node?.name(endian, strings)?);
                    glibc = glibc.max(glibc_release(&node).transpose()?);
                }
            }
        }
        let machine = header.e_machine(endian);
        let arch = MACHINES.iter().find(|(_, known)| *known == machine).map(|(arch, _)| *arch);
        Ok(Self { machine: machine.0, arch, exports_init, glibc, needed, own_unwinder, program })
    }
}
