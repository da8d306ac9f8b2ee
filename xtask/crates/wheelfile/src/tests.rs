//! Tests that each rule rejects a wheel that breaks only this rule.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::archive::ArchiveLimits;
use crate::check::check_within;
use crate::elf::Elf;
use crate::fake::store;
use crate::tags::CpythonAbi;
use crate::*;

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

#[test]
fn the_machine_matches_the_platform() {
    let arm = "demo/_core.cpython-314t-aarch64-linux-gnu.so";
    let mut spec = wheel("cp314", "cp314t", "manylinux_2_28_aarch64", arm);
    spec.files[1].1 = minimal_extension("_core", "aarch64", Some((2, 17))).unwrap();
    let arm64 = ExpectedWheel { platform: Some("manylinux_2_28_aarch64"), ..expect("cp314t") };
    assert!(run(&spec, &arm64).is_ok());
    let found = lines(run(&spec, &expect("cp314t")));
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("is for platform `manylinux_2_28_aarch64`, not `manylinux_2_28_x86_64`"));
    spec.platform = LINUX;
    only(run(&spec, &expect("cp314t")), &format!("`{arm}` is built for `aarch64`, not for `{LINUX}`"));
    assert!(minimal_extension("x", "riscv64", None).is_err());
}

#[test]
fn glibc_must_not_exceed_the_lowest_platform_tag() {
    let with = |platform, glibc, expect: &ExpectedWheel| {
        let mut spec = wheel("cp314", "cp314t", platform, THREADED);
        spec.files[1].1 = tiny(glibc);
        run(&spec, expect)
    };
    let both = "manylinux_2_28_x86_64.manylinux2014_x86_64";
    let good = expect("cp314t");
    assert!(with(LINUX, (2, 28), &good).is_ok());
    only(with(LINUX, (2, 29), &good), &format!("`{THREADED}` needs glibc 2.29, newer than 2.28"));
    only(with(LINUX, (2, 100), &good), &format!("`{THREADED}` needs glibc 2.100, newer than 2.28"));
    assert!(with(both, (2, 17), &good).is_ok());
    only(with(both, (2, 18), &good), &format!("`{THREADED}` needs glibc 2.18, newer than 2.17"));
    let old = ExpectedWheel { max_glibc: Some((2, 27)), ..good };
    assert!(lines(with(LINUX, (2, 17), &old))[0].ends_with("requires glibc 2.28, newer than 2.27"));
    assert!(with(both, (2, 17), &old).is_ok());

    let local = "linux_x86_64";
    let found = lines(with(local, (2, 17), &ExpectedWheel { platform: Some(local), ..good }));
    assert_eq!(found, ["platform tag `linux_x86_64` states no glibc version"]);
    let free = ExpectedWheel { platform: None, ..good };
    assert!(with(local, (2, 36), &free).is_ok());
    only(with(local, (2, 37), &free), &format!("`{THREADED}` needs glibc 2.37, newer than 2.36"));
    only(
        with("musllinux_1_2_x86_64", (2, 17), &free),
        "platform tag `musllinux_1_2_x86_64` is not a tag of Linux with glibc",
    );
    assert_eq!(platform_glibc("manylinux1_x86_64"), Some(("x86_64", Some((2, 5)))));
    assert_eq!(platform_glibc("manylinux2010_i686"), Some(("i686", Some((2, 12)))));
}

#[test]
fn special_version_nodes_are_handled() {
    let node = |text: &[u8; 9]| {
        let mut spec = threaded();
        spec.platform = "manylinux_2_35_x86_64";
        swap(&mut spec.files[1].1, b"GLIBC_2.17", &[&b"G"[..], text].concat());
        run(&spec, &ExpectedWheel { platform: None, ..expect("cp314t") })
    };
    assert_eq!(node(b"LIBC_2.2\0").unwrap().glibc, Some((2, 2)));
    assert_eq!(node(b"LIBCXX_3\0").unwrap().glibc, None);
    assert!(lines(node(b"LIBC_PRIV"))[0].contains("`GLIBC_PRIV`, which belongs to no glibc release"));
    let release = |node| elf::glibc_release(node).transpose().unwrap();
    assert_eq!(release("GLIBC_2.2.5"), Some((2, 2)));
    assert_eq!(release("GLIBC_ABI_DT_RELR"), Some((2, 36)));
    assert_eq!(release("GLIBC_ABI_GNU2_TLS"), Some((2, 42)));
    assert_eq!(release("CXXABI_1.3"), None);
    assert!(elf::glibc_release("GLIBC_PRIVATE").unwrap().is_err());
}

#[test]
fn a_removed_section_table_is_an_error() {
    let mut spec = threaded();
    // Clear e_shoff, e_shnum and e_shstrndx, as `sstrip` does.
    for at in (40..48).chain(60..64) {
        spec.files[1].1[at] = 0;
    }
    let found = lines(run(&spec, &expect("cp314t")));
    assert_eq!(
        found[0],
        format!("`{THREADED}` cannot be checked: its section table disagrees with its dynamic segment")
    );
}

#[test]
fn dist_info_must_match_the_file_name() {
    assert!(edited("METADATA", "Name: demo", "name: DEMO").is_ok());
    only(edited("METADATA", "Name: demo", "Name: other"), "METADATA has Name `other`, not `demo`");
    only(edited("METADATA", "Version: 1.0\n", "Version: 1.1\n"), "METADATA has Version `1.1`, not `1.0`");
    only(
        edited("METADATA", "Name: demo\nVersion: 1.0\n", "Version: 1.0\n\nName: demo\n"),
        "METADATA has 0 `Name` fields, not one",
    );
    only(
        edited("METADATA", "Metadata-Version: 2.1", "Metadata-Version: 3.0"),
        "METADATA has Metadata-Version `3.0`; supported major versions: 1 and 2",
    );
    assert!(edited("METADATA", "Metadata-Version: 2.1", "Metadata-Version: 2.99").is_ok());
    assert!(edited("WHEEL", "Wheel-Version: 1.0", "wheel-version: 1.9").is_ok());
    only(
        edited("WHEEL", "Wheel-Version: 1.0", "Wheel-Version: 2.0"),
        "WHEEL has Wheel-Version `2.0`; supported major versions: 1",
    );
    assert!(edited("WHEEL", "Root-Is-Purelib: false", "Root-Is-Purelib: true").is_ok());
    only(edited("METADATA", "Name: demo\n", "Name: demo\nName: demo\n"), "METADATA has 2 `Name` fields, not one");
    let tag = "cp314-cp314t-manylinux_2_28_x86_64";
    let other = "cp314-cp314-manylinux_2_28_x86_64";
    assert_eq!(
        lines(edited("WHEEL", tag, other)),
        [
            format!("WHEEL lacks the file name's tag `{tag}`"),
            format!("WHEEL has the tag `{other}`, which the file name lacks"),
        ]
    );
    let wrong = ExpectedWheel { distribution: "demo2", version: Some("1.0.1"), ..expect("cp314t") };
    let found = lines(run(&threaded(), &wrong));
    assert_eq!(found, ["METADATA has Name `demo`, not `demo2`", "METADATA has Version `1.0`, not `1.0.1`"]);

    // The file name has the normalised version; METADATA and the folder may have the original spelling.
    assert!(edited("METADATA", "Version: 1.0\n", "Version: 1.0.0\n").is_ok());
    let other = ExpectedWheel { distribution: "DEMO", version: Some("1.00"), ..expect("cp314t") };
    assert!(run(&threaded(), &other).is_ok());

    let renamed = changed(|members| {
        for (path, data) in members {
            *path = path.replace("demo-1.0", "demo-1.1");
            if path.ends_with("RECORD") {
                *data = String::from_utf8(data.clone()).unwrap().replace("demo-1.0", "demo-1.1").into_bytes();
            }
        }
    });
    only(renamed, "metadata directory is `demo-1.1.dist-info`, not `demo-1.0.dist-info`");
    let none = changed(|members| members.retain(|(path, _)| !path.contains(".dist-info/")));
    only(none, "there is no .dist-info directory");
    let two = changed(|members| members.push(("x-1.dist-info/WHEEL".to_owned(), Vec::new())));
    only(two, "there are several metadata directories: `demo-1.0.dist-info`, `x-1.dist-info`");
    let lost = changed(|members| members.retain(|(path, _)| !path.ends_with("/RECORD")));
    only(lost, "`demo-1.0.dist-info/RECORD` is missing or not UTF-8");
}

#[test]
fn record_must_match_the_archive() {
    let found = lines(changed(|members| members[0].1.push(b'#')));
    assert!(found.len() == 2 && found[0].contains("but RECORD says `sha256="), "{found:?}");
    assert_eq!(found[1], "`demo/__init__.py` has 19 bytes, but RECORD says `18`");
    only(edited("RECORD", ",18\n", ",018\n"), "`demo/__init__.py` has 18 bytes, but RECORD says `018`");
    assert!(edited("RECORD", "sha256=", "sha512=").is_err());
    assert!(edited("RECORD", ",18\n", ",\n").is_ok(), "the size is optional");
    let init = b"import demo._core\n";
    let sha256 = info::record_hash(init);
    for algorithm in info::OTHER_ALGORITHMS {
        assert!(edited("RECORD", &sha256, &info::other_hash(algorithm, init)).is_ok(), "{algorithm}");
        assert!(edited("RECORD", &sha256, &info::other_hash(algorithm, b"else")).is_err(), "{algorithm}");
    }
    for weak in ["md5=1B2M2Y8AsgTpgAmY7PhCfg", "sha1=2jmj7l5rSw0yVb_vlWAYkK_YBwk", ""] {
        assert!(edited("RECORD", &sha256, weak).is_err(), "`{weak}`");
    }
    only(
        edited("RECORD", "demo-1.0.dist-info/RECORD", "demo/gone.py,,\ndemo-1.0.dist-info/RECORD"),
        "RECORD lists `demo/gone.py`, which is not in the archive",
    );
    let twice = |hash: &str| format!("demo/__init__.py,{hash},18\r\ndemo/__init__.py,");
    assert!(edited("RECORD", "demo/__init__.py,", &twice(&sha256)).is_ok());
    assert!(edited("RECORD", "demo/__init__.py,", &twice("sha256=x")).is_err(), "each row must be correct");
    only(
        edited("RECORD", "RECORD,,", "RECORD,,,"),
        "RECORD row `demo-1.0.dist-info/RECORD,,,` does not have three fields",
    );
    assert!(edited("RECORD", "demo/__init__.py,", "\"demo/__init__.py\",").is_ok());
    assert!(edited("RECORD", "demo/", "\"demo/").is_err());
    // Like Python's csv module: a quotation mark inside an unquoted field is a literal character.
    let odd = changed(|members| {
        let row = format!("demo/5\".txt,{},1\n", info::record_hash(b"x"));
        members.last_mut().unwrap().1.extend(row.into_bytes());
        members.push(("demo/5\".txt".to_owned(), b"x".to_vec()));
    });
    assert!(odd.is_ok(), "{odd:?}");
    let extra = |name: &'static str| changed(move |members| members.push((name.to_owned(), b"x".to_vec())));
    only(extra("demo/extra.py"), "`demo/extra.py` is not listed in RECORD");
    assert!(extra("demo-1.0.dist-info/RECORD.jws").is_ok());
    assert!(extra("demo/RECORD.jws").is_err());
    // PEP 627 requires that RECORD lists itself, but nothing depends on it.
    assert!(edited("RECORD", "demo-1.0.dist-info/RECORD,,\n", "").is_ok());
}

#[test]
fn malicious_archives_are_errors() {
    for bad in ["../x", "/x", "a/../../x", "a\\x", "./x", "a//x", "a/x\ny"] {
        let mut spec = threaded();
        spec.files.push((bad.to_owned(), Vec::new()));
        let found = lines(run(&spec, &expect("cp314t")));
        assert!(found.iter().any(|line| line.starts_with("the archive holds the unsafe path")), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("RECORD lists the unsafe path")), "{found:?}");
    }

    let dir = Dir::new();
    let mut spec = threaded();
    spec.files.push(("demo/b.txt".to_owned(), b"b".to_vec()));
    spec.files.push(("demo/c.txt".to_owned(), b"b".to_vec()));
    let path = dir.0.join(spec.file_name());
    write_wheel(&path, &spec).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let limits = |member, archive| check_within(&path, &expect("cp314t"), ArchiveLimits { member, archive });
    assert!(limits(1 << 20, 1 << 20).is_ok());
    assert!(lines(limits(500, 1 << 20))[0].ends_with("unpacks to more than 500 bytes"));
    assert!(lines(limits(1 << 20, 1500))[0].ends_with("unpacks to more than 1500 bytes"));

    let mut rotten = bytes.clone();
    swap(&mut rotten, b"PyInit__core", b"PyInit__cora");
    std::fs::write(&path, &rotten).unwrap();
    let found = lines(check(&path, &expect("cp314t")));
    assert!(found[0].contains(THREADED) && found[0].contains("cannot be read"), "{found:?}");

    swap(&mut bytes, b"demo/c.txt", b"demo/b.txt");
    std::fs::write(&path, &bytes).unwrap();
    let found = lines(check(&path, &expect("cp314t")));
    assert!(found.contains(&"the archive holds two members of the same name".to_owned()), "{found:?}");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    archive.add_symlink("demo/x", "/etc/passwd", zip::write::SimpleFileOptions::default()).unwrap();
    archive.finish().unwrap();
    assert!(lines(check(&path, &expect("cp314t"))).contains(&"`demo/x` is a symbolic link".to_owned()));
    assert!(check(&dir.0.join("gone-1-py3-none-any.whl"), &expect("cp311")).is_err());
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let dir = Dir::new();
    let spec = threaded();
    let path = dir.0.join(spec.file_name());
    write_wheel(&path, &spec).unwrap();
    let good = std::fs::read(&path).unwrap();
    for length in (0..good.len()).step_by(7) {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(check(&path, &expect("cp314t")).is_err(), "{length}");
    }
    // Damage the ELF file but keep the checksums correct, so that the damage reaches the ELF reader.
    let whole = tiny((2, 17));
    for at in 0..whole.len() {
        for value in [0, 0xff, whole[at] ^ 0x10] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = Elf::parse(&bytes);
        }
        let _ = Elf::parse(&whole[..at]);
    }
}

/// Compiles an extension whose code has cleanup to run when its thread is unwound.
fn landing(dir: &Dir, flags: &[&str]) -> Vec<u8> {
    let source = "void call(void);\nstatic void leave(int *unused) { (void)unused; }\n\
                  void *PyInit__core(void) { __attribute__((cleanup(leave))) int held = 0; call(); return 0; }\n\
                  void call(void) {}\nint main(void) { return 0; }\n";
    let (file, module) = (dir.0.join("core.c"), dir.0.join("core.so"));
    std::fs::write(&file, source).unwrap();
    let mut cc = std::process::Command::new("cc");
    cc.args(["-fPIC", "-fexceptions", "-fno-inline", "-rdynamic"]).args(flags).arg("-o").args([&module, &file]);
    assert!(cc.status().unwrap().success());
    std::fs::read(module).unwrap()
}

#[test]
fn a_private_unwinder_is_an_error_if_python_unwinds_threads() {
    let dir = Dir::new();
    let problems = |flags: &[&str], abi: &'static str| {
        let file = format!("demo/_core.cpython-{}-x86_64-linux-gnu.so", &abi[2..]);
        let mut spec = wheel(abi.trim_end_matches('t'), abi, "linux_x86_64", &file);
        spec.files[1].1 = landing(&dir, flags);
        // The local machine may have any glibc version.
        let expect = ExpectedWheel { platform: None, max_glibc: None, ..expect(abi) };
        run(&spec, &expect).map_or_else(|problems| problems.to_string(), |_| String::new())
    };
    let own = ["-shared", "-static-libgcc"];
    assert_eq!(
        problems(&own, "cp313"),
        "`demo/_core.cpython-313-x86_64-linux-gnu.so` contains its own unwinder: \
         its threads crash when Python 3.13 shuts down; link it with libgcc_s"
    );
    assert_eq!(problems(&["-shared", "-shared-libgcc"], "cp313"), "");
    assert_eq!(problems(&["-static-libgcc"], "cp313"), "", "programs run in their own process");
    assert_eq!(problems(&own, "cp314"), "");
    assert_eq!(problems(&own, "cp314t"), "");
}
