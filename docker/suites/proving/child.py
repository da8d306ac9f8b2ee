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


def gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def watch(limit: float) -> None:
    """Shortly before the time limit: where each thread is. faulthandler shows one only without the GIL."""

    def dump() -> None:
        if not threading.Event().wait(limit):
            for thread, frame in sys._current_frames().items():
                sys.stderr.write(f"Thread {thread}:\n{''.join(traceback.format_stack(frame)[-6:])}")
            sys.stderr.flush()

    threading.Thread(target=dump, daemon=True, name="watch").start()


def serve(adapter, suite, case, other):
    """What the other processes count on: the records, and which calls this server answers."""
    from proving import records, storm

    client = adapter.connect()
    for number in range(records.COUNT):
        adapter.put(client, records.key(number), records.bins(number))
    for number in range(storm.THREADS):
        adapter.put(client, records.key(number, "suites-counters"), {"count": 0})
    unserved = {}
    for name in sorted(storm.OPTIONAL):
        try:
            storm.CALLS[name](adapter, client, 0)
        except Exception as error:
            unserved[name] = f"{type(error).__name__}: {error}"[:300]
    adapter.close(client)
    return unserved


def run(task: dict) -> dict:
    from proving import client, smoke, storm

    problems = storm.Problems()
    unserved = {}
    if task["case"] == "import":
        smoke.modules(task["imports"])
    else:
        adapter = client.load(task["file"], task["host"], task["port"])
        unknown = set(task["without"]) - set(adapter.precautions)
        for name, precaution in adapter.precautions.items():
            if name not in task["without"]:
                precaution()
        if task["suite"] == "smoke":
            {"alone": smoke.alone, "other": smoke.other}[task["how"]](adapter, task["of"])
        elif task["suite"] == "storm":
            storm.SCENARIOS[task["case"]](adapter, problems)
        else:
            unserved = serve(adapter, None, None, None)
        if unknown and task["strict"]:
            raise KeyError(f"no precaution {sorted(unknown)}; there are {sorted(adapter.precautions)}")
    return {"problems": problems.texts, "unserved": unserved}


def main() -> None:
    task = json.loads(sys.argv[1])
    options = {"c_stack": True} if sys.version_info >= (3, 14) else {}
    faulthandler.enable(all_threads=True, **options)
    watch(max(task["limit"] - 2, task["limit"] / 2))
    report = {"gil_at_start": gil(), "problems": []}
    try:
        report |= run(task)
    except BaseException as error:
        report["problems"] = [f"{type(error).__name__}: {error}"[:2000]]
        traceback.print_exc()
    report["gil_after"] = gil()
    # Before the end of the process, which can be where it crashes.
    os.write(task["report"], json.dumps(report).encode())


if __name__ == "__main__":
    main()
