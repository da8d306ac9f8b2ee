//! Whether the tags of a wheel's file name (PEP 425, PEP 600) suit an ABI and a platform.

use anyhow::{Context as _, Result};

use super::name::promise;
use super::{Expect, WheelName};

/// The first minor release whose interpreters load `abi3t` modules (PEP 803).
const FIRST_ABI3T: u32 = 15;

/// A CPython ABI, by its tag.
pub(super) struct Abi<'a> {
    pub(super) tag: &'a str,
    /// PEP 425's python tag, which a free-threaded build shares with the build of that version that has a GIL.
    pub(super) interpreter: &'a str,
    pub(super) minor: u32,
    threaded: bool,
}

impl<'a> Abi<'a> {
    pub(super) fn parse(tag: &'a str) -> Result<Self> {
        let interpreter = tag.strip_suffix('t').unwrap_or(tag);
        let minor = interpreter.strip_prefix("cp3").and_then(|minor| minor.parse().ok());
        let minor = minor.filter(|minor| interpreter == format!("cp3{minor}"));
        let minor = minor.with_context(|| format!("`{tag}` is not a CPython 3 ABI tag"))?;
        Ok(Self { tag, interpreter, minor, threaded: interpreter != tag })
    }

    /// `EXT_SUFFIX` of `sysconfig` (PEP 3149), without its leading dot.
    pub(super) fn suffix(&self, arch: &str) -> String {
        format!("cpython-{}-{arch}-linux-gnu.so", self.tag.trim_start_matches("cp"))
    }

    /// The stable ABIs that this interpreter loads: with a GIL `abi3`, from 3.15 on both builds `abi3t` (PEP 803).
    pub(super) fn stable(&self) -> &'static [&'static str] {
        match (self.threaded, self.minor >= FIRST_ABI3T) {
            (false, false) => &["abi3"],
            (false, true) => &["abi3", "abi3t"],
            (true, false) => &[],
            (true, true) => &["abi3t"],
        }
    }

    /// Whether a wheel of the stable ABI with this python tag is for this version or an older one: `cp311`.
    pub(super) fn is_at_least(&self, python: &str) -> bool {
        self.has_reached(python, "cp", 2)
    }

    /// Whether a wheel without extension modules and with this python tag can be installed: `py3`, `py311`.
    pub(super) fn runs_python_of(&self, python: &str) -> bool {
        python == "py3" || python == self.interpreter || self.has_reached(python, "py", 0)
    }

    fn has_reached(&self, python: &str, prefix: &str, first: u32) -> bool {
        (first..=self.minor).any(|minor| python == format!("{prefix}3{minor}"))
    }

    /// Whether the interpreter loads an extension module whose name has this suffix: its own, or that of a stable
    /// ABI. A bare `.so` is loaded by every build, whichever it was compiled for, and is therefore not accepted.
    pub(super) fn loads(&self, suffix: &str, kind: Kind, arch: Option<&str>) -> bool {
        let stable = self.stable().iter().any(|abi| suffix == format!("{abi}.so"));
        stable || (kind != Kind::Stable && suffix == self.suffix(arch.unwrap_or("unknown")))
    }
}

/// What a wheel contains by its tags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Extension modules for one ABI.
    Exact,
    /// Extension modules for a stable ABI.
    Stable,
    /// Programs or libraries, but no extension modules: `py3-none-<platform>`.
    Binary,
    /// Python only: `py3-none-any`.
    Pure,
}

pub(super) fn kind(name: &WheelName, file_name: &str, abi: &Abi, problems: &mut Vec<String>) -> Kind {
    let single = |tags: &[String], wanted: &str| tags == [wanted];
    if single(&name.abi, "none") {
        if !name.python.iter().any(|tag| abi.runs_python_of(tag)) {
            problems.push(format!("`{file_name}` is not for python 3.{}", abi.minor));
        }
        return if single(&name.platform, "any") { Kind::Pure } else { Kind::Binary };
    }
    let all_stable = name.abi.iter().all(|tag| matches!(tag.as_str(), "abi3" | "abi3t"));
    if all_stable && name.abi.iter().any(|tag| abi.stable().contains(&tag.as_str())) {
        if !name.python.iter().any(|tag| abi.is_at_least(tag)) {
            let (stable, python) = (name.abi.join("."), name.python.join("."));
            problems.push(format!("`{file_name}` is {stable} for `{python}`, not for 3.{} or older", abi.minor));
        }
        return Kind::Stable;
    }
    if !single(&name.abi, abi.tag) {
        let tags = name.abi.join(".");
        problems.push(format!("`{file_name}` is tagged `{tags}`, not `{}`", abi.tag));
    }
    if !name.python.iter().any(|tag| tag == abi.interpreter) {
        let tags = name.python.join(".");
        problems.push(format!("`{file_name}` is for python `{tags}`, not `{}`", abi.interpreter));
    }
    Kind::Exact
}

/// Judges the platform tags alone and returns the glibc that no file inside may exceed, which is the lowest that a
/// tag promises: an installer goes by whichever tag suits its machine. Tags of other systems promise nothing here.
pub(super) fn floor(
    name: &WheelName,
    file_name: &str,
    expect: &Expect,
    problems: &mut Vec<String>,
) -> Option<(u32, u32)> {
    if let Some(platform) = expect.platform
        && !name.platform.iter().any(|tag| tag == platform)
    {
        let tags = name.platform.join(".");
        problems.push(format!("`{file_name}` is for platform `{tags}`, not `{platform}`"));
    }
    let glibc: Vec<_> = name.platform.iter().filter_map(|tag| Some((tag, promise(tag)?.1))).collect();
    if glibc.is_empty() {
        problems.push(format!("platform tag `{}` is not a glibc linux tag", name.platform.join(".")));
    }
    if expect.platform.is_some() {
        for (tag, _) in glibc.iter().filter(|(_, promised)| promised.is_none()) {
            problems.push(format!("platform tag `{tag}` promises no glibc version"));
        }
    }
    let lowest = glibc.into_iter().filter_map(|(_, promised)| promised).min();
    match (lowest, expect.max_glibc) {
        (Some(low), Some(max)) if low > max => {
            problems.push(format!("`{file_name}` asks for glibc {}, newer than {}", dotted(low), dotted(max)));
            lowest
        }
        (None, max) => max,
        _ => lowest,
    }
}

pub(super) fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// Reads `2.36`, a version of glibc, as two numbers.
pub fn parse_glibc(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
