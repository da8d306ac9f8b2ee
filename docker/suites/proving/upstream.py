"""A package's own tests under pytest, against what is installed: another copy of the package ends the run.

pytest and its plugins lie in a folder at the end of the path, so that they never take the place of
what the image has. Each test is reported when it ends: a crash loses none of those before it.
"""

import importlib
import json
import os
import sys
import sysconfig

from proving.watch import gil


class Reporter:
    """The plugin: guards what is imported, and reports."""

    def __init__(self, task: dict, descriptor: int) -> None:
        self.task = task
        self.descriptor = descriptor
        self.at_start = gil()

    def send(self, **line: object) -> None:
        os.write(self.descriptor, (json.dumps(line) + "\n").encode())

    def strangers(self) -> list[str]:
        """Modules of the package that are not those of the image."""
        places = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("purelib", "platlib"))
        found = []
        for name in self.task["imports"]:
            module = importlib.import_module(name)
            file = getattr(module, "__file__", None) or ""
            if not os.path.realpath(file).startswith(tuple(os.path.realpath(place) + os.sep for place in places)):
                found.append(f"`{name}` is imported from `{file or module}`, not from the image's own packages")
        return found

    def pytest_sessionstart(self) -> None:
        self.guard()

    def pytest_collection_finish(self) -> None:
        self.guard()

    def guard(self) -> None:
        import pytest

        strangers = self.strangers()
        if strangers:
            pytest.exit("; ".join(strangers), returncode=9)

    def pytest_sessionfinish(self) -> None:
        undeclared = [name for name in self.task["undeclared"] if name in sys.modules]
        self.send(event="guard", gil_at_start=self.at_start, gil_after=gil(), undeclared=undeclared)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.send(event="begun", name=nodeid)

    def pytest_runtest_logreport(self, report) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.test(report, report.duration)

    def test(self, report, seconds: float, **more: object) -> None:
        message, text = "", ""
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            message = report.longrepr[2]
        elif report.outcome != "passed":
            message, text = summary(report.longrepr), shortened(str(report.longrepr))
        found = {"outcome": report.outcome, "message": message[:2000], "text": text} | more
        self.send(event="test", name=report.nodeid, seconds=seconds, **found)

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.test(report, 0.0)


def summary(longrepr) -> str:
    """The assertion or exception of a failure, without the traceback: as in pytest's own JUnit report, or else the
    lines that pytest marks with an E."""
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        return crash.message
    lines = [line for line in str(longrepr).splitlines() if line.strip()]
    marked = [line[1:].strip() for line in lines if line.startswith("E ")]
    return "\n".join(marked or lines[-1:])


def shortened(text: str) -> str:
    """The beginning and the end of a long traceback: the end has the failure."""
    return text if len(text) <= 8000 else f"{text[:2000]}\n[...]\n{text[-6000:]}"


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        task = json.load(file)
    sys.path += task["tools"]
    import pytest

    reporter, more = Reporter(task, int(sys.argv[2])), []
    if "threads" in task:
        from proving import threaded

        reporter, more = threaded.prepare(task, int(sys.argv[2]))

    # The working directory is the folder that holds nothing but the tests.
    sys.path.insert(0, os.getcwd())
    arguments = ["-p", "no:cacheprovider", "-q", "--color=no", "--tb=short", *more, task["folder"]]
    sys.exit(pytest.main(arguments, plugins=[reporter]))


if __name__ == "__main__":
    main()
