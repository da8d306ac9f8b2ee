//! Tests with synthetic responses of index, mirrors and registries.

use super::*;
use matrix::Package;

const REAL: &str = fixture::MATRIX;

fn matrix() -> Matrix {
    Matrix::parse(REAL, "matrix.yaml").unwrap()
}

fn digest(n: u32) -> String {
    format!("{n:0>63}a")
}

fn file(name: &str, sha256: impl Into<String>) -> File {
    File { name: name.to_owned(), sha256: sha256.into(), withdrawn: false }
}

fn release(version: &str, files: Vec<File>) -> Release {
    Release { version: version.to_owned(), stable: !version.contains("rc"), files }
}

fn answer(project: &str, releases: Vec<Release>) -> Answer {
    Answer { projects: BTreeMap::from([(project.to_owned(), releases)]), ..Answer::default() }
}

fn found(rows: Vec<PinnedInput>, input: &str) -> PinnedInput {
    let inputs: Vec<String> = rows.iter().map(|row| row.input.clone()).collect();
    rows.into_iter().find(|row| row.input == input).unwrap_or_else(|| panic!("no `{input}` in {inputs:?}"))
}

/// Returns a package with published wheels and an ABI without one.
fn vendor(matrix: &Matrix) -> &Package {
    matrix.packages.iter().find(|package| !package.published.is_empty()).unwrap()
}

/// Returns its pinned release, and a later one with the same files and other digests.
fn vendor_releases(package: &Package) -> Vec<Release> {
    let wheel =
        |version: &str, abi: &str| format!("x-{version}-{}-{abi}-manylinux_2_28_x86_64.whl", abi.trim_end_matches('t'));
    let files = |version: &str, digest: &dyn Fn(usize, &str) -> String| {
        let wheels = package.published.iter().enumerate();
        let wheels = wheels.map(|(n, pin)| file(&wheel(version, &pin.abi), digest(n + 1, &pin.sha256)));
        let sdist = file(&format!("x-{version}.tar.gz"), digest(0, &package.source.pypi.as_ref().unwrap().sha256));
        wheels.chain([sdist]).collect::<Vec<_>>()
    };
    let pinned = package.version().unwrap();
    let now = files(pinned, &|_, pinned| pinned.to_owned());
    vec![release(pinned, now), release("999.1", files("999.1", &|n, _| digest(n as u32)))]
}

#[test]
fn no_pinned_input_is_left_out() {
    let matrix = matrix();
    let mut rows = index::rows(&matrix, REAL, &Answer::default());
    rows.extend(archive::rows(&matrix, &[], &Answer::default(), None).unwrap());
    rows.push(program::row(&matrix.ci.deny, &|_| Err(anyhow!("no way there"))));
    rows.extend(registry::rows(&matrix, &|_| Err(anyhow!("no way there"))));
    let pinned = REAL.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64).count();
    let built = rows.iter().filter(|row| row.pinned == "built").count();
    assert_eq!(rows.len() - built, pinned, "{}", table(&rows));
    assert!(rows.iter().all(|row| row.state == State::Unasked && !row.note.is_empty()), "{}", table(&rows));
}

#[test]
fn a_newer_wheel_of_the_same_kind_is_found_and_written() {
    let matrix = matrix();
    let uv = matrix.tools.iter().find(|tool| tool.name == *"uv").unwrap();
    let releases = |files| {
        let now = release(&uv.version, vec![file("uv-1-py3-none-manylinux_2_17_x86_64.whl", &*uv.sha256)]);
        answer("uv", vec![now, release("77.1", files), release("78rc1", vec![file("uv-78rc1.tar.gz", digest(9))])])
    };
    let all = vec![
        file("uv-77.1.tar.gz", digest(1)),
        file("uv-77.1-py3-none-manylinux_2_99_x86_64.whl", digest(2)),
        file("uv-77.1-py3-none-manylinux_2_17_aarch64.whl", digest(3)),
        file("uv-77.1-py3-none-musllinux_1_1_x86_64.whl", digest(4)),
        file("uv-77.1-py3-none-manylinux_2_28_x86_64.whl", digest(5)),
    ];
    let row = found(index::rows(&matrix, REAL, &releases(all)), "tool uv");
    assert_eq!((row.state, &*row.newest), (State::Newer, "77.1"));
    let text = matrix::replaced(REAL, &row.edits).unwrap();
    let wanted = REAL.replace(
        &format!("{{name: uv, version: {}, sha256: {}", uv.version, uv.sha256),
        &format!("{{name: uv, version: \"77.1\", sha256: {}", digest(5)),
    );
    assert_eq!(text, wanted);
    // Without a compatible wheel, nothing is written, and the table states this.
    let row = found(index::rows(&matrix, REAL, &releases(vec![file("uv-77.1.tar.gz", digest(1))])), "tool uv");
    assert_eq!((row.state, row.edits.len()), (State::Newer, 0));
    assert!(row.note.contains("no file corresponding to `uv-1-py3-none-"), "{}", row.note);
}

#[test]
fn a_version_that_was_taken_back_is_no_newer_one_and_is_said_of_the_pinned() {
    let matrix = matrix();
    let uv = matrix.tools.iter().find(|tool| tool.name == *"uv").unwrap();
    let mut now = file("uv-1-py3-none-any.whl", &*uv.sha256);
    now.withdrawn = true;
    let mut next = file("uv-2-py3-none-any.whl", digest(1));
    next.withdrawn = true;
    let releases = vec![release("1", vec![now]), release("2", vec![next])];
    let row = found(index::rows(&matrix, REAL, &answer("uv", releases)), "tool uv");
    assert_eq!(row.state, State::Current);
    assert!(row.note.contains("withdrawn"), "{}", row.note);
    let gone = vec![release("2", vec![file("uv-2-py3-none-any.whl", digest(1))])];
    assert_eq!(found(index::rows(&matrix, REAL, &answer("uv", gone)), "tool uv").state, State::Unasked);
}

#[test]
fn a_package_changes_with_all_of_its_published_wheels_or_not_at_all() {
    let matrix = matrix();
    let package = vendor(&matrix);
    let sdist = format!("sdist {}", package.id);
    let mut releases = vendor_releases(package);
    let row = found(index::rows(&matrix, REAL, &answer(&package.id, vendor_releases(package))), &sdist);
    assert_eq!(row.edits.len(), 2 + package.published.len());
    let text = matrix::replaced(REAL, &row.edits).unwrap();
    let changed = Matrix::parse(&text, "changed").unwrap();
    let changed = changed.package(&package.id).unwrap();
    assert_eq!(changed.version(), Some("999.1"));
    assert_eq!(*changed.source.pypi.as_ref().unwrap().sha256, *digest(0));
    assert_eq!(*changed.published[0].sha256, *digest(1));
    // A wheel is missing in the newer release.
    releases[1].files.remove(0);
    let row = found(index::rows(&matrix, REAL, &answer(&package.id, releases)), &sdist);
    assert_eq!((row.state, row.edits.len()), (State::Newer, 0));
    assert!(row.note.contains("999.1 has no file corresponding to"), "{}", row.note);
}

#[test]
fn a_wheel_that_the_vendor_now_publishes_comes_with_its_line() {
    let matrix = matrix();
    let package = vendor(&matrix);
    let abi = matrix.abis.iter().find(|abi| package.published_for(&abi.id).is_none()).unwrap();
    let input = format!("wheel {} {}", package.id, abi.id);
    let row = |releases| found(index::rows(&matrix, REAL, &answer(&package.id, releases)), &input);
    assert_eq!(row(vendor_releases(package)).state, State::Current);
    // `cp314` is not `cp314t`: the tags must be equal.
    let wheel = |version: &str| format!("x-{version}-{0}-{0}-manylinux_2_28_x86_64.whl", &*abi.id);
    for (at, said) in
        [(0, " is published for it: after line "), (1, "999.1 is published for it: with that version, after line ")]
    {
        let mut releases = vendor_releases(package);
        let version = releases[at].version.clone();
        releases[at].files.push(file(&wheel(&version), digest(7)));
        let row = row(releases);
        assert_eq!(row.state, State::Newer);
        assert!(row.note.contains(said), "{}", row.note);
        let line = row.note.lines().last().unwrap().trim();
        assert_eq!(line, format!("- {{abi: {}, sha256: {}}}", abi.id, digest(7)));
        // The suggested line is valid in the matrix at the stated position; a benchmark of the removed build would
        // have to be removed.
        let after: usize = row.note.split("line ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let mut lines: Vec<&str> = REAL.lines().collect();
        let indented = format!("      {line}");
        lines.insert(after, &indented);
        let text = lines.join("\n") + "\n";
        let bench = text.find("\nbench:").unwrap()..text.find("\nserver:").unwrap();
        let changed = Matrix::parse(&text.replace(&text[bench], ""), "changed").unwrap();
        assert_eq!(**changed.package(&package.id).unwrap().published_for(&abi.id).unwrap(), *digest(7));
    }
}

#[test]
fn a_newer_interpreter_changes_every_place_that_names_its_version() {
    let matrix = matrix();
    let source = &matrix.sources[0];
    let abi = matrix.abis.iter().find(|abi| abi.interpreter.source.is_some()).unwrap();
    let (series, last) = abi.python.rsplit_once('.').unwrap();
    let next = format!("{series}.{}", last.parse::<u32>().unwrap() + 2);
    let mirrors = vec!["http://mirror.example/debian/".to_owned(), "http://other.example/debian".to_owned()];
    let mut asked = Answer::default();
    for address in archive::addresses(&matrix, &mirrors) {
        let there = Reached::Exists(address.contains(&next));
        let deaf = || Reached::Failed("no such host".to_owned());
        asked.addresses.insert(address.clone(), if address.starts_with("https") { deaf() } else { there });
    }
    let row = |mirrors: &[String], asked: &Answer, digest: &dyn Fn(&str) -> String| {
        let digest = |address: &str| {
            assert!(address.contains(&next), "{address}");
            Ok(digest(address))
        };
        archive::rows(&matrix, mirrors, asked, Some(&digest)).unwrap().remove(0)
    };
    let agreed = row(&mirrors, &asked, &|_| digest(3));
    assert_eq!((agreed.state, &*agreed.newest), (State::Newer, &*next));
    assert!(agreed.note.starts_with("not checked: "), "the place that did not answer is named: {}", agreed.note);
    let text = matrix::replaced(REAL, &agreed.edits).unwrap();
    let wanted = REAL.replace(&*abi.python, &next).replace(&*source.sha256, &digest(3));
    assert_eq!(text, wanted);

    // A single host over plain HTTP is not sufficient, even with two URLs, and neither are two different results.
    let twice = [mirrors[0].clone(), "http://mirror.example/security".to_owned()];
    for mirrors in [&mirrors[..1], &twice] {
        let mut asked = Answer { addresses: BTreeMap::new(), ..Answer::default() };
        for address in archive::addresses(&matrix, mirrors) {
            let exists = address.starts_with("http:") && address.contains(&next);
            asked.addresses.insert(address, Reached::Exists(exists));
        }
        let one = row(mirrors, &asked, &|_| digest(3));
        assert_eq!((one.state, &*one.newest, one.edits.len()), (State::Newer, &*next, 0));
        assert!(
            one.note.contains("over plain HTTP from one place only") && one.note.contains(&digest(3)),
            "{}",
            one.note
        );
    }
    let two = row(&mirrors, &asked, &|address| digest(if address.contains("other") { 4 } else { 3 }));
    assert_eq!(two.edits.len(), 0);
    assert!(two.note.contains(&format!("at other.example {}", digest(4))), "{}", two.note);

    // HTTPS URLs are preferred.
    for answer in asked.addresses.values_mut().filter(|answer| matches!(answer, Reached::Failed(_))) {
        *answer = Reached::Exists(true);
    }
    let newest = archive::rows(
        &matrix,
        &mirrors,
        &asked,
        Some(&|address: &str| {
            assert!(address.starts_with("https://"), "{address}");
            Ok(digest(3))
        }),
    );
    assert!(!newest.unwrap().remove(0).edits.is_empty());
}

#[test]
fn what_an_index_says_over_plain_http_is_not_written() {
    let matrix = matrix();
    let package = vendor(&matrix);
    let mut rows = index::rows(&matrix, REAL, &answer(&package.id, vendor_releases(package)));
    assert!(rows.iter().any(|row| !row.edits.is_empty()));
    rows.iter_mut().for_each(PinnedInput::doubt_index);
    let row = found(rows, &format!("sdist {}", package.id));
    assert_eq!((row.state, row.edits.len()), (State::Newer, 0));
    assert!(row.note.contains("plain HTTP"), "{}", row.note);
}

#[test]
fn images_are_held_against_what_their_tags_are_now() {
    let matrix = matrix();
    let image = matrix.root.image.as_ref().unwrap();
    let (name, pinned) = image.split_once('@').unwrap();
    let rows = |offer: &(dyn Fn(&str) -> Option<String> + Sync)| registry::rows(&matrix, &|asked| Ok(offer(asked)));
    let input = format!("image {name}");
    let anew = format!("sha256:{}", digest(5));
    assert_eq!(found(rows(&|_| Some(pinned.to_owned())), &input).state, State::Current);
    let row = found(rows(&|_| Some(anew.clone())), &input);
    assert_eq!(matrix::replaced(REAL, &row.edits).unwrap(), REAL.replace(pinned, &anew));
    let moved = |asked: &str| Some(if asked == name { pinned.to_owned() } else { anew.clone() });
    let row = found(rows(&moved), &input);
    assert_eq!((row.state, row.edits.len()), (State::Newer, 0));
    assert!(row.note.contains(&anew), "{}", row.note);
    let base = rows(&|_| None).into_iter().find(|row| row.input.starts_with("base image python:")).unwrap();
    assert_eq!(base.state, State::Current);
    let base = rows(&|_| Some(anew.clone())).into_iter().find(|row| row.input.starts_with("base image")).unwrap();
    assert_eq!(base.state, State::Newer);
}

#[test]
fn the_table() {
    let rows = [
        PinnedInput::new("tool a", "1.0", State::Current, ""),
        PinnedInput::newer("tool longer", "1.0", "12.0", "why", Vec::new()),
        PinnedInput::new("image b", "sha256:0", State::Unasked, "no way there"),
    ];
    let wanted = "INPUT       PINNED   NEWEST STATE\ntool a      1.0      1.0    current\n\
                  tool longer 1.0      12.0   newer\n    why\nimage b     sha256:0 ?      not asked\n    no way there\n";
    assert_eq!(table(&rows), wanted);
}

#[test]
fn a_default_of_the_tool_is_not_written() {
    let matrix = Matrix::parse("{name: demo, packages: [], images: []}", "matrix.yaml").unwrap();
    let version = &matrix.abis.last().unwrap().python;
    let mut row = PinnedInput::newer("source x", "1", "2", "", vec![version.becomes("9.9.9")]);
    row.keep_defaults();
    assert!(row.edits.is_empty() && row.note.contains("list the ABI"), "{row:?}");
    let mut row = PinnedInput::newer("sdist x", "1", "2", "", vec![matrix.name.becomes("other")]);
    row.keep_defaults();
    assert_eq!(row.edits.len(), 1);
}

#[test]
fn a_newer_release_says_what_becomes_of_the_patches() {
    use build::patches::PatchFit;
    let text = fixture::with_patched_row();
    let matrix = Matrix::parse(&text, "matrix.yaml").unwrap();
    let package = matrix.packages.iter().find(|package| package.build.patches.is_some()).unwrap();
    let input = format!("sdist {}", package.id);
    let pinned = || file("x-7.3.0.tar.gz", package.source.pypi.as_ref().unwrap().sha256.to_string());
    let releases = || vec![release("7.3.0", vec![pinned()]), release("999.1", vec![file("x-999.1.tar.gz", digest(1))])];
    let row = |fits: &dyn Fn() -> Result<Vec<(String, PatchFit)>>| {
        let mut rows = index::rows(&matrix, &text, &answer(package.distribution(), releases()));
        patches::judge(&matrix, &mut rows, &|of, version| {
            assert_eq!((&*of.id, version), (&*package.id, "999.1"));
            fits()
        });
        found(rows, &input)
    };
    let name = |name: &str, fit| (name.to_owned(), fit);
    let all = row(&|| Ok(vec![name("1.patch", PatchFit::Applies), name("2.patch", PatchFit::Applies)]));
    assert_eq!((all.note.as_str(), all.edits.len()), ("2 of 2 patches apply", 2));
    let some = row(&|| {
        Ok(vec![
            name("1.patch", PatchFit::Unnecessary),
            name("2.patch", PatchFit::Unfit),
            name("3.patch", PatchFit::Applies),
        ])
    });
    assert_eq!(
        some.note.lines().collect::<Vec<_>>(),
        [
            "in that version already, so remove the patch: `1.patch`",
            "does not apply to that version, so change the patch: `2.patch`",
            "1 of 3 patches apply",
            "not written: change the patches first"
        ]
    );
    assert!(some.edits.is_empty());
    let failed = row(&|| bail!("no way there"));
    assert_eq!((failed.note.as_str(), failed.edits.len()), ("the patches were not tried: no way there", 0));
}
