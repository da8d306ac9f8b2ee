//! Debian packages on top of an image: the only build that has a network.

use anyhow::Result;

use super::env::{StepEnv, text};
use super::root;
use crate::cache::Output;
use crate::host::{ca_bundle, proxies};
use crate::plan::Apt;
use base::digest;
use docker::{Build, Content, ContextFile, Network};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

pub fn run(apt: &Apt, env: &StepEnv) -> Result<Output> {
    let bundle = match ca_bundle() {
        Some(path) => ContextFile { path: "ca.crt".to_owned(), source: Content::File(path), mode: 0o644 },
        None => text("ca.crt", "", 0o644),
    };
    let image = env.build(
        Build {
            dockerfile: env.container_file("docker/builder.Dockerfile")?,
            context: vec![bundle],
            args: [("ROOT".to_owned(), env.image(&apt.base)?.to_owned()), ("APT".to_owned(), apt.packages.join(" "))]
                .into_iter()
                // BuildKit keeps these out of the image's history and of its cache's keys.
                .chain(proxies()?)
                .collect(),
            network: Network::Default,
            ..Build::default()
        },
        None,
    )?;
    let packages = root::packages(&image.reference, env)?;
    Ok(Output {
        image: Some(image),
        content: Some(digest::of(format!("{}\n{packages}", env.key))),
        ..Output::default()
    })
}
