//! Fast fakes of all steps, for testing the whole pipeline in seconds without Docker and network.
//!
//! Their keys differ from those of real steps, so a fake result is never used instead of a real one.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};

use super::env::StepEnv;
use super::{quick, root};
use crate::cache::{BuiltImage, Output};
use crate::missing::MissingDebianPackages;
use crate::plan::{Action, Container, Published, Stable, Wheel};
use base::digest;
use wheelfile::{LocalBuild, NewWheel};

/// Note of a fake image with its Debian packages.
const PACKAGES: &str = "packages";

pub fn run(action: &Action, env: &StepEnv) -> Result<Output> {
    // Comma-separated ids of steps that fail.
    if std::env::var("XTASK_FAKE_FAIL").is_ok_and(|ids| ids.split(',').any(|id| id == env.id)) {
        env.task.line("this line is the last that the step says");
        bail!("failed as requested by XTASK_FAKE_FAIL");
    }
    if let Ok(id) = std::env::var("XTASK_FAKE_HANG")
        && id == env.id
    {
        loop {
            env.context.cancel.check()?;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    match action {
        Action::Maturin(step) => wheel(&step.wheel, step.is_quick().then_some(LocalBuild::Quick), env),
        Action::Container(step) => {
            missing(step, env)?;
            wheel(&step.wheel, step.local_build(), env)
        }
        Action::Published(Published { package, version, abi, glibc, imports, .. })
        | Action::Stable(Stable { package, version, abi, glibc, imports, .. }) => {
            let wheel = Wheel {
                package: package.clone(),
                distribution: action.wheel().map(|wheel| wheel.distribution.to_owned()),
                version: version.clone(),
                abi: abi.clone(),
                platform: env.context.facts.platform.manylinux((2, 28)),
                glibc: glibc.clone(),
                subdirectory: None,
                env: BTreeMap::new(),
                toolchain: None,
                sdist: None,
                working_copy: None,
                folder: None,
                imports: imports.clone(),
            };
            self::wheel(&wheel, None, env)
        }
        Action::Fetch(fetch) => {
            let files: Result<Vec<_>> =
                fetch.files.iter().map(|file| env.context.cache.put(file.sha256.as_bytes(), &file.name)).collect();
            Ok(Output { files: files?, ..Output::default() })
        }
        Action::Patch(patch) => {
            let name = format!("{}-{}.tar.gz", patch.package, patch.version);
            Ok(Output { files: vec![env.context.cache.put(env.key.as_bytes(), &name)?], ..Output::default() })
        }
        Action::Image(image) => Ok(Output { notes: quick::note(image, env)?, ..self::image(env) }),
        Action::Proof(proof) => {
            let mut output = image(env);
            output.notes.insert("gil".to_owned(), proof.promise.to_string());
            output.notes.extend(quick::taken(proof, env)?);
            Ok(output)
        }
        Action::Tools(_) => Ok(Output::default()),
        Action::Root(_) if std::env::var_os("XTASK_FAKE_FALLBACK").is_some() => Ok(root::fake_fallback(image(env))),
        Action::Root(_) => Ok(Output { content: Some(env.key.to_owned()), ..image(env) }),
        Action::Apt(apt) => {
            let notes = BTreeMap::from([(PACKAGES.to_owned(), apt.packages.join(" "))]);
            Ok(Output { content: Some(env.key.to_owned()), notes, ..image(env) })
        }
        Action::Controls(_) => Ok(Output {
            files: vec![env.context.cache.put(env.key.as_bytes(), "libcontrols.so")?],
            ..Output::default()
        }),
        Action::Python(_) | Action::Base(_) => Ok(image(env)),
    }
}

/// Fails like a build that misses Debian packages, unless the step's image has them. `XTASK_FAKE_MISSING` names them:
/// `STEP=PACKAGE,PACKAGE`.
fn missing(step: &Container, env: &StepEnv) -> Result<()> {
    let Ok(text) = std::env::var("XTASK_FAKE_MISSING") else { return Ok(()) };
    let Some(needed) = text.strip_prefix(&format!("{}=", env.id)) else { return Ok(()) };
    let installed = env.need(&step.devel)?.notes.get(PACKAGES).map(String::as_str).unwrap_or_default();
    let has = |name: &&str| installed.split(' ').any(|other| other == *name);
    let Some(name) = needed.split(',').find(|name| !has(name)) else { return Ok(()) };
    let missing = MissingDebianPackages {
        package: step.wheel.package.clone(),
        file: format!("{name}.h"),
        candidates: Some(vec![name.to_owned()]),
    };
    Err(anyhow!(missing).context("failed as requested by XTASK_FAKE_MISSING"))
}

fn image(env: &StepEnv) -> Output {
    let id = format!("sha256:{}", digest::of(env.key));
    let image = BuiltImage { reference: env.reference(), name: None, id, size: 0 };
    Output { image: Some(image), notes: BTreeMap::new(), ..Output::default() }
}

/// Writes a valid wheel with an extension module that does nothing, or without one.
fn wheel(wheel: &Wheel, local: Option<LocalBuild>, env: &StepEnv) -> Result<Output> {
    let platform = env.context.facts.platform;
    let distribution = wheelfile::normalise(wheel.distribution()).replace('-', "_");
    let version = wheel.version.clone().unwrap_or_else(|| "0".to_owned());
    let python = wheel.abi.trim_end_matches('t');
    let suffix = format!("cpython-{}-{}.so", wheel.abi.trim_start_matches("cp"), platform.multiarch());
    let module = format!("_{distribution}");
    let out = env.scratch.join("out");
    std::fs::create_dir_all(&out)?;
    let extension = wheelfile::minimal_extension(&module, platform.machine(), None)?;
    let default_tag = platform.manylinux((2, 28));
    let mut new = NewWheel {
        distribution: &distribution,
        version: &version,
        python,
        abi: &wheel.abi,
        platform: wheel.tag().unwrap_or(&default_tag),
        files: vec![(format!("{module}.{suffix}"), extension)],
    };
    if wheel.platform == "any" {
        new.files = vec![(format!("{module}.py"), b"pass\n".to_vec())];
        (new.python, new.abi) = ("py3", "none");
    }
    for (name, _) in &wheel.imports.names {
        new.files.push((format!("{}/__init__.py", name.replace('.', "/")), Vec::new()));
    }
    // Makes a wheel that is not reproducible.
    if std::env::var("XTASK_FAKE_STAMP").is_ok_and(|id| id == env.id) {
        let text = format!("built in {} for {:?}", env.scratch.display(), std::env::var_os("USER"));
        new.files.push((format!("{distribution}_stamp.py"), text.into_bytes()));
    }
    let path = out.join(new.file_name());
    wheelfile::write_wheel(&path, &new)?;
    if let Some(build) = local {
        wheelfile::mark(&path, build)?;
    }
    super::wheel::keep(wheel, &out, env)
}
