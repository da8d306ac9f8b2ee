"""Finds what an installed package offers: its modules on disk, and what can be called in them."""

import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
from collections.abc import Iterator

# Words in the names of folders and modules that are not the package itself, but what it is tested with. Native modules for
# tests may have functions that crash when they are called with wrong arguments.
TESTS = {"conftest", "test", "testing", "tests"}

# Words in the name of a callable that is not called: it may end the process, start others, or wait for somebody. The
# container is thrown away, has no network, and only /tmp can be written to.
UNSAFE = frozenset(
    "abort breakpoint browser cli crash daemon daemonize debug exec exit fork forever getpass halt input interact kill "
    "listen loop main mainloop pdb prompt quit reboot repl run segfault segv serve shell show shutdown sigsegv signal "
    "sleep spawn stdin system terminate test tests wait".split()
)


def modules(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """The modules of a package, and those set aside, each with its reason. Only packages above them are imported."""
    found: dict[str, None] = {}
    aside: dict[str, str] = {}

    def below(prefix: str, folders: list[str]) -> None:
        for module in pkgutil.iter_modules(folders):
            name = f"{prefix}.{module.name}"
            if module.name == "__main__":
                aside[name] = "a program, not a module to import"
            elif TESTS & set(words(module.name)):
                aside[name] = "tests"
            elif name not in found:
                found[name] = None
                if module.ispkg:
                    below(name, [os.path.join(folder, module.name) for folder in folders])

    for name in names:
        found[name] = None
        try:
            spec = importlib.util.find_spec(name)
        except Exception:
            # The import of this name will say why.
            continue
        below(name, list(spec and spec.submodule_search_locations or []))
    return sorted(found), aside


def words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def unsafe(name: str) -> str | None:
    """Why a callable of this name is not called."""
    for word in words(name):
        if word in UNSAFE:
            return f"not called: `{word}` in its name may mean that it ends the process, starts others, or waits"
    return None


def belongs(module: str | None, names: list[str]) -> bool:
    """Whether a module is part of the package with these import names. Modules in C may name their last part only."""
    return module is not None and any(module == name or module.startswith(f"{name}.") for name in names)


def private(module: str, names: list[str]) -> bool:
    """Whether a module of the package with these import names is not meant for its users, by its own name."""
    below = [module.removeprefix(name) for name in names if belongs(module, [name])]
    return any(part.startswith("_") for path in below for part in path.split("."))


def members(module: object, names: list[str]) -> Iterator[tuple[str, object]]:
    """The public callables of a module that are the package's own."""
    listed = dict.fromkeys([*dir(module), *(getattr(module, "__all__", None) or [])])
    for name in listed:
        if not isinstance(name, str) or name.startswith("_"):
            continue
        try:
            value = getattr(module, name)
        except Exception:
            continue
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        # What is written in C may not say where it is from.
        home = getattr(value, "__module__", None)
        compiled = inspect.isbuiltin(value) and not str(getattr(module, "__file__", "")).endswith(".py")
        if belongs(home, names) or (compiled and not isinstance(home, str)) or home == module.__name__:
            yield name, value


def callables(loaded: list[str], names: list[str]) -> dict[str, object]:
    """The package's own public callables by `module:name`, each once."""
    found: dict[str, object] = {}
    seen: set[int] = set()
    for name in loaded:
        for attribute, value in members(importlib.import_module(name), names):
            if id(value) not in seen:
                seen.add(id(value))
                found[f"{name}:{attribute}"] = value
    return found


def lookup(name: str) -> object:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def required(value: object) -> list[str] | None:
    """The parameters without a default; None if the callable does not tell."""
    parameters = parameters_of(value)
    return None if parameters is None else parameters[0]


def parameters_of(value: object) -> tuple[list[str], float] | None:
    """The parameters without a default, and how many positional ones there are; None if the callable does not tell."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in variadic]
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return needed, float("inf")
    return needed, sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters)
