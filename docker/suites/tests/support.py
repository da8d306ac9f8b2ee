"""Runs the runner in this machine's interpreter, with packages that a test writes."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def run(files: dict[str, str], suite: str, **plan):
    """The lines of the runner for a package `acme` that consists of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            file = Path(folder, "packages", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        whole = {
            "host": None, "port": None, "limit": 120, "suites": [suite], "repeat": 1, "scenarios": [], "without": [],
            "fail_fast": False, "undeclared": [], "unpack": [], "tools": folder, "upstream": [], "seed": 7, "stall": 60,
            "packages": [{"id": "acme", "imports": ["acme"]}], "clients": [], **plan,
        }  # fmt: skip
        file = Path(folder, "plan.json")
        file.write_text(json.dumps(whole))
        paths = [str(HERE.parent), str(Path(folder, "packages")), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths).rstrip(os.pathsep), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", "-m", "proving.runner", str(file)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines[-1] == {"event": "end"}, lines
        return lines


def processes(lines, case=None):
    return [line for line in lines if line["event"] == "process" and case in (None, line["case"])]


def tests(lines):
    """What came of each thing by its name."""
    return {line["name"]: line for line in lines if line["event"] == "test"}
