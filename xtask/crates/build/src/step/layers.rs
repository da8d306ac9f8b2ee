//! Layers of images come out the same when they are built again. Uses images that the pipeline has built before.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use base::cancel::Cancel;
use base::digest;
use docker::{Build, Content, ContextFile, Docker, Network, owner};
use wheelfile::NewWheel;

use super::env::text;
use crate::cache::{Cache, Record};
use crate::host::{ca_bundle, proxies};
use fixture::Folder;
use matrix::{Abi, Interpreter, Matrix};

fn engine() -> Docker {
    owner::register_below(&std::env::temp_dir().join(format!("xtask-layers-{}", std::process::id())));
    Docker::connect().unwrap()
}

/// The matrix that the pipeline has built.
fn own_matrix() -> Matrix {
    Matrix::parse(&fixture::own_matrix(), "matrix.yaml").unwrap()
}

/// What the pipeline called an image that it has made; the newest, if there are several.
fn made(id: &str) -> String {
    let wanted = format!("reference={}/build:{id}-*", own_matrix().name);
    let output =
        Command::new("docker").args(["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &wanted]).output();
    let listed = String::from_utf8(output.unwrap().stdout).unwrap();
    listed.lines().next().unwrap_or_else(|| panic!("no image of `{id}`")).to_owned()
}

/// The wheel of a tool that the pipeline has downloaded.
fn tool(name: &str) -> ContextFile {
    let cache = Cache::open(|_| {}).unwrap();
    let records = fs::read_dir(cache.dir().join("records")).unwrap().flatten();
    let texts = records.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let mut found = texts.filter_map(|text| serde_json::from_str::<Record>(&text).ok());
    let file = found.find(|record| record.id == format!("tool-{name}")).unwrap().output.files.remove(0);
    ContextFile { path: file.name, source: Content::File(cache.blob(&file.sha256)), mode: 0o644 }
}

/// The layers of two builds that share nothing but the inputs, seconds apart.
fn same_layers(mut build: Build) {
    let (docker, never) = (engine(), Cancel::default());
    build.no_cache = true;
    let layers = || {
        let id = docker.build(&build, &|line| println!("| {line}"), &never).unwrap();
        docker.image(&id).unwrap().unwrap().layers
    };
    let one = layers();
    // Times in layers are whole seconds.
    thread::sleep(Duration::from_millis(1100));
    let other = layers();
    assert!(one.len() > 1);
    assert_eq!(one, other);
}

#[test]
#[ignore = "needs an engine and a network"]
fn layers_of_debian_packages() {
    same_layers(Build {
        dockerfile: include_str!("../../../../../docker/builder.Dockerfile"),
        context: vec![match ca_bundle() {
            Some(path) => ContextFile { path: "ca.crt".into(), source: Content::File(path), mode: 0o644 },
            None => text("ca.crt", "", 0o644),
        }],
        args: BTreeMap::from([("ROOT".into(), made("root")), ("APT".into(), "ca-certificates libssl3 netbase".into())])
            .into_iter()
            .chain(proxies().unwrap())
            .collect(),
        ..Build::default()
    });
}

#[test]
#[ignore = "needs an engine"]
fn layers_of_base_images() {
    let base = |target, args: &[(&str, &str)]| Build {
        dockerfile: include_str!("../../../../../docker/base.Dockerfile"),
        context: vec![tool("pip")],
        target: Some(target),
        args: args.iter().map(|(name, id)| (name.to_string(), made(id))).collect(),
        network: Network::None,
        ..Build::default()
    };
    // One interpreter of each kind.
    let matrix = own_matrix();
    let distribution = matrix.abis.iter().find_map(|abi| abi.interpreter.distribution.as_ref());
    if let Some(distribution) = distribution {
        same_layers(base("distribution", &[("ROOT", &format!("apt-{}", distribution.runtime_apt))]));
    }
    let compiled = matrix.abis.iter().rev().find(|abi| abi.interpreter.source.is_some());
    if let Some(abi @ Abi { interpreter: Interpreter { source: Some(source), .. }, .. }) = compiled {
        let root = format!("apt-{}", source.runtime_apt);
        same_layers(base("slim", &[("ROOT", &root), ("DEVEL", &format!("python-{}", abi.id))]));
    }
}

#[test]
#[ignore = "needs an engine"]
fn layers_of_an_image() {
    let folder = Folder::new("layers");
    let wheel = folder.0.join("small-1-py3-none-any.whl");
    let new = NewWheel {
        distribution: "small",
        version: "1",
        python: "py3",
        abi: "none",
        platform: "any",
        files: vec![("small/__init__.py".to_owned(), b"def f(): return {1, 2, 3}".to_vec())],
    };
    wheelfile::write_wheel(&wheel, &new).unwrap();
    let pins = format!("small==1 --hash=sha256:{}\n", digest::of_file(&wheel).unwrap());
    same_layers(Build {
        dockerfile: include_str!("../../../../../docker/image.Dockerfile"),
        context: vec![
            ContextFile { path: format!("wheelhouse/{}", new.file_name()), source: Content::File(wheel), mode: 0o644 },
            text("wheelhouse/requirements.txt", &pins, 0o644),
            text("compile_bytecode.py", include_str!("../../../../../docker/compile_bytecode.py"), 0o644),
            tool("uv"),
        ],
        args: BTreeMap::from([("BASE".into(), made(&format!("base-{}", own_matrix().abis[0].id)))]),
        network: Network::None,
        ..Build::default()
    });
}
