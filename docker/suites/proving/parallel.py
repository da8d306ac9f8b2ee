"""The parallel suite: a package's own tests, each in several threads at once.

What passes in one thread runs in eight threads, three times. What fails only then runs eight times one after another,
and in threads with the GIL on: this tells a test that cannot be repeated, and one whose threads share state of the test,
from a failure that only happens without the GIL.
"""

from collections.abc import Iterator

from proving.lines import line, reason, test
from proving.process import start

THREADS = 8
RUNS = 3
TIMES = 8
# Runs with the GIL, where threads take turns rarely.
GIL_RUNS = 10
# So many tests may crash or hang in a session, before the rest is left out.
ATTEMPTS = 5
BAD = ("failed", "crashed", "hung")


def parallel(runner: object, package: dict) -> Iterator[dict]:
    """The lines of a package. `runner` has the plan."""
    for folder in package["folders"]:
        yield from Folder(runner.plan, package, folder).lines()


class Folder:
    """The tests of a folder."""

    def __init__(self, plan: dict, package: dict, folder: str) -> None:
        self.plan = plan
        self.package = package
        self.folder = folder
        self.processes: list[dict] = []

    def lines(self) -> Iterator[dict]:
        control = self.session("in one thread")
        passed = [name for name, found in control.items() if found["outcome"] == "passed"]
        runs: list[dict[str, dict]] = []
        for number in range(1, RUNS + 1):
            # One crash or hang is enough to say so.
            ended = {name for run in runs for name, found in run.items() if found["outcome"] in ("crashed", "hung")}
            wanted = [name for name in passed if name not in ended]
            runs.append(self.session(f"run {number} in {THREADS} threads", wanted, threads=THREADS))
        results = {name: aside(found) for name, found in control.items() if name not in passed}
        suspects: dict[str, str] = {}
        for name in passed:
            results[name], suspect = judge([run[name] for run in runs if name in run])
            if suspect:
                suspects[name] = suspect
        results |= self.explain(suspects)
        for name in control:
            yield test("parallel", self.package, self.folder, name, results[name])
        said = {found["outcome"] for found in (*results.values(), *self.processes)} - {"skipped"}
        if said == {"passed"} and all(found["outcome"] == "skipped" for found in results.values()):
            message = f"none of its {len(results)} tests could be run in threads"
            self.processes[-1] |= {"outcome": "untested", "message": message}
        for number, done in enumerate(self.processes, 1):
            yield line("parallel", self.package, self.folder, number, done)

    def explain(self, suspects: dict[str, str]) -> dict[str, dict]:
        """Why tests fail in threads that pass in one: this asks one thread, and then threads with the GIL."""
        results: dict[str, dict] = {}
        serial = self.session(f"{TIMES} times in one thread", list(suspects), iterations=TIMES)
        for name, found in serial.items():
            if found["outcome"] in BAD and found["fault"]:
                results[name] = verdict(found["outcome"], f"when one thread runs it {TIMES} times: {found['message']}", found)
            elif found["outcome"] in BAD:
                own = f"not repeatable: it fails when one thread, not the main one, runs it {TIMES} times: {found['message']}"
                results[name] = verdict("skipped", own, found)
        left = [name for name in suspects if name not in results]
        with_gil = any(done.get("gil_after") for done in self.processes)
        runs = []
        if not with_gil:
            for number in range(1, GIL_RUNS + 1):
                # One failure of each is enough.
                failed = {name for run in runs for name, found in run.items() if found["outcome"] in BAD}
                wanted = [name for name in left if name not in failed]
                what = f"run {number} in {THREADS} threads with the GIL on"
                runs.append(self.session(what, wanted, gil=True, threads=THREADS))
        for name in left:
            bad = [run[name] for run in runs if name in run and run[name]["outcome"] in BAD]
            fault = next((found for found in bad if found["fault"]), None)
            if fault is not None:
                results[name] = verdict(fault["outcome"], f"in {THREADS} threads, even with the GIL: {fault['message']}", fault)
            elif with_gil or bad:
                image = "" if bad else ", which is on in this image"
                own = f"the test's own shared state: it fails in threads with the GIL, too{image}: {suspects[name]}"
                results[name] = verdict("skipped", own, {})
            else:
                tried = sum(name in run for run in runs)
                own = f"only without the GIL: {suspects[name]}; it passes with the GIL in {tried} runs, and {TIMES} times in one thread"
                results[name] = verdict("failed", own, {})
        return results

    def session(self, what: str, wanted: list[str] | None = None, gil: bool = False, **how: int) -> dict[str, dict]:
        """What came of each test. A test that ends its process is left out, and the rest runs in another process."""
        found: dict[str, dict] = {}
        ended = 0
        while wanted is None or set(wanted) - set(found):
            done = self.process(wanted, found, gil, how)
            during = read(done, found)
            if not gil:
                # The promise of the image is not about a process with PYTHON_GIL=1.
                done |= done["guard"] or {}
            if during is None:
                self.processes.append(judge_process(done, what))
                break
            # This test has the result of the process.
            outcome = done["outcome"] if done["outcome"] in ("crashed", "hung") else "failed"
            message = done["message"] or "it ended the process"
            found[during] = {"outcome": outcome, "message": message, "text": done["stderr"], "fault": True}
            ended += 1
            if ended == ATTEMPTS:
                rest = f"{what}: {ATTEMPTS} tests ended their processes, and the rest was not run"
                self.processes.append(done | {"outcome": "failed", "message": rest})
                break
            self.processes.append(done | {"outcome": "passed", "message": "", "stderr": ""})
        return found

    def process(self, wanted: list[str] | None, found: dict, gil: bool, how: dict[str, int]) -> dict:
        limit = self.plan["limit"]
        task = {
            "imports": self.package["imports"], "undeclared": self.plan["undeclared"], "folder": self.folder,
            # The pinned plugin comes before another version that the tests require.
            "tools": [self.plan["parallel"], self.plan["tools"]], "limit": limit, "wanted": wanted, "skip": list(found),
            **{"threads": 1, "iterations": 1, **how},
        }  # fmt: skip
        # Many processes import pytest and its plugins, whose folder is writable.
        environment = {"PYTHONDONTWRITEBYTECODE": "", **self.package["env"], **({"PYTHON_GIL": "1"} if gil else {})}
        # Each test has the time limit of a process.
        return start("upstream", task, limit * 10, environment, self.package["source"], stall=limit)


def read(done: dict, found: dict[str, dict]) -> str | None:
    """Adds the results of a process, and says which test it ended in."""
    during, done["guard"] = None, None
    for event in done.pop("lines"):
        kind, name = event.pop("event"), event.pop("name", "")
        if kind == "begun":
            during = name
        elif kind == "ended":
            during = None
        elif kind == "guard":
            during, done["guard"] = None, event
        elif name not in found or found[name]["outcome"] not in BAD:
            # A test has several lines if its fixtures fail, too.
            found[name] = event
    return during


def judge_process(done: dict, what: str) -> dict:
    """pytest says by the codes 0, 1 and 5 what the tests have said."""
    if done["guard"] is not None and done["exit"] in (0, 1, 5):
        return done | {"outcome": "passed", "message": "", "stderr": ""}
    if done["outcome"] == "passed":
        return done | {"outcome": "failed", "message": f"{what}: it ended without a report"}
    return done | {"message": f"{what}: {done['message']}{reason(done['stderr'])}"}


def verdict(outcome: str, message: str, found: dict) -> dict:
    kept = {name: found[name] for name in ("text", "seconds") if name in found}
    return {**kept, "outcome": outcome, "message": message[:2000]}


def aside(found: dict) -> dict:
    """The result of a test that does not pass in one thread. A crash, a hang and a fault of native code fail here, too."""
    if found["outcome"] == "skipped":
        return verdict("skipped", found["message"], found)
    fails = found["outcome"] != "failed" or found["fault"]
    return verdict(found["outcome"] if fails else "skipped", f"in one thread already: {found['message']}", found)


def judge(found: list[dict]) -> tuple[dict, str]:
    """The result of a test that passes in one thread, and how it fails if that must be explained."""
    bad = [each for each in found if each["outcome"] in BAD]
    if not found:
        return verdict("skipped", "not run, because of other tests", {}), ""
    if not bad:
        return verdict(found[0]["outcome"], found[0]["message"], found[0]), ""
    worst = next((each for each in bad if each["fault"]), bad[0])
    often = f"in {len(bad)} of {RUNS} runs in {THREADS} threads: {worst['message']}"
    if worst["fault"]:
        return verdict(worst["outcome"], often, worst), ""
    return verdict("failed", often, worst), often
