//! Decides by the compatibility tags of a wheel's file name (PEP 425) whether an interpreter can install it.

use anyhow::Result;

use crate::name::{WheelName, platform_glibc};
use crate::tags::CpythonAbi;

/// TargetInterpreter for which a wheel is selected.
#[derive(Debug, Clone, Copy)]
pub struct TargetInterpreter<'a> {
    /// ABI tag, such as `cp314t`.
    pub abi: &'a str,
    /// Processor architecture as in platform tags, such as `x86_64`.
    pub machine: &'a str,
    /// Version of glibc.
    pub glibc: (u32, u32),
}

/// Rank of a matching wheel; the greatest is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    abi: AbiFit,
    /// glibc version that the wheel was built for.
    glibc: (u32, u32),
}

/// How a wheel's ABI matches; the greatest is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AbiFit {
    /// `none`: no extension modules.
    None,
    /// `abi3` or `abi3t`: extension modules for several versions.
    Stable,
    /// The ABI of the interpreter.
    Own,
}

impl TargetInterpreter<'_> {
    /// Returns the minor version of Python 3 of the ABI: 14 for `cp314t`.
    pub fn python_minor(&self) -> Result<u32> {
        Ok(CpythonAbi::parse(self.abi)?.minor)
    }

    /// Returns how the ABI of a wheel matches, whatever its platform.
    pub fn fit_abi(&self, wheel: &WheelName) -> Option<AbiFit> {
        let own = CpythonAbi::parse(self.abi).ok()?;
        wheel.abi.iter().filter_map(|abi| fit_abi(&own, abi, &wheel.python)).max()
    }

    /// Returns the rank of a wheel, or `None` if it cannot be installed.
    pub fn fit(&self, wheel: &WheelName) -> Option<Fit> {
        let abi = self.fit_abi(wheel)?;
        Some(Fit { abi, glibc: self.fit_platforms(wheel)? })
    }

    /// Returns whether a wheel is for the platform, whatever its ABI.
    pub fn fits_platform(&self, wheel: &WheelName) -> bool {
        self.fit_platforms(wheel).is_some()
    }

    fn fit_platforms(&self, wheel: &WheelName) -> Option<(u32, u32)> {
        wheel.platform.iter().filter_map(|platform| self.fit_platform(platform)).max()
    }

    fn fit_platform(&self, platform: &str) -> Option<(u32, u32)> {
        if platform == "any" {
            return Some((0, 0));
        }
        // A plain `linux_x86_64` tag does not state a glibc version.
        let (machine, glibc) = platform_glibc(platform)?;
        glibc.filter(|glibc| machine == self.machine && *glibc <= self.glibc)
    }
}

fn fit_abi(own: &CpythonAbi, abi: &str, pythons: &[String]) -> Option<AbiFit> {
    let any = |fits: &dyn Fn(&str) -> bool| pythons.iter().any(|python| fits(python));
    match abi {
        "none" => any(&|python| own.runs_python_of(python)).then_some(AbiFit::None),
        stable if own.stable().contains(&stable) => any(&|python| own.is_at_least(python)).then_some(AbiFit::Stable),
        other => any(&|python| other == own.tag && python == own.interpreter).then_some(AbiFit::Own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(abi: &str, tags: &str) -> Option<Fit> {
        let interpreter = TargetInterpreter { abi, machine: "x86_64", glibc: (2, 36) };
        interpreter.fit(&WheelName::parse(&format!("demo-1-{tags}.whl")).unwrap())
    }

    #[test]
    fn the_abi_must_match_the_interpreter() {
        assert!(fit("cp314t", "cp314-cp314t-manylinux_2_28_x86_64").is_some());
        assert!(fit("cp314t", "cp314-cp314-manylinux_2_28_x86_64").is_none());
        assert!(fit("cp314", "cp314-cp314t-manylinux_2_28_x86_64").is_none());
        assert!(fit("cp314", "cp311-cp311-manylinux_2_28_x86_64").is_none());
        assert!(fit("cp314", "py2.py3-none-any").is_some());
        assert!(fit("cp314", "py2-none-any").is_none());
        assert!(fit("cp311", "py314-none-any").is_none());
        assert!(fit("cp314t", "cp314-none-manylinux_2_28_x86_64").is_some());
    }

    #[test]
    fn the_stable_abi_is_for_later_versions_and_not_for_free_threaded_ones() {
        assert!(fit("cp314", "cp311-abi3-manylinux_2_28_x86_64").is_some());
        assert!(fit("cp311", "cp312-abi3-manylinux_2_28_x86_64").is_none());
        assert!(fit("cp314t", "cp311-abi3-manylinux_2_28_x86_64").is_none());
        assert!(fit("cp315t", "cp315-abi3.abi3t-manylinux_2_28_x86_64").is_some());
        assert!(fit("cp314t", "cp315-abi3.abi3t-manylinux_2_28_x86_64").is_none());
    }

    #[test]
    fn the_platform_glibc_must_not_be_newer() {
        assert!(fit("cp314", "cp314-cp314-manylinux_2_36_x86_64").is_some());
        assert!(fit("cp314", "cp314-cp314-manylinux_2_37_x86_64").is_none());
        assert!(fit("cp314", "cp314-cp314-manylinux_2_17_x86_64.manylinux2014_x86_64").is_some());
        for platform in ["manylinux_2_28_aarch64", "musllinux_1_2_x86_64", "linux_x86_64", "win_amd64"] {
            assert!(fit("cp314", &format!("cp314-cp314-{platform}")).is_none(), "{platform}");
        }
    }

    #[test]
    fn the_better_match_has_the_greater_rank() {
        let own = fit("cp314", "cp314-cp314-manylinux_2_17_x86_64");
        let stable = fit("cp314", "cp311-abi3-manylinux_2_28_x86_64");
        assert!(own > stable && stable > fit("cp314", "py3-none-any"));
        assert!(fit("cp314", "cp314-cp314-manylinux_2_28_x86_64") > own);
    }
}
