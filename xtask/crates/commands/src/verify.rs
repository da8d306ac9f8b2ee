//! `cargo xtask verify`: checks finished wheels and images again, independently of the build.

mod gil;

use matrix::InterpreterBuild;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::subject::{self, Listed, Subject};
use base::{digest, labels, ui};
use build::embedded;
use build::manifest::Entry;
use build::step::{proof, root};
use build::{Project, plan};
use docker::{Docker, Image, Job, Network};
use matrix::gil::GilReport;

/// Selects what to check.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Image tags, wheel files or wheel ids
    #[arg(required = true, value_name = "TAG|WHEEL")]
    what: Vec<String>,
    /// Manifest to check against, such as that of a release; default: wheels/manifest.json
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Check wheel files that others built: import each extension module in a free-threaded interpreter, and fail if
    /// one enables the GIL. Needs no matrix.yaml
    #[arg(long, value_name = "STATE", conflicts_with = "manifest")]
    gil: Option<PromisedGil>,
    /// With --gil, import the modules with this interpreter of this machine; default: an interpreter in a container
    #[arg(long, value_name = "PATH", requires = "gil")]
    python: Option<PathBuf>,
}

/// State of the GIL that `--gil` checks. Only one can be checked without an image.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PromisedGil {
    /// No extension module of the wheels enables the GIL
    Off,
}

/// Runs `cargo xtask verify`.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    match options.gil {
        Some(PromisedGil::Off) => gil::check(project, &options.what, options.python.as_deref()),
        None => check(project, &options.what, options.manifest.as_deref()),
    }
}

/// Checks wheels and images against a manifest, by default that of the clone. Needs no network.
pub fn check(project: &Project, what: &[String], manifest: Option<&Path>) -> Result<()> {
    let listed = Listed::read(project, manifest)?;
    let mut failed = Vec::new();
    for item in what {
        let checked = subject::find(project, &listed, item).and_then(|subject| match subject {
            Subject::Wheel(path) => wheel(project, &path, &listed),
            Subject::Image { reference, image } => image_by_name(project, &reference, image, &listed),
        });
        project.cancel.check()?;
        if let Err(error) = checked {
            if what.len() == 1 {
                return Err(error);
            }
            // Continue with the other items after a failure.
            project.ui.say(&format!("error: {item}: {error:#}"));
            failed.push(item.as_str());
        }
    }
    match failed.len() {
        0 => Ok(()),
        n => Err(anyhow!("{n} of {} checks failed: {}", what.len(), failed.join(", "))),
    }
}

fn wheel(project: &Project, path: &Path, listed: &Listed) -> Result<()> {
    let report = subject::checked(project, path, listed)?;
    let file = &report.file_name;
    let mut out = format!("{file}\n  sha256      {}\n  size        {}\n", report.sha256, ui::bytes(report.size));
    for extension in &report.extensions {
        out.push_str(&format!("  module      {} ({})\n", extension.module, extension.path));
    }
    if let Some((major, minor)) = report.glibc {
        out.push_str(&format!("  glibc       needs {major}.{minor}, tagged {}\n", report.name.platform.join(".")));
    }
    if let Some(build) = report.name.local_build() {
        out.push_str(&format!("  build       {}\n", build.description()));
    }
    for library in &report.bundled {
        out.push_str(&format!("  bundled     {library}\n"));
    }
    match listed.wheel(file) {
        Some(entry) if entry.sha256 == report.sha256 => {
            out.push_str(&format!("  manifest    same digest, key {:.12}\n", entry.key));
            out.push_str(&root_note(entry));
            out.push_str(&sbom_beside(entry, listed)?);
        }
        Some(entry) => bail!(
            "its SHA-256 is `{}`, but {} says `{}`: it is not the file that was built; {}",
            report.sha256,
            listed.shown,
            entry.sha256,
            listed.again("cargo xtask wheels")
        ),
        None => out.push_str(&format!("  manifest    {}\n", listed.missing(&format!("`{file}`"))?)),
    }
    print(&(out + "  ok\n"))
}

/// Returns a note if the root file system is not the pinned image.
fn root_note(entry: &Entry) -> String {
    entry.notes.get(root::NOTE).map(|note| format!("  root        {note}\n")).unwrap_or_default()
}

/// Checks the SBOM next to the manifest, if there is one.
fn sbom_beside(entry: &Entry, listed: &Listed) -> Result<String> {
    let path = listed.folder.join(entry.sbom_file());
    let Some(recorded) = entry.sbom.as_ref().filter(|_| path.is_file()) else { return Ok(String::new()) };
    let found = digest::of_file(&path)?;
    if found != *recorded {
        bail!("`{}` has the SHA-256 `{found}`, but {} says `{recorded}`", path.display(), listed.shown);
    }
    Ok("  sbom        same digest\n".to_owned())
}

fn image_by_name(project: &Project, reference: &str, image: &matrix::Image, listed: &Listed) -> Result<()> {
    let (docker, found) = subject::built_image(project, reference, image)?;
    // Check the identity first, so that no other image is started.
    let identity = check_identity(image, &found, listed)?;
    let contents = check_configuration(project, image, &found, listed)?;
    let packages = project.matrix.packages_of(image);
    let imports: Vec<String> =
        packages.flat_map(|package| package.import.iter().map(|name| name.to_string())).collect();
    let (verdict, _) = proof::probe(&docker, &found.id, embedded::gil_probe(), &imports, &project.cancel)?;
    print(&format!("{}{identity}{contents}", describe(reference, image, &found, &verdict)))?;
    check_installed(image, &found, &verdict)?;
    check_slim(&docker, &found, project)?;
    verdict.check_promise(image.gil)?;
    ui::print_result("  ok\n")
}

fn describe(reference: &str, image: &matrix::Image, found: &Image, verdict: &GilReport) -> String {
    let suffix = if verdict.interpreter.free_threaded { "t" } else { "" };
    let build = found.labels.get(labels::INTERPRETER_BUILD).and_then(|name| InterpreterBuild::parse(name));
    let build = build.map_or("the image does not say how it was compiled", InterpreterBuild::description);
    let mut out = format!("{reference}\n  id          {}\n  size        {}\n", found.id, ui::bytes(found.size));
    out.push_str(&format!("  CPython     {}{suffix}, {build}\n", verdict.interpreter.version));
    if let Some(packages) = found.labels.get(labels::QUICK) {
        out.push_str(&format!("  quick       {packages}: built with --quick, for trying out\n"));
    }
    for distribution in &verdict.distributions {
        for module in &distribution.modules {
            let (name, version) = (&distribution.name, &distribution.version);
            // For interpreters with a GIL, the declarations of modules have no effect.
            let status = match (&*module.status, module.not_loadable()) {
                ("error", _) => "not loadable",
                ("not-applicable", _) => "GIL build",
                (status, _) => status,
            };
            out.push_str(&format!("  {status:11} {} ({name} {version})\n", module.name));
            if let Some(why) = module.not_loadable() {
                let reached = if module.reached.is_some() { "an" } else { "no" };
                out.push_str(&format!("              {why}; {reached} import of the image reaches it\n"));
            }
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

/// Checks that the image is the one in the manifest, and returns lines that describe it.
fn check_identity(image: &matrix::Image, found: &Image, listed: &Listed) -> Result<String> {
    let id = found.id.trim_start_matches("sha256:");
    Ok(match listed.image(&image.tag) {
        Some(entry) if entry.sha256 == id => {
            format!("  manifest    same id, key {:.12}\n{}{}", entry.key, root_note(entry), sbom_beside(entry, listed)?)
        }
        Some(entry) => bail!(
            "its id is `{id}`, but {} says `{}`: it is not the image that was built; {}",
            listed.shown,
            entry.sha256,
            listed.again(&format!("cargo xtask image {}", image.tag))
        ),
        None if listed.manifest.not_built.contains(&format!("proof-{}", image.tag)) => bail!(
            "the last run could not build it, as {} says: what has this name is an older image; {}",
            listed.shown,
            listed.again(&format!("cargo xtask image {}", image.tag))
        ),
        None => format!("  manifest    {}\n", listed.missing(&format!("the image `{}`", image.tag))?),
    })
}

/// Checks the configuration of an image (labels, environment, user) against the manifest and the matrix, and returns
/// lines about values that could not be compared.
fn check_configuration(project: &Project, image: &matrix::Image, found: &Image, listed: &Listed) -> Result<String> {
    let again = format!("`cargo xtask image {}` rebuilds it", image.tag);
    let mut open = String::new();
    for package in project.matrix.packages_of(image) {
        let (id, label) = (&package.id, labels::wheel(&package.id));
        let value = found.labels.get(&label).with_context(|| {
            format!("the image was built without `{id}`, which the matrix wants (it has no label `{label}`): {again}")
        })?;
        let labelled = value.split(' ').next().unwrap_or_default();
        if let Some(wanted) = package.wheel_version().filter(|wanted| !wheelfile::same_version(wanted, labelled)) {
            bail!("the matrix wants `{id}` {wanted}, but the image has {labelled}: {again}");
        }
        let row = plan::wheel_id(id, &image.abi);
        match listed.manifest.artefacts.iter().find(|entry| entry.id == row) {
            Some(entry) if value.ends_with(&entry.sha256) => {}
            Some(entry) => bail!(
                "its label `{label}` says `{value}`, but the wheel in {} has the SHA-256 `{}`: {again}",
                listed.shown,
                entry.sha256
            ),
            None => {
                open.push_str(&format!("  manifest    does not list `{id}`, so its digest could not be compared\n"));
            }
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
    Ok(open)
}

/// Column at which the text after a label begins.
const TEXT: usize = 14;

fn print(list: &str) -> Result<()> {
    ui::print_result(&ui::labelled(list, TEXT))
}

/// Checks that the installed versions are those in the image's labels.
fn check_installed(image: &matrix::Image, found: &Image, verdict: &GilReport) -> Result<()> {
    for id in &image.packages {
        let label = labels::wheel(id);
        let labelled = found.labels.get(&label).and_then(|value| value.split(' ').next()).unwrap_or_default();
        let installed = verdict.distributions.iter().find(|distribution| wheelfile::same_name(&distribution.name, id));
        if let Some(installed) = installed.filter(|installed| !wheelfile::same_version(&installed.version, labelled)) {
            bail!(
                "`{id}` {} is installed, but the label `{label}` says {labelled}: `cargo xtask image {}` builds it anew",
                installed.version,
                image.tag
            );
        }
    }
    Ok(())
}

/// Checks that the image has no compiler and that its user cannot change installed files.
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
    ui::print_result(&format!("  user        {}: no compiler, cannot change what is installed\n", found.user))
}
