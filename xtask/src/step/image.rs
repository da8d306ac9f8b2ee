//! Puts wheels on a base image, without a network; the result is tagged only when it is proven.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Env, text};
use crate::cache::Output;
use crate::docker::{Build, Network};
use crate::plan::Image;
use crate::wheelfile::WheelName;

pub fn run(image: &Image, env: &Env) -> Result<Output> {
    let mut context = Vec::new();
    let mut pins = String::new();
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), format!("{}:{}", image.repository, image.tag)),
        // Not the base's, which is CPython's version.
        ("org.opencontainers.image.version".to_owned(), image.tag.clone()),
        ("dev.wheel-matrix.abi".to_owned(), image.abi.clone()),
    ]);
    if let Some(base) = env.need(&image.base)?.notes.get("tag") {
        labels.insert("org.opencontainers.image.base.name".to_owned(), base.clone());
    }
    for (package, step) in &image.wheels {
        let wheel = env.file(step)?;
        let name = WheelName::parse(&wheel.name)?;
        pins.push_str(&format!("{}=={} --hash=sha256:{}\n", name.distribution, name.version, wheel.sha256));
        context.push(env.stored(&format!("wheelhouse/{}", wheel.name), wheel));
        labels.insert(format!("dev.wheel-matrix.wheel.{package}"), format!("{} sha256:{}", name.version, wheel.sha256));
    }
    context.push(text("wheelhouse/requirements.txt", &pins, 0o644));
    let mut dockerfile = env.project_file("docker/image.Dockerfile")?.to_owned();
    for (name, value) in &image.env {
        dockerfile.push_str(&format!("ENV {name}=\"{value}\"\n"));
    }
    let built = env.build(
        Build {
            dockerfile: &dockerfile,
            context,
            args: BTreeMap::from([("BASE".to_owned(), env.image(&image.base)?.to_owned())]),
            labels,
            network: Network::None,
            ..Build::default()
        },
        None,
    )?;
    Ok(Output { image: Some(built), ..Output::default() })
}
