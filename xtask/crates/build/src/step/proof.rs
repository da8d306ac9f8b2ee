//! Checks the GIL state of an image and tags the image only if it is as promised.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::env::{StepEnv, text};
use super::quick;
use crate::cache::Output;
use crate::plan::Proof;
use base::cancel::Cancel;
use base::labels;
use docker::{Build, Docker, Job, Network};
use matrix::gil::GilReport;

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 2;

/// Name of the note that lists modules that cannot be loaded and that no import of the image reaches.
pub const NOT_LOADABLE: &str = "not-loadable";

/// Runs the probe in `image` as the image's own user, without network.
pub fn probe(
    docker: &Docker,
    image: &str,
    script: &str,
    imports: &[String],
    cancel: &Cancel,
) -> Result<(GilReport, String)> {
    let mut command = vec!["python".to_owned(), "/probe/gil_probe.py".to_owned()];
    for name in imports {
        command.extend(["--import".to_owned(), name.clone()]);
    }
    let job = Job {
        image,
        command,
        network: Network::None,
        inputs: vec![text("/probe/gil_probe.py", script, 0o644)],
        timeout: Some(Duration::from_secs(600)),
        ..Job::default()
    };
    // Do not display the output, which is a JSON document.
    let result = docker.run(&job, &|_| {}, cancel)?;
    if result.exit != 0 {
        let last = result.stderr.trim().lines().last().unwrap_or("it printed nothing").to_owned();
        bail!("the GIL probe failed in `{image}` with exit code {}: {last}", result.exit);
    }
    let verdict = serde_json::from_str(&result.stdout).context("the output of the GIL probe is not a valid report")?;
    Ok((verdict, result.stdout))
}

pub fn run(proof: &Proof, env: &StepEnv) -> Result<Output> {
    let docker = env.docker()?;
    let candidate = env.image(&proof.image)?;
    let script = env.container_file("docker/gil_probe.py")?;
    let (verdict, document) = probe(docker, candidate, script, &proof.imports, env.context.cancel)?;
    document.lines().for_each(|line| env.task.record(line));
    verdict.lines().iter().for_each(|line| env.task.line(line));
    verdict
        .check_promise(proof.promise)
        .with_context(|| format!("`{}:{}` is not tagged", proof.repository, proof.tag))?;

    let undeclared = verdict.modules("undeclared").join(" ");
    let name = format!("{}:{}", proof.repository, proof.tag);
    let image = env.build(
        Build {
            dockerfile: "ARG IMAGE\nFROM ${IMAGE}\n",
            args: BTreeMap::from([("IMAGE".to_owned(), candidate.to_owned())]),
            labels: BTreeMap::from([
                (labels::GIL.to_owned(), verdict.effective.state.clone()),
                (labels::UNDECLARED.to_owned(), undeclared.clone()),
            ]),
            network: Network::None,
            ..Build::default()
        },
        Some(name),
    )?;
    let mut notes = BTreeMap::from([
        ("gil".to_owned(), verdict.effective.state.clone()),
        ("undeclared".to_owned(), undeclared),
        ("python".to_owned(), verdict.interpreter.version.clone()),
    ]);
    notes.extend(quick::taken(proof, env)?);
    let not_loadable = verdict.not_loadable();
    if !not_loadable.is_empty() {
        notes.insert(NOT_LOADABLE.to_owned(), not_loadable.join("; "));
    }
    Ok(Output {
        files: vec![env.context.cache.put(document.as_bytes(), &format!("gil-{}.json", proof.tag))?],
        image: Some(image),
        notes,
        ..Output::default()
    })
}
