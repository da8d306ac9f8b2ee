"""The imports suite, with packages that are right or wrong in a known way."""

import unittest

from support import processes, run, tests

CRASH = "import faulthandler\nfaulthandler._sigsegv()\n"
# As in a native extension that initialises something when it is called first, and nobody locks.
FIRST_CALL = """
import threading, time
def first_call():
    if threading.current_thread() is not threading.main_thread():
        {fault}
def serve_all(): raise AssertionError("it must not be called")
def needs(argument): raise AssertionError("it must not be called")
def raises(): raise ValueError("always")
def fine(number=1): return number
class Fine: pass
"""


class Imports(unittest.TestCase):
    def test_a_clean_package_passes(self):
        files = {
            "acme/__init__.py": "", "acme/one.py": "from acme import two\nclass One: pass\n", "acme/two.py": "def two(): pass\n",
            "acme/sub/__init__.py": "", "acme/sub/three.py": "",
        }  # fmt: skip
        lines = run(files, "imports", repeat=2)
        self.assertEqual([line["outcome"] for line in processes(lines)], ["passed"] * 4, lines)
        self.assertEqual([line["case"] for line in processes(lines)], ["import"] * 2 + ["first-calls"] * 2)
        self.assertEqual([line["seed"] for line in processes(lines, "import")], [7, 8])
        self.assertEqual(tests(lines), {})

    def test_what_cannot_be_imported_in_one_thread_is_set_aside(self):
        files = {
            "acme/__init__.py": "", "acme/__main__.py": CRASH, "acme/tests/__init__.py": CRASH, "acme/absent.py": "import no_such_module\n",
            "acme/ends.py": "import os\nos._exit(0)\n", "acme/crashes.py": CRASH, "acme/good.py": "",
            "acme/_c_tests.py": CRASH, "acme/latest.py": "", "acme/waits.py": "import time\ntime.sleep(1000)\n",
            "acme/system.py": "raise SystemError('a null result')\n",
        }  # fmt: skip
        lines = run(files, "imports", stall=8)
        self.assertEqual([line["outcome"] for line in processes(lines)], ["passed"], lines)
        found = {name: line["outcome"] for name, line in tests(lines).items()}
        expected = {
            "acme.__main__": "skipped", "acme.tests": "skipped", "acme._c_tests": "skipped", "acme.absent": "skipped",
            "acme.ends": "skipped", "acme.waits": "skipped", "acme.crashes": "crashed", "acme.system": "failed",
        }  # fmt: skip
        self.assertEqual(found, expected)
        self.assertIn("ModuleNotFoundError: No module named 'no_such_module'", tests(lines)["acme.absent"]["message"])
        self.assertIn("Segmentation fault", tests(lines)["acme.crashes"]["text"])

    def test_a_package_that_cannot_be_imported_fails(self):
        for text, outcome in [("raise ValueError('no')\n", "failed"), (CRASH, "crashed")]:
            lines = run({"acme/__init__.py": text}, "imports")
            self.assertEqual([line["outcome"] for line in processes(lines)], [outcome], lines)
        self.assertEqual([line["outcome"] for line in processes(run({}, "imports"))], ["failed"])

    def test_different_modules_are_seen(self):
        # Each thread gets a module of its own.
        init = (
            "import importlib, threading\nright = importlib.import_module\ndef wrong(name, *more):\n"
            "    found = right(name, *more)\n    alone = threading.current_thread() is threading.main_thread()\n"
            "    return found if alone or name != 'acme.two' else type(found)(name)\nimportlib.import_module = wrong\n"
        )
        files = {"acme/__init__.py": init, "acme/two.py": ""}
        line = processes(run(files, "imports"), "import")[0]
        self.assertEqual((line["outcome"], line["seed"]), ("failed", 7))
        self.assertRegex(line["message"], "^AssertionError: the threads got [0-9]+ different modules `acme.two`$")

    def test_an_import_that_only_fails_in_threads_is_seen(self):
        check = "import threading\nif threading.current_thread() is not threading.main_thread():\n    "
        for fault, outcome in [
            ("raise SystemError('a null result')", "failed"),
            ("import faulthandler; faulthandler._sigsegv()", "crashed"),
            ("import time; time.sleep(1000)", "hung"),
        ]:
            limit = 6 if outcome == "hung" else 120
            lines = run({"acme/__init__.py": "", "acme/two.py": check + fault + "\n"}, "imports", limit=limit)
            self.assertEqual(processes(lines, "import")[0]["outcome"], outcome, lines)

    def test_two_modules_that_wait_for_each_other_are_seen(self):
        # Each module takes a lock, and then that of the other module.
        init = "import threading\nlocks = [threading.Lock(), threading.Lock()]\ntaken = [threading.Event(), threading.Event()]\n"
        text = (
            "import threading\nfrom acme import locks, taken\nif threading.current_thread() is not threading.main_thread():\n"
            "    with locks[{own}]:\n        taken[{own}].set()\n        taken[{other}].wait()\n        locks[{other}].acquire()\n"
        )
        files = {
            "acme/__init__.py": init, "acme/one.py": text.format(own=0, other=1), "acme/two.py": text.format(own=1, other=0),
        }  # fmt: skip
        line = processes(run(files, "imports", limit=6), "import")[0]
        self.assertEqual(line["outcome"], "hung", line)
        self.assertIn("acme/", line["stderr"])


class FirstCalls(unittest.TestCase):
    def calls(self, fault, **plan):
        lines = run({"acme/__init__.py": FIRST_CALL.format(fault=fault)}, "imports", **plan)
        return lines, processes(lines, "first-calls")[0]

    def test_what_is_not_called_has_its_reason(self):
        lines, line = self.calls("pass")
        self.assertEqual(line["outcome"], "passed", line)
        found = {name: line["message"] for name, line in tests(lines).items()}
        self.assertEqual(set(found), {"acme:needs", "acme:raises", "acme:serve_all"})
        self.assertEqual(found["acme:needs"], "it needs arguments: argument")
        self.assertEqual(found["acme:raises"], "in one thread already: ValueError: always")
        self.assertIn("`serve` in its name", found["acme:serve_all"])

    def test_a_crash_names_its_call(self):
        _, line = self.calls("import faulthandler; faulthandler._sigsegv()")
        self.assertEqual((line["outcome"], line["message"]), ("crashed", "ended by SIGSEGV in acme:first_call"))

    def test_a_hang_names_its_call(self):
        _, line = self.calls("time.sleep(1000)", limit=10)
        self.assertEqual(line["outcome"], "hung")
        self.assertTrue(line["message"].endswith(" in acme:first_call"), line["message"])

    def test_an_error_of_the_interpreter_is_seen(self):
        _, line = self.calls("raise SystemError('a null result')")
        self.assertEqual(line["outcome"], "failed")
        self.assertIn("acme:first_call: SystemError: a null result", line["message"])


if __name__ == "__main__":
    unittest.main()
