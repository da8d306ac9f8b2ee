"""Compiles what is installed in a folder to byte code that is the same each time, on all cores.

The ordinary user of an image cannot write byte code, and each start would compile again. It refers
to its source by hash, not by the time of this build. What the compiler writes also says which
objects were in use elsewhere at that moment, which is chance; read and written again, it is always
the same.
"""

import marshal
import os
import py_compile
import sys
from concurrent.futures import ProcessPoolExecutor
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


if __name__ == "__main__":
    sources = sorted(str(path) for path in Path(sys.argv[1]).rglob("*.py"))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(compile_file, sources, chunksize=16):
            pass
