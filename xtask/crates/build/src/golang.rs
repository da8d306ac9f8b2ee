//! Builds Go programs from sources pinned by a go.sum, and caches them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::Project;
use base::digest;
use base::environment::{self, Purpose};

/// Go settings for module proxies, module checksums and cache folders.
const MODULES: [&str; 9] =
    ["GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOPATH", "GOMODCACHE", "GOCACHE"];

/// Builds `package`, which the module in `folder` requires, with `go`, and returns the path of the program.
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
        // Use exactly this Go version. Of the user's settings, only those for module downloads are passed on,
        // including those written by `go env -w`.
        let ask = environment::apply(cmd!(shell, "{go} env -json {MODULES...}"), Purpose::Download);
        let settings = ask.quiet().read().context("cannot read the settings of Go with `go env`")?;
        let settings: BTreeMap<String, String> =
            serde_json::from_str(&settings).context("`go env -json` printed invalid JSON")?;
        let build = environment::apply(build, Purpose::Download).envs(settings).env("GOENV", "off");
        let build = build.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env("GOWORK", "off");
        project.call("go", &format!("build {name}"), build, "")?;
        fs::rename(&part, &program).with_context(|| format!("cannot write `{}`", program.display()))
    })
}
