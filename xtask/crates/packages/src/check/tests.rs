//! Verdicts, inputs and output, with answers of an index that are part of the test.

use std::fs;
use std::path::PathBuf;

use matrix::Matrix;

use super::*;
use crate::check::judge::{Judged, WheelState};
use crate::check::prove::GilVerdict;
use crate::check::wanted::Elsewhere;
use base::ErrorClass;

fn target(abi: &str) -> CheckTarget {
    CheckTarget::new(abi, &Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap()).unwrap()
}

/// Files of a project, each with the JSON of further fields.
fn project(name: &str, files: &[(&str, &str)]) -> ProjectFiles {
    let file = |(file, more): &(&str, &str)| {
        format!(r#"{{"filename": "{file}", "url": "/f/{file}", "hashes": {{"sha256": "{}"}}{more}}}"#, "a".repeat(64))
    };
    let files: Vec<String> = files.iter().map(file).collect();
    let page = format!(r#"{{"files": [{}]}}"#, files.join(","));
    ProjectFiles::parse(name, "https://index.example/simple/x/", &page).unwrap()
}

fn one(text: &str, abi: &str) -> WantedDistribution {
    wanted::requirement(text, &target(abi)).unwrap().unwrap()
}

fn judged(requirement: &str, files: &[(&str, &str)], abi: &str) -> Row {
    let wanted = one(requirement, abi);
    judge::row(&wanted, Some(&project(&wanted.name, files)), &target(abi))
}

fn verdict(files: &[&str], abi: &str) -> (WheelState, String) {
    let files: Vec<(&str, &str)> = files.iter().map(|file| (*file, "")).collect();
    let Judged { verdict, instead, .. } = judged("x", &files, abi).judged;
    (verdict, instead.join(" "))
}

#[test]
fn each_kind_of_file_has_its_verdict() {
    let x86 = "manylinux_2_28_x86_64";
    let own = format!("x-1-cp314-cp314t-{x86}.whl");
    let gil = format!("x-1-cp314-cp314-{x86}.whl");
    let abi3 = format!("x-1-cp311-abi3-{x86}.whl");
    let abi3t = format!("x-1-cp315-abi3.abi3t-{x86}.whl");
    let older = format!("x-1-cp313-cp313t-{x86}.whl");
    let program = format!("x-1-py3-none-{x86}.whl");
    let (pure, sdist) = ("x-1-py2.py3-none-any.whl", "x-1.tar.gz");
    let windows = "x-1-cp314-cp314t-win_amd64.whl";
    let newer = "x-1-cp314-cp314t-manylinux_2_39_x86_64.whl";
    let cases = [
        (vec![&*own, &gil, sdist], "cp314t", WheelState::Wheel, ""),
        (vec![&*gil, &abi3, pure], "cp314t", WheelState::Pure, ""),
        (vec![&*program], "cp314t", WheelState::NoExtensionModule, ""),
        (vec![&*gil, &abi3, sdist], "cp314t", WheelState::OtherAbi, "abi3 cp314"),
        (vec![&*older, sdist], "cp314t", WheelState::OtherAbi, "cp313t"),
        (vec![&*abi3t], "cp314t", WheelState::OtherAbi, "abi3 abi3t"),
        (vec![&*abi3t], "cp315t", WheelState::StableAbi, ""),
        (vec![&*abi3], "cp314", WheelState::StableAbi, ""),
        (vec![windows, &*gil], "cp314t", WheelState::OtherPlatform, "win_amd64"),
        (vec!["x-1-cp314-cp314-win_amd64.whl"], "cp314t", WheelState::OtherPlatform, "win_amd64"),
        (vec![newer], "cp314t", WheelState::OtherPlatform, "manylinux_2_39_x86_64"),
        (vec!["x-1-py2-none-any.whl", sdist], "cp314t", WheelState::OtherAbi, "py2"),
        (vec![sdist], "cp314t", WheelState::SourceOnly, ""),
    ];
    for (files, abi, wanted, instead) in cases {
        assert_eq!(verdict(&files, abi), (wanted, instead.to_owned()), "{files:?} {abi}");
    }
}

const RELEASES: [(&str, &str); 7] = [
    ("x-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", ""),
    ("x-1.0.tar.gz", ""),
    ("x-1.5rc1-cp314-cp314t-manylinux_2_28_x86_64.whl", ""),
    ("x-1.9-cp314-cp314t-manylinux_2_28_x86_64.whl", r#", "yanked": true"#),
    ("x-1.10-cp314-cp314t-manylinux_2_28_x86_64.whl", ""),
    ("x-1.11-cp314-cp314t-manylinux_2_28_x86_64.whl", r#", "requires-python": "<3.14""#),
    ("x-2.0b1.tar.gz", ""),
];

#[test]
fn the_version_is_the_pinned_or_the_newest_stable_one() {
    let row = |requirement| judged(requirement, &RELEASES, "cp314t");
    let chosen = |requirement| {
        let row = row(requirement);
        (
            row.version.unwrap_or_default(),
            row.judged.verdict,
            row.since.unwrap_or_default(),
            row.later.unwrap_or_default(),
        )
    };
    let of = |version: &str, verdict, since: &str, later: &str| {
        (version.to_owned(), verdict, since.to_owned(), later.to_owned())
    };
    // 1.11 does not admit Python 3.14, and pip takes an older release then.
    assert_eq!(chosen("x"), of("1.10", WheelState::Wheel, "1.10", ""));
    assert_eq!(chosen("x>=1,<1.5"), of("1.0", WheelState::OtherAbi, "1.10", "1.10"));
    assert_eq!(chosen("x==1.0.0"), of("1.0", WheelState::OtherAbi, "1.10", "1.10"));
    assert_eq!(chosen("x==1.5rc1"), of("1.5rc1", WheelState::Wheel, "1.10", ""));
    assert_eq!(chosen("x==1.11"), of("1.11", WheelState::OtherPython, "1.10", ""));
    assert_eq!(chosen("x>=2.0a1"), of("2.0b1", WheelState::SourceOnly, "1.10", ""));
    assert_eq!(chosen("x==7"), of("7", WheelState::NotFound, "", ""));
    assert_eq!(row("x==7").newest.as_deref(), Some("1.11"));
    assert!(row("x==1.9").withdrawn && row("x==1.9").is_ready());
    assert_eq!(judge::row(&one("x", "cp314t"), None, &target("cp314t")).judged.verdict, WheelState::NotFound);
}

/// Folder with the files of a test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let folder = std::env::temp_dir().join(format!("xtask-check-{}-{name}", std::process::id()));
        for (file, text) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Folder(folder)
    }

    fn read(&self, file: &str) -> Result<wanted::WantedDistributions> {
        input::read(&[self.0.join(file).to_str().unwrap().to_owned()], &target("cp314t"))
    }

    /// Returns the distributions as text, and those from elsewhere with their place.
    fn names(&self, file: &str) -> Vec<String> {
        let text = |wanted: &WantedDistribution| match &wanted.elsewhere {
            Some(Elsewhere { place, files }) => {
                format!("{} @ {place} {}", wanted.name, files.join(" ")).trim().to_owned()
            }
            None => format!("{} {}", wanted.name, wanted.versions).trim().to_owned(),
        };
        self.read(file).unwrap().wanted.iter().map(text).collect()
    }
}

#[test]
fn requirements_files_are_read_as_pip_reads_them() {
    let folder = Folder::new(
        "requirements",
        &[
            (
                "requirements.txt",
                "# comment\n-r more/base.txt\n--requirement=more/base.txt\n-c constraints.txt\n\
                 --extra-index-url https://me:secret@index.example/simple\n--no-binary :all:\n\n\
                 NumPy[extra]==2.4.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb  # via\n\
                 pywin32==311 ; sys_platform == 'win32'\nuvloop ; python_version >= '3.14' # here\nrequests>=2,<3\n\
                 torch @ https://host.example/torch-2.9.0%2Bcpu-cp314-cp314t-manylinux_2_28_x86_64.whl\n\
                 -e git+https://host.example/demo.git#egg=demo\n./local/pkg\nhttps://host.example/x-1-py3-none-any.whl\n",
            ),
            ("more/base.txt", "click\n-r ../requirements.txt\n"),
            ("constraints.txt", "requests==2.34.2\nunused==1\n"),
        ],
    );
    let wanted = [
        "click",
        "numpy ==2.4.0",
        "uvloop",
        "requests >=2, ==2.34.2, <3",
        "torch @ https://host.example/torch-2.9.0%2Bcpu-cp314-cp314t-manylinux_2_28_x86_64.whl \
         torch-2.9.0+cpu-cp314-cp314t-manylinux_2_28_x86_64.whl",
        "demo @ git+https://host.example/demo.git#egg=demo",
        "pkg @ ./local/pkg",
        "x @ https://host.example/x-1-py3-none-any.whl x-1-py3-none-any.whl",
    ];
    assert_eq!(folder.names("requirements.txt"), wanted);
    let found = folder.read("requirements.txt").unwrap();
    assert!(found.partial && found.notes.len() == 1);
    assert!(found.notes[0].contains("--extra-index-url is ignored") && !found.notes[0].contains("secret"));
}

const PYLOCK: &str = r#"
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "numpy"
version = "2.4.0"
wheels = [{url = "https://host.example/numpy-2.4.0-cp314-cp314-win_amd64.whl", hashes = {sha256 = "aa"}}]
[[packages]]
name = "pywin32"
version = "311"
marker = "sys_platform == 'win32'"
[[packages]]
name = "demo"
vcs = {type = "git", url = "https://host.example/demo.git", commit-id = "aa"}
[[packages]]
name = "archived"
archive = {url = "https://host.example/archived-1-py3-none-any.whl", hashes = {sha256 = "aa"}}
"#;

const UV: &str = r#"
version = 1
revision = 3
requires-python = ">=3.11"
[[package]]
name = "app"
version = "0.1"
source = { editable = "." }
dependencies = [
    { name = "colorama", marker = "sys_platform == 'win32'" },
    { name = "forked", version = "2" },
    { name = "lib" },
    { name = "uvicorn", extra = ["standard"] },
]
[package.optional-dependencies]
fast = [{ name = "orjson" }]
[package.dev-dependencies]
dev = [{ name = "pytest" }]
[[package]]
name = "colorama"
version = "0.4"
source = { registry = "https://index.example/simple" }
[[package]]
name = "forked"
version = "1"
source = { registry = "https://index.example/simple" }
[[package]]
name = "forked"
version = "2"
source = { registry = "https://index.example/simple" }
[[package]]
name = "lib"
version = "0.2"
source = { virtual = "lib" }
[[package]]
name = "orjson"
version = "3.13.0"
source = { registry = "https://index.example/simple" }
[[package]]
name = "pytest"
version = "9"
source = { git = "https://host.example/pytest?rev=1#aa" }
[[package]]
name = "uvicorn"
version = "0.54"
source = { registry = "https://index.example/simple" }
[package.optional-dependencies]
standard = [{ name = "uvloop", marker = "sys_platform != 'win32'" }]
unused = [{ name = "forked", version = "1" }]
[[package]]
name = "uvloop"
version = "0.23.0"
source = { registry = "https://index.example/simple" }
"#;

#[test]
fn lock_files_are_read_for_the_platform() {
    let folder = Folder::new("locks", &[("pylock.toml", PYLOCK), ("uv.lock", UV)]);
    assert_eq!(
        folder.names("pylock.toml"),
        [
            "numpy ==2.4.0",
            "demo @ https://host.example/demo.git",
            "archived @ https://host.example/archived-1-py3-none-any.whl archived-1-py3-none-any.whl"
        ]
    );
    assert_eq!(
        folder.names("uv.lock"),
        [
            "forked ==2",
            "orjson ==3.13.0",
            "pytest @ git+https://host.example/pytest?rev=1#aa",
            "uvicorn ==0.54",
            "uvloop ==0.23.0"
        ]
    );
    assert!(!folder.read("uv.lock").unwrap().partial);
}

#[test]
fn wrong_input_is_a_usage_error_that_names_the_place() {
    let folder = Folder::new(
        "wrong",
        &[
            ("bad.txt", "numpy\nnot a requirement\n"),
            ("dash.txt", "-r missing.txt\n"),
            ("pyproject.toml", "[project]\nname = 'x'\n"),
            ("poetry.lock", "[[package]]\nname = 'x'\n[metadata]\nlock-version = '2.0'\n"),
            ("uv.lock", "version = 9\n[[package]]\nname = 'x'\n"),
            ("pylock.toml", "lock-version = '2.0'\n"),
            ("marker.toml", "lock-version = '1.0'\n[[packages]]\nname = 'x'\nmarker = 'bad'\n"),
            ("broken.toml", "= 1\n"),
            ("pylock.version.toml", "lock-version = '1.0'\n[[packages]]\nname = 'x'\nversion = 'new'\n"),
        ],
    );
    let cases = [
        ("bad.txt", "line 2: `not a requirement` is not a requirement"),
        ("dash.txt", "line 1: cannot read"),
        ("missing.txt", "cannot read"),
        ("pyproject.toml", "`uv lock`"),
        ("poetry.lock", "this is not a requirements file, a pylock.toml"),
        ("uv.lock", "only version 1"),
        ("pylock.toml", "only version 1 (PEP 751)"),
        ("marker.toml", "cannot read the marker `bad`"),
        ("broken.toml", "line 1"),
        ("pylock.version.toml", "`new` is not a version"),
    ];
    for (file, wanted) in cases {
        let error = folder.read(file).unwrap_err();
        assert_eq!(ErrorClass::of(&error), ErrorClass::Usage);
        assert!(error.to_string().contains(wanted) && error.to_string().contains(file), "{error}");
    }
    for argument in ["numpy 2", "==1", "", "-x", "numpy==x", "a\u{1b}[31m"] {
        let error = input::read(&[argument.to_owned()], &target("cp314t")).unwrap_err();
        assert_eq!(ErrorClass::of(&error), ErrorClass::Usage, "{argument}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
}

#[test]
fn the_default_target_is_free_threaded() {
    let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
    let abis = |given: &[&str]| {
        let given: Vec<String> = given.iter().map(|abi| (*abi).to_owned()).collect();
        target::targets(&matrix, &given).map(|targets| targets.into_iter().map(|target| target.abi).collect::<Vec<_>>())
    };
    assert_eq!(abis(&[]).unwrap(), ["cp314t"]);
    assert_eq!(abis(&["cp315t", "cp314", "cp315t"]).unwrap(), ["cp315t", "cp314"]);
    let error = abis(&["3.14"]).unwrap_err();
    assert!(error.to_string().contains("`3.14` is not a CPython 3 ABI tag"), "{error}");
    assert_eq!(ErrorClass::of(&error), ErrorClass::Usage);
}

/// Rows of all kinds.
fn rows() -> Vec<Row> {
    let manylinux = |abi: &str| format!("x-1-{abi}-manylinux_2_28_x86_64.whl");
    let named = |name: &str, row: Row| Row { name: name.to_owned(), ..row };
    let (own, gil) = (manylinux("cp314-cp314t"), manylinux("cp314-cp314"));
    let mut gil_only = judged("x", &[(&gil, ""), ("x-1.tar.gz", r#", "size": 5"#)], "cp314t");
    assert!(gil_only.cheap_sdist(5).is_some() && gil_only.cheap_sdist(4).is_none());
    gil_only.source = Some(SdistContents::Read(build_system::BuildSystem {
        backend: "setuptools.build_meta:__legacy__".to_owned(),
        requires: vec!["setuptools".to_owned(), "Cython>=3\u{1b}[31m".to_owned()],
        languages: ["C", "Cython"].into(),
    }));
    let mut unreadable = judged("x", &[("x-1.tar.gz", "")], "cp314t");
    unreadable.source = Some(SdistContents::Unreadable("its pyproject.toml is invalid".to_owned()));
    let elsewhere = one("demo @ https://host.example/demo.git", "cp314t");
    vec![
        named("compiled", judged("x", &[(&own, "")], "cp314t")),
        named("withdrawn", judged("x==1", &[(&own, r#", "yanked": true"#)], "cp314t")),
        named("pure", judged("x", &[("x-2026.10.19.post1-py3-none-any.whl", "")], "cp314t")),
        named("gil-only", gil_only),
        named("source-with-a-name-that-is-much-too-long-for-the-table", unreadable),
        named("later", judged("x==1.0", &RELEASES, "cp314t")),
        named("python", judged("x==1.11", &RELEASES, "cp314t")),
        named("windows", judged("x", &[("x-1-cp314-cp314t-win_amd64.whl", "")], "cp314t")),
        named("version", judged("x==7", &RELEASES, "cp314t")),
        judge::row(&one("unknown", "cp314t"), None, &target("cp314t")),
        judge::row(&elsewhere, None, &target("cp314t")),
    ]
}

#[test]
fn the_table_explains_each_verdict_in_eighty_columns() {
    let checked = [Checked { target: target("cp314t"), rows: rows(), proof: None }];
    let text = print::text(&checked, true);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    insta::assert_snapshot!(text);
    assert_eq!(print::missing(&checked[0]).as_deref(), Some("8 of 11 distributions are without a wheel for `cp314t`"));
    let ready = Checked { target: target("cp314t"), rows: rows().into_iter().take(3).collect(), proof: None };
    assert_eq!(print::missing(&ready), None);
}

/// Rows with what an image showed of them.
fn proven() -> Checked {
    let rows: Vec<Row> = rows().into_iter().take(5).collect();
    let verdicts = vec![
        GilVerdict {
            declared: 2,
            not_loadable: vec!["compiled._tk: ImportError: no Tk".to_owned()],
            ..Default::default()
        },
        GilVerdict { declared: 1, undeclared: vec!["withdrawn._c".to_owned()], ..Default::default() },
        GilVerdict::default(),
        GilVerdict { declared: 1, ..Default::default() },
        GilVerdict { missing: Some("its build failed".to_owned()), ..Default::default() },
    ];
    Checked { target: target("cp314t"), rows, proof: Some(ProvenImage { python: "3.14.7".to_owned(), verdicts }) }
}

#[test]
fn a_proof_says_who_switches_the_gil_on() {
    let text = print::text(&[proven()], false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
    assert_eq!(
        print::missing(&proven()).as_deref(),
        Some("of 5 distributions for `cp314t`, 1 switch the GIL on, 1 are not in the image")
    );
    let mut good = proven();
    good.rows.drain(..3);
    good.proof = Some(ProvenImage { python: "3.14.7".to_owned(), verdicts: vec![GilVerdict::default(); 2] });
    let text = print::text(&[good], false);
    assert!(text.contains("gil-only was built without the native code of its source"), "{text}");
    let mut good = proven();
    good.rows.drain(..3);
    let built = GilVerdict { declared: 1, ..Default::default() };
    good.proof = Some(ProvenImage { python: "3.14.7".to_owned(), verdicts: vec![built.clone(), built] });
    assert_eq!(print::missing(&good), None, "what was built needs no wheel on the index");
    let json = print::json(&[proven()]);
    let rows = &json["targets"][0]["distributions"];
    assert_eq!((&rows[1]["gil"]["state"], &rows[1]["gil"]["undeclared"][0]), (&"on".into(), &"withdrawn._c".into()));
    assert_eq!(json["targets"][0]["proven_with"], "3.14.7");
}

#[test]
fn the_json_has_the_same_answers() {
    let json = print::json(&[Checked { target: target("cp314t"), rows: rows(), proof: None }]);
    let target = &json["targets"][0];
    assert_eq!(
        (&target["abi"], &target["platform"], &target["ready"]),
        (&"cp314t".into(), &"linux/amd64".into(), &3.into())
    );
    let verdicts: Vec<&str> =
        target["distributions"].as_array().unwrap().iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    let wanted = [
        "wheel",
        "wheel",
        "pure",
        "other-abi",
        "source-only",
        "other-abi",
        "other-python",
        "other-platform",
        "not-found",
        "not-found",
        "not-on-index",
    ];
    assert_eq!(verdicts, wanted);
    assert_eq!(target["distributions"][3]["source"]["languages"], serde_json::json!(["C", "Cython"]));
    assert_eq!(target["distributions"][3]["command"], "wheel-matrix add gil-only==1");
}
