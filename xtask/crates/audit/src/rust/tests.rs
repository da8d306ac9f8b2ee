//! Tests of each rule with a few lines of Rust, including code without findings.

use super::scan;
use crate::rules;

fn found(text: &str) -> Vec<(&'static str, usize, String)> {
    scan(text).unwrap().found.into_iter().map(|found| (found.rule.id, found.line, found.function)).collect()
}

/// Asserts that exactly these findings are returned: rule, line, function.
fn finds(text: &str, expected: &[(&str, usize, &str)]) {
    let found = found(text);
    let found: Vec<(&str, usize, &str)> =
        found.iter().map(|(rule, line, place)| (*rule, *line, place.as_str())).collect();
    assert_eq!(found, expected, "in {text}");
}

#[test]
fn unsafe_code_of_every_kind() {
    finds("fn f() {\n    unsafe { g() }\n}", &[("rust-unsafe-block", 2, "f")]);
    finds("mod m {\n  impl T {\n    unsafe fn f() {}\n  }\n}", &[("rust-unsafe-fn", 3, "m::T::f")]);
    finds("trait T {\n    unsafe fn f();\n}", &[("rust-unsafe-fn", 2, "f")]);
    finds("unsafe impl Send for X {}", &[("rust-unsafe-impl", 1, "X")]);
    finds("unsafe extern \"C\" {\n    fn f();\n}", &[("rust-foreign", 1, "(file)")]);
    finds("static mut N: u8 = 0;", &[("rust-static-mut", 1, "(file)")]);
    finds("static N: u8 = 0;", &[]);
}

#[test]
fn unsafe_code_inside_macros() {
    finds("fn f() { vec![unsafe { g() }]; }", &[("rust-unsafe-block", 1, "f")]);
    finds("fn f() { select! { x = g() => { unsafe { h(x) } } } }", &[("rust-unsafe-block", 1, "f")]);
    finds("fn f() { odd!(=> unsafe { h(x) }); }", &[("rust-unsafe-block", 1, "f")]);
    finds("macro_rules! m { ($x:expr) => { unsafe { $x } }; }", &[("rust-unsafe-block", 1, "(file)")]);
}

#[test]
fn state_that_one_thread_may_use() {
    finds("struct S { a: std::cell::RefCell<u8> }", &[("rust-cell", 1, "S")]);
    finds("fn f() { let a = Rc::new(1); }", &[("rust-cell", 1, "f")]);
    finds("use std::cell::Cell as Hidden;", &[("rust-cell", 1, "(file)")]);
    finds("fn f() { let a = Arc::new(Mutex::new(1)); }", &[]);
    finds("thread_local! { static N: u8 = const { 0 }; }", &[("rust-thread-local", 1, "(file)")]);
    finds(
        "static C: GILOnceCell<u8> = GILOnceCell::new();",
        &[("rust-gil-cell", 1, "(file)"), ("rust-gil-cell", 1, "(file)")],
    );
}

#[test]
fn ways_to_the_interpreter() {
    finds("fn f() { let py = Python::assume_attached(); }", &[("rust-assume-attached", 1, "f")]);
    finds("fn f() { let py = x.assume_gil_acquired(); }", &[("rust-assume-attached", 1, "f")]);
    finds("fn f() { pyo3::Python::with_gil(|py| ()); }", &[("rust-attach", 1, "f")]);
    finds("fn f() { socket.attach(1); }", &[]);
}

#[test]
fn what_modules_say_of_the_gil() {
    finds("#[pymodule(gil_used = false)]\nfn m() {}", &[("rust-gil-unused", 1, "m")]);
    finds("#[pymodule(name = \"x\", gil_used = true)]\nfn m() {}", &[("rust-gil-used", 1, "m")]);
    finds("#[pymodule]\nfn m() {}", &[("rust-gil-default", 2, "m")]);
    finds("#[pyo3::pymodule]\nmod m {}", &[("rust-gil-default", 2, "m")]);
    finds("fn m() { module.gil_used(false); }", &[("rust-gil-unused", 1, "m")]);
}

#[test]
fn classes_that_threads_share() {
    finds("#[pyclass]\nstruct A;", &[("rust-pyclass-mutable", 1, "A")]);
    finds("#[pyclass(frozen, name = \"B\")]\nstruct A;", &[]);
    finds("#[pyclass(frozen, unsendable)]\nstruct A;", &[("rust-pyclass-unsendable", 1, "A")]);
    finds("#[cfg_attr(feature = \"py\", pyclass)]\nstruct A;", &[("rust-pyclass-mutable", 1, "A")]);
    let methods = "#[pymethods]\nimpl A {\n fn a(&mut self) {}\n fn b(&self) {}\n fn c(s: PyRefMut<'_, Self>) {}\n}";
    finds(methods, &[("rust-pyclass-mut-self", 3, "A::a"), ("rust-pyclass-mut-self", 5, "A::c")]);
    // Python threads cannot concurrently call a method that Python cannot call.
    finds("impl A { fn a(&mut self) {} }", &[]);
}

#[test]
fn pointers_that_cross_threads() {
    finds("struct A { p: *mut u8 }", &[("rust-raw-pointer", 1, "A")]);
    finds("struct A { p: Option<NonNull<u8>> }", &[("rust-raw-pointer", 1, "A")]);
    finds("struct A { f: fn(*mut u8) }", &[]);
    finds("fn f(p: *mut u8) { g(p as usize); }", &[("rust-raw-pointer", 1, "f")]);
    finds("fn f() { let p = v.as_mut_ptr(); spawn(move || g(p)); }", &[("rust-raw-pointer", 1, "f")]);
    finds("fn f(p: *const u8) { py.detach(|| g(p)); }", &[("rust-raw-pointer", 1, "f")]);
    finds("fn f(p: *const u8) { tokio::spawn(async move { g(p) }); }", &[("rust-raw-pointer", 1, "f")]);
    finds("fn f(p: *const u8) { let p = 1; py.detach(|| g(p)); }", &[]);
    finds("fn f(p: *const u8) { items.map(|x| g(p)); }", &[]);
}

#[test]
fn what_is_for_tests_only_is_left_out() {
    finds("#[cfg(test)]\nmod tests { fn f() { unsafe { g() } } }", &[]);
    finds("#[cfg(all(test, unix))]\nfn f() { unsafe { g() } }", &[]);
    finds("#[cfg(any(test, unix))]\nfn f() { unsafe { g() } }", &[("rust-unsafe-block", 2, "f")]);
    finds("#[cfg(not(test))]\nfn f() { unsafe { g() } }", &[("rust-unsafe-block", 2, "f")]);
    assert_eq!(scan("#[cfg(test)]\nmod tests;\nmod other;").unwrap().test_modules, ["tests"]);
}

#[test]
fn what_does_not_parse_is_an_error_with_its_line() {
    let error = scan("fn f() {}\nfn {").err().unwrap().to_string();
    assert!(error.starts_with("line 2"), "{error}");
}

#[test]
fn neither_comments_nor_layout_are_part_of_the_code() {
    let one = scan("fn f() { unsafe { g(1) } }").unwrap().found;
    let other = scan("\n\nfn f() {\n  // why\n  unsafe {\n    g( 1 ) // so\n  }\n}").unwrap().found;
    assert_eq!(one[0].snippet, other[0].snippet);
    let changed = scan("fn f() { unsafe { g(2) } }").unwrap().found;
    assert_ne!(one[0].snippet, changed[0].snippet);
}

#[test]
fn each_rule_of_rust_is_found_by_one_of_these_tests() {
    let tests = include_str!("tests.rs");
    for rule in rules::ALL.iter().filter(|rule| rule.id.starts_with("rust-")) {
        assert!(tests.contains(&format!("\"{}\"", rule.id)), "no test finds `{}`", rule.id);
    }
}
