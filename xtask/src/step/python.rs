//! CPython, compiled or Debian's own, as the image that wheels are built in and as the slim base image.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Env;
use crate::cache::Output;
use crate::docker::{Build, Network};
use crate::plan::{Base, Python};

pub fn compile(python: &Python, env: &Env) -> Result<Output> {
    let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
    let archive = env.file(&python.archive)?;
    let image = env.build(Build {
        dockerfile: env.project_file("docker/python.Dockerfile")?,
        context: vec![env.stored("python.tar.xz", archive)],
        args: BTreeMap::from([
            ("BUILDER".to_owned(), env.image(&python.builder)?.to_owned()),
            ("FREE_THREADED".to_owned(), flag(python.free_threaded)),
            ("OPTIMIZE".to_owned(), flag(python.optimize)),
            ("JOBS".to_owned(), env.context.cores.to_string()),
        ]),
        network: Network::None,
        ..Build::default()
    })?;
    Ok(Output { image: Some(image), ..Output::default() })
}

pub fn base(base: &Base, env: &Env) -> Result<Output> {
    let mut args = BTreeMap::from([("ROOT".to_owned(), env.image(&base.runtime)?.to_owned())]);
    let target = match &base.python {
        Some(python) => {
            args.insert("DEVEL".to_owned(), env.image(python)?.to_owned());
            "slim"
        }
        None => {
            let minor = base.version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
            args.insert("PYTHON".to_owned(), format!("python{minor}"));
            "distribution"
        }
    };
    let optimized = if base.optimized { "yes" } else { "no" };
    let repository = format!("{}/python", env.context.repository);
    let image = env.build(Build {
        dockerfile: env.project_file("docker/base.Dockerfile")?,
        context: vec![env.pip()?],
        target: Some(target),
        args,
        labels: BTreeMap::from([
            ("org.opencontainers.image.title".to_owned(), format!("python:{}", base.tag)),
            ("org.opencontainers.image.version".to_owned(), base.version.clone()),
            ("dev.wheel-matrix.optimized".to_owned(), optimized.to_owned()),
        ]),
        tags: vec![format!("{repository}:{}", base.tag)],
        network: Network::None,
        ..Build::default()
    })?;
    let notes = BTreeMap::from([
        ("tag".to_owned(), format!("{repository}:{}", base.tag)),
        ("optimized".to_owned(), optimized.to_owned()),
    ]);
    Ok(Output { image: Some(image), notes, ..Output::default() })
}
