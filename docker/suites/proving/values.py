"""The values that an API is driven with, and what is compared of its answers."""

import ast
import inspect
import itertools
import re
from collections.abc import Callable, Iterator

from proving import find
from proving.errors import describe, is_fault

# As Python literals, so that each call has a value of its own.
POOL = (
    "b'bytes'", "'text'", "1", "0", "-1", "1.5", "True", "None", "[1, 2, 3]", "(1, 2)", "{'a': 1}", "{1, 2}", "b''", "''", "'1'",
)  # fmt: skip
# For two and three arguments.
FEW = ("b'bytes'", "'text'", "1", "[1, 2, 3]", "{'a': 1}", "None")
MOST = 3
ASYNCHRONOUS = "it returns something to await"
# Of an iterator, and of a text.
ITEMS, LENGTH = 20, 2000


def arguments(call: object, derived: list[str]) -> list[tuple[str, ...]] | str:
    """Combinations of arguments to try, or why there are none."""
    told = find.parameters_of(call)
    needed, positional = told or ([], 2)
    least = len(needed)
    if least > MOST or least > positional:
        return f"it needs {least} arguments: {', '.join(needed)}"
    most = int(min(least + 1, MOST, positional)) if told else 2
    pools = {0: (), 1: (*POOL, *derived), 2: (*FEW, *derived[:4]), 3: FEW[:4]}
    return [each for count in range(least, most + 1) for each in itertools.product(pools[count], repeat=count)]


def evaluated(texts: list[str]) -> list[object]:
    """The values of literals; `@module:function` is a new object that this function makes."""
    return [find.lookup(text[1:])() if text.startswith("@") else ast.literal_eval(text) for text in texts]


def argument(name: str, given: tuple[str, ...], result: object) -> str | None:
    """How the result of a call can serve as an argument of other calls, if it can."""
    if isinstance(result, (bytes, str)):
        text = repr(result)
        return text if 0 < len(text) <= 1000 and text not in POOL else None
    opaque = not isinstance(result, (type(None), bool, int, float, complex, list, tuple, dict, set, frozenset, type))
    return f"@{name}" if opaque and not given and "." not in name.partition(":")[2] else None


def shown(value: object) -> str:
    """A value as a text that is the same for equal values, without addresses in memory."""
    return f"{type(value).__name__} {re.sub(r'0x[0-9a-f]+', '0x', repr(value))[:LENGTH]}"


def kinds(texts: tuple[str, ...]) -> list[str]:
    return [text if text.startswith("@") else type(ast.literal_eval(text)).__name__ for text in texts]


class Outcome:
    """What a call returned or raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.fault, self.message = False, ""
        try:
            value = call()
            if inspect.isawaitable(value):
                getattr(value, "close", lambda: None)()
                self.kind, self.text = "awaitable", ASYNCHRONOUS
                return
            if isinstance(value, Iterator):
                value = list(itertools.islice(value, ITEMS))
            self.kind, self.text = "returned", shown(value)
        except BaseException as error:
            self.kind, self.text = "raised", type(error).__name__
            self.fault, self.message = is_fault(error), describe(error)[:300]

    def key(self) -> tuple[str, str]:
        return self.kind, self.text
