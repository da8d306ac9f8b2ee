//! Tests of `outdated` and `lock` without network.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::{Clone, text};

/// Returns a clone with a package whose lock files this script generates.
fn with_script(script: &str) -> Clone {
    let clone = Clone::new();
    clone.edit("locks: app/locks\n", "locks: own/locks\n");
    clone.edit("        locks: tests/locks\n", "        locks: own/locks\n");
    let own = clone.project().join("own");
    fs::create_dir_all(own.join("locks")).unwrap();
    fs::write(own.join("lock.py"), script).unwrap();
    let pins = lines(&[("kept", "1", 'a'), ("old", "1", 'b'), ("gone", "1", 'c')]);
    for abi in ["cp311", "cp314", "cp314t"] {
        fs::write(own.join(format!("locks/{abi}.txt")), format!("# by hand\n{pins}")).unwrap();
    }
    clone
}

fn lines(pins: &[(&str, &str, char)]) -> String {
    let line = |(name, version, digit): &(&str, &str, char)| {
        format!("{name}=={version} --hash=sha256:{}\n", digit.to_string().repeat(64))
    };
    pins.iter().map(line).collect()
}

/// Returns a script that writes new lines for one ABI and keeps the others.
fn script(pins: &str) -> String {
    format!(
        "import sys\nfrom pathlib import Path\nhere = Path(__file__).parent / 'locks'\n\
         (here / 'cp311.txt').write_text('# made\\n' + '''{pins}''')\n\
         assert sys.argv[1:] == ['--glibc', '2.36', 'cp311', 'cp314', 'cp314t'], sys.argv\n\
         for abi in sys.argv[4:]:\n    text = (here / f'{{abi}}.txt').read_text()\n    \
         (here / f'{{abi}}.txt').write_text('# made\\n' + text)\n"
    )
}

fn locks(clone: &Clone) -> Vec<String> {
    ["cp311", "cp314", "cp314t"]
        .map(|abi| fs::read_to_string(clone.project().join(format!("own/locks/{abi}.txt"))).unwrap())
        .to_vec()
}

#[test]
fn locks_are_made_anew_and_what_stays_the_same_is_not_touched() {
    let new = lines(&[("added", "3", 'd'), ("kept", "1", 'a'), ("old", "2", 'e')]);
    let clone = with_script(&script(&new));
    let before = locks(&clone);
    let output = clone.run(&["lock", "--check"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("`own/locks/cp311.txt` can be newer: run `cargo xtask lock`"));
    assert_eq!(locks(&clone), before, "--check writes nothing");
    let said = clone.good(&["lock"]);
    assert!(said.contains("own/locks/cp311.txt: +added 3, old 1 -> 2, -gone 1\n"), "{said}");
    assert!(said.contains("own/locks/cp314t.txt: current\n"), "{said}");
    assert_eq!(locks(&clone), [format!("# made\n{new}"), before[1].clone(), before[2].clone()]);
    assert!(clone.good(&["lock", "--check"]).contains("own/locks/cp311.txt: current\n"));
}

#[test]
fn a_script_that_fails_leaves_everything_as_it_was() {
    for (script, said) in [
        (
            "from pathlib import Path\n(Path(__file__).parent / 'locks/cp311.txt').write_text('half')\nraise SystemExit('no way')\n",
            "no way",
        ),
        (
            "from pathlib import Path\n(Path(__file__).parent / 'locks/cp311.txt').write_text('numpy>=1\\n')\n",
            "`numpy>=1` is not",
        ),
        (
            "from pathlib import Path\n(Path(__file__).parent / 'locks/cp314t.txt').unlink()\n",
            "created no `cp314t.txt`",
        ),
    ] {
        let clone = with_script(script);
        let before = locks(&clone);
        let error = clone.bad(1, &["lock"]);
        assert!(error.contains(said), "{error}");
        assert_eq!(locks(&clone), before);
    }
}

/// Adds a second folder of lock files, which is processed after the first.
fn with_second_folder(script: Option<&str>) -> (Clone, std::path::PathBuf) {
    let clone = with_script(&script_for_all());
    clone.edit("    locks: own/locks\n    serve:", "    locks: other/locks\n    serve:");
    let other = clone.project().join("other");
    fs::create_dir_all(other.join("locks")).unwrap();
    for abi in ["cp311", "cp314", "cp314t"] {
        fs::write(other.join(format!("locks/{abi}.txt")), lines(&[("kept", "1", 'a')])).unwrap();
    }
    if let Some(script) = script {
        fs::write(other.join("lock.py"), script).unwrap();
    }
    (clone, other)
}

/// Returns a script that changes each lock file.
fn script_for_all() -> String {
    let pins = lines(&[("added", "3", 'd')]);
    format!(
        "import sys\nfrom pathlib import Path\nhere = Path(__file__).parent / 'locks'\n\
         for abi in 'cp311', 'cp314', 'cp314t':\n    (here / f'{{abi}}.txt').write_text('''{pins}''')\n"
    )
}

#[test]
fn what_one_script_fails_to_make_leaves_all_folders_as_they_were() {
    let (clone, _) = with_second_folder(Some("raise SystemExit('no way')\n"));
    let before = locks(&clone);
    let error = clone.bad(1, &["lock"]);
    assert!(error.contains("`other/locks`: ") && error.contains("no way"), "{error}");
    assert_eq!(locks(&clone), before);
    let (clone, _) = with_second_folder(None);
    let before = locks(&clone);
    let error = clone.bad(2, &["lock"]);
    assert!(error.contains("other/lock.py`: write a script"), "{error}");
    assert_eq!(locks(&clone), before);
    let (clone, other) = with_second_folder(Some(&script_for_all()));
    let said = clone.good(&["lock"]);
    assert!(
        said.contains("own/locks/cp311.txt: +added 3") && said.contains("other/locks/cp311.txt: +added 3"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(other.join("locks/cp314t.txt")).unwrap(), lines(&[("added", "3", 'd')]));
}

#[test]
fn the_cache_is_not_pruned_while_locks_are_made() {
    let program = env!("CARGO_BIN_EXE_wheel-matrix");
    let clone = with_script(&format!(
        "import subprocess, sys\n\
         pruned = subprocess.run([{program:?}, 'cache', 'prune'], capture_output=True, text=True)\n\
         sys.exit(f'prune: {{pruned.returncode}} {{pruned.stderr}}')\n"
    ));
    let error = clone.bad(1, &["lock"]);
    assert!(error.contains("prune: 1 ") && error.contains("the cache is in use"), "{error}");
    clone.good(&["cache", "prune"]);
}

#[test]
fn without_a_script_the_error_says_what_to_write() {
    let clone = with_script("");
    fs::remove_file(clone.project().join("own/lock.py")).unwrap();
    let error = clone.bad(2, &["lock"]);
    assert!(error.contains("own/lock.py`: write a script"), "{error}");
    let error = clone.bad(2, &["lock", "nowhere"]);
    assert!(error.contains("there is no package `nowhere`"), "{error}");
}

#[test]
fn what_cannot_be_asked_is_said_in_its_row() {
    let clone = Clone::new();
    let matrix = fs::read_to_string(clone.project().join("matrix.yaml")).unwrap();
    let table = clone.good(&["outdated", "--write"]);
    assert!(table.starts_with("INPUT "), "{table}");
    for input in ["tool maturin ", "check zizmor ", "source cpython-", "image debian:", "base image python:"] {
        let row = table.lines().find(|line| line.starts_with(input)).unwrap_or_else(|| panic!("no {input}: {table}"));
        assert!(row.ends_with("not asked"), "{row}");
    }
    assert_eq!(fs::read_to_string(clone.project().join("matrix.yaml")).unwrap(), matrix);
    // Inputs that could not be checked do not count as outdated.
    clone.good(&["outdated", "--check"]);
}

#[test]
#[ignore = "builds cargo-deny, with a network"]
fn crates_that_are_not_allowed_are_refused() {
    let clone = Clone::new();
    let source = fixture::project();
    // The digests of the fixture are invented.
    fs::write(clone.project().join("matrix.yaml"), fixture::own_matrix()).unwrap();
    let crates = fs::read_dir(source.join("xtask/crates")).unwrap().flatten();
    let crates = crates.map(|entry| format!("xtask/crates/{}", entry.file_name().to_string_lossy()));
    let members: Vec<String> = ["xtask", "xtask/standin"].map(str::to_owned).into_iter().chain(crates).collect();
    let manifests = members.iter().map(|member| format!("{member}/Cargo.toml"));
    let files = ["Cargo.toml", "Cargo.lock", ".cargo/deny.toml"].map(str::to_owned).into_iter().chain(manifests);
    for file in files {
        let to = clone.project().join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(source.join(file), to).unwrap();
    }
    for member in &members {
        let sources = clone.project().join(member).join("src");
        fs::create_dir_all(&sources).unwrap();
        fs::write(sources.join("lib.rs"), "").unwrap();
        if !member.starts_with("xtask/crates/") {
            fs::write(sources.join("main.rs"), "fn main() {}\n").unwrap();
        }
        // Cargo requires all targets that a manifest lists.
        let manifest = fs::read_to_string(source.join(member).join("Cargo.toml")).unwrap();
        let tests = clone.project().join(member).join("tests");
        fs::create_dir_all(&tests).unwrap();
        for target in manifest.split("[[test]]").skip(1) {
            let name = target.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
            fs::write(tests.join(format!("{}.rs", name.trim_matches('"'))), "").unwrap();
        }
    }
    // Run the real command with the user's cache.
    let deny = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
        let output = command.arg("deny").current_dir(clone.project()).stdin(Stdio::null()).output().unwrap();
        let said = text(&output.stderr);
        // The terminal shows the last lines of the log; the log file is complete.
        let log = said.lines().find_map(|line| Some(line.split_once("whole log: ")?.1.trim()));
        let log = log.map_or_else(String::new, |log| fs::read_to_string(log).unwrap());
        (output.status.code(), said, log)
    };
    let (code, said, _) = deny();
    assert_eq!(code, Some(0), "{said}");
    let path = clone.project().join(".cargo/deny.toml");
    let mut rules = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"MIT\", ", ""),
        ("crate = \"syn@2\"", "crate = \"syn@1\""),
        ("[sources]\n", "[sources]\nallow-registry = []\n"),
    ] {
        assert!(rules.contains(from), "deny.toml no longer has `{from}`");
        rules = rules.replace(from, to);
    }
    fs::write(&path, rules).unwrap();
    let (code, said, log) = deny();
    let told = said + &log;
    assert_eq!(code, Some(1), "{told}");
    for finding in ["licenses FAILED", "bans FAILED", "sources FAILED"] {
        assert!(told.contains(finding), "`{finding}` expected: {told}");
    }
}
