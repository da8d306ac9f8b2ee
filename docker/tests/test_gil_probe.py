"""The GIL probe with modules that cannot be loaded: python3 test_gil_probe.py, with a C compiler, without Python's headers.

Each module is compiled from a few lines of C that declare what they use of Python's API themselves, and is
installed into a virtual environment that has nothing else.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
import unittest
from pathlib import Path

PROBE = Path(__file__).resolve().parent.parent / "gil_probe.py"

# `def` is a PyModuleDef of a build with a GIL: PyObject_HEAD, three fields of the base, name, doc, size, four more.
HEAD = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
extern void *PyExc_ImportError, *PyExc_RuntimeError;
void PyErr_SetString(void *, const char *);
void *PyModule_Create2(void *, int);
void *PyImport_ImportModule(const char *);
static struct { long count; void *type, *init; long index; void *copy; const char *name, *doc; long size; void *more[5]; }
    def = {1, 0, 0, 0, 0, "_NAME", 0, -1, {0}};
void *PyInit__NAME(void) { BODY }
"""
GOOD = "return PyModule_Create2(&def, 1013);"
# What PyInit does, and what the probe must say of it.
BAD = {
    "missing": ('return PyImport_ImportModule("no_such_module");', "ModuleNotFoundError: No module named 'no_such_module'"),
    "raises": ('PyErr_SetString(PyExc_RuntimeError, "no display"); return 0;', "RuntimeError: no display"),
    "crashes": ("raise(SIGSEGV); return 0;", "the import ended the process by SIGSEGV"),
    "exits": ("_exit(3);", "the import ended the process with exit code 3"),
    "silent": ("_exit(0);", "the import ended the process with exit code 0"),
    "prints": (
        r'for (int i = 0; i < 300000; i++) fprintf(stderr, "%099d\n", i); PyErr_SetString(PyExc_ImportError, "loud"); return 0;',
        "ImportError: loud",
    ),
}


class Site:
    """A virtual environment with one distribution, `demo`: a package with these extension modules."""

    def __init__(self, folder, modules, init):
        self.folder = Path(folder)
        (self.folder / "bin").mkdir()
        (self.folder / "bin/python").symlink_to(sys.executable)
        home = Path(sys.executable).resolve().parent
        (self.folder / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
        site = self.folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        (site / "demo").mkdir(parents=True)
        (site / "demo/__init__.py").write_text(init)
        record = ["demo/__init__.py,,"]
        for name, body in modules.items():
            source, file = self.folder / f"{name}.c", f"demo/_{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
            source.write_text(HEAD.replace("NAME", name).replace("BODY", body))
            subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", site / file, source], check=True)
            record.append(f"{file},,")
        info = site / "demo-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        (info / "RECORD").write_text("\n".join(record) + "\n")

    def probe(self, *options):
        command = [self.folder / "bin/python", "-", *options]
        with PROBE.open() as script:
            done = subprocess.run(command, stdin=script, stdout=subprocess.PIPE, text=True, check=True)
        document = json.loads(done.stdout)
        self.effective = document["effective"]
        modules = document["distributions"][0]["modules"]
        return {module["name"].removeprefix("demo._"): module for module in modules}


@unittest.skipIf(sysconfig.get_config_var("Py_GIL_DISABLED"), "the modules are for a build with a GIL")
class NotLoadable(unittest.TestCase):
    def site(self, modules, init=""):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Site(folder.name, modules, init)

    def test_each_is_reported_with_its_reason_and_blocks_no_other(self):
        bodies = {name: body for name, (body, _) in BAD.items()}
        site = self.site({**bodies, "fine": GOOD}, "from demo import _fine\n")
        modules = site.probe("--import", "demo")
        for name, (_, reason) in BAD.items():
            self.assertEqual(modules[name]["status"], "error", name)
            self.assertIn(reason, modules[name]["error"])
            self.assertIsNone(modules[name]["reached"], name)
        fine = modules["fine"]
        self.assertEqual((fine["status"], fine["error"], fine["reached"]), ("not-applicable", None, "loaded"))
        self.assertIsNone(site.effective["error"])

    def test_a_failure_that_the_package_catches_is_seen(self):
        init = "try:\n    from demo import _raises\nexcept RuntimeError:\n    pass\n"
        site = self.site({"raises": BAD["raises"][0]}, init)
        module = site.probe("--import", "demo")["raises"]
        self.assertEqual((module["reached"], module["reached_error"]), ("failed", "RuntimeError: no display"))
        self.assertIsNone(site.effective["error"])

    def test_a_crash_in_an_import_of_the_image_is_seen(self):
        site = self.site({"crashes": BAD["crashes"][0]}, "from demo import _crashes\n")
        module = site.probe("--import", "demo")["crashes"]
        self.assertEqual((module["reached"], module["reached_error"]), ("failed", BAD["crashes"][1]))
        self.assertEqual(site.effective["error"], BAD["crashes"][1])

    def test_what_only_the_imports_of_the_image_can_load_is_loadable(self):
        # It needs an attribute that the package sets later than at its own import.
        body = 'void *sys = PyImport_ImportModule("sys"), *PyObject_GetAttrString(void *, const char *);'
        body += f' if (!PyObject_GetAttrString(sys, "demo_is_ready")) return 0; {GOOD}'
        site = self.site({"late": body})
        site_packages = next(site.folder.glob("lib/*/site-packages"))
        (site_packages / "starter.py").write_text("import sys\nsys.demo_is_ready = True\nfrom demo import _late\n")
        module = site.probe("--import", "starter")["late"]
        self.assertEqual((module["status"], module["loaded"], module["error"]), ("not-applicable", "image", None))
        self.assertIn("demo_is_ready", module["file_error"])

    def test_a_hang_ends_at_the_time_limit(self):
        site = self.site({"hangs": "for (;;) pause();"})
        module = site.probe("--timeout", "2")["hangs"]
        self.assertEqual((module["status"], module["error"]), ("error", "the import had not ended after 2 s"))

    def test_no_time_is_left_for_a_module(self):
        site = self.site({"fine": GOOD})
        module = site.probe("--limit", "0")["fine"]
        self.assertEqual(module["status"], "error")
        self.assertIn("the time limit of the probe was reached before", module["error"])


if __name__ == "__main__":
    unittest.main()
