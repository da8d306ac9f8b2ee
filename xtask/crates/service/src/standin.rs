//! Builds the image of the stand-in server, which contains one static program.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use xshell::{Shell, cmd};

use base::environment::{self, Purpose};
use base::{UsageError, digest, failure, labels, proc};
use build::Project;
use docker::{Build, Content, ContextFile, Docker, Network};
use matrix::Matrix;

/// Returns the Cargo package and the port of the stand-in that the matrix names.
pub fn named_by(matrix: &Matrix) -> Result<(&str, u16)> {
    let server = matrix.server.as_ref();
    let named = server.and_then(|server| Some((&**server.standin.as_ref()?, server.port)));
    named.ok_or_else(|| {
        anyhow!(UsageError(
            "matrix.yaml names no stand-in for the server: give the address of a server with `--server HOST:PORT`, or \
             set `server.standin`"
                .to_owned()
        ))
    })
}

/// Compiles the program of the Cargo package `name` if necessary, and returns the name of its image.
pub fn image(project: &Project, docker: &Docker, name: &str) -> Result<String> {
    let task = project.ui.start("standin", "compile the stand-in server", &project.cache.log("standin"));
    task.open_log()?;
    let folder = project.cache.state("standin")?;
    let target = project.matrix.platform.rust_target();
    let shell = Shell::new()?;
    shell.change_dir(&project.folder);
    // Static linking, so that it runs in an empty image.
    let build = cmd!(shell, "cargo build --release --locked --package {name} --target {target} --target-dir {folder}");
    let command = environment::apply(build, Purpose::Cargo).env("RUSTFLAGS", "-C target-feature=+crt-static");
    let compiled = proc::run(command, &task, &project.cancel);
    compiled.map_err(|error| anyhow!("cannot compile the stand-in server: {}", failure::explain(&error, &task)))?;
    let program = folder.join(target).join("release").join(name);
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
pub fn command(port: u16) -> Vec<String> {
    ["--listen".to_owned(), format!("0.0.0.0:{port}")].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stand_in_that_the_matrix_names_is_started() {
        let mut matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        assert_eq!(named_by(&matrix).unwrap(), ("standin", 3000));
        matrix.server.as_mut().unwrap().standin = None;
        let error = named_by(&matrix).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("`server.standin`"), "{error}");
        matrix.server = None;
        assert!(named_by(&matrix).is_err());
    }
}
