"""A package's own tests in threads: pytest-run-parallel, and what it leaves to others.

It lets an exception pass that is none of `Exception` (a panic of Rust code is one), or that is a warning; it says of a
test that one thread skipped that it was skipped, whatever other threads raised; it does not await coroutines; and it
waits for its threads for ever. So each call of each thread is watched here, and the time limit is set by the runner.
"""

import faulthandler
import functools
import inspect
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import TextIO

import pytest
from _pytest.outcomes import OutcomeException

from proving.errors import describe, is_fault
from proving.threads import INTERVAL
from proving.upstream import Reporter
from proving.watch import Watch


class PassedOn(Exception):
    """An exception that is no `Exception`, for pytest-run-parallel, which would lose it."""


def prepare(task: dict, descriptor: int) -> tuple["Threaded", list[str]]:
    """The plugin and the options of pytest."""
    # pytest redirects standard error.
    stderr = os.fdopen(os.dup(2), "w")
    # As in child.py: reading the frames of other threads can crash, too.
    faulthandler.enable(stderr, all_threads=False)
    reporter = Threaded(task, descriptor, stderr)
    options = [
        "-p", "no:xdist", "-p", "no:randomly", "-p", "no:faulthandler", f"--parallel-threads={task['threads']}",
        f"--iterations={task['iterations']}", "--skip-thread-unsafe=1", "-W", "error::pytest.PytestUnhandledThreadExceptionWarning",
        # What cannot be collected is set aside like a test that fails in one thread.
        "--continue-on-collection-errors", "--maxfail=0",
        # The runner checks the GIL of each process by the image's promise.
        "--ignore-gil-enabled",
    ]  # fmt: skip
    return reporter, options


class Threaded(Reporter):
    def __init__(self, task: dict, descriptor: int, stderr: TextIO) -> None:
        super().__init__(task, descriptor)
        self.lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.raised: dict[str, list[tuple[str, bool]]] = {}
        self.current = ""
        self.watch = Watch(task["limit"], stderr)
        if task["threads"] > 1:
            # With the GIL, most tests would end before another thread's turn.
            sys.setswitchinterval(INTERVAL)

    def pytest_addoption(self, parser) -> None:
        # A package may configure pytest's plugin, which is replaced here.
        parser.addini("faulthandler_timeout", "not used")
        parser.addini("faulthandler_exit_on_timeout", "not used")

    def pytest_sessionstart(self) -> None:
        # Not earlier: pytest warns of plugins that are imported before it.
        from pytest_run_parallel import plugin

        parallel = plugin.wrap_function_parallel
        plugin.wrap_function_parallel = lambda call, *numbers: parallel(self.watched(call), *numbers)
        super().pytest_sessionstart()

    def watched(self, call: Callable) -> Callable:
        @functools.wraps(call)
        def watch(*arguments: object, **named: object) -> object:
            with self.lock:
                self.calls[self.current] += 1
            try:
                result = call(*arguments, **named)
            except OutcomeException:
                raise
            except Exception as error:
                self.note(error)
                raise
            except BaseException as error:
                self.note(error)
                raise PassedOn(describe(error)) from error
            if inspect.isawaitable(result):
                self.note(TypeError("the test returned something to await, which pytest-run-parallel does not do"))
            return result

        return watch

    def note(self, error: BaseException) -> None:
        with self.lock:
            self.raised.setdefault(self.current, []).append((describe(error), is_fault(error)))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items) -> None:
        kept, left_out = [], []
        wanted = None if self.task["wanted"] is None else set(self.task["wanted"])
        skip = set(self.task["skip"])
        for item in items:
            if item.nodeid in skip or (wanted is not None and item.nodeid not in wanted):
                left_out.append(item)
            elif inspect.iscoroutinefunction(inspect.unwrap(getattr(item, "obj", None) or len)):
                reason = "an asynchronous test, which pytest-run-parallel cannot run in threads"
                self.send(event="test", name=item.nodeid, outcome="skipped", seconds=0.0, message=reason, text="", fault=False)
                left_out.append(item)
            else:
                kept.append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=left_out)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.current = nodeid
        self.watch.begun()
        super().pytest_runtest_logstart(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.send(event="ended", name=nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        report.fault = call.excinfo is not None and is_fault(call.excinfo.value)
        plugin = item.config.pluginmanager.get_plugin("_run-parallel")
        report.workers = plugin.run_in_parallel.get(item.nodeid, 1)
        return report

    def test(self, report, seconds: float, **more: object) -> None:
        raised = self.raised.get(report.nodeid, [])
        fault = getattr(report, "fault", False) or any(fault for _, fault in raised)
        more |= {"fault": fault}
        worker_calls, wanted = self.calls[report.nodeid], self.task["threads"] * self.task["iterations"]
        if report.when == "call" and report.outcome != "failed" and not hasattr(report, "wasxfail"):
            if raised:
                more |= {"outcome": "failed", "message": raised[0][0]}
            elif report.outcome == "passed" and wanted > 1 and report.workers * self.task["iterations"] != worker_calls:
                more |= {"outcome": "failed", "message": f"only {worker_calls} calls of {wanted} were made"}
            elif report.outcome == "passed" and 1 < self.task["threads"] != report.workers == 1:
                more |= {"outcome": "skipped", "message": "pytest-run-parallel ran it in one thread"}
        elif raised and fault:
            # The plugin raises the error of one thread; another thread had a worse one.
            more |= {"message": next(text for text, fault in raised if fault)}
        super().test(report, seconds, **more)
