"""Says what an image's GIL does: which extension modules declare that they run
without it, and whether it is off in a process that starts as the image's do.

Standard library only, Python 3.11 to 3.15; writes nothing but standard output,
and can be run as `python gil_probe.py ...` or `python - ... < gil_probe.py`.

    gil_probe.py [--import NAME]... [--timeout SECONDS] [--limit SECONDS]

First, the names are imported together, as the image's own program does it, and
each extension module that these imports load or try to load is noted. Then every
extension module of every distribution is imported, also those that no import
reaches. A module may raise any exception, end or crash its process, not return,
or print without end: it is reported as not loadable, with the reason. `--timeout`
is for one process, `--limit` for all of the probe; a module for which no time is
left is reported as not loadable, too.

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
          "loaded": "file" | "import" | "image" | null,
                                          # alone, as part of its package, or
                                          # only by the imports of the image
          "needs_gil": [names],           # all modules of this process that
                                          # switched it on, dependencies too
          "warning": null | text,         # the interpreter's, as it stands
          "error": null | text,           # why it could not be loaded at all
          "file_error": null | text,      # why it could not be loaded alone
          "reached": null | "loaded" | "failed",  # by the imports of the image
          "reached_error": null | text}]}],  # why it failed there
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
import selectors
import signal
import subprocess
import sys
import sysconfig
import time

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
GOOD = "declared" if FREE_THREADED else "not-applicable"

# Runs with `-c` and writes lines of JSON to the file descriptor that is its
# first argument, since imported modules are free to print. Each line is an object:
# {"imported": path} for each module that `each` has imported without an error,
# {"reached": path} when an extension module is about to be loaded, then
# {"loaded": path} or {"failed": path, "error": text}, and {"result": ...} at the end.
CHILD = r"""
import importlib, importlib.machinery, importlib.util, json, os, sys
gil = getattr(sys, "_is_gil_enabled", lambda: True)
result = {"gil_at_start": gil(), "error": None}
def report(**value):
    os.write(int(sys.argv[1]), json.dumps(value).encode() + b"\n")
def text(error):
    return f"{type(error).__name__}: {error}"[:2000]
def watched(method, before, after):
    def call(self, what):
        if before:
            report(**{before: self.path})
        try:
            value = method(self, what)
        except BaseException as error:
            report(failed=self.path, error=text(error))
            raise
        if after:
            report(**{after: self.path})
        return value
    return call
Loader = importlib.machinery.ExtensionFileLoader
Loader.create_module = watched(Loader.create_module, "reached", None)
Loader.exec_module = watched(Loader.exec_module, None, "loaded")
def load_file(name, path):
    loader = Loader(name, path)
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
        report(imported=path)
def load_all(*names):
    for name in names:
        importlib.import_module(name)
try:
    {"file": load_file, "import": load_import, "each": load_each, "all": load_all}[sys.argv[2]](*sys.argv[3:])
except BaseException as error:
    result["error"] = text(error)
result["gil_after_imports"] = gil()
result["sys_flags_gil"] = getattr(sys.flags, "gil", None)
report(result=result)
"""

WARNING = re.compile(r"RuntimeWarning: (The global interpreter lock .*)")
NEEDS_GIL = re.compile(r"# loading module '(.*)', which requires the GIL")
# Longest part of a line that is looked at: a module may print without end.
LONGEST = 1 << 16


class Lines:
    """Hands on what is read from a pipe line by line, and keeps nothing else."""

    def __init__(self, take):
        self.take = take
        self.rest = b""

    def feed(self, data):
        *lines, rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.take(line[:LONGEST].decode(errors="replace"))
        self.rest = rest[:LONGEST]


class Said:
    """What a process writes to standard error, as far as it matters here."""

    def __init__(self):
        self.warning, self.last_error, self.needs_gil = None, None, {}

    def take(self, line):
        warning, needs_gil = WARNING.search(line), NEEDS_GIL.search(line)
        if warning:
            self.warning = self.warning or warning[1]
        if needs_gil and len(self.needs_gil) < 1000:
            self.needs_gil[needs_gil[1]] = True
        if "rror:" in line:
            self.last_error = line[:2000]


class Reported:
    """What CHILD reports."""

    def __init__(self):
        self.result, self.imported, self.reached, self.loaded, self.failed = None, [], [], set(), {}

    def take(self, line):
        try:
            value = json.loads(line)
        except ValueError:  # Cut off where the process ended.
            return
        for name, what in value.items() if isinstance(value, dict) else ():
            if name == "result":
                self.result = what
            elif name in ("imported", "reached"):
                getattr(self, name).append(what)
            elif name == "loaded":
                self.loaded.add(os.path.realpath(what))
            elif name == "failed":
                # The innermost error of a load is the first that is reported.
                self.failed.setdefault(os.path.realpath(what), value.get("error"))


def follow(child, pipes, ended, timeout):
    """Reads the pipes until `ended`, the end of the child, or the time limit;
    whether it was the time limit."""
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for pipe, lines in pipes.items():
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ, lines)
        last = False
        while True:
            # Not to end of file: something the child left running may hold it open.
            ready = selector.select(0 if last else 0.05) if selector.get_map() else []
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                if data:
                    key.data.feed(data)
                else:
                    selector.unregister(key.fd)
            if last and (not ready or time.monotonic() > deadline):
                return False
            # Read once more what was written before.
            last = last or ended() or child.poll() is not None
            if not last and time.monotonic() > deadline:
                return True
            if not last and not selector.get_map():
                time.sleep(0.05)


def run_child(how, *arguments, timeout, forget_gil):
    """Runs CHILD in a fresh process; what it reported, never an exception."""
    environment = dict(os.environ)
    if forget_gil:
        environment.pop("PYTHON_GIL", None)
    said, reported = Said(), Reported()
    result = {"gil_at_start": None, "gil_after_imports": None, "sys_flags_gil": None, "error": None}
    timed_out = timeout <= 0
    if timed_out:
        result["error"] = "not imported: the time limit of the probe was reached before"
    else:
        read, write = os.pipe()
        # -W: PYTHONWARNINGS may hide the warning, or make an error of it.
        # -P: the working directory is no place to import from.
        command = [sys.executable, "-v", "-P", "-W", "always", "-c", CHILD, str(write), how, *arguments]
        child = subprocess.Popen(
            command, env=environment, pass_fds=[write], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        os.close(write)
        pipes = {child.stderr.fileno(): Lines(said.take), read: Lines(reported.take)}
        timed_out = follow(child, pipes, lambda: reported.result is not None, timeout)
        code = child.poll()
        try:
            # The whole session: what the module has started ends with it.
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        child.stderr.close()
        os.close(read)
        if reported.result is not None:
            result.update(reported.result)
            timed_out = False
        elif timed_out:
            result["error"] = f"the import had not ended after {timeout:g} s"
        elif code is not None and code < 0:
            name = next((s.name for s in signal.Signals if s == -code), -code)
            result["error"] = f"the import ended the process by {name}"
        else:
            words = [f"the import ended the process with exit code {code}", *([said.last_error] if said.last_error else [])]
            result["error"] = ": ".join(words)
    result["timed_out"] = timed_out
    result["warning"] = said.warning
    result["needs_gil"] = list(said.needs_gil)
    result["imported"] = reported.imported
    result["loaded"] = reported.loaded
    failed = {os.path.realpath(path): reported.failed.get(os.path.realpath(path)) for path in reported.reached}
    # Where the process ended inside of the last, that is why.
    result["failed"] = {path: why or result["error"] for path, why in failed.items() if path not in reported.loaded}
    return result


def probe_together(modules, time_left):
    """The paths of those modules that one process imports without switching the
    GIL on. Only the good is said here: what is left may be the offender, or
    have come after it."""
    clean = []
    while len(modules) > 1:
        arguments = [argument for module in modules for argument in module]
        result = run_child("each", *arguments, timeout=time_left(), forget_gil=True)
        imported = [(name, path) for name, path in modules if path in result["imported"]]
        found = [module for module in imported if module[0] not in result["needs_gil"]]
        clean += [path for _, path in found]
        # After a time limit the rest is imported alone: one limit each is enough.
        if not found or result["timed_out"]:
            break
        # Without the first of the rest, with which this process ended.
        modules = [module for module in modules if module not in found][1:]
    return clean


def probe_module(name, path, time_left):
    """One entry of `modules`, but for its `file`, from a process of its own."""
    file_error, needs_gil, warning = None, {}, None
    for how in ("file", "import"):
        result = run_child(how, name, path, timeout=time_left(), forget_gil=True)
        needs_gil |= dict.fromkeys(result["needs_gil"])
        warning = warning or result["warning"]
        if not result["error"] or result["timed_out"]:
            break
        if how == "file":
            file_error = result["error"]
    # That it needs the GIL is known before its own code fails.
    status = "undeclared" if name in needs_gil else "error" if result["error"] else GOOD
    return {
        "name": name,
        "status": status,
        "loaded": None if result["error"] else how,
        "needs_gil": list(needs_gil),
        "warning": warning,
        "error": result["error"],
        "file_error": file_error,
    }


def entry(name, status, loaded, error):
    """An entry of `modules` for which no process of its own was started."""
    return {
        "name": name, "status": status, "loaded": loaded, "needs_gil": [], "warning": None, "error": error,
        "file_error": None,
    }


def reached(module, path, image):
    """What the imports of the image did with the module. A module that cannot be
    loaded alone, but by these imports, is loadable."""
    path = os.path.realpath(path)
    state = "loaded" if path in image["real"]["loaded"] else "failed" if path in image["real"]["failed"] else None
    if state == "loaded" and module["error"] and path in image["bare"]["loaded"]:
        undeclared = module["name"] in image["bare"]["needs_gil"]
        module |= {"status": "undeclared" if undeclared else GOOD, "loaded": "image", "error": None}
    return {**module, "reached": state, "reached_error": image["real"]["failed"].get(path)}


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


def probe_distributions(image, time_left):
    found, unreadable, jobs = {}, [], []

    def probe_all(modules):
        clean = probe_together([(dotted, path) for dotted, _, path in modules if dotted], time_left)
        for dotted, file, path in modules:
            if dotted is None:
                result = entry(file, "error", None, "its suffix is another ABI's")
            elif path in clean:
                result = entry(dotted, GOOD, "import", None)
            else:
                result = probe_module(dotted, path, time_left)
            yield {**reached(result, path, image), "file": file}

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


def import_image(names, time_left):
    """The imports of the image, as it starts itself, and without PYTHON_GIL: only
    then does the interpreter name the modules that need the GIL."""
    real = run_child("all", *names, timeout=time_left(), forget_gil=False)
    bare = run_child("all", *names, timeout=time_left(), forget_gil=True)
    return {"real": real, "bare": bare}


def effective(names, image):
    real, bare = image["real"], image["bare"]
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
    parser.add_argument("--limit", metavar="SECONDS", type=float, default=480)
    options = parser.parse_args()
    end = time.monotonic() + options.limit

    def time_left():
        return min(options.timeout, end - time.monotonic())

    # First, so that there is time for it whatever the modules do.
    image = import_image(options.imports, time_left)
    distributions, unreadable = probe_distributions(image, time_left)
    document = {
        "schema": 1,
        "interpreter": interpreter(),
        "distributions": distributions,
        "unreadable": unreadable,
        "effective": effective(options.imports, image),
    }
    json.dump(document, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
