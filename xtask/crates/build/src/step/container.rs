//! Builds wheels in a container without network, from an sdist and pinned build requirements.

mod rust;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::contents;
use super::env::{EPOCH, StepEnv, text};
use super::messages::Messages;
use super::wanted::Wanted;
use super::wheel;
use crate::cache::{Artefact, Output};
use crate::missing::{MissingDebianPackages, MissingRequirements};
use crate::plan::{Container, Wheel};
use base::ui;
use base::working_copy;
use docker::{Content, ContextFile, Job, Network};
use matrix::AUTO;

/// Part of this step's key. Increase it if a code change can change the result.
pub const REVISION: u32 = 3;

pub fn run(step: &Container, env: &StepEnv) -> Result<Output> {
    let own = &step.wheel;
    let mut inputs = vec![
        text("/in/build-wheel.sh", env.container_file("docker/build-wheel.sh")?, 0o755),
        text("/in/parallel_compile.py", env.container_file("docker/parallel_compile.py")?, 0o644),
    ];
    match &own.sdist {
        Some(sdist) => inputs.push(env.stored("/in/sdist.tar.gz", env.file(sdist)?)),
        None => inputs.extend(working_copy(own)?),
    }
    let mut pins = String::new();
    for file in &env.need(&step.requires)?.files {
        let name = wheelfile::WheelName::parse(&file.name)?;
        pins.push_str(&format!("{}=={} --hash=sha256:{}\n", name.distribution, name.version, file.sha256));
        inputs.push(env.stored(&format!("/in/requires/{}", file.name), file));
    }
    inputs.push(text("/in/requires/requires.txt", &pins, 0o644));
    let mut environment = own.env.clone();
    if let Some(instrumented) = &step.instrumented {
        environment.insert("LLVM".to_owned(), instrumented.llvm.clone());
        inputs.push(text("/in/build.sh", env.container_file("docker/tsan/build.sh")?, 0o644));
    }
    if !environment.is_empty() {
        let assign = |(name, value): (&String, &String)| format!("export {name}={}\n", ui::shell_quoted(value));
        let mut script = environment.iter().map(assign).collect::<String>();
        if step.instrumented.is_some() {
            script.push_str(". /in/build.sh\n");
        }
        inputs.push(text("/in/environment.sh", &script, 0o644));
    }
    if step.rust {
        inputs.extend(rust::files(step, env)?);
    }
    let image = env.image(&step.devel)?;
    let out = env.scratch.join("out");
    std::fs::create_dir_all(&out)?;
    let cores = env.context.engine_cores;
    let jobs = step.jobs.map_or(cores, |jobs| jobs.get().min(cores));
    let job = Job {
        image,
        // Both streams share one pipe, which keeps the order of their lines.
        command: ["/bin/sh", "-c", "exec /in/build-wheel.sh \"$@\" 2>&1", "sh"]
            .map(str::to_owned)
            .into_iter()
            .chain(config_settings(step))
            .collect(),
        env: vec![
            ("PLATFORM".to_owned(), own.platform.clone()),
            ("SUBDIRECTORY".to_owned(), own.subdirectory.clone().unwrap_or_default()),
            ("JOBS".to_owned(), jobs.to_string()),
            ("DEBUG_INFO".to_owned(), if step.debug_info { "keep" } else { "" }.to_owned()),
            ("SOURCE_DATE_EPOCH".to_owned(), EPOCH.to_string()),
            ("PYTHON".to_owned(), step.python.clone()),
        ],
        user: Some("root"),
        network: Network::None,
        inputs,
        outputs: vec!["/out".to_owned()],
        out: Some(&out),
        builds: true,
        timeout: Some(Duration::from_secs(3600)),
        ..Job::default()
    };
    let messages = Mutex::new(Messages::default());
    let listen = |line: &str| {
        if messages.lock().unwrap_or_else(PoisonError::into_inner).read(line) {
            env.task.line(line);
        }
    };
    let result = env.docker()?.run(&job, &listen, env.context.cancel)?;
    let messages = messages.into_inner().unwrap_or_else(PoisonError::into_inner);
    if result.exit != 0 {
        let failed = format!("building `{}` in a container failed with exit code {}", own.package, result.exit);
        if let requirements @ [_, ..] = messages.missing_requirements() {
            let missing = MissingRequirements { package: own.package.clone(), requirements: requirements.to_vec() };
            return Err(anyhow!(missing).context(failed));
        }
        return Err(match missing(step, &messages, env) {
            Some(missing) => anyhow!(missing).context(failed),
            None => {
                let cause = messages.cause(&env.task.tail());
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                anyhow!("{failed}{cause}{}", messages.hint(&own.package, jobs))
            }
        });
    }
    if let Some(build) = step.local_build() {
        wheel::mark(&out, build)?;
    }
    let output = wheel::keep(own, &out, env)?;
    // Some builds continue without an optional extension module, and nobody notices. `platform: any` accepts that.
    let pure = |file: &Artefact| file.name.ends_with("-none-any.whl");
    if own.platform == AUTO
        && output.files.iter().all(pure)
        && let Some(missing) = missing(step, &messages, env)
    {
        let left_out = format!(
            "the wheel of `{}` has no extension module, because its build continued after an error; if that is \
             wanted, set `build.platform: any`",
            own.package
        );
        return Err(anyhow!(missing).context(left_out));
    }
    Ok(output)
}

fn working_copy(step: &Wheel) -> Result<Vec<ContextFile>> {
    use std::os::unix::fs::PermissionsExt;
    let from = step.folder.as_deref().context("a wheel without a source: this is a bug")?;
    let mut files = Vec::new();
    for name in working_copy::list_folder(from)? {
        let path = from.join(&name);
        let mode = path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?.permissions().mode();
        let mode = if mode & 0o100 != 0 { 0o755 } else { 0o644 };
        files.push(ContextFile { path: format!("/in/src/{}", name.display()), source: Content::File(path), mode });
    }
    wheel::unchanged(step, from)?;
    Ok(files)
}

/// Returns the settings for the build backend as arguments of uv.
fn config_settings(step: &Container) -> impl Iterator<Item = String> {
    let settings = step.config_settings.iter();
    settings.flat_map(|(name, values)| values.iter().map(move |value| format!("--config-setting={name}={value}")))
}

/// Returns what the build misses, with the Debian packages that have it. A failure of the search only makes the error
/// less helpful.
fn missing(step: &Container, messages: &Messages, env: &StepEnv) -> Option<MissingDebianPackages> {
    let error = |wanted: &Wanted, candidates| MissingDebianPackages {
        package: step.wheel.package.clone(),
        file: wanted.name(),
        candidates,
    };
    let wanted = messages.wanted();
    if !wanted.is_empty() {
        env.task.waiting(&contents::announcement(wanted));
    }
    let found = env.image(&step.devel).and_then(|image| contents::search(wanted, image, env.context));
    let none = match found {
        Ok(Some((wanted, candidates))) => return Some(error(&wanted, Some(candidates))),
        Ok(None) => Some(Vec::new()),
        Err(failure) => {
            env.context.ui.say(&format!("[{}] {failure:#}", env.id));
            None
        }
    };
    messages.required().first().map(|wanted| error(wanted, none))
}
