//! Compiles the controls of ThreadSanitizer: libraries with a known data race, and with none.

use std::time::Duration;

use anyhow::{Result, bail};

use super::env::{StepEnv, text};
use crate::cache::Output;
use crate::plan::Controls;
use docker::{Job, Network};

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 1;

/// Names of the libraries.
pub const LIBRARIES: [&str; 2] = ["libcontrols_c.so", "libcontrols_rust.so"];

pub fn run(step: &Controls, env: &StepEnv) -> Result<Output> {
    let mut inputs = Vec::new();
    for name in ["build.sh", "controls.sh", "controls.c", "controls.rs"] {
        inputs.push(text(&format!("/in/{name}"), env.container_file(&format!("docker/tsan/{name}"))?, 0o755));
    }
    let out = env.scratch.join("out");
    std::fs::create_dir_all(&out)?;
    let job = Job {
        image: env.image(&step.compilers)?,
        command: ["/bin/sh", "-c", "exec /in/controls.sh 2>&1"].map(str::to_owned).to_vec(),
        env: vec![("LLVM".to_owned(), step.llvm.clone())],
        user: Some("root"),
        network: Network::None,
        inputs,
        outputs: vec!["/out".to_owned()],
        out: Some(&out),
        builds: true,
        timeout: Some(Duration::from_secs(3600)),
        ..Job::default()
    };
    let result = env.docker()?.run(&job, &|line| env.task.line(line), env.context.cancel)?;
    if result.exit != 0 {
        bail!("compiling the controls of ThreadSanitizer failed with exit code {}", result.exit);
    }
    let files = LIBRARIES.iter().map(|name| env.context.cache.take(&out.join(name), name));
    Ok(Output { files: files.collect::<Result<_>>()?, ..Output::default() })
}
