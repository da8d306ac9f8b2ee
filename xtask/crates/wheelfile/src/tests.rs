//! Tests that each rule rejects a wheel that breaks only this rule.

mod archive;
mod modules;

use crate::archive::ArchiveLimits;
use crate::check::check_within;
use crate::elf::Elf;
use crate::fake::store;
use crate::tags::CpythonAbi;
use crate::*;
use anyhow::Result;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const LINUX: &str = "manylinux_2_28_x86_64";

const THREADED: &str = "demo/_core.cpython-314t-x86_64-linux-gnu.so";

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let leaf = format!("wheelfile-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(leaf);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn expect(abi: &str) -> ExpectedWheel<'_> {
    ExpectedWheel { distribution: "Demo", version: Some("1.0"), abi, platform: Some(LINUX), max_glibc: Some((2, 36)) }
}

fn tiny(glibc: (u32, u32)) -> Vec<u8> {
    minimal_extension("demo._core", "x86_64", Some(glibc)).unwrap()
}

fn wheel<'a>(python: &'a str, abi: &'a str, platform: &'a str, file: &str) -> NewWheel<'a> {
    let mut files = vec![("demo/__init__.py".to_owned(), b"import demo._core\n".to_vec())];
    if !file.is_empty() {
        files.push((file.to_owned(), tiny((2, 17))));
    }
    NewWheel { distribution: "demo", version: "1.0", python, abi, platform, files }
}

fn threaded() -> NewWheel<'static> {
    wheel("cp314", "cp314t", LINUX, THREADED)
}

fn run(spec: &NewWheel, expect: &ExpectedWheel) -> Result<WheelReport> {
    let dir = Dir::new();
    let path = dir.0.join(spec.file_name());
    write_wheel(&path, spec)?;
    check(&path, expect)
}

/// Returns the individual problems.
fn lines(result: Result<WheelReport>) -> Vec<String> {
    result.unwrap_err().to_string().lines().map(str::to_owned).collect()
}

#[track_caller]
fn only(result: Result<WheelReport>, wanted: &str) {
    assert_eq!(lines(result), [wanted]);
}

/// Checks a valid free-threaded wheel after applying `change` to its members.
fn changed(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Result<WheelReport> {
    let dir = Dir::new();
    let spec = threaded();
    let mut members = spec.members()?;
    change(&mut members);
    let path = dir.0.join(spec.file_name());
    store(&path, &members)?;
    check(&path, &expect("cp314t"))
}

/// Replaces text in a .dist-info file and updates RECORD, unless RECORD itself is edited.
fn edited(leaf: &str, from: &str, to: &str) -> Result<WheelReport> {
    changed(|members| {
        let path = format!("demo-1.0.dist-info/{leaf}");
        let (_, data) = members.iter_mut().find(|(name, _)| *name == path).unwrap();
        let old = format!("{path},{},{}\n", info::record_hash(data), data.len());
        let text = String::from_utf8(data.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        *data = text.replacen(from, to, 1).into_bytes();
        let new = format!("{path},{},{}\n", info::record_hash(data), data.len());
        if leaf != "RECORD" {
            let (_, record) = members.last_mut().unwrap();
            *record = String::from_utf8(record.clone()).unwrap().replace(&old, &new).into_bytes();
        }
    })
}

fn swap(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
}

#[test]
fn a_good_wheel_is_reported() {
    let mut spec = threaded();
    spec.files.push(("demo.libs/libz-12.so.1".to_owned(), minimal_extension("z", "x86_64", Some((2, 28))).unwrap()));
    let libs = spec.files.last_mut().unwrap();
    swap(&mut libs.1, b"PyInit_z", b"deflatez");
    spec.files.push(("demo/a,\"b\".txt".to_owned(), Vec::new()));
    let report = run(&spec, &expect("cp314t")).unwrap();
    assert_eq!(report.glibc, Some((2, 28)));
    assert_eq!(report.bundled, ["demo.libs/libz-12.so.1"]);
    assert_eq!(report.sha256.len(), 64);
    let [extension] = report.extensions.as_slice() else { panic!("{report:?}") };
    assert_eq!((extension.module.as_str(), extension.path.as_str()), ("demo._core", THREADED));
    assert_eq!((extension.glibc, extension.needed.as_slice()), (Some((2, 17)), &["libc.so.6".to_owned()][..]));
    assert_eq!(report, run(&spec, &expect("cp314t")).unwrap(), "writing is deterministic");
}

#[test]
fn other_good_wheels_pass() {
    for (python, abi, platform, file, target) in [
        ("cp311", "cp311", LINUX, "demo/_core.cpython-311-x86_64-linux-gnu.so", "cp311"),
        ("cp314", "cp314", LINUX, "_core.cpython-314-x86_64-linux-gnu.so", "cp314"),
        ("cp38", "abi3", LINUX, "demo/_core.abi3.so", "cp311"),
        ("cp311", "abi3", LINUX, "demo/_core.abi3.so", "cp314"),
        ("py3", "none", "any", "", "cp314t"),
        ("py2.py3", "none", "any", "", "cp311"),
        ("cp314", "none", "any", "", "cp314t"),
        // Programs or libraries without an extension module.
        ("py3", "none", LINUX, "", "cp314t"),
        ("cp311", "none", LINUX, "", "cp311"),
        ("py3", "none", "manylinux_2_28_x86_64.musllinux_1_2_x86_64", "", "cp314"),
        // An interpreter with a GIL loads stable-ABI modules, whatever the tag of the wheel.
        ("cp311", "cp311", LINUX, "demo/_core.abi3.so", "cp311"),
        ("cp314", "cp314", LINUX, "demo/_core.abi3.so", "cp314"),
        ("cp311.cp312", "abi3", LINUX, "demo/_core.abi3.so", "cp314"),
        ("cp315", "abi3.abi3t", LINUX, "demo/_core.abi3t.so", "cp315"),
        ("cp315", "abi3.abi3t", LINUX, "demo/_core.abi3t.so", "cp315t"),
        ("cp314", "cp314t", "manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64", THREADED, "cp314t"),
    ] {
        let report = run(&wheel(python, abi, platform, file), &expect(target)).unwrap();
        assert_eq!(report.extensions.len(), usize::from(!file.is_empty()), "{python}-{abi}");
    }
    let mut spec = threaded();
    // The archive stores this name with the UTF-8 flag.
    spec.files.push(("demo/größe.txt".to_owned(), Vec::new()));
    spec.files.push(("demo/windows.pyd".to_owned(), b"MZ".to_vec()));
    spec.files.push(("elsewhere.data/platlib/x.txt".to_owned(), Vec::new()));
    assert!(run(&spec, &expect("cp314t")).is_ok());
    let data = "demo-1.0.data/platlib/demo/_core.cpython-314t-x86_64-linux-gnu.so";
    let report = run(&wheel("cp314", "cp314t", LINUX, data), &expect("cp314t")).unwrap();
    assert_eq!(report.extensions[0].module, "demo._core");
}

#[test]
fn names_are_parsed() {
    let name = WheelName::parse("a_b-1.0+x-2b-cp311.cp312-abi3-manylinux1_x86_64.any.whl").unwrap();
    assert_eq!((name.build.as_deref(), name.python.len(), name.platform.len()), (Some("2b"), 2, 2));
    for bad in [
        "",
        "a.whl",
        "a-1-cp311-cp311-any.zip",
        "a-1-x-cp311-cp311-any.whl",
        "a--cp311-cp311-any.whl",
        "a-1-cp311--any.whl",
        "a-1-cp311.-cp311-any.whl",
        "../a-1-cp311-cp311-any.whl",
        "a-1-1-1-cp311-cp311-any.whl",
    ] {
        assert!(WheelName::parse(bad).is_err(), "{bad}");
    }
    for (raw, wanted) in [("A__b.-C", "a-b-c"), ("-a", "-a"), ("a-", "a-"), ("", "")] {
        assert_eq!(normalise(raw), wanted);
    }
    for (one, other) in [
        ("2026.08.1", "2026.8.1"),
        ("1.0", "1"),
        ("1.0rc1", "1.0.RC.1"),
        ("0!1", "1"),
        ("1+a.b", "1+A_B"),
        ("1-1", "1.post1"),
    ] {
        assert!(same_version(one, other), "{one} {other}");
    }
    for (one, other) in [("1.0", "1.0.1"), ("1", "1+cpu"), ("1", "1!1"), ("1rc1", "1"), ("2004d", "2004e")] {
        assert!(!same_version(one, other), "{one} {other}");
    }
    assert!(is_release("Calver.Demo-2026.08.1", "calver-demo", "2026.8.1"));
    assert!(!is_release("calver_demo-2026.8.1", "calver", "2026.8.1") && !is_release("calver", "calver", ""));
    for bad in ["", "cp", "cp3", "cp27", "cp314tt", "cp3014", "abi3", "314t", "cp314d"] {
        assert!(CpythonAbi::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn abi_tags_must_be_equal() {
    let twin = wheel("cp314", "cp314", LINUX, "demo/_core.cpython-314-x86_64-linux-gnu.so");
    let found = lines(run(&twin, &expect("cp314t")));
    assert_eq!(found[0], "`demo-1.0-cp314-cp314-manylinux_2_28_x86_64.whl` is tagged `cp314`, not `cp314t`");
    assert_eq!(found.len(), 2, "{found:?}");
    let found = lines(run(&threaded(), &expect("cp314")));
    assert_eq!(found[0], "`demo-1.0-cp314-cp314t-manylinux_2_28_x86_64.whl` is tagged `cp314t`, not `cp314`");
    // The tags and the files must both be correct.
    only(
        run(&wheel("cp314", "cp314.cp314t", LINUX, THREADED), &expect("cp314t")),
        "`demo-1.0-cp314-cp314.cp314t-manylinux_2_28_x86_64.whl` is tagged `cp314.cp314t`, not `cp314t`",
    );
    only(
        run(&wheel("cp314t", "cp314t", LINUX, THREADED), &expect("cp314t")),
        "`demo-1.0-cp314t-cp314t-manylinux_2_28_x86_64.whl` is for python `cp314t`, not `cp314`",
    );
    for file in [
        "demo/_core.cpython-314-x86_64-linux-gnu.so",
        "demo/_core.so",
        "demo/_core.abi3.so",
        "demo/_core.cpython-314td-x86_64-linux-gnu.so",
        "demo/_core.x.cpython-314t-x86_64-linux-gnu.so",
        "demo/_core.cpython-314t-x86_64-linux-gnu.so.1",
        "demo/_core.cpython-314t-aarch64-linux-gnu.so",
        "demo.libs/_core.so",
    ] {
        let (_, suffix) = file.rsplit_once('/').unwrap().1.split_once('.').unwrap();
        let wanted = "cpython-314t-x86_64-linux-gnu.so";
        let wanted = format!("extension module `{file}` ends in `.{suffix}`, not `.{wanted}`");
        only(run(&wheel("cp314", "cp314t", LINUX, file), &expect("cp314t")), &wanted);
    }
}

#[test]
fn a_suffix_makes_an_extension_without_an_export() {
    let mut spec = threaded();
    let mut helper = tiny((2, 17));
    swap(&mut helper, b"PyInit_", b"NoInit_");
    spec.files.push(("demo/x.cpython-314-x86_64-linux-gnu.so".to_owned(), helper.clone()));
    let found = lines(run(&spec, &expect("cp314t")));
    assert!(found.len() == 1 && found[0].starts_with("extension module `demo/x.cpython-314-"), "{found:?}");
    spec.files.last_mut().unwrap().0 = "demo/x.so".to_owned();
    assert_eq!(run(&spec, &expect("cp314t")).unwrap().bundled, ["demo/x.so"]);
}

#[test]
fn abi3_requires_a_gil_build_of_the_same_or_a_newer_version() {
    let spec = wheel("cp311", "abi3", LINUX, "demo/_core.abi3.so");
    assert!(lines(run(&spec, &expect("cp314t")))[0].ends_with("is tagged `abi3`, not `cp314t`"));
    let spec = wheel("cp312", "abi3", LINUX, "demo/_core.abi3.so");
    assert!(run(&spec, &expect("cp314")).is_ok());
    only(
        run(&spec, &expect("cp311")),
        "`demo-1.0-cp312-abi3-manylinux_2_28_x86_64.whl` is abi3 for `cp312`, not for 3.11 or older",
    );
    for (abi, file) in
        [("cp314t", "demo/_core.abi3.so"), ("cp314t", "demo/_core.abi3t.so"), ("cp314", "demo/_core.abi3t.so")]
    {
        let found = lines(run(&wheel("cp314", abi, LINUX, file), &expect(abi)));
        assert!(found.len() == 1 && found[0].starts_with("extension module `demo/_core.abi3"), "{found:?}");
    }
    // The free-threaded build does not load the stable-ABI file of the build with a GIL.
    for file in ["demo/_core.abi3.so", "demo/_core.cpython-315-x86_64-linux-gnu.so"] {
        assert!(run(&wheel("cp315", "abi3.abi3t", LINUX, file), &expect("cp315t")).is_err(), "{file}");
    }
    assert!(run(&wheel("cp315", "abi3", LINUX, "demo/_core.abi3.so"), &expect("cp315t")).is_err());
    for file in ["demo/_core.so", "demo/_core.cpython-311-x86_64-linux-gnu.so"] {
        let found = lines(run(&wheel("cp311", "abi3", LINUX, file), &expect("cp311")));
        assert!(found.len() == 1 && found[0].ends_with("not `.abi3.so`"), "{found:?}");
    }
}

#[test]
fn contents_must_suit_the_kind_of_wheel() {
    only(
        run(&wheel("cp314", "cp314t", LINUX, ""), &expect("cp314t")),
        "`demo-1.0-cp314-cp314t-manylinux_2_28_x86_64.whl` is tagged `cp314t` but contains no extension module",
    );
    only(
        run(&wheel("py3", "none", "any", THREADED), &expect("cp314t")),
        &format!("`demo-1.0-py3-none-any.whl` is tagged as pure Python but contains `{THREADED}`"),
    );
    only(run(&wheel("py2", "none", "any", ""), &expect("cp311")), "`demo-1.0-py2-none-any.whl` is not for python 3.11");
    assert!(run(&wheel("py312", "none", "any", ""), &expect("cp311")).is_err());
    only(
        run(&wheel("py3", "none", LINUX, THREADED), &expect("cp314t")),
        &format!("`{THREADED}` is an extension module, but the ABI tag of the wheel is `none`"),
    );
    assert!(run(&wheel("cp311", "none", LINUX, ""), &expect("cp314")).is_err());
    let mut spec = threaded();
    spec.files.push(("demo/x.so".to_owned(), b"INPUT(y)".to_vec()));
    only(run(&spec, &expect("cp314t")), "`demo/x.so` is not an ELF file");
}
