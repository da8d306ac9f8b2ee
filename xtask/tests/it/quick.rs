//! Tests of wheels that `--quick` builds for trying out: they are marked everywhere, and stay on the machine.

use std::fs;

use crate::common::Clone;

const WHEEL: [&str; 5] = ["wheels", "--package", "acme-py", "--abi", "cp314t"];

fn quick(arguments: &[&'static str]) -> Vec<&'static str> {
    [arguments, &["--quick"]].concat()
}

#[test]
fn a_quick_wheel_is_marked_and_replaces_no_other() {
    let clone = Clone::new();
    let line = "\nquick, for trying out and not for release: acme-py cp314t\n";
    let table = clone.good(&quick(&WHEEL));
    assert!(table.ends_with(line), "{table}");
    let file = clone.wheel("acme_py-1.4.2-0quick-cp314-cp314t-");
    let verified = clone.good(&["verify", &file.display().to_string()]);
    assert!(verified.contains("\n  build       built with --quick"), "{verified}");
    let manifest = fs::read_to_string(clone.project().join("wheels/manifest.json")).unwrap();
    assert!(manifest.contains("\"quick\": \"built with --quick, for trying out and not for release\""), "{manifest}");

    // The other wheel has another key. The folder has one of the two.
    let table = clone.good(&WHEEL);
    assert!(table.contains(" built ") && !table.contains("quick"), "{table}");
    assert!(!file.exists() && clone.wheel("acme_py-1.4.2-cp314-cp314t-").exists());
    let table = clone.good(&quick(&WHEEL));
    assert!(table.contains(" cached ") && table.ends_with(line), "{table}");
}

#[test]
fn an_image_names_its_quick_wheels() {
    let clone = Clone::new();
    let table = clone.good(&quick(&["image", "314t"]));
    assert!(table.ends_with("not for release: acme-py cp314t, image 314t\n"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let manifest = fs::read_to_string(clone.project().join("wheels/manifest.json")).unwrap();
    assert!(manifest.contains("\"quick\": \"acme-py\""), "{manifest}");
}

#[test]
fn a_package_that_is_not_built_with_maturin_has_no_quick_wheel() {
    let clone = Clone::new();
    let package = ["wheels", "--package", "acme", "--abi", "cp314t"];
    clone.good(&package);
    let table = clone.good(&quick(&package));
    assert!(table.contains(" cached ") && !table.contains("quick"), "{table}");
}

#[test]
fn quick_wheels_are_not_shared_through_a_registry() {
    let clone = Clone::new();
    for option in ["--push", "--stage"] {
        let refused = clone.bad(2, &[&quick(&WHEEL)[..], &[option, "registry.example/a"]].concat());
        let why = format!("`--quick` builds `wheel-acme-py-cp314t` for trying out only, and `{option}` would");
        assert!(refused.contains(&why), "{refused}");
        let refused = clone.bad(2, &["image", "314t", "--quick", option, "registry.example/a"]);
        assert!(refused.contains(&why), "{refused}");
    }
    assert!(!clone.project().join("wheels").exists());
}

#[test]
fn a_release_plans_no_quick_wheel() {
    let clone = Clone::new();
    let plan = ["plan", "--format", "github", "--quick", "--event"];
    let refused = clone.bad(2, &[&plan[..], &["release"]].concat());
    assert!(refused.contains("and a release would give them to others: leave out `--quick`"), "{refused}");
    clone.good(&[&plan[..], &["pull_request"]].concat());
}

#[test]
fn quick_wheels_and_images_with_them_are_not_published() {
    for (row, command) in [("wheel-acme-py-cp314t", &WHEEL[..]), ("proof-314t", &["image", "314t"])] {
        let clone = Clone::new();
        clone.good(&quick(command));
        let (from, dist) = (clone.top.join("from"), clone.top.join("dist"));
        clone.good(&["export", row, &from.display().to_string()]);
        let collect = ["collect", &from.display().to_string(), "--publish", &dist.display().to_string()];
        let refused = clone.bad(1, &collect);
        assert!(refused.contains(&format!("`{row}` cannot be published: it was built with --quick")), "{refused}");
        assert!(!dist.exists());
        // Without the note, the name of the wheel still says it.
        if row.starts_with("wheel") {
            let manifest = from.join(row).join("manifest.json");
            let text = fs::read_to_string(&manifest).unwrap().replace("\"quick\":", "\"other\":");
            fs::write(&manifest, text).unwrap();
            assert!(clone.bad(1, &collect).contains("it was built with --quick"));
        }
        clone.good(&collect[..2]);
    }
}
