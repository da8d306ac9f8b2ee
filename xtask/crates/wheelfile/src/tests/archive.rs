//! Damaged and malicious archives, and records that do not match.

use super::*;

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
