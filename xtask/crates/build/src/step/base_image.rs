//! Base image `python:<version>[t]-slim`: a compiled CPython or Debian's, without build dependencies.

use base::labels;
use std::collections::BTreeMap;

use anyhow::Result;

use super::env::StepEnv;
use crate::cache::Output;
use crate::plan::Base;
use docker::{Build, Network};

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 1;

pub fn run(base: &Base, env: &StepEnv) -> Result<Output> {
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
    let repository = format!("{}/python", base.repository);
    let image = env.build(
        Build {
            dockerfile: env.container_file("docker/base.Dockerfile")?,
            context: vec![env.pip()?],
            target: Some(target),
            args,
            labels: BTreeMap::from([
                (labels::TITLE.to_owned(), format!("python:{}", base.tag)),
                (labels::VERSION.to_owned(), base.version.clone()),
                (labels::INTERPRETER_BUILD.to_owned(), base.build.as_str().to_owned()),
            ]),
            network: Network::None,
            ..Build::default()
        },
        Some(format!("{repository}:{}", base.tag)),
    )?;
    let notes = BTreeMap::from([
        ("tag".to_owned(), format!("{repository}:{}", base.tag)),
        ("interpreter-build".to_owned(), base.build.as_str().to_owned()),
    ]);
    Ok(Output { image: Some(image), notes, ..Output::default() })
}
