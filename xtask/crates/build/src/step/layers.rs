//! Layers of images come out the same when they are built again. Uses images that the pipeline has built before.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use base::cancel::Cancel;
use base::digest;
use docker::{Build, Content, ContextFile, Docker, Job, Network, owner};
use wheelfile::NewWheel;

use super::env::text;
use crate::cache::{Cache, StepRecord};
use crate::embedded;
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

/// What the pipeline called an image that it has made; the newest, if there are several. If the cache has it from
/// another project of this user, it has the name of that project.
fn made(id: &str) -> String {
    let listed = |project: &str| {
        let wanted = format!("reference={project}/build:{id}-*");
        let arguments = ["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &wanted];
        let output = Command::new("docker").args(arguments).output().unwrap();
        // Only a key may follow: `python-cp314t-tsan` is another step than `python-cp314t`.
        let is_key = |tag: &str| tag.bytes().all(|c| c.is_ascii_hexdigit());
        let is_wanted = |name: &&str| name.rsplit_once(&format!("{id}-")).is_some_and(|(_, key)| is_key(key));
        String::from_utf8(output.stdout).unwrap().lines().find(is_wanted).map(str::to_owned)
    };
    listed(&own_matrix().name).or_else(|| listed("*")).unwrap_or_else(|| panic!("no image of `{id}`"))
}

/// The wheel of a tool that the pipeline has downloaded.
fn tool(name: &str) -> ContextFile {
    let cache = Cache::open(|_| {}).unwrap();
    let records = fs::read_dir(cache.dir().join("records")).unwrap().flatten();
    let texts = records.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let mut found = texts.filter_map(|text| serde_json::from_str::<StepRecord>(&text).ok());
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

/// The text of a file that runs in containers, as a part of a build context.
fn script(path: &str, file: &str) -> ContextFile {
    text(path, &embedded::files()[file], 0o644)
}

/// An installation of wheels of small packages with these names and versions on an image.
fn installation(folder: &Folder, base: &str, packages: &[(&str, &str)]) -> Build<'static> {
    let mut context = vec![script("compile_bytecode.py", "docker/compile_bytecode.py"), tool("uv")];
    let mut pins = String::new();
    for (distribution, version) in packages {
        let code = format!("def f(): return {{1, 2, 3}}, '{distribution} {version}'");
        let new = NewWheel {
            distribution,
            version,
            python: "py3",
            abi: "none",
            platform: "any",
            files: vec![(format!("{distribution}/__init__.py"), code.into_bytes())],
        };
        let wheel = folder.0.join(new.file_name());
        wheelfile::write_wheel(&wheel, &new).unwrap();
        pins += &format!("{distribution}=={version} --hash=sha256:{}\n", digest::of_file(&wheel).unwrap());
        let path = format!("wheelhouse/{}", new.file_name());
        context.push(ContextFile { path, source: Content::File(wheel), mode: 0o644 });
    }
    context.push(text("wheelhouse/requirements.txt", &pins, 0o644));
    Build {
        dockerfile: include_str!("../../../../../docker/image.Dockerfile"),
        context,
        args: BTreeMap::from([("BASE".into(), base.to_owned())]),
        network: Network::None,
        ..Build::default()
    }
}

/// The same on a layer that has been installed before.
fn added(folder: &Folder, base: &str, packages: &[(&str, &str)]) -> Build<'static> {
    let mut build = installation(folder, base, packages);
    build.context.retain(|file| file.path != "compile_bytecode.py");
    build.context.push(script("compile_bytecode.py", "docker/compile_added.py"));
    build.context.push(script("compile_all.py", "docker/compile_bytecode.py"));
    build
}

fn first_base() -> String {
    made(&format!("base-{}", own_matrix().abis[0].id))
}

#[test]
#[ignore = "needs an engine"]
fn layers_of_an_image() {
    let folder = Folder::new("layers");
    same_layers(installation(&folder, &first_base(), &[("small", "1")]));
}

/// What is installed in two layers is what is installed in one.
#[test]
#[ignore = "needs an engine"]
fn an_image_on_its_requirements_has_the_same_files() {
    let (folder, docker, never) = (Folder::new("layers-two"), engine(), Cancel::default());
    let build = |build: &Build| docker.build(build, &|line| println!("| {line}"), &never).unwrap();
    let files = |image: &str| {
        let skipped = "'(' -path /proc -o -path /sys -o -path /dev -o -path /.dockerenv -o -path '/etc/host*' -o -path /etc/resolv.conf ')' -prune";
        let find = format!("find / -xdev {skipped} -o -type f");
        let script = format!("({find} -printf '%p %m %u %T@\\n'; {find} -exec sha256sum '{{}}' +) | sort");
        let job = Job {
            image,
            command: ["sh", "-c", &script].map(str::to_owned).to_vec(),
            user: Some("root"),
            network: Network::None,
            ..Job::default()
        };
        let ended = docker.run(&job, &|_| {}, &never).unwrap();
        assert_eq!(ended.exit, 0, "{}", ended.stderr);
        ended.stdout
    };
    let base = first_base();
    let one = build(&installation(&folder, &base, &[("lower", "1"), ("upper", "1")]));
    // A Dockerfile cannot name an image by its id.
    let lower = format!("xtask-layers-{}:lower", std::process::id());
    build(&Build { tags: vec![lower.clone()], ..installation(&folder, &base, &[("lower", "1")]) });
    let two = build(&added(&folder, &lower, &[("upper", "1")]));
    let untagged = Command::new("docker").args(["image", "rm", &lower]).output().unwrap();
    assert!(untagged.status.success());
    let (one, two) = (files(&one), files(&two));
    assert!(one.contains("/upper/__pycache__/") && one.contains("/lower/__pycache__/"), "{one}");
    let missing = |of: &str, other: &str| {
        of.lines().filter(|line| !other.lines().any(|same| same == *line)).map(str::to_owned).collect::<Vec<_>>()
    };
    let (lost, new) = (missing(&one, &two), missing(&two, &one));
    assert!(lost.is_empty() && new.is_empty(), "only in one: {lost:#?}; only in two: {new:#?}");
}
