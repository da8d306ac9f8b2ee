"""The driven suite: calls what a package offers, with plain values, from two and more threads on one object.

A first process finds which calls work at all in one thread. Then a process for each class drives all pairs of its
methods. What was the same in every order in one thread must be the same in threads.
"""

import sys
import time
from collections.abc import Callable, Iterator

from proving import drive, find, values
from proving.errors import describe
from proving.imports import ATTEMPTS, resumed, serially
from proving.lines import line, set_aside, test
from proving.values import Outcome

# Calls of a class or a module; each of two kinds of arguments counts as one.
MEMBERS = 30
# Results of functions that serve as arguments of others: so many objects, and so many texts of a kind.
DERIVED = 3
# So many time limits of a process for a package.
LIMITS = 3
# The result of a second run with the GIL, for calls that gave different results in threads without it.
WITH_GIL, NO_GIL = "even with the GIL", "only without the GIL"
OTHERS_WITH_GIL = "seen without the GIL, and with other calls of the object even with the GIL"
SPECIAL = ("__len__", "__iter__", "__getitem__", "__contains__", "__repr__", "__str__", "__hash__", "__bool__", "__call__")


def driven(runner: object, package: dict) -> Iterator[dict]:
    """The lines of a package."""
    modules, aside, failed = serially(runner, package, "modules", {})
    if failed is not None:
        yield line("driven", package, "survey", 1, failed)
        return
    events, more, done = resumed(runner, package, "driven", "survey", modules=modules, until=runner.plan["limit"] / 2)
    yield from set_aside("driven", package, "not driven", aside | more)
    # Crashes and hangs have a result of their own.
    accounted = any(each["outcome"] != "skipped" for each in more.values())
    if done["outcome"] != "passed" and not accounted:
        yield line("driven", package, "survey", 1, done)
        return
    groups: dict[str, dict] = {}
    for event in events:
        if event["event"] == "group":
            groups[event["name"]] = {"recipe": event["recipe"], "members": []}
        elif event["event"] == "member":
            groups[event["group"]]["members"].append(event["member"])
    groups = {name: group for name, group in groups.items() if group["members"]}
    # Classes first: their methods share an object.
    groups = dict(sorted(groups.items(), key=lambda each: each[1]["recipe"]["call"] is None))
    until = time.monotonic() + LIMITS * runner.plan["limit"]
    count = 0
    for name, group in groups.items():
        if time.monotonic() > until:
            late = {"outcome": "skipped", "message": "the time limit of the package was reached before"}
            yield test("driven", package, "not driven", name, late)
            continue
        for each in items(runner, package, name, group | {"modules": modules}):
            count += each["event"] == "test" and each["case"] != "not driven"
            yield each
    if count == 0:
        message = f"nothing could be driven: {len(aside | more)} modules, classes and functions were left out"
        yield line("driven", package, "pairs", 1, done | {"outcome": "untested", "message": message})


def items(runner: object, package: dict, group: str, more: dict) -> Iterator[dict]:
    """The lines of a class or a module. The calls that differ in threads are made with the GIL on as well."""
    lines = list(attempts(runner, package, group, more))
    differ = [each["calls"] for each in lines if "calls" in each]
    known: dict[str, bool] = {}
    if differ and not any(each.get("gil_after") for each in lines):
        known = with_gil(runner, package, differ, more)
    for each in lines:
        differs = known.get(each.pop("calls", ""))
        if differs is not None:
            each["message"] = f"{WITH_GIL if differs else OTHERS_WITH_GIL if any(known.values()) else NO_GIL}: {each['message']}"
        yield each


def with_gil(runner: object, package: dict, calls: list[str], more: dict) -> dict[str, bool]:
    """Whether these calls differ in threads with the GIL, too. What the process did not get to is missing."""
    until, environment = runner.plan["limit"] * 0.6, {"PYTHON_GIL": "1"}
    done = runner.task(
        "driven", package, "drive", environment=environment, stall=runner.stall, seed=runner.seed, until=until, skip=[],
        only=calls, **more,
    )  # fmt: skip
    return {event["name"]: bool(event["differences"]) for event in done["events"] if event["event"] == "driven"}


def attempts(runner: object, package: dict, group: str, more: dict) -> Iterator[dict]:
    """The lines of the processes. After a crash or a hang the rest runs in another process. `calls` in a line are calls
    that differ in threads."""
    done_before: list[str] = []
    for number in range(1, ATTEMPTS + 1):
        until = runner.plan["limit"] * 0.6
        found = runner.task(
            "driven", package, "drive", stall=runner.stall, seed=runner.seed, until=until, skip=done_before, **more
        )
        current, threads = None, False
        for event in found["events"]:
            name = event["name"]
            case = "mix" if name == drive.MIX else "pairs"
            title = f"{group}: {name}"
            if event["event"] == "begun":
                current, threads = name, False
                continue
            if event["event"] in ("serial", "threads"):
                threads = event["event"] == "threads"
                continue
            current = None
            done_before.append(name)
            if event["event"] == "aside":
                yield test("driven", package, "not driven", title, {"outcome": "skipped", "message": event["reason"]})
                continue
            result = {"outcome": "passed", "seed": runner.seed}
            if event["differences"]:
                result |= {"outcome": "failed", "message": "; ".join(event["differences"]), "calls": name}
            yield test("driven", package, case, title, result)
        if current is None:
            # What happens at the end of the process, or before its first call.
            yield line("driven", package, "pairs", number, found)
            return
        done_before.append(current)
        title = f"{group}: {current}"
        case = "mix" if current == drive.MIX else "pairs"
        outcome = found["outcome"] if found["outcome"] in ("crashed", "hung") else "failed"
        message = found["message"] or "it ended the process"
        if threads:
            result = {"outcome": outcome, "message": message, "text": found["stderr"]}
            yield test("driven", package, case, title, result) | {"seed": runner.seed}
        elif outcome == "crashed":
            result = {"outcome": outcome, "message": f"in one thread already: {message}", "text": found["stderr"]}
            yield test("driven", package, case, title, result)
        else:
            result = {"outcome": "skipped", "message": f"in one thread already: {message}"}
            yield test("driven", package, "not driven", title, result)
        yield line("driven", package, "pairs", number, found | {"outcome": "passed", "message": "", "stderr": ""})
    rest = {"outcome": "skipped", "message": f"{ATTEMPTS} processes ended before"}
    yield test("driven", package, "not driven", f"{group}: the rest", rest)


def run(task: dict, send: Callable[..., None]) -> dict:
    """In the child."""
    if task["case"] == "survey":
        Survey(task, send).run()
    else:
        drive.run(task, send)
    return {}


class Survey:
    """Finds what works in one thread."""

    def __init__(self, task: dict, send: Callable[..., None]) -> None:
        self.task = task
        self.send = send
        self.skip = set(task["skip"])
        # What did not return, or ended a process before, does so with other arguments, too.
        self.ended = {text.partition("(")[0] for text in task["ended"]}
        self.until = time.monotonic() + task["until"]
        self.derived: list[str] = []
        # Why the last attempt of a callable failed.
        self.last: dict[str, str] = {}
        # Ways to get an object, by its class.
        self.recipes: dict[type, dict] = {}

    def run(self) -> None:
        for name in self.task["modules"]:
            __import__(name)
        private = [name for name in self.task["modules"] if find.private(name, self.task["imports"])]
        for name in private:
            self.aside(name, "a private module; what public modules offer of it is called")
        public = [name for name in self.task["modules"] if name not in private]
        found = find.callables(public, self.task["imports"])
        functions = {name: value for name, value in found.items() if not isinstance(value, type)}
        # Twice: a function may need what another one returns.
        working = {name: self.ways(name, value) for name, value in functions.items()}
        for name, value in functions.items():
            if not working[name] and self.derived:
                working[name] = self.ways(name, value)
        for module in dict.fromkeys(name.partition(":")[0] for name in functions):
            self.send(event="group", name=module, recipe={"call": None, "module": module})
            members = [(name.partition(":")[2], name, functions[name]) for name in functions if name.startswith(f"{module}:")]
            self.members(module, [(short, working[name], self.reason(name, value)) for short, name, value in members])
        for name, value in found.items():
            if not isinstance(value, type):
                continue
            try:
                self.type(name, value)
            except Exception as error:
                # Not each attempt makes an object, or the object has no such attributes.
                self.aside(name, f"an object that was made cannot be used: {describe(error)}")

    def aside(self, name: str, reason: str) -> None:
        if name not in self.skip:
            self.send(event="aside", outcome="skipped", name=name, reason=reason[:500])

    def reason(self, name: str, value: object) -> str:
        """Why no way was found to call it."""
        if reason := find.unsafe(name.rpartition(":")[2].rpartition(".")[2]):
            return reason
        if name in self.ended:
            return "a call of it did not return, or ended the process"
        tried = values.arguments(value, self.derived)
        if isinstance(tried, str):
            return tried
        said = self.last.get(name)
        if said == values.ASYNCHRONOUS:
            return said
        return f"none of {len(tried)} combinations of arguments was accepted" + (f": {said}" if said else "")

    def ways(self, name: str, value: object, on: dict | None = None) -> list[tuple[str, ...]]:
        """Up to two combinations of arguments that are accepted. `on`: the recipe of the object for a method."""
        if name in self.ended or find.unsafe(name.rpartition(":")[2].rpartition(".")[2]):
            return []
        tried = values.arguments(value, self.derived)
        accepted: list[tuple[str, ...]] = []
        for given in tried if isinstance(tried, list) else []:
            text = f"{name}({', '.join(given)})"
            if text in self.skip or time.monotonic() > self.until:
                continue
            self.send(event="begun", name=text)
            outcome, result = self.attempt(value, given, on, name)
            if outcome.fault:
                reason = f"in one thread already: {outcome.message}"
                self.send(event="aside", outcome="failed", name=text, reason=reason)
                continue
            self.send(event="tried", name=text)
            if outcome.kind == "returned":
                self.keep(name, given, result)
                # Another number or another kind of arguments.
                if not accepted or values.kinds(given) != values.kinds(accepted[0]):
                    accepted.append(given)
                if len(accepted) == 2 or not given:
                    return accepted
            else:
                self.last.setdefault(name, outcome.message or outcome.text)
                if outcome.kind == "awaitable":
                    return []
        return accepted

    def attempt(self, value: object, given: tuple[str, ...], on: dict | None, name: str) -> tuple[Outcome, object]:
        results: list[object] = []

        def call() -> object:
            target = value if on is None else getattr(drive.make(on), name.rpartition(".")[2])
            results.append(target(*values.evaluated(given)))
            return results[0]

        outcome = Outcome(call)
        return outcome, results[0] if results else None

    def keep(self, name: str, given: tuple[str, ...], result: object) -> None:
        """A result may be an argument of another function, or an object that no class makes."""
        if "." not in name.partition(":")[2]:
            self.recipes.setdefault(type(result), {"call": name, "arguments": list(given)})
        text = values.argument(name, given, result)
        alike = [other for other in self.derived if text and other[0] == text[0]]
        if text and text not in alike and len(alike) < DERIVED:
            # Objects first: nothing else will do where one is needed.
            self.derived.insert(0 if text[0] == "@" else len(self.derived), text)

    def type(self, name: str, value: type) -> None:
        if issubclass(value, BaseException):
            self.aside(name, "an exception class")
            return
        ways = self.ways(name, value)
        recipe = {"call": name, "arguments": list(ways[0])} if ways else self.recipes.get(value)
        if recipe is None:
            self.aside(name, self.reason(name, value))
            return
        subject = drive.make(recipe)
        self.send(event="group", name=name, recipe=recipe)
        members = []
        for member in dir(type(subject)):
            method = own_method(type(subject), member, self.task["imports"])
            if method is not None:
                full = f"{name}.{member}"
                bound = getattr(subject, member)
                members.append((member, self.ways(full, bound, recipe), self.reason(full, bound)))
        self.members(name, members)

    def members(self, group: str, found: list[tuple[str, list[tuple[str, ...]], str]]) -> None:
        count = 0
        for name, ways, reason in found:
            separator = "." if ":" in group else ":"
            if not ways:
                late = time.monotonic() > self.until
                self.aside(f"{group}{separator}{name}", "the time limit was reached before" if late else reason)
            for given in ways:
                count += 1
                if count > MEMBERS:
                    self.aside(f"{group}{separator}{name}({', '.join(given)})", f"only {MEMBERS} calls of a class or module are driven")
                    continue
                self.send(event="member", name=name, group=group, member={"name": name, "arguments": list(given)})


def own_method(cls: type, name: str, names: list[str]) -> object | None:
    """A public method that the package defines, not one that it inherits from a class of others."""
    if name.startswith("_") and name not in SPECIAL:
        return None
    owner = next((each for each in cls.__mro__ if name in each.__dict__), None)
    if owner is None or not find.belongs(owner.__module__, names) or isinstance(owner.__dict__[name], type):
        return None
    method = getattr(cls, name, None)
    return method if callable(method) else None
