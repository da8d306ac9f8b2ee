//! Builds the image of the stand-in server, which contains one static program.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use xshell::{Shell, cmd};

use base::environment::{self, Purpose};
use base::{digest, failure, labels, proc};
use build::Project;
use docker::{Build, Content, ContextFile, Docker, Network};

/// Port of the server.
pub const PORT: u16 = 3000;

/// Compiles the server if necessary, and returns the name of its image.
pub fn image(project: &Project, docker: &Docker) -> Result<String> {
    let task = project.ui.start("standin", "compile the stand-in server", &project.cache.log("standin"));
    task.open_log()?;
    let folder = project.cache.state("standin")?;
    let target = project.matrix.platform.rust_target();
    let shell = Shell::new()?;
    shell.change_dir(&project.folder);
    // Static linking, so that it runs in an empty image.
    let build = cmd!(shell, "cargo build --release --locked --package standin --target {target} --target-dir {folder}");
    let command = environment::apply(build, Purpose::Cargo).env("RUSTFLAGS", "-C target-feature=+crt-static");
    let compiled = proc::run(command, &task, &project.cancel);
    compiled.map_err(|error| anyhow!("cannot compile the stand-in server: {}", failure::explain(&error, &task)))?;
    let program = folder.join(target).join("release/standin");
    let reference = format!("{}/build:standin-{}", project.matrix.name, &digest::of_file(&program)?[..16]);
    if docker.image(&reference)?.is_none() {
        docker.build(
            &Build {
                dockerfile: "FROM scratch\nCOPY standin /standin\nUSER 10001\nENTRYPOINT [\"/standin\"]\n",
                context: vec![ContextFile { path: "standin".to_owned(), source: Content::File(program), mode: 0o755 }],
                labels: BTreeMap::from([(labels::TITLE.to_owned(), "stand-in server".to_owned())]),
                tags: vec![reference.clone()],
                network: Network::None,
                ..Build::default()
            },
            &|line| task.line(line),
            &project.cancel,
        )?;
    }
    task.end("ok");
    Ok(reference)
}

/// Returns the arguments of the server.
pub fn command() -> Vec<String> {
    ["--listen".to_owned(), format!("0.0.0.0:{PORT}")].to_vec()
}
