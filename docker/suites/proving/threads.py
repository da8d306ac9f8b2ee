"""Threads that start at the same moment."""

import threading
from collections.abc import Callable

from proving.errors import describe

# The shortest interval: with the GIL, threads take turns as often as possible.
INTERVAL = 1e-6


class Problems:
    """What went wrong in threads; the first few are enough."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, error: BaseException, where: str = "") -> None:
        if len(self.texts) < 5:
            self.texts.append(f"{where}: {describe(error)}" if where else describe(error))


def together(count: int, work: Callable[[int], None], problems: Problems) -> None:
    """Threads that are released by a barrier, to their end."""
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            problems.add(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
