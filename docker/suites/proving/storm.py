"""The storm suite: scenarios made to break native extensions that nobody locks any more.

Each runs in a process of its own that has made no call before: what is initialised at the first call
is where extensions break, and that can be seen once per process only.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Callable

from proving import records
from proving.client import Adapter, Key
from proving.threads import Problems, together

THREADS = 16
ROUNDS = 5
LOOPS = 4
CALLERS = 4
# Errors that each thread provokes while it compares what they say.
ERRORS = 50
# The set that `operate` counts in.
COUNTERS = "suites-counters"


def batch_read(adapter: Adapter, client: object, _number: int) -> None:
    records.check(adapter.rows(adapter.batch_read(client, records.KEYS)))


def get(adapter: Adapter, client: object, number: int) -> None:
    records.check_one(number, adapter.get(client, records.key(number)))


def put(adapter: Adapter, client: object, number: int) -> None:
    adapter.put(client, records.key(number), records.bins(number))


def counter(adapter: Adapter, number: int) -> Key:
    """The record that one thread counts in."""
    return (records.NAMESPACE, COUNTERS, f"{adapter.run}-{number}")


def operate(adapter: Adapter, client: object, number: int) -> None:
    key = counter(adapter, number)
    first = adapter.add(client, key, "count", 1)
    second = adapter.add(client, key, "count", 3)
    if second != first + 3:
        raise AssertionError(f"{first} and 3 made {second}")


def query(adapter: Adapter, client: object, _number: int) -> None:
    found = adapter.query(client, records.NAMESPACE, records.SET)
    if len(found) != records.COUNT:
        raise AssertionError(f"a query of the set gave {len(found)} records instead of {records.COUNT}")
    for got in found:
        records.check_one(got["number"], got)


CALLS = {"batch-read": batch_read, "get": get, "operate": operate, "put": put, "query": query}
# What a server need not serve: the scenario is skipped where one call alone fails.
OPTIONAL = {"query"}


def first_call(call: Callable[[Adapter, object, int], None]) -> Callable[[Adapter, Problems], None]:
    def scenario(adapter: Adapter, problems: Problems) -> None:
        client = adapter.connect()
        together(THREADS, lambda number: [call(adapter, client, number) for _ in range(ROUNDS)], problems)
        adapter.close(client)

    return scenario


def first_connect(adapter: Adapter, problems: Problems) -> None:
    def work(number: int) -> None:
        client = adapter.connect()
        get(adapter, client, number)
        adapter.close(client)

    together(THREADS, work, problems)


def mixed(adapter: Adapter, client: object, number: int, rounds: int) -> None:
    for turn in range(rounds):
        for call in (get, put, operate, batch_read):
            call(adapter, client, (number + turn * THREADS) % records.COUNT if call is not operate else number)


def shared_client(adapter: Adapter, problems: Problems) -> None:
    client = adapter.connect()
    together(THREADS, lambda number: mixed(adapter, client, number, ROUNDS), problems)
    adapter.close(client)


def connect_close(adapter: Adapter, problems: Problems) -> None:
    def work(number: int) -> None:
        for _ in range(ROUNDS):
            client = adapter.connect()
            get(adapter, client, number)
            adapter.close(client)

    together(THREADS // 2, work, problems)


def same_result(adapter: Adapter, problems: Problems) -> None:
    client = adapter.connect()
    for _ in range(ROUNDS):
        result = adapter.batch_read(client, records.KEYS)
        together(THREADS, lambda _number: records.check(adapter.rows(result)), problems)
    adapter.close(client)


def exceptions(adapter: Adapter, problems: Problems) -> None:
    client = adapter.connect()
    missing = records.key(0, "suites-nothing")

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            for call, wanted in adapter.mistakes(client, missing):
                try:
                    call()
                except wanted as error:
                    # Looking at it is what most code does with one.
                    str(error), error.args, error.__traceback__
                else:
                    raise AssertionError(f"{wanted.__name__} was not raised")
            get(adapter, client, number)

    together(THREADS, work, problems)
    adapter.close(client)


def error_details(adapter: Adapter, problems: Problems) -> None:
    """Each thread provokes one error again and again, and compares the exception with that of a serial call."""
    client = adapter.connect()

    def provoke(number: int) -> object:
        mistakes = adapter.mistakes(client, records.key(number, "suites-nothing"))
        call, wanted = mistakes[number % len(mistakes)]
        try:
            call()
        except wanted as error:
            # Other threads get the chance to raise their errors before this one is read.
            time.sleep(0)
            return adapter.details(error)
        raise AssertionError(f"{wanted.__name__} was not raised")

    serial = [provoke(number) for number in range(THREADS)]

    def work(number: int) -> None:
        for _ in range(ERRORS):
            found = provoke(number)
            if found != serial[number]:
                raise AssertionError(f"the exception of another call: {found!r} instead of {serial[number]!r}")

    together(THREADS, work, problems)
    adapter.close(client)


def garbage(adapter: Adapter, problems: Problems) -> None:
    client = adapter.connect()
    ended = threading.Event()

    def collect() -> None:
        while not ended.is_set():
            gc.collect()
            time.sleep(0.001)

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            result = adapter.batch_read(client, records.KEYS)
            found = adapter.rows(result)
            # A cycle: only the collector frees it, in whatever thread it runs.
            cycle = [result, found]
            cycle.append(cycle)
            records.check(found)
            get(adapter, client, number)

    collector = threading.Thread(target=collect)
    collector.start()
    together(THREADS, work, problems)
    ended.set()
    collector.join()
    adapter.close(client)


def shutdown(adapter: Adapter, problems: Problems) -> None:
    """The interpreter ends while threads are in calls."""
    client = adapter.connect()
    calling = threading.Semaphore(0)

    def work(number: int) -> None:
        try:
            # The first must go well; afterwards nobody is there to be told.
            batch_read(adapter, client, number)
        except BaseException as error:
            problems.add(error)
        calling.release()
        while True:
            try:
                batch_read(adapter, client, number)
            except BaseException:
                return

    # Few: without a GIL nobody makes them yield to the thread that wants to end.
    for number in range(CALLERS):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    for _ in range(CALLERS):
        calling.acquire()


def event_loops(adapter: Adapter, problems: Problems) -> None:
    barrier = threading.Barrier(LOOPS)

    async def main() -> None:
        client = await adapter.connect_async()
        barrier.wait()
        for _ in range(ROUNDS):
            for found in await asyncio.gather(*(adapter.read_async(client, records.KEYS) for _ in range(THREADS))):
                records.check(found)
        await adapter.close_async(client)

    def work(_number: int) -> None:
        try:
            asyncio.run(main())
        except BaseException:
            # The others would wait for it.
            barrier.abort()
            raise

    together(LOOPS, work, problems)


SCENARIOS: dict[str, Callable[[Adapter, Problems], None]] = {
    "first-connect": first_connect,
    **{f"first-{name}": first_call(call) for name, call in CALLS.items()},
    "shared-client": shared_client,
    "connect-close": connect_close,
    "same-result": same_result,
    "exceptions": exceptions,
    "error-details": error_details,
    "garbage": garbage,
    "event-loops": event_loops,
    "shutdown": shutdown,
}
