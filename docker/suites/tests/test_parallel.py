"""The parallel suite. What needs pytest-run-parallel is skipped without it; the tests with an engine run it in an image."""

import importlib.util
import tempfile
import unittest
from pathlib import Path

from support import processes, run, tests

from proving import parallel

REAL = all(importlib.util.find_spec(name) for name in ("pytest", "pytest_run_parallel"))


def result(outcome, message="", fault=False):
    return {"outcome": outcome, "message": message, "text": "", "seconds": 0.0, "fault": fault}


PASSED, WRONG = result("passed"), result("failed", "AssertionError: 1 is not 2")
CRASHED = result("crashed", "ended by SIGSEGV", fault=True)
SYSTEM = result("failed", "SystemError: a null result", fault=True)


def verdicts(control, threads, serial=PASSED, with_gil=PASSED, gil=False):
    """What is said of one test whose sessions have these results."""
    asked = []

    class Folder(parallel.Folder):
        def session(self, what, wanted=None, gil=False, **how):
            asked.append((how.get("threads", 1), how.get("iterations", 1), gil))
            self.processes.append({"outcome": "passed", "message": "", "gil_after": True if gil_on else None})
            if wanted is not None and not wanted:
                return {}
            found = control if wanted is None else with_gil if gil else serial if "iterations" in how else next(runs)
            return {"test_it": found}

    gil_on, runs = gil, iter(threads)
    lines = list(Folder({}, {"id": "acme"}, "tests").lines())
    said = tests(lines)["test_it"]
    return said["outcome"], said["message"], asked, processes(lines)[-1]


class Verdicts(unittest.TestCase):
    def test_it_passes(self):
        outcome, _, asked, process = verdicts(PASSED, [PASSED] * 3)
        self.assertEqual((outcome, process["outcome"]), ("passed", "passed"))
        self.assertEqual(asked[:4], [(1, 1, False)] + [(8, 1, False)] * 3)

    def test_only_without_the_gil(self):
        outcome, message, asked, _ = verdicts(PASSED, [PASSED, WRONG, WRONG])
        self.assertEqual(outcome, "failed")
        self.assertTrue(message.startswith("only without the GIL: in 2 of 3 runs in 8 threads: AssertionError"), message)
        self.assertEqual(asked[4:], [(1, 8, False)] + [(8, 1, True)] * 10)

    def test_not_repeatable(self):
        outcome, message, *_ = verdicts(PASSED, [WRONG] * 3, serial=WRONG)
        self.assertEqual(outcome, "skipped")
        self.assertTrue(message.startswith("not repeatable: it fails when one thread, not the main one, runs it 8 times: Assert"), message)

    def test_its_own_shared_state(self):
        outcome, message, *_ = verdicts(PASSED, [WRONG] * 3, with_gil=WRONG)
        self.assertEqual(outcome, "skipped")
        self.assertIn("the test's own shared state: it fails in threads with the GIL, too: in 3 of 3 runs", message)

    def test_the_gil_of_an_image_is_not_switched_on_again(self):
        outcome, message, asked, _ = verdicts(PASSED, [WRONG] * 3, gil=True)
        self.assertEqual((outcome, asked[5:]), ("skipped", []))
        self.assertIn("the test's own shared state: it fails in threads with the GIL, too, which is on", message)

    def test_crashes_and_faults_fail_at_once(self):
        for bad, outcome in [(CRASHED, "crashed"), (SYSTEM, "failed")]:
            found = verdicts(PASSED, [PASSED, WRONG, bad])
            self.assertEqual((found[0], found[1]), (outcome, f"in 2 of 3 runs in 8 threads: {bad['message']}"))
            found = verdicts(bad, [])
            self.assertEqual((found[0], found[1]), (outcome, f"in one thread already: {bad['message']}"))
            found = verdicts(PASSED, [WRONG] * 3, serial=bad)
            self.assertEqual((found[0], found[1]), (outcome, f"when one thread runs it 8 times: {bad['message']}"))
            found = verdicts(PASSED, [WRONG] * 3, with_gil=bad)
            self.assertEqual((found[0], found[1]), (outcome, f"in 8 threads, even with the GIL: {bad['message']}"))

    def test_what_fails_in_one_thread_is_set_aside_and_no_pass(self):
        outcome, message, _, process = verdicts(WRONG, [])
        self.assertEqual((outcome, message), ("skipped", "in one thread already: AssertionError: 1 is not 2"))
        self.assertEqual((process["outcome"], process["message"]), ("untested", "none of its 1 tests could be run in threads"))


# The tests of a package `acme`. Under each name is what must be said of it, and how the message begins.
TESTS = '''
import asyncio, os, threading, time, unittest, faulthandler
import pytest
import acme

def threads():
    return threading.current_thread() is not threading.main_thread()

class Panic(BaseException):
    pass
Panic.__name__ = "PanicException"

def test_passes(): assert acme.one() == 1
def test_fails_always(): assert False
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert False
async def test_asynchronous(): pass
def test_thread_unsafe(capsys): pass

seen = []
def test_not_repeatable():
    seen.append(1)
    assert len(seen) == 1

class TestOwnState:
    value = None
    def test_own_state(self, num_parallel_threads):
        # The threads wait until all have written.
        type(self).value = threading.get_ident()
        if num_parallel_threads > 1:
            barrier.wait()
        assert type(self).value == threading.get_ident()
barrier = threading.Barrier(8)

def test_crashes():
    if threads(): faulthandler._sigsegv()
def test_hangs():
    if threads(): time.sleep(1000)
def test_ends():
    if threads(): os._exit(0)
def test_system_error():
    if threads(): raise SystemError("a null result")
def test_panics():
    if threads(): raise Panic("a panic")
def test_skips_in_one_thread():
    if threads():
        with lock:
            turns.append(1)
            first = len(turns) == 1
        if first: pytest.skip("the first")
        raise SystemError("a null result")
lock, turns = threading.Lock(), []
def test_warns():
    if threads(): raise UserWarning("raised as an exception")

class TestUnit(unittest.TestCase):
    def test_unit(self): self.assertEqual(acme.one(), 1)
'''
EXPECTED = {
    "test_passes": ("passed", ""),
    "test_fails_always": ("skipped", "in one thread already: "),
    "test_skipped": ("skipped", "Skipped: not today"),
    "test_expected": ("skipped", ""),
    "test_asynchronous": ("skipped", "an asynchronous test"),
    "test_thread_unsafe": ("skipped", "Skipped: uses thread-unsafe fixture"),
    "test_not_repeatable": ("skipped", "not repeatable: "),
    "TestOwnState::test_own_state": ("skipped", "the test's own shared state: "),
    "test_crashes": ("crashed", "in 1 of 3 runs in 8 threads: ended by SIGSEGV"),
    "test_hangs": ("hung", "in 1 of 3 runs in 8 threads: it reported nothing for "),
    "test_ends": ("failed", "in 3 of 3 runs in 8 threads: it ended the process"),
    "test_system_error": ("failed", "in 3 of 3 runs in 8 threads: SystemError: a null result"),
    "test_panics": ("failed", "in 3 of 3 runs in 8 threads: PanicException: a panic"),
    "test_skips_in_one_thread": ("failed", "in 3 of 3 runs in 8 threads: SystemError: a null result"),
    # It fails in each thread but the main one.
    "test_warns": ("skipped", "not repeatable: "),
    "TestUnit::test_unit": ("passed", ""),
}


@unittest.skipUnless(REAL, "pytest-run-parallel is not installed")
class Real(unittest.TestCase):
    def parallel(self, text, **plan):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "tests").mkdir()
            Path(folder, "tests", "test_it.py").write_text(text)
            # As strict as some packages are.
            strict = "[pytest]\nfilterwarnings = error\naddopts = -x --strict-config\nfaulthandler_timeout = 90\n"
            Path(folder, "pytest.ini").write_text(strict)
            # It is no package that the machine has installed, so it is not checked where it is imported from.
            own = {"id": "acme", "imports": [], "folders": ["tests"], "source": folder, "env": {}}
            return run({"acme/__init__.py": "def one(): return 1\n"}, "parallel", upstream=[own], parallel="/nonexistent", **plan)

    def test_each_test_has_its_verdict(self):
        lines = self.parallel(TESTS, limit=20)
        found = {name.removeprefix("tests/test_it.py::"): line for name, line in tests(lines).items()}
        self.assertEqual(set(found), set(EXPECTED))
        for name, (outcome, message) in EXPECTED.items():
            self.assertEqual((name, found[name]["outcome"]), (name, outcome), found[name])
            self.assertEqual(found[name]["message"][: len(message)], message, found[name])
        self.assertIn("Segmentation fault", found["test_crashes"]["text"])
        self.assertIn("in test_hangs", found["test_hangs"]["text"])
        self.assertEqual({line["outcome"] for line in processes(lines)}, {"passed"})

    def test_a_crash_at_the_end_is_seen(self):
        lines = self.parallel("import atexit, faulthandler\ndef test_it(): atexit.register(faulthandler._sigsegv)\n")
        self.assertIn("crashed", {line["outcome"] for line in processes(lines)})

    def test_tests_that_cannot_be_collected_are_no_pass(self):
        lines = self.parallel("import no_such_module\n")
        self.assertEqual([line["outcome"] for line in processes(lines)], ["untested"])
        self.assertIn("no_such_module", tests(lines)["tests/test_it.py"]["message"])


if __name__ == "__main__":
    unittest.main()
