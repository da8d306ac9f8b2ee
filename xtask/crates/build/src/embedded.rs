//! What runs in containers: the files below `docker/` that steps send to the engine are part of the program.
//!
//! A folder with a `matrix.yaml` needs no copy of them, and files of the same names in it have no effect.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};

macro_rules! files {
    ($($name:literal)*) => {
        [$((concat!("docker/", $name), include_str!(concat!("../../../../docker/", $name)))),*]
    };
}

/// The files, by path in a clone of this tool.
const FILES: [(&str, &str); 14] = files! {
    "builder.Dockerfile"
    "python.Dockerfile"
    "base.Dockerfile"
    "image.Dockerfile"
    "build-wheel.sh"
    "compile_added.py"
    "compile_bytecode.py"
    "parallel_compile.py"
    "gil_probe.py"
    "tsan/python.Dockerfile"
    "tsan/build.sh"
    "tsan/controls.sh"
    "tsan/controls.c"
    "tsan/controls.rs"
};

/// Names a folder with files to use instead of those of the same name. `bench build` sets it, to measure builds that
/// BuildKit has not cached.
pub const VARIABLE: &str = "XTASK_CONTAINER_FILES";

/// Returns the script that determines the state of the GIL in an image.
pub fn gil_probe() -> &'static str {
    include_str!("../../../../docker/gil_probe.py")
}

/// Returns the text of each file, by path in a clone of this tool.
pub fn files() -> BTreeMap<String, String> {
    FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Returns the text of each file; files in `folder` replace those of the same path below `docker/`.
pub fn files_or_those_in(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = files();
    for (path, text) in &mut files {
        if let Some(own) = read_if_present(&folder.join(path.trim_start_matches("docker/")))? {
            *text = own;
        }
    }
    Ok(files)
}

/// Whether the project is a clone of this tool with the same files.
pub fn are_those_of(project: &Path) -> Result<bool> {
    for (name, text) in FILES {
        if read_if_present(&project.join(name))?.as_deref() != Some(text) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_if_present(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, are_those_of, files, files_or_those_in};
    use fixture::Folder;

    #[test]
    fn a_clone_has_the_same_files_and_another_folder_has_no_effect() {
        assert!(are_those_of(&fixture::project()).unwrap());
        let folder = Folder::new("embedded");
        assert!(!are_those_of(&folder.0).unwrap());
        for (name, text) in FILES {
            folder.write(name, text);
        }
        assert!(are_those_of(&folder.0).unwrap());
        folder.write("docker/base.Dockerfile", "FROM scratch\n");
        assert!(!are_those_of(&folder.0).unwrap());
        assert_eq!(files()["docker/base.Dockerfile"], files_or_those_in(&folder.0).unwrap()["docker/base.Dockerfile"]);
        let changed = files_or_those_in(&folder.0.join("docker")).unwrap();
        assert_eq!(changed["docker/base.Dockerfile"], "FROM scratch\n");
        assert_eq!(changed["docker/image.Dockerfile"], files()["docker/image.Dockerfile"]);
    }
}
