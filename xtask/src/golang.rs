//! Programs written in Go: built from sources that a go.sum pins, once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::{Project, digest};

/// The program of `package`, which the module in `folder` requires, built with `go`.
pub fn program(project: &Project, go: &Path, folder: &Path, package: &str, name: &str) -> Result<PathBuf> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let key = digest::of(format!("{}{}{}", read("go.mod")?, read("go.sum")?, go.display()));
    let program = project.cache.state(&format!("{name}-{}", &key[..16]))?.join(name);
    project.program(name, program.clone(), || {
        let (shell, part) = (Shell::new()?, program.with_extension("part"));
        let build = cmd!(shell, "{go} build -C {folder} -mod=readonly -trimpath -o {part} {package}");
        // This Go and no other, and none of this user's settings but where modules come from.
        let build = build.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
        project.call("go", &format!("build {name}"), build, "")?;
        fs::rename(&part, &program).with_context(|| format!("cannot write `{}`", program.display()))
    })
}
