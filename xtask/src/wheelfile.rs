//! Refuses a wheel that would load in the wrong interpreter, ask for a newer glibc or differ from its own RECORD, because installers look no further than the file name.

mod archive;
mod differ;
mod elf;
mod fake;
mod glance;
mod info;
mod name;
mod rewrite;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, ensure};

pub use differ::{differences, mentions};
use elf::Elf;
pub use fake::{NewWheel, tiny_extension, write};
pub use glance::glance;
use name::promise;
pub use name::{WheelName, belongs, is_release, normalise, same_name, same_version};
pub use rewrite::rewrite;

use crate::digest;

/// What the caller means to install.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// Compared by [`same_name`].
    pub distribution: &'a str,
    /// Compared by [`same_version`].
    pub version: Option<&'a str>,
    /// A CPython ABI tag (PEP 425), such as `cp311` or `cp314t`.
    pub abi: &'a str,
    /// Must be one of the wheel's platform tags, unless the wheel is pure.
    pub platform: Option<&'a str>,
    /// The glibc of the image the wheel will run in.
    pub max_glibc: Option<(u32, u32)>,
}

/// One extension module found in a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    pub path: String,
    /// The dotted name it is imported by.
    pub module: String,
    /// The highest `GLIBC_x.y` this file needs.
    pub glibc: Option<(u32, u32)>,
    /// `DT_NEEDED`, in file order.
    pub needed: Vec<String>,
}

/// What a wheel that passed every check contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub file_name: String,
    /// Lower-case hex, as in `pip --hash` and PyPI.
    pub sha256: String,
    pub size: u64,
    pub name: WheelName,
    pub extensions: Vec<Extension>,
    /// The highest `GLIBC_x.y` any ELF file needs, bundled libraries included.
    pub glibc: Option<(u32, u32)>,
    /// ELF files that are not extension modules.
    pub bundled: Vec<String>,
}

/// The last minor release that ends a thread by unwinding it, where it asks for the GIL of an
/// interpreter that is being finalized (`take_gil` calls `PyThread_exit_thread`). glibc does it with
/// libgcc_s, whose state another unwinder takes for its own: SIGSEGV with LLVM's, SIGABRT with a
/// static libgcc. Later ones let it hang:
/// <https://docs.python.org/3.14/c-api/init.html#cautions-regarding-runtime-finalization>
const LAST_UNWINDING: u32 = 13;

struct Abi<'a> {
    tag: &'a str,
    /// PEP 425's python tag, which a free-threaded build shares with its GIL twin.
    interpreter: &'a str,
    minor: u32,
    threaded: bool,
}

impl<'a> Abi<'a> {
    fn parse(tag: &'a str) -> Result<Self> {
        let interpreter = tag.strip_suffix('t').unwrap_or(tag);
        let minor = interpreter.strip_prefix("cp3").and_then(|minor| minor.parse().ok());
        let minor = minor.filter(|minor| interpreter == format!("cp3{minor}"));
        let minor = minor.with_context(|| format!("`{tag}` is not a CPython 3 ABI tag"))?;
        Ok(Self { tag, interpreter, minor, threaded: interpreter != tag })
    }

    /// `EXT_SUFFIX` of `sysconfig` (PEP 3149), without its leading dot.
    fn suffix(&self, arch: &str) -> String {
        format!("cpython-{}-{arch}-linux-gnu.so", self.tag.trim_start_matches("cp"))
    }
}

#[derive(PartialEq)]
enum Kind {
    Exact,
    Stable,
    Pure,
}

fn kind(name: &WheelName, file_name: &str, abi: &Abi, problems: &mut Vec<String>) -> Kind {
    let upto =
        |tag: &str, prefix: &str, first: u32| (first..=abi.minor).any(|minor| tag == format!("{prefix}3{minor}"));
    if name.abi == ["none"] && name.platform == ["any"] {
        let fits = |tag: &String| tag == "py3" || upto(tag, "py", 0);
        if !name.python.iter().any(fits) {
            problems.push(format!("`{file_name}` is not for python 3.{}", abi.minor));
        }
        return Kind::Pure;
    }
    let single = |tags: &[String], wanted: &str| tags == [wanted];
    if single(&name.abi, "abi3") && !abi.threaded {
        if !matches!(name.python.as_slice(), [tag] if upto(tag, "cp", 2)) {
            let python = name.python.join(".");
            problems.push(format!("`{file_name}` is abi3 for `{python}`, not for 3.{} or older", abi.minor));
        }
        return Kind::Stable;
    }
    if !single(&name.abi, abi.tag) {
        let tags = name.abi.join(".");
        problems.push(format!("`{file_name}` is tagged `{tags}`, not `{}`", abi.tag));
    }
    if !single(&name.python, abi.interpreter) {
        let tags = name.python.join(".");
        problems.push(format!("`{file_name}` is for python `{tags}`, not `{}`", abi.interpreter));
    }
    Kind::Exact
}

/// Judges the platform tags alone and returns the glibc no file inside may exceed, which is the
/// lowest promise made: an installer goes by whichever tag suits its machine.
fn floor(name: &WheelName, file_name: &str, expect: &Expect, problems: &mut Vec<String>) -> Option<(u32, u32)> {
    if let Some(platform) = expect.platform
        && !name.platform.iter().any(|tag| tag == platform)
    {
        let tags = name.platform.join(".");
        problems.push(format!("`{file_name}` is for platform `{tags}`, not `{platform}`"));
    }
    let mut promised = Vec::new();
    for tag in &name.platform {
        match promise(tag) {
            None => problems.push(format!("platform tag `{tag}` is not a glibc linux tag")),
            Some((_, None)) if expect.platform.is_some() => {
                problems.push(format!("platform tag `{tag}` promises no glibc version"));
            }
            Some((_, glibc)) => promised.extend(glibc),
        }
    }
    let lowest = promised.into_iter().min();
    match (lowest, expect.max_glibc) {
        (Some(low), Some(max)) if low > max => {
            problems.push(format!("`{file_name}` asks for glibc {}, newer than {}", dotted(low), dotted(max)));
            lowest
        }
        (None, max) => max,
        _ => lowest,
    }
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// Whether CPython, of any version or build, could take this file name for an extension module
/// of some particular ABI; a bare `.so` is decided by its exports instead.
fn has_python_suffix(path: &str) -> bool {
    let tag = path.strip_suffix(".so").and_then(|stem| stem.rsplit_once('.'));
    tag.is_some_and(|(_, tag)| tag.starts_with("cpython-") || tag.starts_with("pypy") || tag.starts_with("abi3"))
}

/// Sorts one ELF file into `report`, with a problem for each way it does not suit the wheel.
fn place(path: &str, file: Elf, kind: &Kind, abi: &Abi, report: &mut Report, problems: &mut Vec<String>) {
    report.glibc = report.glibc.max(file.glibc);
    let arch = file.arch;
    if *kind == Kind::Pure {
        problems.push(format!("`{}` is tagged pure but holds `{path}`", report.file_name));
    } else {
        for tag in &report.name.platform {
            if promise(tag).is_some_and(|(wanted, _)| Some(wanted) != arch) {
                let built = arch.map_or_else(|| format!("machine {}", file.machine), str::to_owned);
                problems.push(format!("`{path}` is built for `{built}`, not for `{tag}`"));
            }
        }
    }
    if file.own_unwinder && !file.program && abi.minor <= LAST_UNWINDING {
        problems.push(format!(
            "`{path}` brings an unwinder of its own: a thread in it crashes when python 3.{} ends; link it with libgcc_s",
            abi.minor
        ));
    }
    let (directory, leaf) = path.rsplit_once('/').unwrap_or(("", path));
    let in_libs = directory.split('/').any(|part| part.ends_with(".libs"));
    if !file.exports_init && (in_libs || !has_python_suffix(leaf)) {
        report.bundled.push(path.to_owned());
        return;
    }
    // Everything after the first dot, so that the comparison below is of whole suffixes.
    let (stem, suffix) = leaf.split_once('.').unwrap_or((leaf, ""));
    let wanted = match kind {
        Kind::Stable => "abi3.so".to_owned(),
        Kind::Exact | Kind::Pure => abi.suffix(arch.unwrap_or("unknown")),
    };
    if suffix != wanted {
        problems.push(format!("extension module `{path}` ends in `.{suffix}`, not `.{wanted}`"));
    }
    let package = match directory.split_once(".data/") {
        Some((top, rest)) if !top.contains('/') => rest.split_once('/').map_or("", |(_, package)| package),
        _ => directory,
    };
    let module = format!("{package}/{stem}").trim_start_matches('/').replace('/', ".");
    report.extensions.push(Extension { path: path.to_owned(), module, glibc: file.glibc, needed: file.needed });
}

/// Runs every check on one wheel; all problems found are listed in one error, one per line.
pub fn check(path: &Path, expect: &Expect) -> Result<Report> {
    check_within(path, expect, archive::LIMITS)
}

fn check_within(path: &Path, expect: &Expect, limits: archive::Limits) -> Result<Report> {
    let file_name = path.file_name().and_then(OsStr::to_str);
    let file_name = file_name.with_context(|| format!("`{}` has no readable file name", path.display()))?;
    let abi = Abi::parse(expect.abi)?;
    let name = WheelName::parse(file_name)?;
    let sha256 = digest::of_file(path)?;
    let size = std::fs::metadata(path)?.len();
    let mut report = Report {
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
        Kind::Pure => None,
        Kind::Exact | Kind::Stable => floor(&name, file_name, expect, &mut problems),
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
                place(&path, file, &kind, &abi, &mut report, &mut problems);
            }
            if kind != Kind::Pure && report.extensions.is_empty() {
                let tags = name.abi.join(".");
                problems.push(format!("`{file_name}` is tagged `{tags}` but holds no extension module"));
            }
            info::check(&contents.info, &contents.members, &name, expect, &mut problems);
        }
    }
    // Text from inside the wheel must not break the one-problem-per-line promise.
    let lines: Vec<String> = problems.iter().map(|p| p.replace(char::is_control, "?")).collect();
    ensure!(lines.is_empty(), "{}", lines.join("\n"));
    Ok(report)
}
