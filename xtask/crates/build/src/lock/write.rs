//! Writes lock files from the answers of uv.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

use super::pylock::{LockedFile, LockedPackage, Pylock};
use wheelfile::{WheelName, is_file_of_release, platform_glibc};

/// What the head of a lock file says.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// What the requirements are for: `run-time requirements of demo`.
    pub title: String,
    /// The requirements that were resolved.
    pub requirements: &'a [String],
    /// Name and version of the resolver.
    pub created_by: String,
}

impl Pylock {
    /// Returns the text of the lock file: the wheels for Linux with glibc, by name and SHA-256. Wheels of other indexes
    /// than the default keep their URL; the others are looked up in the index that pip is configured for, because a URL
    /// of a company's mirror would be of no use elsewhere.
    pub fn render(&self, header: &Header) -> Result<String> {
        let mut text = format!("# The {}, written by the command `lock`:\n", header.title);
        for requirement in header.requirements {
            writeln!(text, "#   {requirement}")?;
        }
        writeln!(text, "lock-version = \"1.0\"\ncreated-by = {}", quoted(&header.created_by))?;
        if let Some(python) = &self.requires_python {
            writeln!(text, "requires-python = {}", quoted(python))?;
        }
        for package in &self.packages {
            write_package(&mut text, package).with_context(|| format!("`{}`", package.name))?;
        }
        Ok(text)
    }

    /// Returns name and version of each package, for comparisons.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.packages.iter().map(|package| (&*package.name, package.version.as_deref().unwrap_or("?")))
    }
}

fn write_package(text: &mut String, package: &LockedPackage) -> Result<()> {
    let version = package.version.as_deref().context("has no version")?;
    writeln!(text, "\n[[packages]]\nname = {}\nversion = {}", quoted(&package.name), quoted(version))?;
    for (key, value) in
        [("marker", &package.marker), ("requires-python", &package.requires_python), ("index", &package.index)]
    {
        if let Some(value) = value {
            writeln!(text, "{key} = {}", quoted(value))?;
        }
    }
    text.push_str("wheels = [\n");
    for wheel in &package.wheels {
        let name = wheel.file_name()?;
        if runs_on_linux(&WheelName::parse(&name)?) {
            ensure!(is_file_of_release(&name, &package.name, version), "`{name}` is not a wheel of version {version}");
            writeln!(
                text,
                "    {{ {}hashes = {{ sha256 = {} }} }},",
                place(package, wheel, &name),
                quoted(&wheel.sha256()?)
            )?;
        }
    }
    text.push_str("]\n");
    Ok(())
}

/// Returns the fields that name the file of a wheel.
fn place(package: &LockedPackage, wheel: &LockedFile, name: &str) -> String {
    match (&package.index, &wheel.url) {
        (Some(_), Some(url)) => format!("name = {}, url = {}, ", quoted(name), quoted(url)),
        _ => format!("name = {}, ", quoted(name)),
    }
}

fn runs_on_linux(wheel: &WheelName) -> bool {
    wheel.platform.iter().any(|tag| tag == "any" || platform_glibc(tag).is_some_and(|(_, glibc)| glibc.is_some()))
}

/// Returns a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::pylock::parse;

    const ANSWER: &str = r#"
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "demo"
version = "2.0"
marker = "sys_platform == \"linux\""
sdist = { url = "https://index.example/demo-2.0.tar.gz", hashes = { sha256 = "SHA" } }
wheels = [
    { url = "https://index.example/demo-2.0-cp314-cp314t-manylinux_2_28_x86_64.whl", size = 1, hashes = { sha256 = "SHA" } },
    { url = "https://index.example/demo-2.0-cp314-cp314t-win_amd64.whl", size = 1, hashes = { sha256 = "SHA" } },
]

[[packages]]
name = "torch"
version = "2.9.1+cpu"
index = "https://other.example/whl/cpu"
wheels = [{ url = "https://other.example/whl/torch-2.9.1%2Bcpu-cp314-cp314t-manylinux_2_28_x86_64.whl", hashes = { sha256 = "SHA" } }]
"#;

    fn render(answer: &str) -> Result<String> {
        let answer = answer.replace("SHA", &"ab".repeat(32));
        let requirements = ["demo>=2".to_owned()];
        let header = Header {
            title: "run-time requirements of `x`".to_owned(),
            requirements: &requirements,
            created_by: "uv 1".to_owned(),
        };
        parse(&answer, "answer")?.render(&header)
    }

    #[test]
    fn a_lock_file_has_the_wheels_for_linux_by_name() {
        let text = render(ANSWER).unwrap();
        let sha256 = "ab".repeat(32);
        let wanted = format!(
            r#"# The run-time requirements of `x`, written by the command `lock`:
#   demo>=2
lock-version = "1.0"
created-by = "uv 1"
requires-python = ">=3.11"

[[packages]]
name = "demo"
version = "2.0"
marker = "sys_platform == \"linux\""
wheels = [
    {{ name = "demo-2.0-cp314-cp314t-manylinux_2_28_x86_64.whl", hashes = {{ sha256 = "{sha256}" }} }},
]

[[packages]]
name = "torch"
version = "2.9.1+cpu"
index = "https://other.example/whl/cpu"
wheels = [
    {{ name = "torch-2.9.1+cpu-cp314-cp314t-manylinux_2_28_x86_64.whl", url = "https://other.example/whl/torch-2.9.1%2Bcpu-cp314-cp314t-manylinux_2_28_x86_64.whl", hashes = {{ sha256 = "{sha256}" }} }},
]
"#
        );
        assert_eq!(text, wanted);
        assert_eq!(
            parse(&text, "again")
                .unwrap()
                .render(&Header {
                    title: "run-time requirements of `x`".to_owned(),
                    requirements: &["demo>=2".to_owned()],
                    created_by: "uv 1".to_owned(),
                })
                .unwrap(),
            text,
            "what is read is what was written"
        );
    }

    #[test]
    fn a_wheel_of_another_release_is_an_error() {
        let error = render(&ANSWER.replace("version = \"2.0\"", "version = \"2.1\"")).unwrap_err();
        assert!(format!("{error:#}").contains("is not a wheel of version 2.1"), "{error:#}");
        assert!(render(&ANSWER.replace("demo-2.0-cp314-cp314t-manyl", "other-2.0-cp314-cp314t-manyl")).is_err());
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000A""#);
    }
}
