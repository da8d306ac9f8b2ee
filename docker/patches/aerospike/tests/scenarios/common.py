"""What the scenarios have in common: a client, and threads that work at the same time."""

import os
import threading
import time

HOSTS = [(os.environ.get("AEROSPIKE_HOST", "127.0.0.1"), int(os.environ.get("AEROSPIKE_PORT", "3000")))]
CONFIG = {"hosts": HOSTS, "connect_timeout": 20_000}
TIMEOUT = {"total_timeout": 20_000, "socket_timeout": 20_000, "max_retries": 2}
THREADS = 8


def connect(**more):
    import aerospike

    return aerospike.client(CONFIG | more).connect()


def key(name):
    return ("test", "patches", name)


def together(*works):
    """Runs functions in threads of their own that start at the same moment; raises the first exception."""
    barrier = threading.Barrier(len(works))
    errors = []

    def run(work):
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def for_seconds(seconds, work):
    """A function that repeats another one for some time."""

    def loop():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            work()

    return loop


def accept(*exceptions):
    """A decorator: these exceptions are results like others."""

    def decorate(work):
        def run():
            try:
                work()
            except exceptions:
                pass

        return run

    return decorate


def tasks():
    """How many threads the system counts in this process."""
    return len(os.listdir("/proc/self/task"))


def ends_with_tasks(count):
    """Waits until no more than this many threads are left."""
    for _ in range(100):
        if tasks() <= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{tasks() - count} threads are left of clusters that nobody closes")
