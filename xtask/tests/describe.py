"""Prints what a wheel is and does, as JSON, so that two builds of one package can be compared.

    describe.py WHEEL EXPRESSION...

Each expression is evaluated with the module that its first name names, after all modules of the wheel
were imported. Left out is what differs between two ways to build: RECORD, WHEEL, bills of materials and
bundled libraries.
"""

import hashlib
import importlib
import importlib.machinery
import inspect
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PLAIN = (bool, bytes, float, int, str, tuple, type(None))


def main(wheel, *expressions):
    folder = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    sys.path.insert(0, str(folder))
    files, modules = {}, {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        left_out = name.endswith((".dist-info/RECORD", ".dist-info/WHEEL")) or "/sboms/" in name or ".libs/" in name
        if path.is_dir() or left_out:
            continue
        suffix = next((end for end in importlib.machinery.EXTENSION_SUFFIXES if name.endswith(end)), None)
        if suffix is None:
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            files[name] = exported(path)
            module = name.removesuffix(suffix).replace("/", ".")
            modules[module] = attempt(lambda: content(importlib.import_module(module)))
    answers = {expression: attempt(lambda: repr(answer(expression))) for expression in expressions}
    print(json.dumps({"files": files, "modules": modules, "answers": answers}, indent=1, sort_keys=True))


def exported(path):
    """The names that an extension module exports."""
    listed = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True)
    return sorted(line.split()[-1] for line in listed.stdout.splitlines())


def content(module):
    return {name: describe(getattr(module, name)) for name in dir(module) if not is_of_the_file(name)}


def describe(value):
    if isinstance(value, PLAIN):
        return repr(value)
    if inspect.isclass(value):
        members = {name: describe_member(value, name) for name in dir(value)}
        return {"class": value.__name__, "doc": value.__doc__, "members": members}
    return signature(value)


def describe_member(owner, name):
    value = inspect.getattr_static(owner, name)
    return repr(value) if isinstance(value, PLAIN) else signature(value)


def signature(value):
    return [type(value).__name__, getattr(value, "__doc__", None), getattr(value, "__text_signature__", None)]


def is_of_the_file(name):
    """Attributes that say where the module was found."""
    return name in {"__cached__", "__file__", "__loader__", "__path__", "__spec__"}


def answer(expression):
    name = expression.partition("(")[0].rpartition(".")[0].partition(".")[0]
    return eval(expression, {name: importlib.import_module(name)})


def attempt(call):
    try:
        return call()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


main(*sys.argv[1:])
