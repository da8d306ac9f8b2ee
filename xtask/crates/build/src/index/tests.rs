//! What the client of the package index answers, and what it refuses.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr as _;

use pep440_rs::Version;

use super::*;
use base::digest;
use download::testing::{TestServer, direct_client, empty, send};

/// Index on this machine that answers by path, with a folder for temporary files.
struct Served {
    server: TestServer,
    folder: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Served {
    fn new(name: &str, pages: Vec<(&'static str, Vec<u8>)>) -> Served {
        let folder = std::env::temp_dir().join(format!("xtask-index-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let server = TestServer::start(move |_, head, stream| {
            let path = head.split(' ').nth(1).unwrap();
            match pages.iter().find(|(known, _)| *known == path) {
                Some((_, body)) => send(stream, "200 OK", "", body, body.len()),
                None if path.contains("broken") => empty(stream, "403 Forbidden", ""),
                None => empty(stream, "404 Not Found", ""),
            }
        });
        Served { server, folder }
    }

    fn ask<T>(&self, work: impl FnOnce(&Index) -> Result<T>) -> Result<T> {
        let (client, cancel) = (direct_client(), Cancel::default());
        let url = format!("http://127.0.0.1:{}/simple", self.server.port);
        let progress = DownloadProgress { line: &|_| {}, bytes: &|_, _| {} };
        work(&Index { client: &client, url: &url, scratch: &self.folder, progress, cancel: &cancel })
    }
}

fn page(files: &[(&str, &str)]) -> Vec<u8> {
    let files: Vec<String> = files
        .iter()
        .map(|(name, more)| {
            let sha256 = digest::of(name);
            format!(r#"{{"filename": "{name}", "url": "/f/{name}", "hashes": {{"sha256": "{sha256}"}}{more}}}"#)
        })
        .collect();
    format!(r#"{{"meta": {{"api-version": "1.1"}}, "files": [{}]}}"#, files.join(",")).into_bytes()
}

#[test]
fn files_are_grouped_by_release_in_the_order_of_versions() {
    let wheel = "demo_pkg-1.10.0-cp314-cp314t-manylinux_2_28_x86_64.whl";
    let files = page(&[
        ("demo-pkg-1.10.0.tar.gz", ""),
        ("demo_pkg-1.9.zip", ""),
        ("demo_pkg-1.9.tar.gz", ""),
        (wheel, r#", "requires-python": ">=3.11""#),
        ("demo_pkg-2.0rc1.tar.gz", ""),
        ("demo_pkg-1.11.tar.gz", r#", "yanked": "broken""#),
        ("demo_pkg-1.0.win32.exe", ""),
        ("demo_pkg-unknown.tar.gz", ""),
        ("other-3.tar.gz", ""),
        ("../demo_pkg-4.tar.gz", ""),
    ]);
    let served = Served::new("releases", vec![("/simple/demo-pkg/", files)]);
    let project = served.ask(|index| index.project("Demo.Pkg")).unwrap().unwrap();
    let versions: Vec<String> = project.releases.iter().map(|release| release.version.to_string()).collect();
    assert_eq!(versions, ["1.9", "1.10.0", "1.11", "2.0rc1"]);
    assert_eq!(project.newest().unwrap().version.to_string(), "1.10.0");
    let release = project.release(&Version::from_str("1.10").unwrap()).unwrap();
    assert_eq!((release.sdist().unwrap().name.as_str(), release.files.len()), ("demo-pkg-1.10.0.tar.gz", 2));
    let (file, _) = release.wheels().next().unwrap();
    assert_eq!((&*file.name, &*file.sha256), (wheel, &*digest::of(wheel)));
    let python = |text| Version::from_str(text).unwrap();
    assert!(file.supports(&python("3.14.0")) && !file.supports(&python("3.10")));
    assert_eq!(project.releases[0].sdist().unwrap().name, "demo_pkg-1.9.tar.gz");
    assert!(project.releases[2].is_yanked() && project.releases[3].is_prerelease());
}

#[test]
fn only_pre_releases_or_withdrawn_ones_are_known() {
    let only = |name: &'static str, more: &'static str| {
        let served = Served::new(name, vec![("/simple/x/", page(&[("x-1a1.tar.gz", more), ("x-1a2.tar.gz", more)]))]);
        let project = served.ask(|index| index.project("x")).unwrap().unwrap();
        project.newest().map(|release| release.version.to_string())
    };
    assert_eq!(only("pre", "").as_deref(), Some("1a2"));
    assert_eq!(only("yanked", r#", "yanked": true"#), None);
}

#[test]
fn a_missing_project_differs_from_an_index_without_answer() {
    let served = Served::new("missing", Vec::new());
    assert!(served.ask(|index| index.project("nothing")).unwrap().is_none());
    let error = format!("{:#}", served.ask(|index| index.project("broken")).unwrap_err());
    assert!(error.contains("403 Forbidden"), "{error}");
    for name in ["../evil", "a/b", "a b", "", "-a", "ä"] {
        let error = served.ask(|index| index.project(name)).unwrap_err().to_string();
        assert!(error.contains("is not the name of a project"), "{error}");
    }
    assert_eq!(served.server.count(), 2);
}

#[test]
fn a_downloaded_file_has_the_digest_of_the_index() {
    let served = Served::new(
        "download",
        vec![
            ("/simple/x/", page(&[("x-1.tar.gz", ""), ("x-2.tar.gz", "")])),
            ("/f/x-1.tar.gz", b"x-1.tar.gz".to_vec()),
            ("/f/x-2.tar.gz", b"else".to_vec()),
        ],
    );
    let project = served.ask(|index| index.project("x")).unwrap().unwrap();
    let path = served.folder.join("file");
    let get = |at: usize| served.ask(|index| index.download(&project.releases[at].files[0], &path));
    get(0).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x-1.tar.gz");
    assert!(format!("{:#}", get(1).unwrap_err()).contains("not the pinned"));
}
