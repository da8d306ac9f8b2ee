"""Says what an image's GIL does: which extension modules declare that they run
without it, and whether it is off in a process that starts as the image's do.

Standard library only, Python 3.11 to 3.15; writes nothing but standard output,
and can be run as `python gil_probe.py ...` or `python - ... < gil_probe.py`.

    gil_probe.py [--import NAME]... [--timeout SECONDS]

An extension module that does not declare it (the `Py_mod_gil` slot of PEP 703)
switches the GIL on for the whole process, and the interpreter warns of the first
such module only. So modules are imported without PYTHON_GIL, and with `-v`, under
which the interpreter names every module that needs the GIL. Those of one
distribution share a process until one switches the GIL on or fails, the rest
another one, for as long as that gets anywhere; what is left is imported alone.

Exit code 0: the document is complete, whatever it says. Its shape:

    {"schema": 1,
     "interpreter": {
       "version": "3.14.5", "build": <sys.version>, "executable": path,
       "free_threaded": bool,             # Py_GIL_DISABLED of the build
       "soabi": "cpython-314t-...", "ext_suffix": ".cpython-314t-....so",
       "optimizations": bool, "lto": bool,   # by CONFIG_ARGS. Debian's are its
                              # shared library's and say false, though its
                              # program has both
       "sys_flags_gil": null | 0 | 1,     # as this process was started
       "python_gil": null | "0" | "1"},   # the environment variable
     "distributions": [                   # only those with extension modules
       {"name": "aerospike", "version": "19.3.0", "modules": [
         {"name": dotted name, "file": path in site-packages,
          "status": "declared" | "undeclared" | "error" | "not-applicable",
                                          # the last: loads, on a GIL build
          "loaded": "file" | "import" | null,  # alone; or as part of its package
          "needs_gil": [names],           # all modules of this process that
                                          # switched it on, dependencies too
          "warning": null | text,         # the interpreter's, as it stands
          "error": null | text,           # why it could not be loaded at all
          "file_error": null | text}]}],  # why it could not be loaded alone
     "unreadable": [names],               # distributions without a file list
     "effective": {
       "state": "off" | "on" | "forced off" | "error",
                       # forced off: without PYTHON_GIL=0 it would be on
       "imports": [names], "gil_at_start": bool, "gil_after_imports": bool,
       "sys_flags_gil": null | 0 | 1,
       "forced": bool,                    # PYTHON_GIL=0 is set, needed or not
       "switched_on_by": [names],         # in a process without PYTHON_GIL;
                                          # the first does it, each would
       "warning": null | text, "error": null | text}}
"""

import argparse
import concurrent.futures
import importlib.machinery
import importlib.metadata
import json
import mmap
import os
import platform
import re
import signal
import subprocess
import sys
import sysconfig

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
GOOD = "declared" if FREE_THREADED else "not-applicable"

# Runs with `-c` and writes lines of JSON to the file descriptor that is its
# first argument, since imported modules are free to print: the path of each
# module that `each` has imported well, as soon as it is, and an object.
CHILD = r"""
import importlib, importlib.machinery, importlib.util, json, os, sys
gil = getattr(sys, "_is_gil_enabled", lambda: True)
result = {"gil_at_start": gil(), "error": None}
def report(value):
    os.write(int(sys.argv[1]), json.dumps(value).encode() + b"\n")
def load_file(name, path):
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
def load_import(name, path):
    module = importlib.import_module(name)
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    if origin is None or not os.path.samefile(origin, path):
        raise ImportError(f"`import {name}` loads {origin}, not {path}")
def load_each(*names_and_paths):
    for name, path in zip(names_and_paths[::2], names_and_paths[1::2]):
        load_import(name, path)
        if gil() != result["gil_at_start"]:
            break
        report(path)
def load_all(*names):
    for name in names:
        importlib.import_module(name)
try:
    {"file": load_file, "import": load_import, "each": load_each, "all": load_all}[sys.argv[2]](*sys.argv[3:])
except BaseException as error:
    result["error"] = f"{type(error).__name__}: {error}"[:2000]
result["gil_after_imports"] = gil()
result["sys_flags_gil"] = getattr(sys.flags, "gil", None)
report(result)
"""

WARNING = re.compile(r"RuntimeWarning: (The global interpreter lock .*)")
NEEDS_GIL = re.compile(r"^# loading module '(.*)', which requires the GIL$", re.MULTILINE)


def run_child(how, *arguments, timeout, forget_gil):
    """Runs CHILD in a fresh process; what it reported, never an exception."""
    environment = dict(os.environ)
    if forget_gil:
        environment.pop("PYTHON_GIL", None)
    read, write = os.pipe()
    # -W: PYTHONWARNINGS may hide the warning, or make an error of it.
    # -P: the working directory is no place to import from.
    command = [sys.executable, "-v", "-P", "-W", "always", "-c", CHILD, str(write), how, *arguments]
    child = subprocess.Popen(
        command, env=environment, pass_fds=[write], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )
    os.close(write)
    timed_out = False
    try:
        _, stderr = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        # The whole session: a grandchild would hold the pipe open.
        os.killpg(child.pid, signal.SIGKILL)
        _, stderr = child.communicate()
    # Not to end of file: something the child left running may hold it open.
    os.set_blocking(read, False)
    try:
        reported = os.read(read, 1 << 16)
    except BlockingIOError:
        reported = b""
    os.close(read)

    stderr = stderr.decode(errors="replace")
    result = {"gil_at_start": None, "gil_after_imports": None, "sys_flags_gil": None, "error": None}
    # Where the pipe was full when the child was killed, the last line has no end.
    reported = [json.loads(line) for line in reported.splitlines(True) if line.endswith(b"\n")]
    result["imported"] = [path for path in reported if isinstance(path, str)]
    if reported and isinstance(reported[-1], dict):
        result.update(reported[-1])
    elif timed_out:
        result["error"] = f"no answer within {timeout:g} s"
    elif child.returncode < 0:
        number = -child.returncode
        name = next((s.name for s in signal.Signals if s == number), number)
        result["error"] = f"killed by {name}"
    else:
        last = [line for line in stderr.splitlines() if "rror:" in line]
        result["error"] = " ".join([f"exit code {child.returncode}", *last[-1:]])[:2000]
    warning = WARNING.search(stderr)
    result["warning"] = warning and warning[1]
    result["needs_gil"] = list(dict.fromkeys(NEEDS_GIL.findall(stderr)))
    return result


def probe_together(modules, timeout):
    """The paths of those modules that one process imports without switching the
    GIL on. Only the good is said here: what is left may be the offender, or
    have come after it."""
    clean = []
    while len(modules) > 1:
        arguments = [argument for module in modules for argument in module]
        result = run_child("each", *arguments, timeout=timeout, forget_gil=True)
        imported = [(name, path) for name, path in modules if path in result["imported"]]
        found = [module for module in imported if module[0] not in result["needs_gil"]]
        if not found:
            break
        clean += [path for _, path in found]
        # Without the first of the rest, with which this process ended.
        modules = [module for module in modules if module not in found][1:]
    return clean


def probe_module(name, path, timeout):
    """One entry of `modules`, but for its `file`, from a process of its own."""
    file_error = None
    for how in ("file", "import"):
        result = run_child(how, name, path, timeout=timeout, forget_gil=True)
        if name in result["needs_gil"]:
            status = "undeclared"  # Known before the module's own code fails.
        elif result["error"]:
            status = "error"
        else:
            status = GOOD
        if status != "error":
            break
        if how == "file":
            file_error = result["error"]
    return {
        "name": name,
        "status": status,
        "loaded": None if status == "error" else how,
        "needs_gil": result["needs_gil"],
        "warning": result["warning"],
        "error": result["error"],
        "file_error": file_error,
    }


def exports(path, symbol):
    """Whether the library's string table has that symbol: a plain shared library
    also ends in `.so`, and to load it just to see is to run its code."""
    with open(path, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return data.find(b"\0" + symbol.encode() + b"\0") >= 0
        except ValueError:  # An empty file cannot be mapped.
            return False


def extension_modules(distribution):
    """(dotted name, file, path) of each extension module, and for one that this
    interpreter does not import (another ABI's suffix) None in place of the name."""
    suffixes = sorted(importlib.machinery.EXTENSION_SUFFIXES, key=len, reverse=True)
    for file in sorted(distribution.files, key=str):
        suffix = next((s for s in suffixes if file.name.endswith(s)), None)
        directories = file.parts[:-1]
        if suffix is None or ".." in directories or any(d.endswith(".libs") for d in directories):
            continue
        path = str(distribution.locate_file(file))
        stem, _, tag = file.name.removesuffix(suffix).partition(".")
        leaf = directories[-1] if stem == "__init__" and directories else stem
        # PyModExport is PEP 793's, from 3.15 on.
        if not os.path.isfile(path) or not (
            exports(path, f"PyInit_{leaf}") or exports(path, f"PyModExport_{leaf}")
        ):
            continue
        parts = directories if stem == "__init__" else (*directories, stem)
        yield (None if tag else ".".join(parts)), str(file), path


def probe_distributions(timeout):
    found, unreadable, jobs = {}, [], []

    def probe_all(modules):
        clean = probe_together([(dotted, path) for dotted, _, path in modules if dotted], timeout)
        for dotted, file, path in modules:
            if dotted is None:
                result = {
                    "name": file, "status": "error", "loaded": None, "needs_gil": [],
                    "warning": None, "error": "its suffix is another ABI's", "file_error": None,
                }
            elif path in clean:
                result = {
                    "name": dotted, "status": GOOD, "loaded": "import", "needs_gil": [],
                    "warning": None, "error": None, "file_error": None,
                }
            else:
                result = probe_module(dotted, path, timeout)
            yield {**result, "file": file}

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for distribution in importlib.metadata.distributions():
            name = distribution.metadata["Name"]
            if name is None or name in found:
                continue  # The remains of one, or shadowed by one earlier on the path.
            found[name] = {"name": name, "version": distribution.version, "modules": []}
            if distribution.files is None:
                unreadable.append(name)
                continue
            modules = list(extension_modules(distribution))
            jobs.append((name, pool.submit(lambda modules=modules: list(probe_all(modules)))))
        for name, job in jobs:
            found[name]["modules"] = job.result()
    distributions = [d for d in found.values() if d["modules"]]
    return sorted(distributions, key=lambda d: d["name"].lower()), sorted(unreadable)


def probe_effective(names, timeout):
    real = run_child("all", *names, timeout=timeout, forget_gil=False)
    # The same without PYTHON_GIL: only then does the interpreter name anyone.
    bare = run_child("all", *names, timeout=timeout, forget_gil=True)
    forced = real["sys_flags_gil"] == 0
    if real["error"]:
        state = "error"
    elif real["gil_after_imports"]:
        state = "on"
    # If it fails without the variable, nothing says that it could do without.
    elif forced and (bare["error"] or bare["gil_after_imports"]):
        state = "forced off"
    else:
        state = "off"
    return {
        "state": state,
        "imports": names,
        "gil_at_start": real["gil_at_start"],
        "gil_after_imports": real["gil_after_imports"],
        "sys_flags_gil": real["sys_flags_gil"],
        "forced": forced,
        "switched_on_by": bare["needs_gil"],
        "warning": bare["warning"],
        "error": real["error"] or bare["error"],
    }


def interpreter():
    configured = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "version": platform.python_version(),
        "build": sys.version,
        "executable": sys.executable,
        "free_threaded": FREE_THREADED,
        "soabi": sysconfig.get_config_var("SOABI"),
        "ext_suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        "optimizations": "--enable-optimizations" in configured,
        "lto": "--with-lto" in configured,
        "sys_flags_gil": getattr(sys.flags, "gil", None),
        "python_gil": os.environ.get("PYTHON_GIL"),
    }


def main():
    parser = argparse.ArgumentParser(prog="gil_probe.py")
    parser.add_argument("--import", dest="imports", metavar="NAME", action="append", default=[])
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=60)
    options = parser.parse_args()
    distributions, unreadable = probe_distributions(options.timeout)
    document = {
        "schema": 1,
        "interpreter": interpreter(),
        "distributions": distributions,
        "unreadable": unreadable,
        "effective": probe_effective(options.imports, options.timeout),
    }
    json.dump(document, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
