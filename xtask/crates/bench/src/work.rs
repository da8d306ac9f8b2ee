//! The folder of a benchmark that is running, and the images and containers that it creates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// Temporary folder of a running benchmark. Its images and containers are removed with it.
pub struct Work {
    pub folder: PathBuf,
    docker: Option<PathBuf>,
    /// Name of the project that is measured, and of its images.
    pub name: String,
}

impl Work {
    pub fn new(folder: PathBuf, docker: Option<PathBuf>, name: String) -> Result<Work> {
        let work = Work { folder, docker, name };
        // Remove what a killed run left.
        work.clear();
        fs::create_dir_all(&work.folder).with_context(|| format!("cannot make `{}`", work.folder.display()))?;
        Ok(work)
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.folder);
        let Some(docker) = &self.docker else { return };
        for container in ["plain", "copy"] {
            quietly(docker, &["rm", "--force", &format!("{}-{container}", self.name)]);
        }
        for filter in [self.name.clone(), format!("{}/*", self.name)] {
            let filter = format!("reference={filter}");
            let listed = quietly(docker, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &filter]);
            let names: Vec<&str> = listed.lines().collect();
            if !names.is_empty() {
                quietly(docker, &[&["image", "rm", "--force"], names.as_slice()].concat());
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Runs a cleanup command and ignores errors.
pub fn quietly(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
