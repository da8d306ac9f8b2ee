"""Compiles what uv has installed to byte code that is the same each time, on all cores.

The ordinary user of an image cannot write byte code, and each start would compile again. It refers
to its source by hash, not by the time of this build. What the compiler writes also says which
objects were in use elsewhere at that moment, which is chance; read and written again, it is always
the same.
"""

import marshal
import multiprocessing
import os
import py_compile
from importlib.metadata import distributions
from pathlib import Path

HEADER = 16  # PEP 552


def compile_file(source: str) -> None:
    try:
        name = py_compile.compile(
            source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
        )
    except py_compile.PyCompileError as error:
        # Templates and examples that are no Python of this version; pip leaves them, too.
        print(f"not compiled: {source}: {error.exc_type_name}")
        return
    file = Path(name)
    code = file.read_bytes()
    file.write_bytes(code[:HEADER] + marshal.dumps(marshal.loads(code[HEADER:])))


def installed() -> list[str]:
    """The sources in all distributions but those that the base image brings."""
    by_uv = [found for found in distributions() if (found.read_text("INSTALLER") or "").strip() == "uv"]
    files = (found.locate_file(file) for found in by_uv for file in found.files or ())
    return sorted({str(file) for file in files if file.suffix == ".py"})


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        pool.map(compile_file, installed(), chunksize=16)
