"""In a child of the driven suite: calls in one thread, then the same calls in threads, and what differs."""

import functools
import itertools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

from proving import find, values
from proving.threads import INTERVAL
from proving.values import Outcome

THREADS = 8
# Calls of a thread, orders in one thread, and runs in threads.
ROUNDS, ORDERS, RUNS = 30, 4, 5
# Runs in threads with the GIL, where threads take turns rarely.
GIL_RUNS = 40
# More orders in one thread before a difference is reported.
MORE_ORDERS = 40
# Seconds for all calls of one order: with slow calls there are fewer.
SLOW = 0.2

# A call of a member, by its number, and the sequence of calls of each thread.
Plan = list[list[int]]


class Seen:
    """What the members gave, and the attributes at the end."""

    def __init__(self, members: int) -> None:
        self.outcomes: list[set[tuple[str, str]]] = [set() for _ in range(members)]
        self.faults: dict[int, str] = {}
        self.attributes: dict[str, set[str]] = {}

    def add(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number].add(outcome.key())
        if outcome.fault:
            self.faults[number] = outcome.text

    def end(self, subject: object) -> None:
        for name, text in attributes(subject).items():
            self.attributes.setdefault(name, set()).add(text)


def attributes(subject: object) -> dict[str, str]:
    """What an object shows of its state."""
    if isinstance(subject, type(sys)):
        return {}
    calls: dict[str, Callable[[], object]] = {"repr": lambda: repr(subject), "len": lambda: len(subject)}
    for name in dir(subject):
        if not name.startswith("_") and not callable(getattr(type(subject), name, None)):
            calls[name] = lambda name=name: getattr(subject, name)
    found = {name: Outcome(call) for name, call in calls.items()}
    return {name: outcome.text for name, outcome in found.items() if outcome.kind == "returned"}


class Group:
    """A shared object, and the calls that are known to work."""

    def __init__(self, recipe: dict, members: list[dict], runs: int = RUNS) -> None:
        self.recipe = recipe
        # Runs in threads.
        self.runs = runs
        self.members = members
        # An object that is still there keeps its address.
        self.alive: list[object] = []

    def fresh(self) -> object:
        subject = make(self.recipe)
        self.alive.append(subject)
        return subject

    def name(self, number: int) -> str:
        member = self.members[number]
        return f"{member['name']}({', '.join(member['arguments'])})"

    def call(self, subject: object, number: int, given: list[object]) -> Outcome:
        return Outcome(lambda: getattr(subject, self.members[number]["name"])(*given))

    def begin(self, subject: object, number: int) -> Callable[[], object]:
        """Makes a call, and returns what returns its result or raises its exception later. An iterator has begun."""
        try:
            result = getattr(subject, self.members[number]["name"])(*self.given(number))
            if isinstance(result, Iterator):
                result = itertools.chain(list(itertools.islice(result, 1)), result)
        except BaseException as error:
            return functools.partial(fail, error)
        return lambda: result

    def given(self, number: int) -> list[object]:
        return values.evaluated(self.members[number]["arguments"])

    def serial(self, plan: Plan, order: random.Random | int, seen: Seen) -> None:
        """All calls in one thread: thread by thread, in the reverse order, or mixed. In the mixed order, what a call of a
        thread returned is looked at before its next one: in threads, too, others make calls until then. An iterator may not
        permit that, or a view of a buffer."""
        subject = self.fresh()
        left = [list(calls) for calls in plan]
        threads = list(range(len(plan)))
        begun: dict[int, tuple[int, Callable[[], object]]] = {}

        def look(thread: int) -> None:
            if thread in begun:
                number, result = begun.pop(thread)
                seen.add(number, Outcome(result))

        while any(left):
            mixed = isinstance(order, random.Random)
            if mixed:
                thread = order.choice([number for number in threads if left[number]])
            else:
                thread = next(number for number in threads[:: 1 if order == 0 else -1] if left[number])
            look(thread)
            number = left[thread].pop(0)
            begun[thread] = number, self.begin(subject, number)
            if not mixed:
                look(thread)
        for thread in threads:
            look(thread)
        seen.end(subject)

    def parallel(self, plan: Plan, seen: Seen) -> None:
        subject = self.fresh()
        prepared = [[(number, self.given(number)) for number in calls] for calls in plan]
        results: list[list[tuple[int, Outcome]]] = [[] for _ in plan]
        barrier = threading.Barrier(len(plan))

        def work(thread: int) -> None:
            barrier.wait()
            for number, given in prepared[thread]:
                results[thread].append((number, self.call(subject, number, given)))

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(len(plan))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, outcome in (each for result in results for each in result):
            seen.add(number, outcome)
        seen.end(subject)

    def rounds(self, shape: Callable[[int], Plan], seen: Seen, goes_on: Callable[[str], None]) -> int:
        """How many rounds may be called in one order. A few do not say how long more take: what is started by the first
        call may have to be stopped by the next one."""
        rounds = 1
        while True:
            goes_on("serial")
            begun = time.monotonic()
            self.serial(shape(rounds), 0, seen)
            fit = min(ROUNDS, int(rounds * SLOW / max(time.monotonic() - begun, 1e-6)))
            if fit < 2 * rounds or rounds == ROUNDS:
                return max(1, fit)
            rounds = min(ROUNDS, 2 * rounds)

    def compare(self, shape: Callable[[int], Plan], seed: str, goes_on: Callable[[str], None]) -> list[str]:
        """What happens in threads and in no order in one thread. `shape` makes the calls for a number of rounds. `goes_on`
        is called before each order and each run: each may take as long as the time limit."""
        rng = random.Random(seed)
        serial = Seen(len(self.members))
        plan = shape(self.rounds(shape, serial, goes_on))
        # Fewer calls may end in another state.
        serial.attributes.clear()
        for order in (0, 1, *[rng] * (ORDERS - 2)):
            goes_on("serial")
            self.serial(plan, order, serial)
        if serial.faults:
            return [f"{self.name(number)} raises {text} in one thread already" for number, text in serial.faults.items()]
        parallel = Seen(len(self.members))
        interval = sys.getswitchinterval()
        sys.setswitchinterval(INTERVAL)
        for _ in range(self.runs):
            goes_on("threads")
            self.parallel(plan, parallel)
        sys.setswitchinterval(interval)
        if self.differences(serial, parallel):
            # One thread may get there, too, in another order.
            for _ in range(MORE_ORDERS):
                goes_on("serial")
                self.serial(plan, rng, serial)
        self.alive.clear()
        return self.differences(serial, parallel)

    def differences(self, serial: Seen, parallel: Seen) -> list[str]:
        found = []
        for number, outcomes in enumerate(parallel.outcomes):
            known = serial.outcomes[number]
            for kind, text in sorted(outcomes - known):
                if kind == "raised":
                    found.append(f"{self.name(number)} raised {text}, which it never does in one thread")
                elif len(known) == 1:
                    before = next(iter(known))
                    found.append(f"{self.name(number)} {kind} {text[:200]} instead of {before[1][:200]}")
        for name, texts in parallel.attributes.items():
            known = serial.attributes.get(name, set())
            if len(known) == 1 and texts - known:
                found.append(f"at the end, {name} is {sorted(texts - known)[0][:200]} instead of {next(iter(known))[:200]}")
        return found


def fail(error: BaseException) -> object:
    raise error


def make(recipe: dict) -> object:
    """A new object by its recipe, or the module itself."""
    call = recipe["call"]
    if call is None:
        return sys.modules[recipe["module"]]
    return find.lookup(call)(*values.evaluated(recipe["arguments"]))


def run(task: dict, send: Callable[..., None]) -> None:
    """All pairs of calls of a group, and then a mix of more threads."""
    for name in task["modules"]:
        __import__(name)
    group = Group(task["recipe"], task["members"], GIL_RUNS if "only" in task else RUNS)
    numbers = range(len(group.members))
    items: dict[str, Callable[[int], Plan]] = {}
    for first in numbers:
        for second in numbers[first:]:
            name = f"{group.name(first)} + {group.name(second)}"
            items[name] = lambda rounds, first=first, second=second: [[first] * rounds, [second] * rounds]
    order = list(items)
    random.Random(task["seed"]).shuffle(order)

    def mix(rounds: int) -> Plan:
        rng = random.Random(f"{task['seed']}-mix")
        return [[rng.choice(numbers) for _ in range(rounds)] for _ in range(THREADS)]

    items[MIX] = mix
    until = time.monotonic() + task["until"]
    for name in [*order, MIX]:
        if name in task["skip"] or name not in task.get("only", items):
            continue
        if time.monotonic() > until and name != MIX:
            send(event="aside", outcome="skipped", name=name, reason="the time limit was reached before")
            continue
        send(event="begun", name=name)
        found = group.compare(items[name], f"{task['seed']}-{name}", lambda event, name=name: send(event=event, name=name))
        send(event="driven", name=name, differences=found[:5])


MIX = "a mix of all calls"
