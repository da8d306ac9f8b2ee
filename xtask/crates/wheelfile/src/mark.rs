//! Gives a wheel a build tag.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::local::LocalBuild;
use crate::name::WheelName;
use crate::rewrite::rewrite;

/// Gives a wheel the build tag of `build`. The file is renamed.
pub fn mark(wheel: &Path, build: LocalBuild) -> Result<()> {
    let (file_name, mark) = (wheel.file_name().unwrap_or_default().to_string_lossy(), build.tag());
    let name = WheelName::parse(&file_name)?;
    ensure!(name.build.is_none(), "`{file_name}` has a build tag already, so it cannot get the build tag `{mark}`");
    let info = format!("{}-{}", name.distribution, name.version);
    let tags = file_name.strip_prefix(&format!("{info}-")).context("a wheel without tags: this is a bug")?;
    rewrite(wheel, |member, data| match (member.strip_suffix(".dist-info/WHEEL"), std::str::from_utf8(data)) {
        (Some(folder), Ok(text)) if !folder.contains('/') => {
            format!("{}\nBuild: {mark}\n", text.trim_end()).into_bytes()
        }
        _ => data.to_vec(),
    })?;
    let marked = wheel.with_file_name(format!("{info}-{mark}-{tags}"));
    std::fs::rename(wheel, &marked).with_context(|| format!("cannot rename `{}`", wheel.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExpectedWheel, NewWheel, check, write_wheel};

    #[test]
    fn a_quick_wheel_says_so_in_its_name_and_inside() {
        let folder = std::env::temp_dir().join(format!("quick-wheel-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let new = NewWheel {
            distribution: "demo",
            version: "1.0",
            python: "py3",
            abi: "none",
            platform: "any",
            files: vec![("demo/__init__.py".to_owned(), Vec::new()), ("demo/WHEEL".to_owned(), b"x".to_vec())],
        };
        let plain = folder.join(new.file_name());
        write_wheel(&plain, &new).unwrap();
        mark(&plain, LocalBuild::Quick).unwrap();
        let marked = folder.join("demo-1.0-0quick-py3-none-any.whl");
        assert!(!plain.exists());
        let expect = ExpectedWheel {
            distribution: "demo",
            version: Some("1.0"),
            abi: "cp314t",
            platform: None,
            max_glibc: None,
        };
        // The check includes RECORD.
        assert!(check(&marked, &expect).unwrap().name.local_build() == Some(LocalBuild::Quick));
        assert!(mark(&marked, LocalBuild::Tsan).unwrap_err().to_string().contains("has a build tag already"));

        // Under another name it is refused, and so is another wheel under its name.
        std::fs::rename(&marked, &plain).unwrap();
        let error = check(&plain, &expect).unwrap_err().to_string();
        assert_eq!(error, "WHEEL has Build `0quick`, but the file name has no such build tag");
        write_wheel(&marked, &new).unwrap();
        let error = check(&marked, &expect).unwrap_err().to_string();
        assert_eq!(error, "the file name has the build tag `0quick`, but WHEEL has no such Build");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
