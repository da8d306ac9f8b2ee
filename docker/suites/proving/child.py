"""One fresh process of a suite: does what its argument says and reports on a file descriptor of its own.

Standard error belongs to what may go wrong: faulthandler writes there the Python stack, and from 3.14
on the C stack, of whatever ends the process.
"""

import faulthandler
import json
import os
import sys
import traceback
from collections.abc import Callable

from proving.errors import describe
from proving.watch import Watch, gil


def prepare(adapter) -> dict:
    """Writes the records that the other processes count on, and says which calls this server answers."""
    from proving import records, storm

    client = adapter.connect()
    for number in range(records.COUNT):
        adapter.put(client, records.key(number), records.bins(number))
    for number in range(storm.THREADS):
        adapter.put(client, storm.counter(adapter, number), {"count": 0})
    unserved = {}
    for name in sorted(storm.OPTIONAL):
        try:
            storm.CALLS[name](adapter, client, 0)
        except Exception as error:
            unserved[name] = f"{type(error).__name__}: {error}"[:300]
    server = adapter.server(client)
    adapter.close(client)
    return {"unserved": unserved, "server": server, "precautions": sorted(adapter.precautions)}


def run(task: dict, send: Callable[..., None]) -> dict:
    # As little as possible is imported before: what is already there cannot be imported by several threads at once.
    if task["suite"] == "imports":
        from proving import imports

        return imports.run(task, send)
    if task["suite"] == "driven":
        from proving import driven

        return driven.run(task, send)
    from proving import client, smoke, storm
    from proving.threads import Problems

    if task["case"] == "import":
        smoke.modules(task["imports"])
        return {}
    adapter = client.load(task["file"], task["host"], task["port"])
    adapter.run = task["run"]
    for name, precaution in adapter.precautions.items():
        if name not in task["without"]:
            precaution()
    problems = Problems()
    if task["suite"] == "smoke":
        {"alone": smoke.alone, "other": smoke.other}[task["how"]](adapter, task["of"])
    elif task["suite"] == "storm":
        storm.SCENARIOS[task["case"]](adapter, problems)
    else:
        return prepare(adapter)
    return {"problems": problems.texts}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        task = json.load(file)
    descriptor = int(sys.argv[2])
    options = {"c_stack": True} if sys.version_info >= (3, 14) else {}
    # Of the thread that crashed only: other threads run on, and reading their frames meanwhile can crash, too.
    faulthandler.enable(all_threads=False, **options)
    watch = Watch(min(task["limit"], task.get("stall") or task["limit"]))

    def send(**line: object) -> None:
        """Reports what has begun or ended: a crash loses none of that."""
        watch.begun()
        os.write(descriptor, (json.dumps(line) + "\n").encode())

    report = {"gil_at_start": gil(), "problems": []}
    try:
        report |= run(task, send)
    except BaseException as error:
        report["problems"] = [describe(error)]
        traceback.print_exc()
    report["gil_after"] = gil()
    report["undeclared"] = [name for name in task["undeclared"] if name in sys.modules]
    # Before the end of the process, which can be where it crashes.
    os.write(descriptor, json.dumps(report).encode())


if __name__ == "__main__":
    main()
