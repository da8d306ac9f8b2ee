"""One fresh process of a suite: does what its argument says and reports on a file descriptor of its own.

Standard error belongs to what may go wrong: faulthandler writes there the Python stack, and from 3.14
on the C stack, of whatever ends the process.
"""

import faulthandler
import json
import os
import sys
import threading
import traceback

from proving.errors import describe


def gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def show_threads_after(seconds: float) -> None:
    """Writes where each thread is, if the process has not ended by then."""
    if gil():
        # Also where a call never gives the GIL back.
        faulthandler.dump_traceback_later(seconds)
        return

    # Without the GIL faulthandler shows one thread only.
    def dump() -> None:
        if not threading.Event().wait(seconds):
            for thread, frame in sys._current_frames().items():
                sys.stderr.write(f"Thread {thread}:\n{''.join(traceback.format_stack(frame)[-6:])}")
            sys.stderr.flush()

    threading.Thread(target=dump, daemon=True, name="show threads").start()


def prepare(adapter) -> dict:
    """Writes the records that the other processes count on, and says which calls this server answers."""
    from proving import records, storm

    client = adapter.connect()
    for number in range(records.COUNT):
        adapter.put(client, records.key(number), records.bins(number))
    for number in range(storm.THREADS):
        adapter.put(client, records.key(number, storm.COUNTERS), {"count": 0})
    unserved = {}
    for name in sorted(storm.OPTIONAL):
        try:
            storm.CALLS[name](adapter, client, 0)
        except Exception as error:
            unserved[name] = f"{type(error).__name__}: {error}"[:300]
    server = adapter.server(client)
    adapter.close(client)
    return {"unserved": unserved, "server": server, "precautions": sorted(adapter.precautions)}


def run(task: dict) -> dict:
    from proving import client, smoke, storm

    if task["case"] == "import":
        smoke.modules(task["imports"])
        return {}
    adapter = client.load(task["file"], task["host"], task["port"])
    for name, precaution in adapter.precautions.items():
        if name not in task["without"]:
            precaution()
    problems = storm.Problems()
    if task["suite"] == "smoke":
        {"alone": smoke.alone, "other": smoke.other}[task["how"]](adapter, task["of"])
    elif task["suite"] == "storm":
        storm.SCENARIOS[task["case"]](adapter, problems)
    else:
        return prepare(adapter)
    return {"problems": problems.texts}


def main() -> None:
    task = json.loads(sys.argv[1])
    options = {"c_stack": True} if sys.version_info >= (3, 14) else {}
    # Of the thread that crashed only: other threads run on, and reading their frames meanwhile can crash, too.
    faulthandler.enable(all_threads=False, **options)
    show_threads_after(max(task["limit"] - 2, task["limit"] / 2))
    report = {"gil_at_start": gil(), "problems": []}
    try:
        report |= run(task)
    except BaseException as error:
        report["problems"] = [describe(error)]
        traceback.print_exc()
    report["gil_after"] = gil()
    report["undeclared"] = [name for name in task["undeclared"] if name in sys.modules]
    # Before the end of the process, which can be where it crashes.
    os.write(task["report"], json.dumps(report).encode())


if __name__ == "__main__":
    main()
