"""What the GIL did in this process: at its start, now, and which module switched it on.

The interpreter warns of that once and on standard error only, and `/runtime` is asked later. So the
one place through which every extension module is loaded is watched.
"""

import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType


def enabled() -> bool:
    """Whether the GIL is on now. Interpreters before 3.13 always have it."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def forced_off() -> bool:
    """Whether PYTHON_GIL=0 or -X gil=0 keeps it off, whatever is loaded."""
    return getattr(sys.flags, "gil", None) == 0


AT_START = enabled()

_switched_on_by: str | None = None


def switched_on_by() -> str | None:
    """The extension module whose loading switched the GIL on, if one did."""
    return _switched_on_by


def _watch() -> None:
    create = ExtensionFileLoader.create_module

    def create_module(self: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        global _switched_on_by  # noqa: PLW0603
        was_on = enabled()
        module = create(self, spec)
        if not was_on and enabled() and _switched_on_by is None:
            _switched_on_by = spec.name
        return module

    ExtensionFileLoader.create_module = create_module  # type: ignore[method-assign]


_watch()
