"""Runs the suites in an image: each case in fresh processes, one JSON line per process on standard output.

    python -P -m proving.runner PLAN.json

The plan says everything; xtask/crates/suites writes it and reads the lines. A process that crashes, hangs
or lies about its end is a line like the others, with its signal and what it wrote to standard error.
"""

import json
import os
import random
import sys
import time
import zipfile
from collections.abc import Iterator

from proving import sanitizer
from proving.driven import driven
from proving.imports import imports
from proving.lines import line, reason
from proving.parallel import parallel
from proving.process import INF, start

# What one thread does alone, an import or a call, may take this part of the time limit of a process.
STALL = 1 / 6
# How long a server may take until it answers.
PATIENCE = 60

class Runner:
    def __init__(self, plan: dict) -> None:
        self.plan = plan
        # The processes of a case have this seed, the next one, and so on.
        self.seed = random.randrange(1 << 31) if plan["seed"] is None else plan["seed"]
        self.stall = plan.get("stall", plan["limit"] * STALL)
        self.run = f"{random.randrange(1 << 32):08x}"

    def task(
        self, suite: str, client: dict, case: str, without: list[str] = (), environment: dict[str, str] | None = None,
        **more: object,
    ) -> dict:  # fmt: skip
        """A fresh process of child.py. `stall` in `more` is a time limit for each thing that it reports."""
        task = {
            "suite": suite, "case": case, "host": self.plan["host"], "port": self.plan["port"],
            "file": client.get("file"), "imports": client["imports"], "limit": self.plan["limit"],
            "without": list(without), "undeclared": self.plan["undeclared"], "run": self.run, **more,
        }  # fmt: skip
        result = start("child", task, self.plan["limit"], environment, stall=more.get("stall") or INF)
        lines = result.pop("lines")
        result["events"] = [line for line in lines if "event" in line]
        reports = [line for line in lines if "event" not in line]
        report = reports[-1] if reports else None
        result["gil_at_start"] = report and report["gil_at_start"]
        result["gil_after"] = report and report["gil_after"]
        result["undeclared"] = report["undeclared"] if report else []
        result["report"] = report or {}
        if result["outcome"] == "passed":
            if report is None:
                result |= {"outcome": "failed", "message": "it ended without a report"}
            elif report["problems"]:
                result |= {"outcome": "failed", "message": "; ".join(report["problems"])}
        if result["outcome"] == "passed":
            result["stderr"] = ""
        return result

    def cases(self) -> Iterator[dict]:
        yield {"event": "interpreter", "version": sys.version.split()[0], "build": sys.version}
        suites = self.plan["suites"]
        if "smoke" in suites:
            yield from self.smoke()
        if "storm" in suites:
            yield from self.storms()
        if "imports" in suites:
            for package in self.plan["packages"]:
                yield from imports(self, package)
        if "driven" in suites:
            for package in self.plan["packages"]:
                yield from driven(self, package)
        if "upstream" in suites:
            for package in self.plan["upstream"]:
                yield from self.upstream(package)
        if "parallel" in suites:
            for package in self.plan["upstream"]:
                yield from parallel(self, package)

    def smoke(self) -> Iterator[dict]:
        for package in self.plan["packages"]:
            yield line("smoke", package, "import", 1, self.task("smoke", package, "import"))
        clients = self.plan["clients"]
        for client in clients:
            self.wait(client)
            done = self.task("smoke", client, "put, get, batch read", how="alone", of=client["id"])
            yield line("smoke", client, "put, get, batch read", 1, done)
        for client in clients:
            for other in clients:
                if other is not client:
                    case = f"reads {other['id']}"
                    yield line("smoke", client, case, 1, self.task("smoke", client, case, how="other", of=other["id"]))

    def wait(self, client: dict) -> dict:
        """Until the server takes the records; what comes of the last attempt, good or bad."""
        begun = time.monotonic()
        while True:
            done = self.task("prepare", client, "records")
            # A server that is not up yet refuses; anything but an exception is not for waiting.
            if done["outcome"] != "failed" or time.monotonic() - begun > self.plan.get("patience", PATIENCE):
                return done
            time.sleep(0.5)

    def storms(self) -> Iterator[dict]:
        from proving import storm

        # A wrong name is reported at once: main() ends here, before the server is waited for.
        yield from wrong("scenario", self.plan["scenarios"], list(storm.SCENARIOS))
        clients = [(client, self.wait(client)) for client in self.plan["clients"]]
        known = {name for _, prepared in clients for name in prepared["report"].get("precautions", [])}
        # What cannot even be prepared says so below.
        if all(prepared["outcome"] == "passed" for _, prepared in clients):
            asked = [*self.plan["without"], *(row["without"] for client, _ in clients for row in left_out(client))]
            yield from wrong("precaution", asked, sorted(known))
        for server in dict.fromkeys(prepared["report"].get("server") for _, prepared in clients):
            if server:
                yield {"event": "server", "text": server}
        for client, prepared in clients:
            yield from self.storm(client, prepared, storm.SCENARIOS)

    def storm(self, client: dict, prepared: dict, scenarios: dict) -> Iterator[dict]:
        if prepared["outcome"] != "passed":
            yield line("storm", client, "records", 1, prepared)
            return
        wanted, without = self.plan["scenarios"], self.plan["without"]
        for name in scenarios:
            if wanted and name not in wanted:
                continue
            reason = prepared["report"]["unserved"].get(name.removeprefix("first-"))
            if reason is not None:
                nothing = {"seconds": 0.0, "signal": None, "exit": 0, "stderr": ""}
                yield line("storm", client, name, 1, {"outcome": "skipped", "message": reason, **nothing})
            else:
                yield from self.repeated(client, name, name, without)
        for row in left_out(client):
            if not without and (not wanted or row["scenario"] in wanted):
                case = f"{row['scenario']}, no {row['without']}"
                yield from self.repeated(client, case, row["scenario"], [row["without"]])

    def repeated(self, client: dict, case: str, scenario: str, without: list[str]) -> Iterator[dict]:
        for number in range(1, self.plan["repeat"] + 1):
            done = self.task("storm", client, scenario, without)
            yield line("storm", client, case, number, done)
            if self.plan["fail_fast"] and done["outcome"] != "passed":
                return

    def numbered(self, client: dict, suite: str, case: str, **more: object) -> Iterator[dict]:
        """A case in several fresh processes, each with a seed of its own."""
        for number in range(1, self.plan["repeat"] + 1):
            seed = self.seed + number - 1
            done = self.task(suite, client, case, seed=seed, **more)
            events = done["events"]
            if done["outcome"] in ("crashed", "hung") and events and events[-1]["event"] == "begun":
                done["message"] += f" in {events[-1]['name']}"
            yield line(suite, client, case, number, done) | {"seed": seed}
            if self.plan["fail_fast"] and done["outcome"] != "passed":
                return

    def upstream(self, package: dict) -> Iterator[dict]:
        for folder in package["folders"]:
            task = {
                "imports": package["imports"], "tools": [self.plan["tools"]], "folder": folder,
                "undeclared": self.plan["undeclared"],
            }  # fmt: skip
            done = start("upstream", task, self.plan["limit"] * 10, package["env"], package["source"])
            tests = done.pop("lines")
            begun = None
            for test in tests:
                if test["event"] == "begun":
                    begun = test["name"]
                elif test["event"] == "guard":
                    done |= {name: test[name] for name in ("gil_at_start", "gil_after", "undeclared")}
                else:
                    begun = None
                    yield test | {"event": "test", "suite": "upstream", "client": package["id"], "case": folder}
            if begun is not None and done["outcome"] in ("crashed", "hung"):
                done["message"] += f" in {begun}"
            ended = [test["outcome"] for test in tests if test["event"] == "test"]
            if done["outcome"] == "failed" and done["exit"] == 1 and "failed" in ended:
                # pytest says by this code what its tests have said already.
                done |= {"outcome": "passed", "message": ""}
            if done["outcome"] == "failed":
                done["message"] += reason(done["stderr"])
            if done["outcome"] == "passed" and not set(ended) - {"skipped"}:
                done |= {"outcome": "failed", "message": f"each of its {len(ended)} tests was skipped"}
            if done["outcome"] == "passed":
                done["stderr"] = ""
            yield line("upstream", package, folder, 1, done)


def left_out(client: dict) -> list[dict]:
    """The known failures that need a run of their own, in which a precaution is left out."""
    return [row for row in client["known"] if row["without"] is not None]


def wrong(what: str, asked: list[str], choices: list[str]) -> Iterator[dict]:
    for name in asked:
        if name not in choices:
            text = f"there is no {what} `{name}`; the choices are {', '.join(f'`{each}`' for each in choices)}"
            yield {"event": "wrong", "text": text}


def unpack(wheels: str, to: str) -> None:
    """Wheels are archives of what goes on the path; nothing is installed into the image."""
    for name in sorted(os.listdir(wheels)):
        with zipfile.ZipFile(os.path.join(wheels, name)) as wheel:
            wheel.extractall(to)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    for wheels, to in plan["unpack"]:
        unpack(wheels, to)
    controls = plan.get("sanitizer")
    if controls:
        sanitizer.enable()
        names = [name for package in plan["packages"] for name in package["imports"]]
        for each in sanitizer.controls(controls, names):
            write(each)
    for each in Runner(plan).cases():
        if controls and each["event"] == "process":
            for text in sanitizer.take():
                place = {name: each[name] for name in ("suite", "client", "case")}
                write({"event": "race", **place, "text": text})
        write(each)
        if each["event"] == "wrong":
            return
    write({"event": "end"})


def write(value: dict) -> None:
    """One line of JSON. Half a surrogate pair, which a message may have, is not text that others can read."""
    line = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
