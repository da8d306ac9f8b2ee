"""ThreadSanitizer in the processes of the suites: its options, its reports, and the controls.

A run in which ThreadSanitizer sees nothing looks like a run without data races. Therefore the controls come first:
libraries in C and in Rust with a data race, which must be reported, and with none.
"""

import ctypes
import glob
import json
import os
import re
import sys
import threading
from collections.abc import Iterator

from proving.process import run

FOLDER = "/tmp/sanitizer"
SUPPRESSIONS = f"{FOLDER}.suppressions"
# Reports of one process that are passed on, and characters of each.
REPORTS, LENGTH = 500, 20_000

# https://github.com/google/sanitizers/wiki/ThreadSanitizerFlags
OPTIONS = {
    "report_bugs": 1,
    "log_path": f"{FOLDER}/log",
    # A report is a result of its own: the process passes or fails by what it does.
    "exitcode": 0,
    "halt_on_error": 0,
    "history_size": 4,
    "second_deadlock_stack": 1,
    "allocator_may_return_null": 1,
    "atexit_sleep_ms": 0,
    "external_symbolizer_path": "/usr/local/bin/llvm-symbolizer",
    "suppressions": SUPPRESSIONS,
}

# What ThreadSanitizer writes after its reports, at the end of a process.
COUNT = re.compile(r"ThreadSanitizer: reported \d+ warnings?")

CONTROLS = ["c_unguarded", "c_guarded", "rust_unguarded", "rust_guarded"]


# What is suppressed beside CPython's own list, each with its reason.
IGNORED = [
    # glibc frees the memory of a thread, after the thread itself has ended.
    "race:_dl_deallocate_tls",
    # OpenSSL comes from Debian and is not instrumented, so ThreadSanitizer does not see its locks. `called_from_lib` cannot
    # be used here: it ends the process if two loaded libraries have this name, such as Debian's and the one in a wheel.
    "race:libcrypto",
    "race:libssl",
]


def enable() -> None:
    """Sets the options for all processes that are started from now on."""
    os.makedirs(FOLDER, exist_ok=True)
    with open("/usr/local/share/tsan/cpython.txt", encoding="utf-8") as file:
        own = file.read()
    with open(SUPPRESSIONS, "w", encoding="utf-8") as file:
        file.write(own + "\n" + "".join(f"{line}\n" for line in IGNORED))
    os.environ["TSAN_OPTIONS"] = ":".join(f"{name}={value}" for name, value in OPTIONS.items())
    # Where it is set, symbols would be looked for in the network.
    os.environ["DEBUGINFOD_URLS"] = ""


def take() -> list[str]:
    """Returns the reports that were written since the last call."""
    reports = []
    for path in sorted(glob.glob(f"{FOLDER}/log.*")):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        os.unlink(path)
        parts = [part.strip("\n") for part in re.split(r"^={18}$", text, flags=re.MULTILINE)]
        # Anything but a report says that ThreadSanitizer itself failed, and is passed on as well.
        reports += [part[:LENGTH] for part in parts if part and not COUNT.fullmatch(part)]
    return reports[:REPORTS]


def controls(folder: str, imports: list[str]) -> Iterator[dict]:
    """Runs each control in a process of its own, then imports the packages' modules and lists the loaded libraries."""
    for name in CONTROLS:
        done = child("control", folder, name)
        yield {
            "event": "control", "name": name, "outcome": done["outcome"], "message": done["message"] or done["stderr"],
            "gil_after": done["report"].get("gil_after"), "races": take(),
        }  # fmt: skip
    done = child("libraries", *imports)
    said = take()
    found = done["report"].get("libraries")
    if done["outcome"] == "passed" and found is None:
        done |= {"outcome": "failed", "message": "; ".join(said) or "the process ended without a report"}
    yield {
        "event": "libraries", "outcome": done["outcome"], "message": done["message"], "libraries": found or [],
    }  # fmt: skip


def child(*arguments: str) -> dict:
    done = run([sys.executable, "-P", "-m", "proving.sanitizer", "%REPORT%", *arguments], 300)
    done["report"] = done["lines"][-1] if done["lines"] else {}
    return done


def control(folder: str, name: str) -> None:
    """Calls a function of a library in two threads."""
    library = ctypes.CDLL(f"{folder}/libcontrols_{name.partition('_')[0]}.so")
    threads = [threading.Thread(target=getattr(library, name)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def libraries() -> list[dict]:
    """Returns the loaded libraries, and whether each is instrumented: whether it calls the sanitizer's functions."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        paths = {line.split(maxsplit=5)[5].strip() for line in file if ".so" in line}
    found = []
    for path in sorted(paths):
        with open(path, "rb") as file:
            calls = re.search(rb"\0__tsan_(read|write|atomic|func_entry)", file.read())
        found.append({"path": path, "instrumented": calls is not None})
    return found


def main() -> None:
    descriptor, what, *arguments = sys.argv[1:]
    report = {}
    if what == "control":
        control(*arguments)
    else:
        for name in arguments:
            __import__(name)
        report["libraries"] = libraries()
    report["gil_after"] = getattr(sys, "_is_gil_enabled", lambda: True)()
    os.write(int(descriptor), json.dumps(report).encode())


if __name__ == "__main__":
    main()
