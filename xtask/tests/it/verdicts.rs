//! Tests that the image check, `verify` and `test` agree about an image.

use std::fs;

use crate::cases::real_project;
use crate::real::run;

/// `beside` is undeclared and switches the GIL on; `optdemo` is declared, has a module that needs Tk, and is
/// imported alone by one process of the tests.
#[test]
#[ignore = "needs a Docker engine"]
fn an_image_with_the_gil_on_and_a_module_that_cannot_be_loaded_has_one_verdict() {
    let Some(clone) = real_project(&["c-beside-python", "optional-module"], &["cp314t"]) else { return };
    clone.add("images", "{tag: one-verdict, abi: cp314t, packages: [c-beside-python, optional-module], gil: \"on\"}");
    let (output, told) = run(&clone, &["image", "one-verdict", "--quick"]);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("not loadable in one-verdict, and not imported: optdemo._tk: ModuleNotFoundError"), "{told}");

    let (output, told) = run(&clone, &["verify", "one-verdict"]);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("  undeclared  beside._speedups (c-beside-python 1.0)"), "{told}");
    assert!(told.contains("  not loadable optdemo._tk (optional-module 1.0)\n"), "{told}");
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("; no import of the image reaches it"), "{told}");

    let (output, told) = run(&clone, &["test", "one-verdict"]);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("ok      GIL on as promised, in 2 processes; off in 1 of them"), "{told}");
    assert!(told.contains("server: none") && !told.contains("stand-in"), "{told}");

    // Any package can be tested in threads; what cannot be imported is left out.
    let suites = ["--suite", "imports", "--suite", "driven", "--repeat", "1"];
    let (output, told) = run(&clone, &[&["test", "one-verdict"][..], &suites].concat());
    assert!(output.status.code().is_some(), "{told}");
    for part in ["imports c-beside-python import", "imports optional-module modules", "driven  c-beside-python pairs"] {
        assert!(told.contains(part), "`{part}`: {told}");
    }

    // The package works without the module, but its import was attempted.
    let init = "try:\n    from optdemo import _tk\nexcept ImportError:\n    pass\n";
    fs::write(clone.project().join("cases/optional-module/optdemo/__init__.py"), init).unwrap();
    let (output, told) = run(&clone, &["image", "one-verdict", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("`optdemo._tk` cannot be loaded, and an import of the image reaches it: ModuleNotFoundError")
    );
    assert!(!told.contains("\"distributions\""), "the probe's document is in the log only: {told}");
}
