"""Runs the scenarios of the package `scenarios` in fresh processes and prints how many of them failed.

    python run.py --processes 20 --gil off --json result.json

Needs the client, a server at AEROSPIKE_HOST and AEROSPIKE_PORT (default: 127.0.0.1:3000) with the namespace
`test`, and nothing else. Ends with 1 if a process failed.
"""

import argparse
import concurrent.futures
import faulthandler
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from scenarios import SCENARIOS

ALL = {each.__name__: (patch, each) for patch, list_ in SCENARIOS.items() for each in list_}


def upper_bound(failed: int, runs: int) -> float:
    """Upper 95 % confidence bound of a failure rate (Clopper and Pearson, one-sided)."""
    if failed >= runs:
        return 1.0
    low, high = failed / runs, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        # The probability of so few failures or fewer at this rate.
        term = total = (1 - rate) ** runs
        for number in range(failed):
            term *= (runs - number) / (number + 1) * rate / (1 - rate)
            total += term
        low, high = (rate, high) if total > 0.05 else (low, rate)
    return high


def run_one(name: str, gil: str, limit: float) -> str:
    """How a fresh process ended: `passed`, or what went wrong."""
    environment = dict(os.environ)
    environment.pop("PYTHON_GIL", None)
    # The C library overwrites memory that is freed, so that its use shows.
    environment["MALLOC_PERTURB_"] = "165"
    if gil != "default":
        environment["PYTHON_GIL"] = {"off": "0", "on": "1"}[gil]
    for variable, value in getattr(ALL[name][1], "environment", {}).items():
        environment.pop(variable, None) if value is None else environment.update({variable: value})
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", name], env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, stderr = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"did not end within {limit:g} s"
    if child.returncode == 0:
        return "passed"
    if child.returncode < 0:
        return signal.Signals(-child.returncode).name
    lines = stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    return lines[-1][:200]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=10, help="fresh processes for each scenario")
    parser.add_argument("--gil", choices=["off", "on", "default"], default="default", help="value of PYTHON_GIL")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="scenarios, or numbers of patches such as 0002")
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    parser.add_argument("--limit", type=float, default=30, help="seconds that a process may take")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        faulthandler.enable(all_threads=False)
        ALL[options.child][1]()
        return 0
    chosen = [name for name, (patch, _) in ALL.items() if not options.only or {name, patch} & set(options.only)]
    if unknown := set(options.only or []) - set(ALL) - set(SCENARIOS):
        parser.error(f"no scenario or patch: {', '.join(sorted(unknown))}")
    results = []
    for name in chosen:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            ends = list(pool.map(lambda _: run_one(name, options.gil, options.limit), range(options.processes)))
        wrong = [end for end in ends if end != "passed"]
        seen = {end: wrong.count(end) for end in sorted(set(wrong), key=wrong.count, reverse=True)}
        bound = upper_bound(len(wrong), len(ends))
        results.append({"patch": ALL[name][0], "scenario": name, "runs": len(ends), "failed": len(wrong), "seen": seen})
        common = "; ".join(f"{count} x {end}" for end, count in list(seen.items())[:2])
        print(f"{ALL[name][0]}  {name:28} {len(wrong):4} of {len(ends)} failed, at most {bound:6.1%}  {common}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"gil": options.gil, "results": results}, indent=1) + "\n")
    return int(any(each["failed"] for each in results))


if __name__ == "__main__":
    sys.exit(main())
