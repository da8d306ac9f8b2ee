//! `cargo xtask add`: finds out what a package needs, adds its rows to the matrix, and builds and proves it.

pub mod adding;
pub mod rows;
pub mod target;

use std::fs;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::lock::LockFailed;
use base::{UsageError, program, ui};
use build::{BuildOptions, Project, cache};
use matrix::Matrix;
use matrix::select::{self};
use wheelfile::normalise;

use adding::{Added, Adding};
use rows::{ImageRow, PackageRow};
use target::Target;

#[derive(Debug, Args)]
pub struct Options {
    /// Name of a distribution on the package index, with optional versions such as `==1.2` or `<3`, or folder with a
    /// working copy
    #[arg(value_name = "NAME[==VERSION]|PATH")]
    what: String,
    /// ABI to build the wheel for (repeatable); default: the free-threaded ABIs of the matrix
    #[arg(long = "abi", value_name = "ABI")]
    abis: Vec<String>,
    /// Also add an image with the package, for the last free-threaded one of the ABIs, else for the last, and prove
    /// whether the GIL is off in it
    #[arg(long, value_name = "TAG")]
    image: Option<String>,
    /// Build the wheel even if the vendor publishes one
    #[arg(long)]
    from_source: bool,
    /// Also add the run-time requirements that have no wheel for the ABI of the image, each before what requires it
    #[arg(long)]
    with_dependencies: bool,
    /// Print the rows and stop: build nothing and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    build: BuildOptions,
}

/// Adds a package, with `--with-dependencies` after those that it requires.
pub fn run(project: &mut Project, options: &Options) -> Result<()> {
    let mut open = vec![options.what.clone()];
    let mut tried = open.clone();
    // The last one is added first.
    while let Some(what) = open.last().cloned() {
        let tag = options.image.as_deref().filter(|_| open.len() == 1);
        let Err(error) = add(project, options, &what, tag) else {
            open.pop();
            continue;
        };
        let failed = error.chain().find_map(|cause| cause.downcast_ref::<LockFailed>());
        let without_wheel = failed.map(|failed| failed.to_build.clone()).unwrap_or_default();
        let Some(next) = without_wheel.into_iter().find(|what| options.with_dependencies && !tried.contains(what))
        else {
            return Err(error);
        };
        project.ui.say(&format!("[add] `{next}` has no wheel for the image: adding it first"));
        tried.push(next.clone());
        open.push(next);
    }
    Ok(())
}

/// Adds a package. The matrix is written only if everything was built.
fn add(project: &mut Project, options: &Options, what: &str, tag: Option<&str>) -> Result<()> {
    let old = fs::read_to_string(&project.file).with_context(|| format!("cannot read `{}`", project.file.display()))?;
    project.matrix = Matrix::parse(&old, "matrix.yaml")?;
    let abis = abis(&project.matrix, &options.abis)?;
    if let Some(tag) = tag.filter(|tag| project.matrix.image(tag).is_some()) {
        return Err(anyhow!(UsageError(format!("matrix.yaml already has an image `{tag}`: choose another tag"))));
    }
    if let Ok((name, _)) = target::name_and_versions(what) {
        refuse_existing(&project.matrix, &normalise(&name))?;
    }
    let mut target = Target::find(project, what)?;
    refuse_existing(&project.matrix, &target.id)?;
    if options.from_source && what == options.what {
        target.published.retain(|(abi, _)| !abis.contains(abi));
    }
    let mut package = PackageRow::new(&target, &project.matrix);
    // A guess; the wheel has the names.
    package.import = vec![target.id.replace(['-', '.'], "_")];
    let image = tag.map(|tag| ImageRow::guessed(tag, &abis, std::slice::from_ref(&target.id)));
    let expected = rows::text(&old, &package, image.as_ref())?;
    Matrix::parse(&expected, "matrix.yaml with the new rows")
        .map_err(|error| anyhow!(UsageError(format!("{error:#}"))))?;
    if options.dry_run {
        return ui::print_result(&rows::listing(&package, image.as_ref()));
    }
    package.import.clear();
    let image = tag.map(str::to_owned);
    let vendors_wheel =
        target.vendors_wheel.filter(|_| abis.iter().any(|abi| !target.published.iter().any(|(known, _)| known == abi)));
    let mut adding = Adding { project, build: &options.build, old: &old, abis: &abis, package, image, vendors_wheel };
    let added = adding.run();
    let package = adding.package;
    let added = added.map_err(|error| {
        let rows = rows::listing(&package, None);
        error.context(format!("nothing was added to matrix.yaml; the rows that were tried are\n{rows}the build failed"))
    })?;
    // The file may have been edited meanwhile.
    let now = fs::read_to_string(&project.file).with_context(|| format!("cannot read `{}`", project.file.display()))?;
    let new = rows::text(&now, &package, added.image.as_ref())?;
    Matrix::parse(&new, "matrix.yaml with the new rows")
        .context("matrix.yaml was edited while the package was built")?;
    cache::write(&project.file, new.as_bytes())?;
    let rows = rows::listing(&package, added.image.as_ref());
    let advice = format!("{}{}", advise(tag, &added), outdated_workflows(project, &new)?);
    ui::print_result(&format!("\nAdded to matrix.yaml:\n{rows}{advice}"))
}

/// Returns what to do if workflows list the images of the matrix.
fn outdated_workflows(project: &Project, matrix: &str) -> Result<String> {
    let matrix = Matrix::parse(matrix, "matrix.yaml")?;
    let folder = project.folder.join(".github/workflows");
    let mut outdated = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let name = entry.with_context(|| format!("cannot list `{}`", folder.display()))?.file_name();
        let name = name.to_string_lossy().into_owned();
        // Other files than workflows, and those that only `workflow` can say something about.
        let Ok(text) = fs::read_to_string(folder.join(&name)) else { continue };
        if matrix::workflow(&text, &matrix).is_ok_and(|new| new != text) {
            outdated.push(name);
        }
    }
    outdated.sort();
    let mut out = String::new();
    if !outdated.is_empty() {
        let text = format!(
            "{} in .github/workflows lists the images: run `cargo xtask workflow` to update it.",
            ui::quoted(outdated)
        );
        out.push('\n');
        ui::wrap(&mut out, "", &program::with_command(&text));
    }
    Ok(out)
}

fn refuse_existing(matrix: &Matrix, id: &str) -> Result<()> {
    match matrix.package(id) {
        Some(_) => Err(anyhow!(UsageError(format!(
            "matrix.yaml already has a package `{id}`: edit its row, or add an image with it to `images`"
        )))),
        None => Ok(()),
    }
}

/// Returns the wanted ABIs, which must be in the matrix.
pub fn abis(matrix: &Matrix, wanted: &[String]) -> Result<Vec<String>> {
    for id in wanted {
        select::abi(matrix, id)?;
    }
    if !wanted.is_empty() {
        return Ok(wanted.to_vec());
    }
    let free_threaded: Vec<String> =
        matrix.abis.iter().filter(|abi| abi.free_threaded()).map(|abi| abi.id.to_string()).collect();
    match free_threaded.is_empty() {
        true => {
            let choices = ui::quoted(matrix.abis.iter().map(|abi| &abi.id));
            Err(anyhow!(UsageError(format!("the matrix has no free-threaded ABI; choose with --abi: {choices}"))))
        }
        false => Ok(free_threaded),
    }
}

/// Returns what the user may do next.
fn advise(tag: Option<&str>, added: &Added) -> String {
    let mut text = "\n".to_owned();
    let lacking = added.lacking.as_deref().unwrap_or_default();
    if !lacking.is_empty() {
        let lacking = ui::quoted(lacking);
        let line = format!(
            "The wheel lacks {lacking}, which the vendor's wheel of the same version has: the build left it out. If a \
             library was missing, add its Debian package to the package's apt set in matrix.yaml and build again."
        );
        ui::wrap(&mut text, "", &line);
    }
    let (Some(tag), Some(probed)) = (tag, &added.probed) else {
        let next = format!(
            "No image was made, so nothing is known about the GIL: `cargo xtask verify --gil off wheels/{}` imports the \
             modules of the wheel without the GIL.",
            added.wheel.file
        );
        ui::wrap(&mut text, "", &program::with_command(&next));
        return text;
    };
    if !probed.not_loadable.is_empty() {
        ui::wrap(&mut text, "", &format!("Cannot be loaded, and is not imported: {}.", probed.not_loadable.join("; ")));
    }
    if probed.on && !probed.undeclared.is_empty() {
        let undeclared = ui::quoted(&probed.undeclared);
        let lines = [
            format!("{undeclared} does not declare that it runs without the GIL, and enables it when it is imported."),
            "In a package of your own, make it safe without the GIL, and declare that: `Py_mod_gil` in C \
             (docs.python.org/3/howto/free-threading-extensions.html), `gil_used = false` with PyO3."
                .to_owned(),
            format!(
                "To keep the GIL off although nobody has stated that this is safe, give the image `env: {{PYTHON_GIL: \
                 \"0\"}}` and `gil: \"forced off\"`, then run `cargo xtask image {tag}` and `cargo xtask test {tag}`."
            ),
        ];
        lines.iter().for_each(|line| ui::wrap(&mut text, "", &program::with_command(line)));
    }
    if text == "\n" { String::new() } else { text }
}
