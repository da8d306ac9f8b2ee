//! Tests of which images are accepted from a registry.

use super::*;
use base::platform::Platform;
use matrix::InterpreterBuild;

const PLATFORM: Platform = Platform::LinuxAmd64;
use crate::plan::{Python, Root};
use base::labels;

fn image() -> Image {
    let mut image = Image {
        id: "sha256:1".to_owned(),
        labels: BTreeMap::from([(labels::KEY.to_owned(), "k".to_owned())]),
        env: vec!["A=b".to_owned()],
        user: "app".to_owned(),
        size: 1,
        platform: PLATFORM.oci().to_owned(),
        layers: vec!["sha256:2".to_owned()],
        entrypoint: Vec::new(),
        command: vec!["python".to_owned()],
        workdir: String::new(),
        digests: Vec::new(),
    };
    let metadata = ResultMetadata {
        image: Some(fingerprint(&image)),
        seconds: 1.0,
        notes: BTreeMap::from([("interpreter-build".to_owned(), "optimized".to_owned())]),
        ..ResultMetadata::default()
    };
    image.labels.insert(labels::RESULT_METADATA.to_owned(), serde_json::to_string(&metadata).unwrap());
    image
}

#[test]
fn an_image_must_match_its_passport() {
    let python = Action::Python(Python {
        llvm: None,
        version: "3.14.7".to_owned(),
        free_threaded: true,
        build: InterpreterBuild::Optimized,
        builder: String::new(),
        archive: String::new(),
    });
    assert_eq!(
        ResultMetadata::of_image(&image(), "k", PLATFORM, &python).unwrap().notes["interpreter-build"],
        "optimized"
    );
    let usual = Image { env: vec![USUAL_PATH.to_owned(), "A=b".to_owned()], ..image() };
    assert!(ResultMetadata::of_image(&usual, "k", PLATFORM, &python).is_ok());
    let refused = |image: Image, expected: &str| {
        let error = format!("{:#}", ResultMetadata::of_image(&image, "k", PLATFORM, &python).unwrap_err());
        assert!(error.contains(expected), "{error}");
    };
    refused(Image { platform: "linux/arm64".to_owned(), ..image() }, "linux/arm64");
    refused(Image { labels: BTreeMap::new(), ..image() }, "no label `dev.wheel-matrix.key`");
    for changed in [
        Image { layers: vec!["sha256:2".to_owned(), "sha256:3".to_owned()], ..image() },
        Image { env: vec!["A=c".to_owned()], ..image() },
        Image { user: String::new(), ..image() },
        Image { command: Vec::new(), ..image() },
    ] {
        refused(changed, "changed after it was built");
    }
    for (name, value, expected) in [
        (labels::KEY, "other", "is `other`, not `k`"),
        (labels::RESULT_METADATA, "{}", "is invalid"),
        (labels::RESULT_METADATA, "no", "is invalid"),
    ] {
        let mut image = image();
        image.labels.insert(name.to_owned(), value.to_owned());
        refused(image, expected);
    }
    let root = Action::Root(Root { suite: "bookworm".to_owned(), image: None });
    let error = ResultMetadata::of_image(&image(), "k", PLATFORM, &root).unwrap_err().to_string();
    assert!(error.contains("another kind of step"), "{error}");
}
