//! The properties that a caller expects of a wheel.

/// Properties that a wheel must have.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedWheel<'a> {
    /// Compared with [`same_name`](crate::same_name).
    pub distribution: &'a str,
    /// Compared with [`same_version`](crate::same_version).
    pub version: Option<&'a str>,
    /// CPython ABI tag (PEP 425), such as `cp311` or `cp314t`.
    pub abi: &'a str,
    /// Must be one of the wheel's platform tags, unless the wheel is pure Python.
    pub platform: Option<&'a str>,
    /// glibc version of the image in which the wheel will run.
    pub max_glibc: Option<(u32, u32)>,
}
