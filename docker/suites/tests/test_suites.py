"""The suites themselves, with a client that is right or wrong in a known way: python3 -m unittest, no server."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from proving import errors, upstream  # noqa: E402


def run(fault="", **plan):
    """The lines of the runner, for two clients of which the second is as FAULT says."""
    with tempfile.TemporaryDirectory() as folder:
        client = {"file": str(HERE / "fake.py"), "imports": ["json"], "known": []}
        whole = {
            "host": "nowhere", "port": 1, "limit": 120, "suites": ["storm"], "repeat": 1, "scenarios": [], "without": [],
            "fail_fast": False, "undeclared": ["json", "no_such_module"], "unpack": [], "tools": folder, "upstream": [], "patience": 0, "seed": None,
            "packages": [{"id": "one", "imports": ["json"]}], "clients": [{"id": "one", **client}], **plan,
        }  # fmt: skip
        if "known" in plan:
            whole["clients"][0]["known"] = plan["known"]
        if plan.get("two"):
            whole["clients"].append({"id": "two", **client})
        file = Path(folder, "plan.json")
        file.write_text(json.dumps(whole))
        Path(folder, "records").mkdir()
        environment = {
            **os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONDONTWRITEBYTECODE": "1",
            "FAKE": fault, "FAKE_RECORDS": str(Path(folder, "records")),
        }  # fmt: skip
        command = [sys.executable, "-P", "-m", "proving.runner", str(file)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]


def processes(lines):
    return [line for line in lines if line["event"] == "process"]


class Smoke(unittest.TestCase):
    def test_all_is_well(self):
        lines = run(suites=["smoke"], two=True)
        self.assertEqual({line["outcome"] for line in processes(lines)}, {"passed"}, lines)
        cases = [(line["client"], line["case"]) for line in processes(lines)]
        self.assertIn(("one", "reads two"), cases)
        self.assertIn(("two", "reads one"), cases)
        self.assertEqual(lines[-1], {"event": "end"})

    def test_wrong_data_is_seen(self):
        failed = processes(run("data is wrong", suites=["smoke"]))[-1]
        self.assertEqual(failed["outcome"], "failed")
        self.assertIn("record 3 is", failed["message"])
        self.assertIn("Traceback", failed["stderr"])

    def test_an_error_is_seen(self):
        failed = processes(run("get is wrong", suites=["smoke"]))[-1]
        self.assertEqual((failed["outcome"], failed["message"]), ("failed", "KeyError: 'an error of the client'"))

    def test_what_cannot_be_imported_is_seen(self):
        lines = run(suites=["smoke"], packages=[{"id": "one", "imports": ["no_such_module"]}], clients=[])
        self.assertEqual([line["outcome"] for line in processes(lines)], ["failed"])


    def test_the_undeclared_modules_that_were_imported_are_reported(self):
        lines = processes(run(suites=["smoke"]))
        self.assertEqual([line["undeclared"] for line in lines], [["json"]] * len(lines))


class Messages(unittest.TestCase):
    def test_an_assertion_without_a_message_is_named_by_its_line(self):
        try:
            assert 1 == 2
        except AssertionError as error:
            self.assertRegex(errors.describe(error), r"^AssertionError: assert 1 == 2 \(.*test_suites.py, line [0-9]+\)$")
        self.assertEqual(errors.describe(ValueError("x")), "ValueError: x")

    def test_an_exception_without_a_readable_message_is_described(self):
        class Broken(ValueError):
            def __str__(self):
                raise KeyError("mark")

        self.assertEqual(errors.describe(Broken()), "Broken: its message cannot be read because of KeyError")

    def test_an_exception_with_a_message_is_described_without_its_source(self):
        """`linecache` may be what is broken: two threads that use `doctest` can leave it calling itself."""
        from unittest import mock

        try:
            raise RecursionError("too deep")
        except RecursionError as error:
            with mock.patch("traceback.extract_tb", side_effect=RecursionError):
                self.assertEqual(errors.describe(error), "RecursionError: too deep")

    def test_a_failure_of_pytest_keeps_its_assertion(self):
        class Crash:
            message = "AssertionError: assert {'a': 1} == {'a': 2}\n  Full diff:\n  }"

        class Report:
            reprcrash = Crash
            __str__ = lambda self: "test_it.py:3: in test_b\nE   AssertionError: ...\nE     }\n"

        self.assertEqual(upstream.summary(Report()), Crash.message)
        collected = "tests/conftest.py:1: in <module>\n    import x\nE   ModuleNotFoundError: No module named 'x'\n\n"
        self.assertEqual(upstream.summary(collected), "ModuleNotFoundError: No module named 'x'")
        self.assertEqual(upstream.summary("[XPASS(strict)] why\n"), "[XPASS(strict)] why")

    def test_half_a_surrogate_pair_does_not_end_the_run(self):
        lines = run(suites=["smoke"], packages=[{"id": "one", "imports": ["no_such\ud800"]}], clients=[])
        self.assertEqual([line["outcome"] for line in processes(lines)], ["failed"])


class Storm(unittest.TestCase):
    def test_all_is_well(self):
        lines = run()
        outcomes = {line["case"]: line["outcome"] for line in processes(lines)}
        self.assertEqual(outcomes.pop("first-query"), "skipped")
        self.assertEqual(set(outcomes.values()), {"passed"}, outcomes)
        self.assertGreater(len(outcomes), 10)
        self.assertIn({"event": "server", "text": "a folder"}, lines)

    def test_a_crash_is_reported_with_its_stack(self):
        lines = processes(run("get crashes", scenarios=["first-get"], repeat=2))
        self.assertEqual([(line["outcome"], line["signal"]) for line in lines], [("crashed", "SIGSEGV")] * 2)
        self.assertIn("Segmentation fault", lines[0]["stderr"])
        self.assertIn("in misbehave", lines[0]["stderr"])

    def test_threads_that_crash_later_do_not_cut_the_stacks_of_the_first(self):
        for line in processes(run("get crashes in each thread", scenarios=["first-get"], repeat=10)):
            self.assertEqual((line["outcome"], line["signal"]), ("crashed", "SIGSEGV"))
            self.assertEqual(line["stderr"].count("Fatal Python error"), 1, line["stderr"])
            self.assertIn("in misbehave", line["stderr"])
            # To its last line: that of the outermost Python frame, from 3.14 on that of the outermost C frame.
            last = r"C stack trace .*\n(  Binary file .*\n)+\n*$" if sys.version_info >= (3, 14) else r"in _bootstrap\n$"
            self.assertRegex(line["stderr"], last)

    def test_a_hang_reaches_the_time_limit(self):
        # Long enough for a loaded machine to reach the call that hangs.
        line = processes(run("get hangs", scenarios=["first-get"], limit=10))[0]
        self.assertEqual(line["outcome"], "hung")
        self.assertRegex(line["message"], r"^it had not ended after 10 s \([0-9]+\.[0-9] s of them computing, the load ")
        self.assertIn("in misbehave", line["stderr"])

    def test_an_end_without_a_word_is_no_success(self):
        line = processes(run("get ends", scenarios=["first-get"]))[0]
        self.assertEqual((line["outcome"], line["message"]), ("failed", "it ended without a report"))

    def test_wrong_data_is_seen(self):
        # Its records cannot even be checked before: prepare does not read them.
        line = processes(run("data is wrong", scenarios=["same-result"]))[0]
        self.assertEqual(line["outcome"], "failed")
        self.assertIn("record 3 is", line["message"])

    def test_what_was_not_raised_is_seen(self):
        line = processes(run("get is wrong", scenarios=["exceptions"]))[0]
        self.assertEqual(line["outcome"], "failed")

    def test_the_details_of_another_error_are_seen(self):
        line = processes(run("errors share their details", scenarios=["error-details"]))[0]
        self.assertEqual(line["outcome"], "failed")
        self.assertIn("the exception of another call", line["message"])

    def test_a_known_failure_without_a_precaution_runs_once(self):
        known = [{"scenario": "error-details", "without": None}]
        lines = processes(run("errors share their details", scenarios=["error-details"], known=known))
        self.assertEqual([(line["case"], line["outcome"]) for line in lines], [("error-details", "failed")])

    def test_a_precaution_can_be_left_out(self):
        careful = processes(run("get needs care", scenarios=["first-get"]))
        self.assertEqual([line["outcome"] for line in careful], ["passed"])
        careless = processes(run("get needs care", scenarios=["first-get"], without=["care"]))
        self.assertEqual([line["signal"] for line in careless], ["SIGSEGV"])

    def test_a_known_crash_has_a_case_of_its_own(self):
        known = [{"scenario": "first-get", "without": "care"}]
        lines = processes(run("get needs care", scenarios=["first-get"], known=known))
        ended = [(line["case"], line["outcome"]) for line in lines]
        self.assertEqual(ended, [("first-get", "passed"), ("first-get, no care", "crashed")])

    def test_the_first_failure_can_end_a_scenario(self):
        lines = processes(run("get is wrong", scenarios=["first-get"], repeat=5, fail_fast=True))
        self.assertEqual(len(lines), 1)

    def test_a_server_that_is_not_there_is_seen(self):
        line = processes(run("refuses"))[0]
        self.assertEqual((line["case"], line["message"]), ("records", "ConnectionError: nobody listens"))

    def test_what_does_not_exist_is_refused(self):
        # The server is not there, and a wrong name does not wait for it.
        self.assertEqual(run("refuses", scenarios=["first-got"], patience=3600)[-1]["event"], "wrong")
        wrong = run(scenarios=["first-got"])[-1]
        self.assertEqual(wrong["event"], "wrong")
        self.assertIn("there is no scenario `first-got`; the choices are `first-connect`", wrong["text"])
        wrong = run(without=["caer"])[-1]
        self.assertEqual(wrong["text"], "there is no precaution `caer`; the choices are `care`")


if __name__ == "__main__":
    unittest.main()
