"""The driven suite, with packages that are right or wrong in a known way."""

import random
import sys
import time
import types
import unittest

from support import processes, run, tests

from proving import driven as suite
from proving.drive import MIX, Group, Seen

CLEAN = '''
import threading
class Counter:
    """Safe: a lock guards what it counts."""
    def __init__(self, start=0):
        self.lock, self.value = threading.Lock(), start
    def add(self, number):
        with self.lock: self.value = self.value + int(number)
    def get(self):
        with self.lock: return self.value
    def close(self):
        with self.lock: self.value = 0
def double(text): return text + text
'''
# A counter without a lock. With the GIL, too, a thread can be interrupted between reading and writing; here each thread
# waits there, once, until another one has read the same number.
RACY = '''
import threading
class Racy:
    def __init__(self): self.count, self._barrier, self._met = 0, threading.Barrier(2), set()
    def add(self):
        found, thread = self.count, threading.current_thread()
        if thread is not threading.main_thread() and thread not in self._met:
            self._met.add(thread)
            self._barrier.wait()
        self.count = found + 1
'''
# A method gives the same in one thread, whatever the order, and something else in others.
MEET = '''
import threading
class Meet:
    def __init__(self): self.barrier, self.threads, self.lost = threading.Barrier(2), set(), 0
    def meet(self):
        alone = threading.current_thread() is threading.main_thread()
        if alone: return "alone"
        {fault}
        return "alone"
'''


def driven(text, **plan):
    return run({"acme/__init__.py": text}, "driven", **plan)


def outcomes(lines, case):
    return {name: line["outcome"] for name, line in tests(lines).items() if line["case"] == case}


class Driven(unittest.TestCase):
    def test_a_clean_package_passes(self):
        lines = driven(CLEAN)
        pairs = outcomes(lines, "pairs")
        self.assertIn("acme:Counter: add('text') + get()", {name.replace("add(1)", "add('text')") for name in pairs})
        self.assertEqual(set(pairs.values()), {"passed"}, tests(lines))
        self.assertEqual(set(outcomes(lines, "mix")), {"acme: a mix of all calls", "acme:Counter: a mix of all calls"})
        self.assertEqual({line["outcome"] for line in processes(lines)}, {"passed"})

    def meet(self, fault, **plan):
        lines = driven(MEET.format(fault=fault), **plan)
        return tests(lines)["acme:Meet: meet() + meet()"]

    def test_another_result_is_seen(self):
        line = self.meet('return "together"')
        self.assertEqual(line["outcome"], "failed")
        self.assertEqual(line["message"], "meet() returned str 'together' instead of str 'alone'")
        self.assertEqual(line["seed"], 7)

    def test_another_exception_is_seen(self):
        for name in ("RuntimeError", "SystemError"):
            line = self.meet(f'raise {name}("already borrowed")')
            self.assertEqual(line["outcome"], "failed")
            self.assertEqual(line["message"], f"meet() raised {name}, which it never does in one thread")

    def test_a_crash_names_its_pair(self):
        line = self.meet("import faulthandler; faulthandler._sigsegv()")
        self.assertEqual((line["outcome"], line["message"]), ("crashed", "ended by SIGSEGV"))
        self.assertIn("in meet", line["text"])

    def test_a_process_without_memory_says_so(self):
        line = self.meet("import os; os.kill(os.getpid(), 9)")
        self.assertEqual(line["message"], "ended by SIGKILL, as the system does when memory is exhausted")

    def test_a_hang_names_its_pair(self):
        line = self.meet("import time; time.sleep(1000)", stall=8)
        self.assertEqual(line["outcome"], "hung")
        self.assertIn("it reported nothing for 8 s", line["message"])

    def test_another_state_at_the_end_is_seen(self):
        line = self.meet("self.lost = 1")
        self.assertEqual(line["outcome"], "failed")
        self.assertEqual(line["message"], "at the end, lost is int 1 instead of int 0")

    def test_a_race_in_plain_python_is_seen_with_the_gil(self):
        line = tests(driven(RACY))["acme:Racy: add() + add()"]
        self.assertEqual(line["outcome"], "failed")
        self.assertRegex(line["message"], "^at the end, count is int [0-9]+ instead of int [0-9]+$")

    def test_what_depends_on_the_order_in_one_thread_is_no_difference(self):
        text = (
            "class Once:\n    def __init__(self): self.closed = False\n    def close(self): self.closed = True\n"
            "    def read(self):\n        if self.closed: raise ValueError('closed')\n        return 1\n"
        )
        lines = driven(text)
        self.assertEqual(set(outcomes(lines, "pairs").values()), {"passed"}, tests(lines))
        self.assertIn("acme:Once: close() + read()", outcomes(lines, "pairs"))

    def test_what_others_do_before_a_result_is_looked_at_is_no_difference(self):
        """In threads, a view of one thread exists while the other one changes the buffer, and so does an iterator."""
        text = (
            "class Packer:\n    def __init__(self): self.buffer, self.numbers = bytearray(8), {}\n"
            "    def view(self): return memoryview(self.buffer)\n    def __iter__(self): return iter(self.numbers)\n"
            "    def pack(self):\n        self.buffer += b'1'\n        self.numbers[len(self.numbers)] = 1\n"
        )
        sys.modules["acme_packer"] = types.ModuleType("acme_packer")
        self.addCleanup(sys.modules.pop, "acme_packer")
        exec(text, sys.modules["acme_packer"].__dict__)
        members = [{"name": name, "arguments": []} for name in ("view", "__iter__", "pack")]
        group = Group({"call": "acme_packer:Packer", "arguments": []}, members)

        def kinds(plan, order, number):
            seen = Seen(3)
            group.serial(plan, order, seen)
            return {text if kind == "raised" else kind for kind, text in seen.outcomes[number]}

        mixed, nothing_between = random.Random(1), 0
        self.assertIn("BufferError", kinds([[0] * 9, [2] * 9], mixed, 2))
        self.assertIn("RuntimeError", kinds([[1] * 9, [2] * 9], mixed, 1))
        for plan in ([[0] * 9, [2] * 9], [[1] * 9, [2] * 9], [[0, 2] * 9, [1, 2] * 9]):
            for number in range(3):
                self.assertLessEqual(kinds(plan, nothing_between, number), {"returned"})
        # A thread's own result is gone before its next call.
        self.assertEqual(kinds([[0, 2, 1, 2] * 9], mixed, 2), {"returned"})

    def test_what_is_not_driven_has_its_reason(self):
        text = CLEAN + (
            "class Problem(Exception): pass\nclass Needs:\n    def __init__(self, a, b, c, d): pass\n"
            "class Never:\n    def __init__(self): raise ValueError('no')\n    def method(self): pass\n"
            "def exit_now(): raise AssertionError\nasync def later(): pass\n"
            "def crash(argument): pass\ndef ends(): import os; os._exit(0)\n"
            "def breaks(): import faulthandler; faulthandler._sigsegv()\ndef system(): raise SystemError('null')\n"
            "def nullresult(): raise SystemError('null')\n"
        )
        found = tests(driven(text))
        said = {name: (line["outcome"], line["message"]) for name, line in found.items() if line["case"] == "not driven"}
        self.assertEqual(said["acme:Problem"], ("skipped", "an exception class"))
        self.assertEqual(said["acme:Needs"], ("skipped", "it needs 4 arguments: a, b, c, d"))
        self.assertEqual(said["acme:Never"][1], "none of 1 combinations of arguments was accepted: ValueError: no")
        self.assertIn("`exit` in its name", said["acme:exit_now"][1])
        self.assertEqual(said["acme:later"][1], "it returns something to await")
        self.assertIn("`crash` in its name", said["acme:crash"][1])
        self.assertEqual(said["acme:ends()"], ("skipped", "in one thread already: it ended without a report"))
        self.assertEqual(said["acme:breaks()"], ("crashed", "in one thread already: ended by SIGSEGV"))
        self.assertEqual(said["acme:nullresult()"], ("failed", "in one thread already: SystemError: null"))

    def test_of_private_modules_only_what_public_ones_offer_is_driven(self):
        found = run(
            {
                "acme/__init__.py": "from acme._core import double\n",
                "acme/_core.py": "def double(text): return text + text\ndef breaks(): import os; os._exit(0)\n",
                "acme/_deep/inner.py": "def breaks(): import os; os._exit(0)\n",
                "acme/_deep/__init__.py": "",
            },
            "driven",
        )
        found = tests(found)
        skipped = {name: line["message"] for name, line in found.items() if line["case"] == "not driven"}
        self.assertEqual(list(skipped), ["acme._core", "acme._deep", "acme._deep.inner"])
        self.assertIn("a private module", skipped["acme._core"])
        self.assertTrue(any("double('text')" in name for name in found), found)

    def test_what_does_not_return_is_tried_once(self):
        """Whatever the arguments: the number of processes is limited."""
        text = CLEAN + "def ends(one, two): import os; os._exit(0)\n"
        found = tests(driven(text))
        ended = {name: line["message"] for name, line in found.items() if name.startswith("acme:ends")}
        self.assertEqual(list(ended.values())[0], "a call of it did not return, or ended the process")
        self.assertEqual(len(ended), 2, ended)
        self.assertIn("acme:Counter: a mix of all calls", found)

    def test_results_serve_as_arguments_and_as_objects(self):
        text = (
            "class Context:\n    def __new__(cls): raise TypeError('no constructor')\n    def use(self): return 1\n"
            "def context(): return object.__new__(Context)\n"
            "def use(context): return context.use()\n"
            "def encode(text): return b'!' + text\n"
            "def decode(data):\n    if data[:1] != b'!': raise ValueError('not encoded')\n    return data[1:]\n"
        )
        pairs = outcomes(driven(text), "pairs")
        for name in (
            "acme:Context: use() + use()", "acme: use(@acme:context) + use(@acme:context)", "acme: decode(b'!bytes') + decode(b'!bytes')",
        ):  # fmt: skip
            self.assertIn(name, pairs)

    def test_the_control_with_the_gil_tells_the_two_kinds_of_differences(self):
        """No machine must have an interpreter without the GIL: what the processes report is given here."""

        def said(asked, gil, with_gil=()):
            def task(_suite, _package, _case, environment=None, only=None, **_more):
                asked.append((environment, only))
                names = only or ["a() + a()", "a() + b()", "b() + b()", MIX]
                # The control does not get to the last one.
                differ = with_gil if only else {"a() + a()", "a() + b()", MIX}
                events = [
                    {"event": "driven", "name": name, "differences": ["1 instead of 2"] if name in differ else []}
                    for name in names if not (only and name == MIX)
                ]  # fmt: skip
                nothing = {"seconds": 0.0, "exit": 0, "signal": None, "stderr": "", "message": ""}
                return {"outcome": "passed", "gil_after": gil, "events": events, **nothing}

            runner = types.SimpleNamespace(plan={"limit": 60}, stall=9, seed=7, task=task)
            lines = list(suite.items(runner, {"id": "acme"}, "acme:A", {}))
            self.assertFalse([line for line in lines if "calls" in line])
            return [(line["name"], line["outcome"], line["message"]) for line in lines if line["event"] == "test"]

        asked = []
        self.assertEqual(
            said(asked, gil=False, with_gil={"a() + a()"}),
            [
                ("acme:A: a() + a()", "failed", f"{suite.WITH_GIL}: 1 instead of 2"),
                ("acme:A: a() + b()", "failed", f"{suite.OTHERS_WITH_GIL}: 1 instead of 2"),
                ("acme:A: b() + b()", "passed", ""),
                (f"acme:A: {MIX}", "failed", "1 instead of 2"),
            ],
        )
        self.assertEqual(asked, [(None, None), ({"PYTHON_GIL": "1"}, ["a() + a()", "a() + b()", MIX])])
        self.assertEqual({each[2] for each in said([], gil=False)[:2]}, {f"{suite.NO_GIL}: 1 instead of 2"})
        asked = []
        self.assertEqual(said(asked, gil=True)[0][2], "1 instead of 2")
        self.assertEqual(asked, [(None, None)])

    def test_an_object_that_only_a_method_makes_does_not_end_the_survey(self):
        text = (
            "class Result:\n    def __new__(cls): raise TypeError('no constructor')\n    def use(self): return 1\n"
            "class Maker:\n    def result(self): return object.__new__(Result)\n"
            "class Once:\n    made = False\n    def __init__(self):\n        if Once.made: raise ValueError('once')\n"
            "        Once.made = True\n    def use(self): return 1\n"
        )
        # Names are tried in the order of the alphabet.
        found = tests(driven(text.replace("Result", "ZResult")))
        self.assertEqual(found["acme:Maker: result() + result()"]["outcome"], "passed")
        self.assertIn("TypeError: no constructor", found["acme:ZResult"]["message"])
        self.assertEqual(found["acme:Once"]["message"], "an object that was made cannot be used: ValueError: once")

    def test_what_is_slow_from_the_second_call_on_is_called_once(self):
        calls = []
        server = types.ModuleType("acme_server")
        # The first call is quick; each later one first stops the server of the call before.
        server.start = lambda: calls.append(time.sleep(0.3) if calls else None)
        sys.modules[server.__name__] = server
        self.addCleanup(sys.modules.pop, server.__name__)
        group = Group({"call": None, "module": server.__name__}, [{"name": "start", "arguments": []}])
        self.assertEqual(group.rounds(lambda rounds: [[0] * rounds, [0] * rounds], Seen(1), lambda _: None), 1)

    def test_nothing_driven_is_no_pass(self):
        lines = driven("def needs(a, b, c, d): pass\n")
        self.assertEqual([line["outcome"] for line in processes(lines)], ["untested"])
        self.assertEqual(processes(lines)[0]["message"], "nothing could be driven: 1 modules, classes and functions were left out")

    def test_a_package_that_cannot_be_imported_fails(self):
        self.assertEqual([line["outcome"] for line in processes(driven("raise ValueError\n"))], ["failed"])


if __name__ == "__main__":
    unittest.main()
