//! Tests of SBOMs, and of the checks of files from other machines.

use std::fs;

use crate::common::{Clone, text};

#[test]
fn what_was_downloaded_is_held_against_the_manifest_that_came_with_it() {
    let clone = Clone::new();
    clone.good(&["wheels", "--package", "acme-py", "--abi", "cp314t"]);
    let wheel = clone.wheel("-cp314t-");
    let printed = clone.good(&["sbom", "--out", "wheels", "wheel-acme-py-cp314t"]);
    let sbom = clone.wheel(".cdx.json");
    assert_eq!(clone.good(&["sbom", "wheel-acme-py-cp314t"]), fs::read_to_string(&sbom).unwrap());
    assert_eq!(printed.split_whitespace().last(), sbom.file_name().unwrap().to_str());

    let away = clone.top.join("downloaded");
    fs::rename(clone.project().join("wheels"), &away).unwrap();
    let manifest = away.join("manifest.json").display().to_string();
    let file = away.join(wheel.file_name().unwrap()).display().to_string();
    let verify = ["verify", file.as_str(), "--manifest", manifest.as_str()];
    let said = clone.good(&verify);
    assert!(said.contains("manifest    same digest") && said.contains("sbom        same digest"), "{said}");
    assert!(clone.good(&["verify", &file]).contains("could not be compared"), "the clone's own knows nothing of it");

    let sbom = away.join(sbom.file_name().unwrap());
    let good = fs::read(&sbom).unwrap();
    fs::write(&sbom, "{}").unwrap();
    assert!(clone.bad(1, &verify).contains(".cdx.json` has the SHA-256"));
    fs::write(&sbom, good).unwrap();
    let text = fs::read_to_string(&manifest).unwrap();
    let start = text.find("\"sha256\": \"").unwrap() + "\"sha256\": \"".len();
    fs::write(&manifest, text.replace(&text[start..start + 64], &"0".repeat(64))).unwrap();
    assert!(clone.bad(1, &verify).contains("it is not the file that was built"));
    // A manifest that does not list the SBOM proves nothing.
    fs::write(&manifest, "{\"schema\": 1, \"artefacts\": []}").unwrap();
    assert!(clone.bad(1, &verify).contains("does not list `acme_py-"));
    fs::remove_file(&manifest).unwrap();
    clone.bad(2, &verify);
}

#[test]
fn bills_of_materials_go_with_what_they_tell_of() {
    let clone = Clone::new();
    clone.good(&["image", "314t"]);
    clone.good(&["sbom", "--out", "wheels", "314t", "wheel-acme-py-cp314t"]);
    clone.bad(2, &["sbom", "314t", "wheel-acme-py-cp314t"]);
    let folder = clone.top.join("machines/proof-314t");
    let exported = clone.top.join("machines").display().to_string();
    clone.good(&["export", "proof-314t", &exported]);
    fs::remove_dir_all(clone.project().join("wheels")).unwrap();
    let image = folder.join("image-314t.cdx.json");
    let machines = clone.top.join("machines").display().to_string();
    let collect = ["collect", machines.as_str()];
    clone.good(&collect);
    let arrived = clone.project().join("wheels/image-314t.cdx.json");
    assert_eq!(fs::read(&arrived).unwrap(), fs::read(&image).unwrap());
    fs::write(&image, "{}").unwrap();
    assert!(clone.bad(1, &collect).contains("image-314t.cdx.json` is rejected"));
    // The SBOM remains valid for the same image, but not for another.
    clone.good(&["image", "314t"]);
    assert!(arrived.exists());
    clone.edit("pypi: {version: 1.4.2, sha256: c6d3ee3e", "pypi: {version: 1.4.3, sha256: 3a856c78");
    clone.good(&["image", "314t"]);
    assert!(!arrived.exists());
}

/// A run with a root file system that is not the pinned image.
#[test]
fn a_fallback_of_the_root_file_system_is_named_and_not_published() {
    let clone = Clone::new();
    let run = |arguments: &[&str]| clone.command(arguments).env("XTASK_FAKE_FALLBACK", "yes").output().unwrap();
    let output = run(&["wheels", "--package", "acme", "--abi", "cp314t"]);
    let said = text(&output.stderr);
    let note = "bootstrapped by a test, instead of the pinned `debian:";
    assert!(output.status.success() && said.contains("warning: the root file system is a fallback"), "{said}");
    let manifest = fs::read_to_string(clone.project().join("wheels/manifest.json")).unwrap();
    assert!(manifest.contains(&format!("\"root file system\": \"{note}")), "{manifest}");
    let wheel = clone.wheel("acme-").display().to_string();
    let verified = clone.good(&["verify", &wheel]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(verified.contains(&format!(" root {note}")), "{verified}");

    let (from, dist) = (clone.top.join("from"), clone.top.join("dist").display().to_string());
    fs::create_dir_all(&from).unwrap();
    fs::rename(clone.project().join("wheels"), from.join("wheel-acme-cp314t")).unwrap();
    let from = from.display().to_string();
    let refused = clone.bad(1, &["collect", &from, "--publish", &dist]);
    assert!(refused.contains("cannot be published: its root file system is bootstrapped"), "{refused}");
    assert!(!clone.top.join("dist").exists());
}
