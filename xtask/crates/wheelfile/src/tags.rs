//! Checks the tags of a wheel's file name (PEP 425, PEP 600) against an ABI and a platform.

use anyhow::{Context as _, Result};

use crate::expected::ExpectedWheel;
use crate::name::{WheelName, platform_glibc};

/// First minor release that loads `abi3t` modules (PEP 803).
const FIRST_ABI3T: u32 = 15;

/// CPython ABI, parsed from its tag.
pub(super) struct CpythonAbi<'a> {
    pub(super) tag: &'a str,
    /// Python tag (PEP 425), which free-threaded and default builds of a version share.
    pub(super) interpreter: &'a str,
    pub(super) minor: u32,
    threaded: bool,
}

impl<'a> CpythonAbi<'a> {
    pub(super) fn parse(tag: &'a str) -> Result<Self> {
        let interpreter = tag.strip_suffix('t').unwrap_or(tag);
        let minor = interpreter.strip_prefix("cp3").and_then(|minor| minor.parse().ok());
        let minor = minor.filter(|minor| interpreter == format!("cp3{minor}"));
        let minor = minor.with_context(|| format!("`{tag}` is not a CPython 3 ABI tag"))?;
        Ok(Self { tag, interpreter, minor, threaded: interpreter != tag })
    }

    /// Returns `EXT_SUFFIX` of `sysconfig` (PEP 3149) without the leading dot.
    pub(super) fn suffix(&self, arch: &str) -> String {
        format!("cpython-{}-{arch}-linux-gnu.so", self.tag.trim_start_matches("cp"))
    }

    /// Returns the stable ABIs that this interpreter loads: `abi3` with a GIL, `abi3t` in all builds from 3.15 on
    /// (PEP 803).
    pub(super) fn stable(&self) -> &'static [&'static str] {
        match (self.threaded, self.minor >= FIRST_ABI3T) {
            (false, false) => &["abi3"],
            (false, true) => &["abi3", "abi3t"],
            (true, false) => &[],
            (true, true) => &["abi3t"],
        }
    }

    /// Returns whether a stable-ABI wheel with this python tag, such as `cp311`, is for this version or an older one.
    pub(super) fn is_at_least(&self, python: &str) -> bool {
        self.has_reached(python, "cp", 2)
    }

    /// Returns whether a wheel without extension modules and with this python tag, such as `py3` or `py311`, can be
    /// installed.
    pub(super) fn runs_python_of(&self, python: &str) -> bool {
        python == "py3" || python == self.interpreter || self.has_reached(python, "py", 0)
    }

    fn has_reached(&self, python: &str, prefix: &str, first: u32) -> bool {
        (first..=self.minor).any(|minor| python == format!("{prefix}3{minor}"))
    }

    /// Returns whether the interpreter loads an extension module with this suffix: its own or that of a stable ABI. A
    /// plain `.so` is rejected, because every build loads it, whatever ABI it was compiled for.
    pub(super) fn loads(&self, suffix: &str, kind: WheelKind, arch: Option<&str>) -> bool {
        let stable = self.stable().iter().any(|abi| suffix == format!("{abi}.so"));
        stable || (kind != WheelKind::Stable && suffix == self.suffix(arch.unwrap_or("unknown")))
    }
}

/// What a wheel contains, according to its tags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WheelKind {
    /// Extension modules for one ABI.
    Exact,
    /// Extension modules for a stable ABI.
    Stable,
    /// Programs or libraries without extension modules: `py3-none-<platform>`.
    Binary,
    /// Only Python code: `py3-none-any`.
    Pure,
}

pub(super) fn kind(name: &WheelName, file_name: &str, abi: &CpythonAbi, problems: &mut Vec<String>) -> WheelKind {
    let single = |tags: &[String], wanted: &str| tags == [wanted];
    if single(&name.abi, "none") {
        if !name.python.iter().any(|tag| abi.runs_python_of(tag)) {
            problems.push(format!("`{file_name}` is not for python 3.{}", abi.minor));
        }
        return if single(&name.platform, "any") { WheelKind::Pure } else { WheelKind::Binary };
    }
    let all_stable = name.abi.iter().all(|tag| matches!(tag.as_str(), "abi3" | "abi3t"));
    if all_stable && name.abi.iter().any(|tag| abi.stable().contains(&tag.as_str())) {
        if !name.python.iter().any(|tag| abi.is_at_least(tag)) {
            let (stable, python) = (name.abi.join("."), name.python.join("."));
            problems.push(format!("`{file_name}` is {stable} for `{python}`, not for 3.{} or older", abi.minor));
        }
        return WheelKind::Stable;
    }
    if !single(&name.abi, abi.tag) {
        let tags = name.abi.join(".");
        problems.push(format!("`{file_name}` is tagged `{tags}`, not `{}`", abi.tag));
    }
    if !name.python.iter().any(|tag| tag == abi.interpreter) {
        let tags = name.python.join(".");
        problems.push(format!("`{file_name}` is for python `{tags}`, not `{}`", abi.interpreter));
    }
    WheelKind::Exact
}

/// Checks the platform tags and returns the highest glibc version that files in the wheel may need. This is the
/// lowest version among the tags, because an installer may pick any tag that matches its machine. Tags of other
/// systems are ignored.
pub(super) fn floor(
    name: &WheelName,
    file_name: &str,
    expect: &ExpectedWheel,
    problems: &mut Vec<String>,
) -> Option<(u32, u32)> {
    if let Some(platform) = expect.platform
        && !name.platform.iter().any(|tag| tag == platform)
    {
        let tags = name.platform.join(".");
        problems.push(format!("`{file_name}` is for platform `{tags}`, not `{platform}`"));
    }
    let glibc: Vec<_> = name.platform.iter().filter_map(|tag| Some((tag, platform_glibc(tag)?.1))).collect();
    if glibc.is_empty() {
        problems.push(format!("platform tag `{}` is not a tag of Linux with glibc", name.platform.join(".")));
    }
    if expect.platform.is_some() {
        for (tag, _) in glibc.iter().filter(|(_, promised)| promised.is_none()) {
            problems.push(format!("platform tag `{tag}` states no glibc version"));
        }
    }
    let lowest = glibc.into_iter().filter_map(|(_, promised)| promised).min();
    match (lowest, expect.max_glibc) {
        (Some(low), Some(max)) if low > max => {
            problems.push(format!("`{file_name}` requires glibc {}, newer than {}", dotted(low), dotted(max)));
            lowest
        }
        (None, max) => max,
        _ => lowest,
    }
}

pub(super) fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// Parses a glibc version such as `2.36`.
pub fn parse_glibc(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
