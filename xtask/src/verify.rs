//! Checks again, from outside, what a build promised: of a wheel file, or of an image by its tag.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::docker::{Docker, Image, Job, Network};
use crate::manifest::Manifest;
use crate::matrix::{self, Package};
use crate::step::proof::{self, Verdict};
use crate::step::wheel::glibc;
use crate::wheelfile::{self, Expect, WheelName};
use crate::{Project, Wrong, doctor, plan, ui};

pub fn run(project: &Project, what: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    for item in what {
        let checked = match project.matrix.image(item) {
            Some(image) => image_by_tag(project, image),
            None => wheel(project, item),
        };
        project.cancel.check()?;
        if let Err(error) = checked {
            if what.len() == 1 {
                return Err(error);
            }
            // Each is checked, whatever became of those before it.
            project.ui.say(&format!("error: {item}: {error:#}"));
            failed.push(item.as_str());
        }
    }
    match failed.len() {
        0 => Ok(()),
        n => Err(anyhow!("{n} of {} checks failed: {}", what.len(), failed.join(", "))),
    }
}

fn wheel(project: &Project, item: &str) -> Result<()> {
    let manifest = Manifest::read(&project.wheels())?;
    let path = match manifest.artefacts.iter().find(|entry| entry.kind == "wheel" && entry.id == item) {
        Some(entry) => project.wheels().join(&entry.file),
        None => PathBuf::from(item),
    };
    if !path.is_file() {
        let tags = project.matrix.images.iter().map(|image| image.tag.to_string());
        let wheels = manifest.artefacts.iter().filter(|entry| entry.kind == "wheel").map(|entry| entry.id.clone());
        let known = ui::quoted(tags.chain(wheels));
        return Err(anyhow!(Wrong(format!("`{item}` is neither a wheel file nor one of {known}"))));
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = WheelName::parse(&file)?;
    let package = package_of(project, &name)?;
    let entry = manifest.artefacts.iter().find(|entry| entry.file == file);
    let abi = match name.abi.as_slice() {
        // A wheel for any ABI is checked for the one that it was made for.
        [abi] if abi == "none" || abi == "abi3" => match (entry, project.matrix.abis.first()) {
            (Some(entry), _) => &entry.tag,
            (None, Some(first)) => &*first.id,
            (None, None) => bail!("the matrix has no ABI"),
        },
        [abi] if project.matrix.abi(abi).is_some() => abi.as_str(),
        tags => {
            let known = ui::quoted(project.matrix.abis.iter().map(|abi| &abi.id));
            bail!("its ABI tag `{}` is not one of the matrix: {known}", tags.join("."));
        }
    };
    let expect = Expect {
        distribution: &package.id,
        version: package.version(),
        abi,
        platform: None,
        max_glibc: glibc(&project.matrix.root.glibc),
    };
    let report = wheelfile::check(&path, &expect)?;
    let mut out = format!("{file}\n  sha256      {}\n  size        {}\n", report.sha256, ui::bytes(report.size));
    for extension in &report.extensions {
        out.push_str(&format!("  module      {} ({})\n", extension.module, extension.path));
    }
    if let Some((major, minor)) = report.glibc {
        out.push_str(&format!("  glibc       needs {major}.{minor}, tagged {}\n", report.name.platform.join(".")));
    }
    for library in &report.bundled {
        out.push_str(&format!("  bundled     {library}\n"));
    }
    match entry {
        Some(entry) if entry.sha256 == report.sha256 => {
            out.push_str(&format!("  manifest    same digest, key {:.12}\n", entry.key));
        }
        Some(entry) => bail!(
            "its SHA-256 is `{}`, but wheels/manifest.json says `{}`: it is not the file that was built; \
             `cargo xtask wheels` puts that back",
            report.sha256,
            entry.sha256
        ),
        None => out.push_str("  manifest    not listed there, so its digest could not be compared\n"),
    }
    ui::out(&(out + "  ok\n"))
}

fn package_of<'p>(project: &'p Project, name: &WheelName) -> Result<&'p Package> {
    let wanted = wheelfile::normalise(&name.distribution);
    project.matrix.packages.iter().find(|package| wheelfile::normalise(&package.id) == wanted).with_context(|| {
        let known = ui::quoted(project.matrix.packages.iter().map(|package| &package.id));
        format!("`{}` is not a package of the matrix: {known}", name.distribution)
    })
}

fn image_by_tag(project: &Project, image: &matrix::Image) -> Result<()> {
    let (docker, check) = doctor::engine();
    let docker = docker.with_context(|| check.detail.clone())?;
    let reference = format!("{}:{}", project.matrix.name, image.tag);
    let found = docker.image(&reference)?.with_context(|| {
        format!("the engine has no image `{reference}`: `cargo xtask image {}` builds it", image.tag)
    })?;
    let imports: Vec<String> = image
        .packages
        .iter()
        .filter_map(|id| project.matrix.package(id))
        .flat_map(|package| package.import.iter().map(|name| name.to_string()))
        .collect();
    let script = project.folder.join("docker/gil_probe.py");
    let script = std::fs::read_to_string(&script).with_context(|| format!("cannot read `{}`", script.display()))?;
    let (verdict, _) = proof::probe(&docker, &found.id, &script, &imports, &|_| {}, &project.cancel)?;
    for id in &image.packages {
        if !found.labels.contains_key(&format!("dev.wheel-matrix.wheel.{id}")) {
            bail!(
                "the image was built without `{id}`, which the matrix wants: `cargo xtask image {}` builds it anew",
                image.tag
            );
        }
    }
    ui::out(&describe(&reference, image, &found, &verdict))?;
    check_contents(project, image, &found, &verdict)?;
    check_slim(&docker, &found, project)?;
    verdict.judge(image.gil)?;
    ui::out("  ok\n")
}

fn describe(reference: &str, image: &matrix::Image, found: &Image, verdict: &Verdict) -> String {
    let suffix = if verdict.interpreter.free_threaded { "t" } else { "" };
    let optimized = match found.labels.get("dev.wheel-matrix.optimized").map(String::as_str) {
        Some("yes") => "PGO and LTO",
        Some(_) => "plain -O3 (--quick)",
        None => "optimisation unknown",
    };
    let mut out = format!("{reference}\n  id          {}\n  size        {}\n", found.id, ui::bytes(found.size));
    out.push_str(&format!("  CPython     {}{suffix}, {optimized}\n", verdict.interpreter.version));
    for distribution in &verdict.distributions {
        for module in &distribution.modules {
            let (name, version) = (&distribution.name, &distribution.version);
            // With a GIL that is always there, what a module declares is never asked.
            let status = if module.status == "not-applicable" { "GIL build" } else { &module.status };
            out.push_str(&format!("  {status:11} {} ({name} {version})\n", module.name));
        }
    }
    let set = match &verdict.interpreter.python_gil {
        Some(value) => format!(", PYTHON_GIL={value}"),
        None => String::new(),
    };
    out.push_str(&format!("  GIL         {} (promised: {}{set})\n", verdict.effective.state, image.gil));
    if let Some(module) = verdict.effective.switched_on_by.first() {
        let how = if verdict.effective.state == "on" { "switched it on" } else { "would switch it on" };
        out.push_str(&format!("              `{module}` {how}\n"));
    }
    out
}

/// What is installed, what the labels say, what the manifest says and what the matrix says agree.
fn check_contents(project: &Project, image: &matrix::Image, found: &Image, verdict: &Verdict) -> Result<()> {
    let manifest = Manifest::read(&project.wheels())?;
    let again = format!("`cargo xtask image {}` brings them together", image.tag);
    for package in image.packages.iter().filter_map(|id| project.matrix.package(id)) {
        let id = &package.id;
        let label = format!("dev.wheel-matrix.wheel.{id}");
        let value = found.labels.get(&label).with_context(|| format!("the image has no label `{label}`"))?;
        let labelled = value.split(' ').next().unwrap_or_default();
        let same = |name: &str| wheelfile::normalise(name) == wheelfile::normalise(id);
        let installed = verdict.distributions.iter().find(|distribution| same(&distribution.name));
        if let Some(installed) = installed.filter(|installed| installed.version != labelled) {
            bail!("`{id}` {} is installed, but the label `{label}` says {labelled}: {again}", installed.version);
        }
        if let Some(wanted) = package.version().filter(|wanted| *wanted != labelled) {
            bail!("the matrix wants `{id}` {wanted}, but the image has {labelled}: {again}");
        }
        let entry = manifest.artefacts.iter().find(|entry| entry.id == plan::wheel_id(id, &image.abi));
        match entry {
            Some(entry) if value.ends_with(&entry.sha256) => {}
            Some(entry) => bail!(
                "its label `{label}` says `{value}`, but the wheel in wheels/manifest.json has the SHA-256 `{}`: {again}",
                entry.sha256
            ),
            None => ui::out(&format!("  manifest    does not list `{id}`, so its digest could not be compared\n"))?,
        }
    }
    for (name, value) in &image.env {
        if !found.env.contains(&format!("{name}={value}")) {
            bail!("the matrix sets `{name}={value}` in it, but it is not in the image's environment: {again}");
        }
    }
    if !image.env.contains_key("PYTHON_GIL") && found.env.iter().any(|pair| pair.starts_with("PYTHON_GIL=")) {
        bail!("the image sets PYTHON_GIL, which the matrix does not: {again}");
    }
    if matches!(found.user.as_str(), "" | "root" | "0") {
        bail!("the image runs as root");
    }
    Ok(())
}

/// No compiler, and a user that cannot change what is installed.
fn check_slim(docker: &Docker, found: &Image, project: &Project) -> Result<()> {
    let script = "set -eu; for c in cc gcc g++ clang make; do command -v $c || true; done; \
                  test $(id -u) -ne 0 || echo root; \
                  d=$(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'); test ! -w \"$d\" || echo \"$d\"";
    let job = Job {
        image: &found.id,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        network: Network::None,
        ..Job::default()
    };
    let result = docker.run(&job, &|_| {}, &project.cancel)?;
    if result.exit != 0 {
        bail!("cannot look for compilers in the image: exit code {}: {}", result.exit, result.stderr.trim());
    }
    let surplus: Vec<&str> = result.stdout.split_whitespace().collect();
    if !surplus.is_empty() {
        bail!(
            "the image must have no compiler and an ordinary user who cannot change packages, but there is: {}",
            surplus.join(", ")
        );
    }
    ui::out(&format!("  user        {}: no compiler, cannot change what is installed\n", found.user))
}

/// Used by the checks of `cargo xtask ci`: the files below `wheels/` that a manifest lists.
pub fn wheel_files(folder: &Path) -> Result<Vec<String>> {
    let manifest = Manifest::read(folder)?;
    Ok(manifest.artefacts.into_iter().filter(|entry| entry.kind == "wheel").map(|entry| entry.id).collect())
}
