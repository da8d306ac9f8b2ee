//! Puts wheels on a base image, without a network; the result is tagged only when it is proven.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Env, text};
use crate::cache::{Artefact, Output};
use crate::docker::{Build, ContextFile, Network};
use crate::matrix::Serve;
use crate::plan::Image;
use crate::wheelfile::WheelName;

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

pub fn run(image: &Image, env: &Env) -> Result<Output> {
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), format!("{}:{}", image.repository, image.tag)),
        // Not the base's, which is CPython's version.
        ("org.opencontainers.image.version".to_owned(), image.tag.clone()),
        ("dev.wheel-matrix.abi".to_owned(), image.abi.clone()),
    ]);
    if let Some(base) = env.need(&image.base)?.notes.get("tag") {
        labels.insert("org.opencontainers.image.base.name".to_owned(), base.clone());
    }
    let mut house = Wheelhouse::default();
    for (package, step) in &image.wheels {
        let wheel = env.file(step)?;
        let version = house.add(wheel, env)?.version;
        labels.insert(format!("dev.wheel-matrix.wheel.{package}"), format!("{version} sha256:{}", wheel.sha256));
    }
    for step in &image.locked {
        for wheel in &env.need(step)?.files {
            house.add(wheel, env)?;
        }
    }
    let uv = env.file("tool-uv")?;
    let context =
        [env.stored(&uv.name, uv), text("compile_bytecode.py", env.project_file("docker/compile_bytecode.py")?, 0o644)];
    let mut dockerfile = env.project_file("docker/image.Dockerfile")?.to_owned();
    for (name, value) in &image.env {
        dockerfile.push_str(&format!("ENV {name}=\"{value}\"\n"));
    }
    if let Some(serve) = &image.serve {
        dockerfile.push_str(&start(serve)?);
        labels.insert("dev.wheel-matrix.port".to_owned(), serve.port.to_string());
    }
    let built = env.build(
        Build {
            dockerfile: &dockerfile,
            context: house.context().into_iter().chain(context).collect(),
            args: BTreeMap::from([("BASE".to_owned(), env.image(&image.base)?.to_owned())]),
            labels,
            network: Network::None,
            ..Build::default()
        },
        None,
    )?;
    Ok(Output { image: Some(built), ..Output::default() })
}

/// All wheels of an image, with the list that uv goes by.
#[derive(Default)]
struct Wheelhouse {
    files: Vec<ContextFile>,
    pins: String,
}

impl Wheelhouse {
    fn add(&mut self, wheel: &Artefact, env: &Env) -> Result<WheelName> {
        let name = WheelName::parse(&wheel.name)?;
        let pin = format!("{}=={} --hash=sha256:{}\n", name.distribution, name.version, wheel.sha256);
        // Two packages may have locked the same wheel; uv refuses different ones itself.
        if !self.pins.contains(&pin) {
            self.pins.push_str(&pin);
            self.files.push(env.stored(&format!("wheelhouse/{}", wheel.name), wheel));
        }
        Ok(name)
    }

    fn context(mut self) -> Vec<ContextFile> {
        self.files.push(text("wheelhouse/requirements.txt", &self.pins, 0o644));
        self.files
    }
}

/// The lines that start a service. Its settings come from the environment, so the port is the default one.
fn start(serve: &Serve) -> Result<String> {
    let (command, health) = (serde_json::to_string(&serve.command)?, serde_json::to_string(&serve.health)?);
    Ok(format!(
        "EXPOSE {}\nHEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD {health}\nCMD {command}\n",
        serve.port
    ))
}
