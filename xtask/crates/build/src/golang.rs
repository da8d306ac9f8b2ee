//! Programs written in Go: built from sources that a go.sum pins, once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::Project;
use base::digest;
use base::environment::{self, Purpose};

/// Settings of Go that say where modules come from and where they are kept.
const MODULES: [&str; 9] =
    ["GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOPATH", "GOMODCACHE", "GOCACHE"];

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
        // This Go and no other. Of the user's settings only those count that say where modules come from: without
        // `GOENV` also those that `go env -w` has written.
        let ask = environment::apply(cmd!(shell, "{go} env -json {MODULES...}"), Purpose::Download);
        let settings = ask.quiet().read().context("cannot ask `go env` where modules come from")?;
        let settings: BTreeMap<String, String> =
            serde_json::from_str(&settings).context("`go env -json` printed no settings")?;
        let build = environment::apply(build, Purpose::Download).envs(settings).env("GOENV", "off");
        let build = build.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env("GOWORK", "off");
        project.call("go", &format!("build {name}"), build, "")?;
        fs::rename(&part, &program).with_context(|| format!("cannot write `{}`", program.display()))
    })
}
