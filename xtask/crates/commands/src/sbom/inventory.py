"""Prints what is in the image that it runs in: Debian packages, the interpreter, Python distributions; as JSON."""

import base64
import importlib.metadata
import json
import platform
import sys
import sysconfig
from pathlib import Path


def release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: pairs.get(name, "").strip('"') for name in ("ID", "VERSION_ID", "VERSION_CODENAME")}


def debian() -> list[dict[str, str]]:
    """Installed packages, from dpkg's own records."""
    found = []
    for block in Path("/var/lib/dpkg/status").read_text(errors="replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            found.append({name: fields[name] for name in ("Package", "Version", "Architecture")})
    return sorted(found, key=lambda package: (package["Package"], package["Architecture"]))


def sha256(entry) -> str:
    """Of a file of a distribution, as RECORD has it."""
    value = entry.hash.value
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()


def distribution(found) -> dict:
    files = sorted(found.files or [], key=str)
    libraries = [file for file in files if ".libs" in str(file.parent) and file.hash and file.hash.mode == "sha256"]
    sboms = [file for file in files if file.parent.name == "sboms" and file.suffix == ".json"]
    return {
        "name": found.metadata["Name"],
        "version": found.version,
        "expression": found.metadata.get("License-Expression"),
        "licence": found.metadata.get("License"),
        "libraries": {str(file): sha256(file) for file in libraries},
        "sboms": {str(file): file.read_text() for file in sboms},
    }


# The interpreter's own folders, not this script's.
folders = list(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))
distributions = [distribution(found) for found in importlib.metadata.distributions(path=folders)]
print(
    json.dumps(
        {
            "release": release(),
            "python": platform.python_version(),
            "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            "debian": debian(),
            "distributions": sorted(distributions, key=lambda one: (one["name"].lower(), one["version"])),
        }
    )
)
sys.exit(0)
