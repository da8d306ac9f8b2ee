"""The imports suite: many threads import a package's modules at the same moment, and make the first calls.

An import and a first call happen once in a process, so each attempt has a process of its own.
"""

import importlib
import random
import sys
import threading
from collections.abc import Callable, Iterator

from proving import find
from proving.errors import describe, is_fault
from proving.lines import line, set_aside
from proving.threads import INTERVAL, Problems, together

THREADS = 16
# So many modules and calls may end or stop the process that tries them serially, before the rest is left out.
ATTEMPTS = 10


def imports(runner: object, package: dict) -> Iterator[dict]:
    """The lines of a package. `runner` starts the processes."""
    modules, aside, failed = serially(runner, package, "modules", {})
    if failed is not None:
        yield line("imports", package, "import", 1, failed)
        return
    yield from set_aside("imports", package, "modules", aside)
    more = {"modules": modules}
    yield from runner.numbered(package, "imports", "import", **more)
    calls, aside, _ = serially(runner, package, "calls", more)
    yield from set_aside("imports", package, "first calls", aside)
    if calls:
        yield from runner.numbered(package, "imports", "first-calls", **more, calls=calls)


def serially(runner: object, package: dict, what: str, more: dict) -> tuple[list[str], dict, dict | None]:
    """What one thread can import or call, what it cannot, and the result of the process if the package itself cannot be
    imported."""
    events, aside, done = resumed(runner, package, "imports", what, **more)
    passed = [event["name"] for event in events if event["event"] == "passed"]
    broken = [name for name in package["imports"] if name in aside]
    if broken or (done["outcome"] != "passed" and not passed):
        if done["outcome"] == "passed":
            message = f"{broken[0]}: {aside[broken[0]]['message']}"
            done |= {"outcome": "failed", "message": message, "stderr": ""}
        return [], aside, done
    return passed, aside, None


def resumed(
    runner: object, package: dict, suite: str, case: str, **more: object
) -> tuple[list[dict], dict[str, dict], dict]:
    """The events of a process that tries many things in one thread, what is set aside, and the end of the process. What
    ends the process or does not return is set aside, too, and the rest is tried in another process."""
    aside: dict[str, dict] = {}
    ended: list[str] = []
    for _ in range(ATTEMPTS):
        done = runner.task(suite, package, case, stall=runner.stall, skip=list(aside), ended=ended, **more)
        begun = None
        for event in done["events"]:
            begun = event["name"] if event["event"] == "begun" else None
            if event["event"] == "aside":
                aside[event["name"]] = {"outcome": event["outcome"], "message": event["reason"]}
        if begun is None:
            return done["events"], aside, done
        # A crash is a fault with one thread, too.
        how = "crashed" if done["outcome"] == "crashed" else "skipped"
        message = f"in one thread already: {done['message'] or 'it ended the process'}"
        aside[begun] = {"outcome": how, "message": message, "text": done["stderr"]}
        ended.append(begun)
        if begun in package["imports"]:
            return done["events"], aside, done
    aside["the rest"] = {"outcome": "skipped", "message": f"{ATTEMPTS} processes did not get to its end"}
    return done["events"], aside, done


def run(task: dict, send: Callable[..., None]) -> dict:
    """In the child."""
    case = task["case"]
    if case == "modules":
        import_serially(task, send)
        return {}
    if case == "calls":
        call_serially(task, send)
        return {}
    problems = Problems()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(INTERVAL)
    {"import": import_together, "first-calls": call_together}[case](task, send, problems)
    sys.setswitchinterval(interval)
    return {"problems": problems.texts}


def import_serially(task: dict, send: Callable[..., None]) -> None:
    found, aside = find.modules(task["imports"])
    for name, reason in aside.items():
        if name not in task["skip"]:
            send(event="aside", outcome="skipped", name=name, reason=reason)
    # First the names that the matrix lists, as users import them.
    for name in [*task["imports"], *(name for name in found if name not in task["imports"])]:
        if name not in task["skip"]:
            attempt(name, lambda name=name: importlib.import_module(name), send)


def call_serially(task: dict, send: Callable[..., None]) -> None:
    for name in task["modules"]:
        importlib.import_module(name)
    for name, value in find.callables(task["modules"], task["imports"]).items():
        if name in task["skip"]:
            continue
        required = find.required(value)
        if reason := find.unsafe(name.partition(":")[2]):
            send(event="aside", outcome="skipped", name=name, reason=reason)
        elif required:
            send(event="aside", outcome="skipped", name=name, reason=f"it needs arguments: {', '.join(required)}")
        else:
            attempt(name, value, send)


def attempt(name: str, call: Callable[[], object], send: Callable[..., None]) -> None:
    send(event="begun", name=name)
    try:
        call()
    except BaseException as error:
        outcome = "failed" if is_fault(error) else "skipped"
        reason = f"in one thread already: {describe(error)}"[:500]
        send(event="aside", outcome=outcome, name=name, reason=reason)
    else:
        send(event="passed", name=name)


def shuffled(names: list[str], seed: str) -> list[str]:
    names = names[:]
    random.Random(seed).shuffle(names)
    return names


def import_together(task: dict, _send: Callable[..., None], problems: Problems) -> None:
    found: list[dict[str, object]] = [{} for _ in range(THREADS)]

    def work(number: int) -> None:
        for name in shuffled(task["modules"], f"{task['seed']}-{number}"):
            # Up to 3.14, CPython locks a module before the package above it. If another thread imports that package, whose
            # code imports the module, this ends with a _DeadlockError, whatever the package is
            # (https://github.com/python/cpython/issues/83065). So the package comes first.
            for dot, letter in enumerate(name):
                if letter == ".":
                    importlib.import_module(name[:dot])
            found[number][name] = importlib.import_module(name)

    together(THREADS, work, problems)
    for name in task["modules"]:
        objects = {id(of[name]) for of in found if name in of}
        if len(objects) > 1:
            problems.add(AssertionError(f"the threads got {len(objects)} different modules `{name}`"))


def call_together(task: dict, send: Callable[..., None], problems: Problems) -> None:
    for name in task["modules"]:
        importlib.import_module(name)
    names = iter(shuffled(task["calls"], str(task["seed"])))
    # Replaced only when each thread has come back to the barrier.
    current: list[tuple[str, object]] = []

    def following() -> None:
        """In one thread, while the others wait."""
        name = next(names)
        send(event="begun", name=name)
        current[:] = [(name, find.lookup(name))]

    barrier = threading.Barrier(THREADS, action=following)

    def work(_number: int) -> None:
        for _ in task["calls"]:
            barrier.wait()
            name, call = current[0]
            try:
                call()
            except BaseException as error:
                problems.add(error, name)

    together(THREADS, work, problems)
