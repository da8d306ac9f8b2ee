//! Table of all rules, used by the scanners, the output formats, the baselines and the documentation.

/// Severity of a finding, in the terms of SARIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Note,
    Warning,
    Error,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// Rule of the audit.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Part of every fingerprint: renaming a rule invalidates its reviews.
    pub id: &'static str,
    pub level: Level,
    pub title: &'static str,
    pub help: &'static str,
}

macro_rules! rules {
    ($($name:ident: $id:literal, $level:ident, $title:literal, $help:literal;)*) => {
        $(pub static $name: Rule = Rule { id: $id, level: Level::$level, title: $title, help: $help };)*

        /// All rules in the order of the table.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    UNREAD: "source-unread", Warning, "source that the audit cannot read",
        "Nothing in this file was looked at: the audit reads Rust and C only. Say who has reviewed it for threads, or why \
         that is not needed.";
    UNSAFE_BLOCK: "rust-unsafe-block", Warning, "unsafe block",
        "The compiler does not check this code. Say which invariant makes it sound, and why two threads cannot break \
         it at once: the GIL no longer keeps them apart.";
    UNSAFE_FN: "rust-unsafe-fn", Warning, "unsafe function",
        "Its callers must uphold what the compiler does not check. Say what that is, also for two threads at once.";
    UNSAFE_IMPL: "rust-unsafe-impl", Error, "unsafe impl",
        "`unsafe impl Send` and `Sync` promise that a type may cross threads or be shared by them. Before, the GIL \
         may have made a wrong promise look right.";
    FOREIGN: "rust-foreign", Warning, "foreign functions",
        "Functions of another language may keep state that only the GIL protected.";
    STATIC_MUT: "rust-static-mut", Error, "static mut",
        "Every access races with those of other threads. Use an atomic, a `Mutex` or a `OnceLock`.";
    CELL: "rust-cell", Warning, "mutability without a lock",
        "`UnsafeCell`, `Cell`, `RefCell`, `OnceCell`, `LazyCell` and `Rc` are for one thread. The compiler keeps them \
         there unless `unsafe` is used. Matched by the type's name.";
    THREAD_LOCAL: "rust-thread-local", Warning, "thread_local!",
        "Each thread has a value of its own. Code that took it for one value per process was right only by chance.";
    GIL_CELL: "rust-gil-cell", Error, "state protected by the GIL",
        "`GILOnceCell` and `GILProtected` rely on the GIL as a lock: use `PyOnceLock`, `OnceLock` or a `Mutex`.";
    ASSUME: "rust-assume-attached", Error, "the interpreter is assumed to be attached",
        "`assume_gil_acquired`, `assume_attached`, `with_gil_unchecked` and `attach_unchecked` make a token without \
         asking the interpreter; and no token keeps other threads out any more.";
    ATTACH: "rust-attach", Note, "the interpreter is attached",
        "`Python::with_gil`, `attach` and `try_attach` are no lock without the GIL: say that nothing inside relies on \
         being alone.";
    RAW_POINTER: "rust-raw-pointer", Warning, "raw pointer that may cross a thread",
        "A raw pointer in a type or a static, one kept as an integer, or one that is captured by a closure which is \
         handed to another thread or runs detached from the interpreter. Say who owns the memory and who else may \
         reach it meanwhile.";
    MODULE_UNUSED: "rust-gil-unused", Note, "the module declares that it runs without the GIL",
        "`#[pymodule(gil_used = false)]` is a promise about all code in the module: the rest of this audit is what \
         it stands on.";
    MODULE_USED: "rust-gil-used", Warning, "the module declares that it needs the GIL",
        "Importing it switches the GIL on for the whole process.";
    MODULE_DEFAULT: "rust-gil-default", Warning, "the module leaves gil_used to PyO3",
        "PyO3's default is `true` up to 0.27 and `false` from 0.28: an update changes what is promised. Write it down.";
    PYCLASS_UNSENDABLE: "rust-pyclass-unsendable", Error, "#[pyclass(unsendable)]",
        "Its objects panic in any other thread than the one that made them.";
    PYCLASS_MUTABLE: "rust-pyclass-mutable", Warning, "#[pyclass] that is not frozen",
        "PyO3 counts borrows of its objects at run time: where two threads use one at once and one of them mutably, \
         one gets `RuntimeError: Already borrowed`. Make it `frozen` with locks or atomics inside, or say why not.";
    PYCLASS_MUT_SELF: "rust-pyclass-mut-self", Warning, "Python method with &mut self",
        "While it runs, every other use of the same object in another thread fails with `Already borrowed`.";
    C_SINGLE_PHASE: "c-init-single-phase", Warning, "single-phase init",
        "`PyModule_Create` makes one module for the process and cannot carry the slot `Py_mod_gil`: only \
         `PyUnstable_Module_SetGIL` could declare it. Use `PyModuleDef_Init` (PEP 489).";
    C_MULTI_PHASE: "c-init-multi-phase", Note, "multi-phase init",
        "The module can declare `Py_mod_gil` among its slots.";
    C_GIL_UNDECLARED: "c-gil-undeclared", Error, "the module does not declare that it runs without the GIL",
        "Neither `Py_mod_gil` nor `PyUnstable_Module_SetGIL` stands in this file: importing the module switches the \
         GIL on for the whole process (PEP 703).";
    C_GIL_DECLARED: "c-gil-declared", Note, "the module declares what it needs of the GIL",
        "With `Py_MOD_GIL_NOT_USED` that is a promise about all code in the module.";
    C_STATIC: "c-static", Warning, "mutable object with static storage",
        "All threads share it and nothing locks it. Make it `const`, thread-local, part of the module's state, or \
         protect it.";
    C_BORROWED: "c-borrowed", Warning, "borrowed reference",
        "Another thread can take the object out of its container, and so free it, before this code has counted its \
         own reference.";
}

/// Returns the rule with this id.
pub fn by_id(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

/// Functions that return borrowed references or expose shared containers, each with the safe replacement.
///
/// Most are listed in CPython's "C API Extension Support for Free Threading"; the others return borrowed references
/// from objects that any thread can modify. `PyTuple_GetItem` and `PyTuple_GET_ITEM` are not included, because tuples
/// are immutable.
pub const BORROWED: [(&str, &str); 21] = [
    ("PyList_GetItem", "PyList_GetItemRef"),
    ("PyList_GET_ITEM", "PyList_GetItemRef"),
    ("PyDict_GetItem", "PyDict_GetItemRef"),
    ("PyDict_GetItemWithError", "PyDict_GetItemRef"),
    ("PyDict_GetItemString", "PyDict_GetItemStringRef"),
    ("_PyDict_GetItemStringWithError", "PyDict_GetItemStringRef"),
    ("PyDict_SetDefault", "PyDict_SetDefaultRef"),
    ("PyDict_Next", "PyDict_Next within Py_BEGIN_CRITICAL_SECTION of the dict"),
    ("PyImport_AddModule", "PyImport_AddModuleRef"),
    ("PyImport_AddModuleObject", "PyImport_AddModuleRef"),
    ("PyImport_GetModuleDict", "PyImport_GetModule or PyImport_ImportModule"),
    ("PyWeakref_GetObject", "PyWeakref_GetRef"),
    ("PyWeakref_GET_OBJECT", "PyWeakref_GetRef"),
    ("PyCell_GET", "PyCell_Get"),
    ("PySequence_Fast_GET_ITEM", "PySequence_GetItem"),
    ("PySequence_Fast_ITEMS", "PySequence_GetItem"),
    ("PyModule_GetDict", "PyObject_GetAttr of the module"),
    ("PySys_GetObject", "PySys_GetAttr (3.15), or PyObject_GetAttr of the module sys"),
    ("PyEval_GetBuiltins", "PyEval_GetFrameBuiltins"),
    ("PyEval_GetGlobals", "PyEval_GetFrameGlobals"),
    ("PyEval_GetLocals", "PyEval_GetFrameLocals"),
];
