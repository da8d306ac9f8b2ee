//! Proves in an image what the GIL really does, and only then gives the image its tag.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{Env, text};
use crate::cache::Output;
use crate::cancel::Cancel;
use crate::docker::{Build, Docker, Job, Lines, Network};
use crate::matrix::GilState;
use crate::plan::Proof;
use crate::ui::quoted;

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

/// What `docker/gil_probe.py` reports; its docstring is the description of the format.
#[derive(Debug, Clone, Deserialize)]
pub struct Verdict {
    pub interpreter: Interpreter,
    pub distributions: Vec<Distribution>,
    pub effective: Effective,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Interpreter {
    pub version: String,
    pub free_threaded: bool,
    pub python_gil: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Distribution {
    pub name: String,
    pub version: String,
    pub modules: Vec<Module>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Module {
    pub name: String,
    /// `declared`, `undeclared`, `error`, or `not-applicable` where there always is a GIL.
    pub status: String,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Effective {
    /// `off`, `on`, `forced off` or `error`.
    pub state: String,
    pub switched_on_by: Vec<String>,
    pub error: Option<String>,
}

impl Verdict {
    /// Names of the modules with a status.
    pub fn modules(&self, status: &str) -> Vec<&str> {
        let modules = self.distributions.iter().flat_map(|distribution| &distribution.modules);
        modules.filter(|module| module.status == status).map(|module| module.name.as_str()).collect()
    }

    /// Whether the image keeps its promise; if not, which module breaks it and what to do.
    pub fn judge(&self, promise: GilState) -> Result<()> {
        for module in self.distributions.iter().flat_map(|distribution| &distribution.modules) {
            if module.status == "error" {
                let why = module.error.as_deref().unwrap_or("no reason given");
                bail!("the extension module `{}` cannot be loaded: {why}", module.name);
            }
        }
        if let Some(error) = &self.effective.error {
            bail!("the image cannot import its packages: {error}");
        }
        let undeclared = self.modules("undeclared");
        let names = quoted(&undeclared);
        if promise == GilState::Off && !undeclared.is_empty() {
            bail!(
                "the image promises `gil: off`, but {names} does not declare that it runs without the GIL and \
                 switches it on when it is imported: take it out of the image, or promise `forced off` with \
                 `PYTHON_GIL: \"0\"` in `env`"
            );
        }
        if self.effective.state == promise.to_string() {
            return Ok(());
        }
        let by = match (self.effective.switched_on_by.first(), self.effective.state.as_str()) {
            (Some(module), "on") => format!(", switched on by `{module}`"),
            _ => String::new(),
        };
        let needless = if promise == GilState::ForcedOff && self.effective.state == "off" {
            ": every module declares that it runs without the GIL, so `PYTHON_GIL` is not needed; promise `off`"
        } else {
            ": correct `gil` in matrix.yaml, or what the image contains"
        };
        bail!("the image promises `gil: {promise}`, but the GIL is {}{by}{needless}", self.effective.state)
    }
}

/// Runs the probe in `image` as the image's own user, without a network.
pub fn probe(
    docker: &Docker,
    image: &str,
    script: &str,
    imports: &[String],
    on: Lines,
    cancel: &Cancel,
) -> Result<(Verdict, String)> {
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
    let result = docker.run(&job, on, cancel)?;
    if result.exit != 0 {
        let last = result.stderr.trim().lines().last().unwrap_or("it printed nothing").to_owned();
        bail!("the GIL probe failed in `{image}` with exit code {}: {last}", result.exit);
    }
    let verdict = serde_json::from_str(&result.stdout).context("the GIL probe's answer is not its JSON document")?;
    Ok((verdict, result.stdout))
}

pub fn run(proof: &Proof, env: &Env) -> Result<Output> {
    let docker = env.docker()?;
    let candidate = env.image(&proof.image)?;
    let script = env.project_file("docker/gil_probe.py")?;
    let on = |line: &str| env.task.line(line);
    let (verdict, document) = probe(docker, candidate, script, &proof.imports, &on, env.context.cancel)?;
    verdict.judge(proof.promise).with_context(|| format!("`{}:{}` is not tagged", proof.repository, proof.tag))?;

    let undeclared = verdict.modules("undeclared").join(" ");
    let name = format!("{}:{}", proof.repository, proof.tag);
    let image = env.build(
        Build {
            dockerfile: "ARG IMAGE\nFROM ${IMAGE}\n",
            args: BTreeMap::from([("IMAGE".to_owned(), candidate.to_owned())]),
            labels: BTreeMap::from([
                ("dev.wheel-matrix.gil".to_owned(), verdict.effective.state.clone()),
                ("dev.wheel-matrix.gil.undeclared".to_owned(), undeclared.clone()),
            ]),
            network: Network::None,
            ..Build::default()
        },
        Some(name),
    )?;
    let notes = BTreeMap::from([
        ("gil".to_owned(), verdict.effective.state.clone()),
        ("undeclared".to_owned(), undeclared),
        ("python".to_owned(), verdict.interpreter.version.clone()),
    ]);
    Ok(Output {
        files: vec![env.context.cache.put(document.as_bytes(), &format!("gil-{}.json", proof.tag))?],
        image: Some(image),
        notes,
        ..Output::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(state: &str, modules: &[(&str, &str)]) -> Verdict {
        let modules = modules
            .iter()
            .map(|(name, status)| Module { name: name.to_string(), status: status.to_string(), error: None })
            .collect();
        Verdict {
            interpreter: Interpreter { version: "3.14.5".to_owned(), free_threaded: true, python_gil: None },
            distributions: vec![Distribution { name: "x".to_owned(), version: "1".to_owned(), modules }],
            effective: Effective {
                state: state.to_owned(),
                switched_on_by: if state == "on" { vec!["bad".to_owned()] } else { Vec::new() },
                error: None,
            },
        }
    }

    #[test]
    fn promises_kept() {
        assert!(verdict("off", &[("good", "declared")]).judge(GilState::Off).is_ok());
        assert!(verdict("forced off", &[("bad", "undeclared")]).judge(GilState::ForcedOff).is_ok());
        assert!(verdict("on", &[("x", "not-applicable")]).judge(GilState::On).is_ok());
    }

    #[test]
    fn a_broken_promise_names_the_module() {
        for (state, modules, promise) in [
            ("on", ("bad", "undeclared"), GilState::Off),
            ("off", ("bad", "undeclared"), GilState::Off),
            ("on", ("bad", "declared"), GilState::ForcedOff),
        ] {
            let error = verdict(state, &[modules]).judge(promise).unwrap_err().to_string();
            assert!(error.contains("`bad`"), "{error}");
        }
        let error = verdict("off", &[("good", "declared")]).judge(GilState::ForcedOff).unwrap_err().to_string();
        assert!(error.contains("not needed"), "{error}");
    }

    #[test]
    fn a_module_that_does_not_load_breaks_every_promise() {
        let error = verdict("on", &[("bad", "error")]).judge(GilState::On).unwrap_err().to_string();
        assert!(error.contains("`bad` cannot be loaded"), "{error}");
    }
}
