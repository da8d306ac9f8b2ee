//! Says what becomes of the patches of a package with a newer release of its source.

use anyhow::{Context as _, Result};
use build::Project;
use build::facts::read_patches;
use build::index;
use build::patches::{self, PatchFit};
use matrix::{Matrix, Package};
use wheelfile::same_version;

use super::{PinnedInput, State};
use base::ui;

/// What becomes of each patch of a package with a version of its source, in order.
pub type Judge<'a> = dyn Fn(&Package, &str) -> Result<Vec<(String, PatchFit)>> + 'a;

/// Adds to the rows of patched packages that have a newer release what becomes of their patches. A release that does not
/// take all of them is not written to the matrix.
pub fn judge(matrix: &Matrix, rows: &mut [PinnedInput], judge: &Judge) {
    for package in matrix.packages.iter().filter(|package| package.build.patches.is_some()) {
        let input = format!("sdist {}", package.id);
        let Some(row) = rows.iter_mut().find(|row| row.input == input && row.state == State::Newer) else { continue };
        let (said, fits) = match judge(package, &row.newest) {
            Ok(found) => (describe(&found), found.iter().all(|(_, fit)| *fit == PatchFit::Applies)),
            Err(error) => (format!("the patches were not tried: {error:#}"), false),
        };
        if !fits {
            row.edits.clear();
        }
        let lines: Vec<&str> = [row.note.as_str(), &said].into_iter().filter(|line| !line.is_empty()).collect();
        row.note = lines.join("\n");
    }
}

fn describe(found: &[(String, PatchFit)]) -> String {
    let with = |fit: PatchFit| found.iter().filter(|(_, each)| *each == fit).map(|(name, _)| name).collect::<Vec<_>>();
    let mut lines = Vec::new();
    let unnecessary = with(PatchFit::Unnecessary);
    if !unnecessary.is_empty() {
        lines.push(format!("in that version already, so remove the patch: {}", ui::quoted(unnecessary)));
    }
    let unfit = with(PatchFit::Unfit);
    if !unfit.is_empty() {
        lines.push(format!("does not apply to that version, so change the patch: {}", ui::quoted(unfit)));
    }
    let applies = with(PatchFit::Applies).len();
    lines.push(format!("{applies} of {} patches apply", found.len()));
    if applies < found.len() {
        lines.push("not written: change the patches first".to_owned());
    }
    lines.join("\n")
}

/// Downloads the source of a version and tries the patches of the package on it.
pub fn try_on(project: &Project, package: &Package, version: &str) -> Result<Vec<(String, PatchFit)>> {
    let folder = &package.build.patches.as_ref().context("the package has no patches")?.folder;
    let series = read_patches(&project.folder.join(&**folder))?;
    let url = index::index_url(&project.tools()?.join("bin/python"))?;
    let name = package.distribution();
    let id = "outdated-patches";
    let task =
        project.ui.start(id, &format!("try {} patches on {name} {version}", series.len()), &project.cache.log(id));
    task.open_log()?;
    let scratch = project.cache.scratch(id)?;
    let archive = scratch.path().join("sdist.tar.gz");
    index::with_index(&url, scratch.path(), &task, &project.cancel, |index| {
        let files = index.project(name)?.with_context(|| format!("the package index has no project `{name}`"))?;
        let release = files.releases.iter().find(|release| same_version(&release.version.to_string(), version));
        let sdist = release
            .and_then(|release| release.sdist())
            .filter(|sdist| sdist.name.ends_with(".tar.gz"))
            .with_context(|| format!("`{name}` {version} has no source distribution `.tar.gz`"))?;
        index.download(sdist, &archive)
    })?;
    patches::fits(&archive, &series, scratch.path(), &task, &project.cancel)
}
