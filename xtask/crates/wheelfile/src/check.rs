//! Runs all checks on a wheel.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::elf::Elf;
use crate::expected::ExpectedWheel;
use crate::name::{WheelName, data_scheme, platform_glibc};
use crate::tags::{CpythonAbi, WheelKind, dotted, floor, kind};
use crate::{archive, info};
use base::digest;

/// Extension module in a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    pub path: String,
    /// Dotted name by which it is imported.
    pub module: String,
    /// Highest `GLIBC_x.y` version that the file needs.
    pub glibc: Option<(u32, u32)>,
    /// `DT_NEEDED` entries, in file order.
    pub needed: Vec<String>,
}

/// Contents of a wheel that passed all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelReport {
    pub file_name: String,
    /// SHA-256 in lower-case hexadecimal, as in `pip --hash` and on PyPI.
    pub sha256: String,
    pub size: u64,
    pub name: WheelName,
    pub extensions: Vec<Extension>,
    /// Highest `GLIBC_x.y` version that any ELF file needs, including bundled libraries.
    pub glibc: Option<(u32, u32)>,
    /// ELF files that are not extension modules.
    pub bundled: Vec<String>,
}

/// Last Python 3 minor release that unwinds a thread that requests the GIL during interpreter finalization
/// (`take_gil` calls `PyThread_exit_thread`). glibc unwinds with libgcc_s, whose state is incompatible with other
/// unwinders: the process crashes with SIGSEGV if the module uses LLVM's unwinder, and with SIGABRT if it links
/// libgcc statically. Later releases block the thread instead:
/// <https://docs.python.org/3.14/c-api/init.html#cautions-regarding-runtime-finalization>
const LAST_UNWINDING: u32 = 13;

/// Returns whether CPython of any version or build could load this file name as an extension module for a specific
/// ABI. For a plain `.so`, its exports decide.
pub(super) fn has_python_suffix(path: &str) -> bool {
    let tag = path.strip_suffix(".so").and_then(|stem| stem.rsplit_once('.'));
    tag.is_some_and(|(_, tag)| tag.starts_with("cpython-") || tag.starts_with("pypy") || tag.starts_with("abi3"))
}

/// A wheel whose ELF files are being checked.
struct ElfCheck<'a> {
    kind: WheelKind,
    abi: &'a CpythonAbi<'a>,
    /// Receives the files.
    report: &'a mut WheelReport,
    /// Receives the mismatches with the wheel's tags.
    problems: &'a mut Vec<String>,
}

/// Checks one ELF file of a wheel and adds it to the report.
fn check_elf(path: &str, file: Elf, wheel: &mut ElfCheck) {
    let ElfCheck { kind, abi, report, problems } = wheel;
    let kind = *kind;
    report.glibc = report.glibc.max(file.glibc);
    let arch = file.arch;
    if kind == WheelKind::Pure {
        problems.push(format!("`{}` is tagged as pure Python but contains `{path}`", report.file_name));
    } else {
        for tag in &report.name.platform {
            if platform_glibc(tag).is_some_and(|(wanted, _)| Some(wanted) != arch) {
                let built = arch.map_or_else(|| format!("machine {}", file.machine), str::to_owned);
                problems.push(format!("`{path}` is built for `{built}`, not for `{tag}`"));
            }
        }
    }
    if file.own_unwinder && !file.program && abi.minor <= LAST_UNWINDING {
        problems.push(format!(
            "`{path}` contains its own unwinder: its threads crash when Python 3.{} shuts down; link it with libgcc_s",
            abi.minor
        ));
    }
    let installed = data_scheme(path, &report.name.distribution, &report.name.version).map_or(path, |(_, rest)| rest);
    let (directory, leaf) = installed.rsplit_once('/').unwrap_or(("", installed));
    let in_libs = directory.split('/').any(|part| part.ends_with(".libs"));
    if !file.exports_init && (in_libs || !has_python_suffix(leaf)) {
        report.bundled.push(path.to_owned());
        return;
    }
    // Split at the first dot, so that complete suffixes are compared.
    let (stem, suffix) = leaf.split_once('.').unwrap_or((leaf, ""));
    if kind == WheelKind::Binary {
        problems.push(format!("`{path}` is an extension module, but the ABI tag of the wheel is `none`"));
    } else if !abi.loads(suffix, kind, arch) {
        let wanted = match kind {
            WheelKind::Stable => "abi3.so".to_owned(),
            WheelKind::Exact | WheelKind::Binary | WheelKind::Pure => abi.suffix(arch.unwrap_or("unknown")),
        };
        problems.push(format!("extension module `{path}` ends in `.{suffix}`, not `.{wanted}`"));
    }
    let module = format!("{directory}/{stem}").trim_start_matches('/').replace('/', ".");
    report.extensions.push(Extension { path: path.to_owned(), module, glibc: file.glibc, needed: file.needed });
}

/// Runs all checks on a wheel. Fails with all problems in one error, one per line.
pub fn check(path: &Path, expect: &ExpectedWheel) -> Result<WheelReport> {
    check_within(path, expect, archive::LIMITS)
}

/// Like [`check`], with other limits.
pub(crate) fn check_within(path: &Path, expect: &ExpectedWheel, limits: archive::ArchiveLimits) -> Result<WheelReport> {
    let file_name = path.file_name().and_then(OsStr::to_str);
    let file_name = file_name.with_context(|| format!("`{}` has no readable file name", path.display()))?;
    let abi = CpythonAbi::parse(expect.abi)?;
    let name = WheelName::parse(file_name)?;
    let sha256 = digest::of_file(path)?;
    let size = std::fs::metadata(path)?.len();
    let mut report = WheelReport {
        file_name: file_name.to_owned(),
        sha256,
        size,
        name: name.clone(),
        extensions: Vec::new(),
        glibc: None,
        bundled: Vec::new(),
    };
    let mut problems = Vec::new();
    let kind = kind(&name, file_name, &abi, &mut problems);
    let floor = match kind {
        WheelKind::Pure => None,
        WheelKind::Exact | WheelKind::Stable | WheelKind::Binary => floor(&name, file_name, expect, &mut problems),
    };
    match archive::read(path, &name, limits, &mut problems) {
        Err(error) => problems.push(format!("`{file_name}`: {error:#}")),
        Ok(contents) => {
            for (path, file) in contents.elves {
                if let (Some(floor), Some(glibc)) = (floor, file.glibc)
                    && glibc > floor
                {
                    let (needs, floor) = (dotted(glibc), dotted(floor));
                    problems.push(format!("`{path}` needs glibc {needs}, newer than {floor}"));
                }
                let mut wheel = ElfCheck { kind, abi: &abi, report: &mut report, problems: &mut problems };
                check_elf(&path, file, &mut wheel);
            }
            if matches!(kind, WheelKind::Exact | WheelKind::Stable) && report.extensions.is_empty() {
                let tags = name.abi.join(".");
                problems.push(format!("`{file_name}` is tagged `{tags}` but contains no extension module"));
            }
            info::check(&contents.info, &contents.members, &name, expect, &mut problems);
        }
    }
    // Text from the wheel must not contain line breaks: the error has one problem per line.
    let lines: Vec<String> = problems.iter().map(|p| p.replace(char::is_control, "?")).collect();
    ensure!(lines.is_empty(), "{}", lines.join("\n"));
    Ok(report)
}
