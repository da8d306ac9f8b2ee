//! Reads from ELF files what the dynamic loader uses.

use anyhow::{Result, ensure};
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, Sym};

/// Maximum number of symbol versions. Real files need a few dozen; overlapping records could cause a very long loop.
const VERSION_LIMIT: usize = 1 << 16;

/// Supported machines, as platform tags and `EXT_SUFFIX` write them.
pub(super) const MACHINES: [(&str, elf::Machine); 2] = [("x86_64", elf::EM_X86_64), ("aarch64", elf::EM_AARCH64)];

pub(super) struct Elf {
    pub machine: u16,
    /// `None` if the machine is not one of [`MACHINES`].
    pub arch: Option<&'static str>,
    pub exports_init: bool,
    pub glibc: Option<(u32, u32)>,
    pub needed: Vec<String>,
    /// Whether the code has cleanup to run when a thread is unwound (Rust destructors, C++ handlers) and uses its own
    /// unwinder for it instead of the process's unwinder, libgcc_s.
    pub own_unwinder: bool,
    /// Whether the file is an executable program.
    pub program: bool,
}

/// Returns the glibc release that introduced a `GLIBC_*` version node, or `None` for a node of another library.
pub(super) fn glibc_release(node: &str) -> Option<Result<(u32, u32)>> {
    let version = node.strip_prefix("GLIBC_")?;
    let mut parts = version.split('.').map(str::parse);
    Some(match (version, parts.next(), parts.next()) {
        // Marker nodes name a loader feature, not a release.
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

        // The loader reads PT_DYNAMIC and never the section table. A missing or stale section table would hide the
        // requirements that are checked below.
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
            // PEP 489 encodes non-ASCII module names with `PyInitU_`; PEP 793 adds a second entry point.
            exports_init |= [&b"PyInit_"[..], b"PyInitU_", b"PyModExport_"].iter().any(|p| name.starts_with(p));
        }

        let outside = symbols.iter().filter(|symbol| symbol.is_undefined(endian));
        // C++ code often references only the personality routine, which libstdc++ provides together with libgcc_s.
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
