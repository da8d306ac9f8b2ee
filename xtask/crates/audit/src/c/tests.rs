//! Tests of each rule with a few lines of C, including code without findings.

use super::scan;
use crate::rules;

/// Asserts that exactly these findings are returned: rule, line, function.
fn finds(text: &str, expected: &[(&str, usize, &str)]) {
    let found = scan(text).unwrap();
    let found: Vec<(&str, usize, &str)> =
        found.iter().map(|found| (found.rule.id, found.line, found.function.as_str())).collect();
    assert_eq!(found, expected, "in {text}");
}

#[test]
fn borrowed_references_with_what_replaces_them() {
    for (function, instead) in rules::BORROWED {
        let found = scan(&format!("void f(void)\n{{\n    x = {function}(y, 0);\n}}\n")).unwrap();
        assert_eq!(found.len(), 1, "{function}");
        assert_eq!((found[0].rule.id, found[0].line, found[0].function.as_str()), ("c-borrowed", 3, "f"));
        assert!(found[0].note.contains(instead), "{}", found[0].note);
    }
    finds("void f(void) { PyTuple_GET_ITEM(t, 0); PyDict_GetItemRef(d, k, &v); }", &[]);
    finds("#define GET(l) \\\n    PyList_GET_ITEM(l, 0)\n", &[("c-borrowed", 2, "define GET")]);
}

#[test]
fn comments_and_strings_are_no_code() {
    finds("/* PyList_GetItem(a, 0) */ // PyList_GetItem(a, 0)\nchar *const s = \"PyList_GetItem(a, 0) {\";", &[]);
    finds("void f(void) { g('\\'', '{'); PyList_GetItem(a, 0); }", &[("c-borrowed", 1, "f")]);
    finds("// one \\\nPyList_GetItem(a, 0)\nint x;", &[("c-static", 3, "(file)")]);
}

#[test]
fn ways_to_make_a_module() {
    let single = "PyMODINIT_FUNC PyInit_m(void)\n{\n    return PyModule_Create(&def);\n}";
    finds(single, &[("c-gil-undeclared", 1, "PyInit_m"), ("c-init-single-phase", 3, "PyInit_m")]);
    let multi = "PyMODINIT_FUNC PyInit_m(void) { return PyModuleDef_Init(&def); }";
    finds(multi, &[("c-gil-undeclared", 1, "PyInit_m"), ("c-init-multi-phase", 1, "PyInit_m")]);
    let declared = format!("static PyModuleDef_Slot s[] = {{{{Py_mod_gil, Py_MOD_GIL_NOT_USED}}, {{0}}}};\n{multi}");
    finds(&declared, &[("c-gil-declared", 1, "(file)"), ("c-init-multi-phase", 2, "PyInit_m")]);
    let set = "PyMODINIT_FUNC PyInit_m(void) { PyUnstable_Module_SetGIL(m, Py_MOD_GIL_NOT_USED); return m; }";
    finds(set, &[("c-gil-declared", 1, "PyInit_m")]);
}

#[test]
fn statics_that_can_be_written() {
    let one = &[("c-static", 1, "(file)")];
    for text in [
        "static int n;",
        "int n = 1;",
        "static const char *names[] = {\"a\", \"b\"};",
        "PyObject *cache = NULL;",
        "static PyTypeObject T = {PyVarObject_HEAD_INIT(NULL, 0) \"m.T\"};",
        "static struct entry *head;",
        "static int (*hook)(int a);",
        "extern int n = 1;",
    ] {
        finds(text, one);
    }
    finds("static int a, b = 2;", &[("c-static", 1, "(file)"), ("c-static", 1, "(file)")]);
    finds("void f(void)\n{\n    static char *kwlist[] = {\"a\", NULL};\n}", &[("c-static", 3, "f")]);
    for text in [
        "static const int n = 1;",
        "static const char *const names[] = {\"a\"};",
        "extern int n;",
        "typedef struct { int a; } entry;",
        "struct entry { int a; };",
        "enum e { A, B };",
        "static PyMethodDef methods[] = {{NULL}};",
        "static _Thread_local int n;",
        "int f(int a, int b);",
        "PyDoc_STRVAR(doc, \"a, b\");",
        "void f(void) { int n = 0; char *names[] = {\"a\"}; }",
    ] {
        finds(text, &[]);
    }
}

#[test]
fn statics_that_a_macro_declares() {
    let text = "#define KEYS(name, ...) \\\n const char *name##_keys[] = {__VA_ARGS__}; PyObject *py_##name = NULL;\n\
                KEYS(a, \"x\")\nKEYS(b, \"y\")\nvoid f(void) { KEYS; }\n";
    let four = [3, 3, 4, 4].map(|line| ("c-static", line, "(file)"));
    finds(text, &four);
    finds("#define CALL(x) g(x)\nCALL(1);", &[]);
}

#[test]
fn both_branches_of_a_condition_are_read() {
    let text = "void f(int a)\n{\n#ifdef A\n    if (a) {\n#else\n    if (!a) {\n#endif\n        PyList_GetItem(x, 0);\n    }\n}\n\
                void g(void) { PyList_GetItem(x, 0); }\n";
    finds(text, &[("c-borrowed", 8, "f"), ("c-borrowed", 11, "g")]);
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for text in ["void f(void) {", "/* no end", "char *s = \"no end"] {
        assert!(scan(text).is_err(), "{text}");
    }
}

#[test]
fn each_rule_of_c_is_found_by_one_of_these_tests() {
    let tests = include_str!("tests.rs");
    for rule in rules::ALL.iter().filter(|rule| rule.id.starts_with("c-")) {
        assert!(tests.contains(&format!("\"{}\"", rule.id)), "no test finds `{}`", rule.id);
    }
}
