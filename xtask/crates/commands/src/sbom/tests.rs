//! Tests with a synthetic wheel and image.

use serde_json::{Value, json};

use super::document::{Component, Document, escaped};
use super::image::Contents;
use super::*;
use base::cancel::Cancel;
use build::OpenOptions;
use matrix::Matrix;
use wheelfile::{ExpectedWheel, NewWheel, minimal_extension};

const CRATES: &str = r#"{"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": "urn:uuid:1", "components": [
    {"type": "library", "bom-ref": "registry#memchr@2.7", "name": "memchr", "version": "2.7", "author": "somebody",
     "purl": "pkg:cargo/memchr@2.7", "licenses": [{"expression": "Unlicense OR MIT"}]},
    {"type": "library", "bom-ref": "again", "name": "memchr", "version": "2.7", "purl": "pkg:cargo/memchr@2.7"},
    {"type": "library", "bom-ref": "x", "name": "my-wheel", "version": "1.0", "purl": "pkg:pypi/my-wheel@1.0"}]}"#;

fn value(document: &Document) -> Value {
    serde_json::from_str(&document.text().unwrap()).unwrap()
}

fn names(components: &Value) -> Vec<&str> {
    components.as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect()
}

#[test]
fn a_wheel_lists_what_was_bundled_and_what_its_builder_says() {
    let library = minimal_extension("other", "x86_64", None).unwrap();
    let spec = NewWheel {
        distribution: "my_wheel",
        version: "1.0",
        python: "cp314",
        abi: "cp314t",
        platform: "manylinux_2_28_x86_64",
        files: vec![
            (
                "my_wheel.cpython-314t-x86_64-linux-gnu.so".to_owned(),
                minimal_extension("my_wheel", "x86_64", None).unwrap(),
            ),
            // A bundled library exports no module and has a unique name.
            ("my_wheel.libs/libz-1234.so.1".to_owned(), without_init(&library)),
            ("my_wheel-1.0.dist-info/sboms/crates.cyclonedx.json".to_owned(), CRATES.as_bytes().to_vec()),
        ],
    };
    let folder = std::env::temp_dir().join(format!("xtask-sbom-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(spec.file_name());
    wheelfile::write_wheel(&path, &spec).unwrap();
    let expect = ExpectedWheel {
        distribution: "my-wheel",
        version: None,
        abi: "cp314t",
        platform: None,
        max_glibc: Some((2, 36)),
    };
    let report = wheelfile::check(&path, &expect).unwrap();
    let document = wheel::describe(&path, &report).unwrap();
    let again = wheel::describe(&path, &report).unwrap().text().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();

    assert_eq!(document.text().unwrap(), again);
    let found = value(&document);
    let subject = &found["metadata"]["component"];
    assert_eq!(subject["hashes"], json!([{"alg": "SHA-256", "content": report.sha256}]));
    assert_eq!(subject["purl"], format!("pkg:pypi/my-wheel@1.0?file_name={}", report.file_name));
    // The wheel itself, which its SBOM lists, is omitted, and there are no duplicates.
    assert_eq!(names(&found["components"]), ["my_wheel.libs/libz-1234.so.1", "memchr"]);
    let digest = digest::of(without_init(&library));
    assert_eq!(found["components"][0]["hashes"][0]["content"], digest);
    assert_eq!(found["components"][1]["licenses"], json!([{"expression": "Unlicense OR MIT"}]));
    assert_eq!(found["dependencies"][0]["dependsOn"].as_array().unwrap().len(), 2);
    for changing in ["serialNumber", "timestamp", "urn:uuid"] {
        assert!(!again.contains(changing), "{again}");
    }
}

/// Returns the library with another name of its only symbol.
fn without_init(library: &[u8]) -> Vec<u8> {
    let text = b"PyInit_other";
    let at = library.windows(text.len()).position(|window| window == text).unwrap();
    let mut changed = library.to_vec();
    changed[at] = b'X';
    changed
}

#[test]
fn an_image_lists_its_system_its_interpreter_and_its_distributions() {
    let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
    let inventory = json!({
        "release": {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"},
        "python": "3.14.7",
        "free_threaded": true,
        "debian": [{"Package": "libstdc++6", "Version": "12.2.0-14+deb12u1", "Architecture": "amd64"}],
        "distributions": [{
            "name": "My_Wheel", "version": "1.0", "expression": null, "licence": "MIT",
            "libraries": {"my_wheel.libs/libz.so": "ab"}, "sboms": {"a/sboms/b.json": CRATES},
        }],
    });
    let contents = Contents {
        id: "0".repeat(64),
        labels: BTreeMap::from([
            ("dev.wheel-matrix.gil".to_owned(), "off".to_owned()),
            ("other".to_owned(), "x".to_owned()),
        ]),
        inventory: serde_json::from_value(inventory).unwrap(),
    };
    let document = image::describe("some/where:tag", &matrix.images[0], &contents).unwrap();
    let found = value(&document);
    let subject = &found["metadata"]["component"];
    assert_eq!((&subject["type"], &subject["name"]), (&json!("container"), &json!("some/where")));
    assert_eq!(subject["properties"], json!([{"name": "dev.wheel-matrix.gil", "value": "off"}]));
    let parts = &found["components"];
    assert_eq!(names(parts), ["debian", "cpython", "libstdc++6", "My_Wheel"]);
    let purl = "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=bookworm";
    assert_eq!((&parts[2]["purl"], &parts[2]["bom-ref"]), (&json!(purl), &json!(purl)));
    assert_eq!(parts[1]["properties"][0]["value"], "yes");
    assert_eq!(parts[3]["licenses"], json!([{"license": {"name": "MIT"}}]));
    assert_eq!(names(&parts[3]["components"]), ["my_wheel.libs/libz.so", "memchr"]);
}

#[test]
#[ignore = "installs the pinned checks, with a network"]
fn what_is_not_cyclonedx_is_refused() {
    let matrix = std::path::Path::new("../../../matrix.yaml");
    let options = OpenOptions { matrix: Some(matrix), jobs: None, fake: false, needs_matrix: true, prunes: false };
    let project = Project::open(&options, Cancel::default()).unwrap();
    let held = |parts: &[Component]| {
        let text = Document::new(Component::new("library", "a", "1"), parts.to_vec()).text().unwrap();
        let made = [Made { subject: String::new(), file: "a.cdx.json".to_owned(), text }];
        validate(&project, &made).map_err(|error| format!("{error:#}"))
    };
    let good = Component::new("library", "b", "2");
    assert_eq!(held(std::slice::from_ref(&good)), Ok(()));
    let wrong = held(&[Component::new("nothing", "b", "2")]).unwrap_err();
    assert!(wrong.contains("a.cdx.json: data.components[0]"), "{wrong}");
    let wrong = held(&[good.clone(), good]).unwrap_err();
    assert!(wrong.contains("the same `bom-ref`"), "{wrong}");
}

#[test]
fn package_urls_are_escaped() {
    assert_eq!(escaped("1:2.0~rc1+b1"), "1:2.0~rc1%2Bb1");
}
