//! Says whether a series of patches fits another release of its source.

use std::fs;
use std::path::Path;

use anyhow::Result;
use base::cancel::Cancel;
use base::proc::{self, CommandFailed};
use base::ui::Task;
use xshell::Shell;

use crate::plan::PatchFile;
use crate::step::{patch, sdist};

/// What becomes of a patch with another release of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchFit {
    Applies,
    /// The release has the change already.
    Unnecessary,
    /// The lines that it changes, or those around them, are different.
    Unfit,
}

/// Unpacks the source distribution `archive` below `scratch` and applies the patches to it in their order. Patches that
/// do not apply are left out.
pub fn fits(
    archive: &Path,
    patches: &[PatchFile],
    scratch: &Path,
    task: &Task,
    cancel: &Cancel,
) -> Result<Vec<(String, PatchFit)>> {
    let (top, file, shell) = (scratch.join("source"), scratch.join("patch"), Shell::new()?);
    sdist::unpack_archive(archive, &top, task, cancel)?;
    let succeeds = |options: &[&str]| match proc::run(patch::command(&shell, &top, &file, options), task, cancel) {
        Ok(()) => Ok(true),
        Err(error) if error.is::<CommandFailed>() => Ok(false),
        Err(error) => Err(error),
    };
    let fit = |each: &PatchFile| -> Result<(String, PatchFit)> {
        fs::write(&file, &each.text)?;
        let fit = if succeeds(&["--forward", "--dry-run"])? {
            proc::run(patch::command(&shell, &top, &file, &["--forward"]), task, cancel)?;
            PatchFit::Applies
        } else if succeeds(&["--reverse", "--dry-run"])? {
            PatchFit::Unnecessary
        } else {
            PatchFit::Unfit
        };
        Ok((each.name.clone(), fit))
    };
    patches.iter().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use base::digest;
    use base::ui::Ui;
    use fixture::Folder;

    /// A patch of the file `NAME`, which has one line.
    fn change(name: &str, old: &str, new: &str) -> PatchFile {
        let text = format!("Subject: x\n\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-{old}\n+{new}\n");
        PatchFile { name: format!("{name}-{new}.patch"), sha256: digest::of(&text), text }
    }

    #[test]
    fn each_patch_applies_or_is_unnecessary_or_unfit() {
        let folder = Folder::new("patches-fit");
        folder.write("demo-2/one", "b\n").write("demo-2/two", "now another\n").write("demo-2/three", "a\n");
        let archive = folder.0.join("demo.tar.gz");
        let (ui, shell, root) = (Ui::detect(), Shell::new().unwrap(), &folder.0);
        xshell::cmd!(shell, "tar -czf {archive} -C {root} demo-2").quiet().run().unwrap();
        let cache = Cache::at(&folder.0.join("cache")).unwrap();
        let task = ui.start("test", "patches", &cache.log("test"));
        let series = [
            change("one", "a", "b"),
            change("two", "a", "b"),
            change("three", "a", "b"),
            // Needs the patch before it.
            change("three", "b", "c"),
        ];
        let scratch = cache.scratch("test").unwrap();
        let found = fits(&archive, &series, scratch.path(), &task, &Cancel::default()).unwrap();
        let fits: Vec<PatchFit> = found.into_iter().map(|(_, fit)| fit).collect();
        assert_eq!(fits, [PatchFit::Unnecessary, PatchFit::Unfit, PatchFit::Applies, PatchFit::Applies]);
        // What does not apply leaves nothing behind.
        assert_eq!(fs::read_to_string(scratch.path().join("source/two")).unwrap(), "now another\n");
        assert_eq!(fs::read_to_string(scratch.path().join("source/three")).unwrap(), "c\n");
    }
}
