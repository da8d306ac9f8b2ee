//! Platforms that wheels and images are built for, and their names in the vocabularies of other tools.

/// An operating system with a processor architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Platform {
    #[default]
    LinuxAmd64,
    LinuxArm64,
}

/// The names of one platform.
struct Names {
    /// As OCI images write it: <https://github.com/opencontainers/image-spec/blob/main/config.md>.
    oci: &'static str,
    /// The machine as `uname -m`, wheel tags and the environment marker `platform_machine` write it.
    machine: &'static str,
    /// Rust's target triple.
    rust: &'static str,
}

impl Platform {
    pub const ALL: [Platform; 2] = [Platform::LinuxAmd64, Platform::LinuxArm64];

    const fn names(self) -> Names {
        match self {
            Platform::LinuxAmd64 => Names { oci: "linux/amd64", machine: "x86_64", rust: "x86_64-unknown-linux-gnu" },
            Platform::LinuxArm64 => Names { oci: "linux/arm64", machine: "aarch64", rust: "aarch64-unknown-linux-gnu" },
        }
    }

    /// Reads `linux/amd64`.
    pub fn parse(text: &str) -> Option<Platform> {
        Platform::ALL.into_iter().find(|platform| platform.oci() == text)
    }

    /// `linux/amd64`
    pub const fn oci(self) -> &'static str {
        self.names().oci
    }

    /// `x86_64`
    pub const fn machine(self) -> &'static str {
        self.names().machine
    }

    /// `x86_64-unknown-linux-gnu`
    pub const fn rust_target(self) -> &'static str {
        self.names().rust
    }

    /// `x86_64-linux-gnu`, with which Debian and CPython name folders and extension modules.
    pub fn multiarch(self) -> String {
        format!("{}-linux-gnu", self.machine())
    }

    /// `x86_64-linux-gnu.2.28`, zig's target for one version of glibc.
    pub fn zig_target(self, (major, minor): (u32, u32)) -> String {
        format!("{}.{major}.{minor}", self.multiarch())
    }

    /// `manylinux_2_28_x86_64` (PEP 600).
    pub fn manylinux(self, (major, minor): (u32, u32)) -> String {
        format!("manylinux_{major}_{minor}_{}", self.machine())
    }

    /// Returns the version of glibc in `manylinux_2_28_x86_64`; nothing for the tag of another platform.
    pub fn glibc(self, tag: &str) -> Option<(u32, u32)> {
        let version = tag.strip_prefix("manylinux_")?.strip_suffix(self.machine())?.strip_suffix('_')?;
        let (major, minor) = version.split_once('_')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_is_read_as_it_is_written() {
        for platform in Platform::ALL {
            assert_eq!(Platform::parse(platform.oci()), Some(platform));
        }
        assert_eq!(Platform::parse("linux/riscv64"), None);
    }

    #[test]
    fn platform_tags_name_their_glibc() {
        let (amd64, arm64) = (Platform::LinuxAmd64, Platform::LinuxArm64);
        assert_eq!(amd64.glibc("manylinux_2_28_x86_64"), Some((2, 28)));
        assert_eq!(amd64.glibc(&amd64.manylinux((2, 34))), Some((2, 34)));
        for tag in ["manylinux_2_28_aarch64", "manylinux2014_x86_64", "manylinux_2_x86_64", "linux_x86_64", "any"] {
            assert_eq!(amd64.glibc(tag), None, "{tag}");
        }
        assert_eq!(arm64.zig_target((2, 28)), "aarch64-linux-gnu.2.28");
    }
}
