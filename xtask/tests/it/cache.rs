//! Tests of the cache: shared, damaged, pruned, full, restored in part.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Clone, files, text, wait_until, write_program};

#[test]
fn two_at_once_do_not_hurt_each_other() {
    let clone = Clone::new();
    let start = || clone.command(&["wheels"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (one, other) = (start(), start());
    let built: usize = [one, other]
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).matches(" built ").count()
        })
        .iter()
        .sum();
    assert_eq!(built, 9, "each wheel is built by exactly one of the two");
}

#[test]
fn two_clones_share_a_cache() {
    let (one, other) = (Clone::new(), Clone::new());
    let id = "wheel-acme-py-cp311";
    let rows = ["wheels", "--package", "acme-py", "--abi", "cp311"];
    let mut first = one.command(&rows).env("XTASK_FAKE_HANG", id).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&one, &format!("{id}-"));
    let mut second = other.command(&rows);
    second.env("XTASK_CACHE_DIR", one.top.join("cache")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut second = second.spawn().unwrap();
    let mut said = BufReader::new(second.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("waiting for another process that runs this step")));
    interrupt(&first);
    first.wait().unwrap();
    let rest: Vec<String> = said.collect();
    let output = second.wait_with_output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains(" built "), "{rest:?}");
    // The first process now finds the result of the second.
    assert!(one.good(&rows).contains(" cached "));
    assert_eq!(fs::read(one.wheel("cp311")).unwrap(), fs::read(other.wheel("cp311")).unwrap());
}

type Poison<'a> = (&'a str, Box<dyn Fn() + 'a>);

#[test]
fn a_poisoned_cache_is_refused_and_mended() {
    let clone = Clone::new();
    clone.good(&["wheels", "--package", "acme-py"]);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(clone.project().join("wheels/manifest.json")).unwrap()).unwrap();
    let artefacts = manifest["artefacts"].as_array().unwrap();
    let blob = |i: usize| clone.top.join("cache/v1/blobs").join(artefacts[i]["sha256"].as_str().unwrap());
    let record =
        |i: usize| clone.top.join("cache/v1/records").join(format!("{}.json", artefacts[i]["key"].as_str().unwrap()));

    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let key = |i: usize| artefacts[i]["key"].as_str().unwrap();

    // A file of another ABI, a truncated file, a flipped byte; then the record of an older layout, that of another
    // ABI, and the latter under the correct key.
    let poisons: [Poison; 6] = [
        ("has changed", Box::new(|| fs::copy(blob(1), blob(0)).map(|_| ()).unwrap())),
        ("has changed", Box::new(|| fs::write(blob(0), &fs::read(blob(0)).unwrap()[..100]).unwrap())),
        (
            "has changed",
            Box::new(|| {
                let mut bytes = fs::read(blob(0)).unwrap();
                bytes[50] ^= 1;
                fs::write(blob(0), bytes).unwrap();
            }),
        ),
        ("is not a record", Box::new(|| fs::write(record(0), "{\"layout\": 0}").unwrap())),
        ("is the record of another key", Box::new(|| fs::write(record(0), read(record(1))).unwrap())),
        ("not `cp311`", Box::new(|| fs::write(record(0), read(record(1)).replace(key(1), key(0))).unwrap())),
    ];
    let good = fs::read(blob(0)).unwrap();
    for (words, poison) in poisons {
        poison();
        let output = clone.run(&["wheels", "--package", "acme-py"]);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("is invalid and built again") && said.contains(words), "{said}");
        assert_eq!(fs::read(blob(0)).unwrap(), good);
    }
}

#[test]
fn the_cache_is_shown_and_pruned() {
    let clone = Clone::new();
    clone.good(&["wheels", "--package", "acme-py"]);
    let blobs = || files(&clone.top.join("cache/v1/blobs")).len();
    let before = blobs();
    assert!(clone.good(&["cache", "show"]).contains("records"));
    fs::write(clone.top.join("cache/v1/blobs").join("f".repeat(64)), "nobody speaks of this").unwrap();
    assert!(clone.good(&["cache", "prune"]).contains("removed 1 items"));
    assert_eq!(blobs(), before, "what is spoken of stays");
    clone.good(&["cache", "prune", "--max-size", "0"]);
    assert_eq!(blobs(), 0);
    assert!(clone.good(&["wheels", "--package", "acme-py"]).contains(" built "));
    clone.bad(2, &["cache", "prune", "--max-size", "much"]);
}

#[test]
fn what_was_used_last_is_pruned_last() {
    let clone = Clone::new();
    let rows = |abi: &'static str| ["wheels", "--package", "acme-py", "--abi", abi];
    clone.good(&rows("cp311"));
    clone.good(&rows("cp314t"));
    let made = |abi: &str, days: u64| {
        let id = format!("\"wheel-acme-py-{abi}\"");
        let records = files(&clone.top.join("cache/v1/records"));
        let record = records.iter().find(|path| fs::read_to_string(path).unwrap().contains(&id)).unwrap();
        let then = std::time::SystemTime::now() - Duration::from_secs(days * 86400);
        fs::File::options().append(true).open(record).unwrap().set_modified(then).unwrap();
    };
    made("cp311", 2);
    made("cp314t", 1);
    clone.good(&rows("cp311"));
    let size = |folder: &str| -> u64 {
        files(&clone.top.join("cache/v1").join(folder)).iter().map(|file| file.metadata().unwrap().len()).sum()
    };
    let all = size("blobs") + size("records") + size("logs") + size("state");
    clone.good(&["cache", "prune", "--max-size", &(all - 1).to_string()]);
    assert!(clone.good(&rows("cp311")).contains(" cached "));
    assert!(clone.good(&rows("cp314t")).contains(" built "));
}

#[test]
fn nothing_is_pruned_from_under_a_run() {
    let clone = Clone::new();
    let id = "wheel-acme-py-cp311";
    let mut child = clone.command(&["wheels"]).env("XTASK_FAKE_HANG", id).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&clone, &format!("{id}-"));
    let said = clone.bad(1, &["cache", "prune"]);
    assert!(said.contains("in use by another run"), "{said}");
    interrupt(&child);
    child.wait().unwrap();
}

/// Waits until a step whose log name starts with `log` has started to log.
pub fn wait_for(clone: &Clone, log: &str) {
    wait_until(&format!("the step `{log}` does not start"), || {
        let names = files(&clone.top.join("cache/v1/logs"));
        names.iter().any(|path| path.file_name().unwrap().to_str().unwrap().starts_with(log))
    });
}

pub fn interrupt(child: &std::process::Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_cache_that_cannot_be_written_is_no_reason_to_fail() {
    let clone = Clone::new();
    let output = clone
        .command(&["wheels", "--package", "acme-py", "--abi", "cp314t"])
        .env("XTASK_CACHE_DIR", "/proc/no-cache-here")
        .env("TMPDIR", &clone.top)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("`/proc/no-cache-here` is not writable: using the cache folder `"), "{said}");
}

/// Copies the records and files of a wheel from one cache to another, like a CI job that restores a cache.
fn carry(clone: &Clone, to: &Path, id: &str) {
    use std::os::unix::fs::PermissionsExt;
    let manifest = fs::read(clone.project().join("wheels/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let row = manifest["artefacts"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
    let record = format!("records/{}.json", row["key"].as_str().unwrap());
    for name in [record, format!("blobs/{}", row["sha256"].as_str().unwrap())] {
        let file = to.join("v1").join(&name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(clone.top.join("cache/v1").join(&name), &file).unwrap();
        fs::File::options().append(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
    }
}

#[test]
fn a_restored_part_of_the_cache_is_enough_for_its_row() {
    let (here, there) = (Clone::new(), Clone::new());
    let row = ["wheels", "--package", "acme", "--abi", "cp314t"];
    here.good(&row);
    carry(&here, &there.top.join("cache"), "wheel-acme-cp314t");
    // Its key depends on the content of Debian's archive, so those records are copied as well.
    let plan: serde_json::Value =
        serde_json::from_str(&here.good(&[&["plan"], &row[..], &["--format", "json"]].concat())).unwrap();
    for step in plan["steps"].as_array().unwrap() {
        if ["root", "apt"].contains(&step["action"]["kind"].as_str().unwrap()) {
            let name = format!("v1/records/{}.json", step["key"].as_str().unwrap());
            fs::copy(here.top.join("cache").join(&name), there.top.join("cache").join(&name)).unwrap();
        }
    }
    let output = there.run(&row);
    let said = text(&output.stderr);
    assert!(text(&output.stdout).contains(" cached "), "{said}");
    assert_eq!(said.matches(" ... ok ").count(), 0, "nothing is made for it: {said}");
    let bytes = |clone: &Clone| fs::read(clone.wheel("-cp314t-")).unwrap();
    assert_eq!(bytes(&here), bytes(&there));
}

#[test]
fn what_nothing_needs_is_neither_looked_for_nor_made() {
    let clone = Clone::new();
    clone.good(&["image", "314t"]);
    let plan: serde_json::Value =
        serde_json::from_str(&clone.good(&["plan", "image", "314t", "--format", "json"])).unwrap();
    let key = |id: &str| {
        let step = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap();
        step["key"].as_str().unwrap().to_owned()
    };
    let forget = |id: &str| fs::remove_file(clone.top.join(format!("cache/v1/records/{}.json", key(id)))).unwrap();
    forget("python-cp314t-optimized");
    forget("tools");
    let again = clone.run(&["image", "314t"]);
    let said = text(&again.stderr);
    assert!(!said.contains("[python-cp314t-optimized]") && !said.contains("[tools]"), "{said}");
    let shown = clone.good(&["plan", "image", "314t"]);
    assert!(shown.contains("18 steps: 16 cached, 2 unused"), "{shown}");
    // A step that must run requires its dependencies.
    forget("base-cp314t");
    let said = text(&clone.run(&["image", "314t"]).stderr);
    assert!(said.contains("[python-cp314t-optimized] ") && said.contains("[base-cp314t] "), "{said}");
    assert!(!said.contains("[wheel-acme-py-cp314t] build acme-py manylinux_2_28_x86_64 ... ok"), "{said}");
}

#[test]
fn the_same_bytes_wherever_and_by_whomever() {
    let (one, other) = (Clone::new(), Clone::new());
    one.good(&["wheels"]);
    let script = "umask 077; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_wheel-matrix"), "wheels", "--fake", "--jobs", "3"]);
    command.current_dir(other.project()).env("XTASK_CACHE_DIR", other.top.join("cache"));
    let changed =
        [("USER", "somebody"), ("LANG", "tr_TR.UTF-8"), ("LC_ALL", "C"), ("TZ", "Asia/Kathmandu"), ("CFLAGS", "-O0")];
    let output = command.envs(changed).env_remove("GITHUB_ACTIONS").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let manifest = |clone: &Clone| {
        let text = fs::read_to_string(clone.project().join("wheels/manifest.json")).unwrap();
        // The durations may differ.
        text.lines().filter(|line| !line.contains("\"seconds\": ")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(manifest(&one), manifest(&other));
    assert!(manifest(&one).contains("\"sha256\": "));
}

#[test]
fn the_environment_of_the_user_does_not_reach_the_compiler() {
    let clone = Clone::new();
    let copy = clone.top.join("copy");
    fs::create_dir_all(copy.join("src")).unwrap();
    fs::write(copy.join("src/lib.rs"), "").unwrap();
    fs::write(copy.join("Cargo.toml"), "[package]\nname = \"copy\"\nversion = \"1.0.0\"\nedition = \"2021\"\n")
        .unwrap();
    fs::write(copy.join("Cargo.lock"), "version = 4\n\n[[package]]\nname = \"copy\"\nversion = \"1.0.0\"\n").unwrap();
    let pin = "pypi: {version: 1.4.2, sha256: c6d3ee3ecc84267f38059f72176d4bacbf4965158c543578283ed9fb72930f4a}";
    clone.edit(pin, "path: ../copy");
    let real = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wheel-matrix"));
        command.args(arguments).args(["wheels", "--package", "acme-py", "--abi", "cp311"]);
        command.current_dir(clone.project()).env("XTASK_CACHE_DIR", clone.top.join("cache")).stdin(Stdio::null());
        command
    };
    let plan = real(&["plan", "--format", "json"]).output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let key = plan["steps"][0]["key"].as_str().unwrap();
    assert_eq!(plan["steps"][0]["id"], "tools");

    // Replace zig and maturin by scripts that record their arguments and environment.
    let folder = format!("tools-{}", &key[..16]);
    let bin = clone.top.join("cache/v1/state").join(&folder).join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("../complete"), "").unwrap();
    let given = clone.top.join("given");
    let zig = "mkdir -p \"$ZIG_GLOBAL_CACHE_DIR/o\"\ntouch libgcc_s.so.1\n";
    for (name, then) in [("python", zig), ("maturin", "exit 1\n")] {
        write_program(&bin.join(name), &format!("#!/bin/sh\nenv >>{}\n{then}", given.display()));
    }
    let output = serde_json::json!({"notes": {"folder": folder}});
    let record = serde_json::json!({"id": "tools", "key": key, "seconds": 1.0, "output": output});
    fs::write(clone.top.join(format!("cache/v1/records/{key}.json")), record.to_string()).unwrap();

    let names =
        ["RUSTFLAGS", "CFLAGS", "CC", "LDFLAGS", "RUSTC_WRAPPER", "CARGO_PROFILE_RELEASE_OPT_LEVEL", "PYO3_PYTHON"];
    let mut command = real(&[]);
    // What the compiler must not be given; its own `cargo metadata` would stumble over a wrapper.
    let output = command.envs(names.map(|name| (name, "from-the-user"))).env("RUSTC_WRAPPER", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let given = fs::read_to_string(&given).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert!(given.contains("SOURCE_DATE_EPOCH=") && given.matches("ZIG_GLOBAL_CACHE_DIR=").count() == 3, "{given}");
    for name in names {
        assert!(!given.contains(&format!("\n{name}=")) && !given.contains("from-the-user"), "{name}: {given}");
    }
}

/// Runs `script` with temporary file systems; `$XTASK` is the tool.
fn mounted(clone: &Clone, script: &str) -> (String, String) {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-euc", script])
        .current_dir(clone.project())
        .env("XTASK", env!("CARGO_BIN_EXE_wheel-matrix"))
        .env("XTASK_CACHE_DIR", clone.top.join("cache"))
        .env("TMPDIR", &clone.top)
        .env_remove("GITHUB_ACTIONS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
#[ignore = "mounts file systems"]
fn a_full_or_read_only_cache_is_still_used() {
    for (make_so, why) in [
        ("mount -o remount,ro none \"$XTASK_CACHE_DIR\"", "is not writable"),
        ("dd if=/dev/zero of=\"$XTASK_CACHE_DIR/filler\" bs=1M status=none || true", "is on a full disk"),
    ] {
        let clone = Clone::new();
        let (out, err) = mounted(
            &clone,
            &format!(
                "mkdir -p \"$XTASK_CACHE_DIR\"; mount -t tmpfs -o size=200m none \"$XTASK_CACHE_DIR\"
                 \"$XTASK\" wheels --package acme --fake >/dev/null 2>&1
                 {make_so}
                 \"$XTASK\" wheels --fake"
            ),
        );
        assert_eq!(err.matches(why).count(), 1, "said once: {err}");
        assert_eq!((out.matches(" cached ").count(), out.matches(" built ").count()), (3, 6), "{out}");
    }
}

#[test]
#[ignore = "mounts file systems"]
fn each_part_may_be_on_a_file_system_of_its_own() {
    let clone = Clone::new();
    let (out, _) = mounted(
        &clone,
        "for folder in wheels \"$XTASK_CACHE_DIR\" \"$XTASK_CACHE_DIR/v1/scratch\" \"$XTASK_CACHE_DIR/v1/records\"; do
           mkdir -p \"$folder\"; mount -t tmpfs -o size=200m none \"$folder\"
         done
         \"$XTASK\" wheels --fake
         test $(find wheels -name '*.whl' | wc -l) -eq 7
         test -z \"$(find wheels \"$XTASK_CACHE_DIR\" -name '*.part')\"",
    );
    assert_eq!(out.matches(" built ").count(), 9, "{out}");
}
