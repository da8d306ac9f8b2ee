"""Compiles what an image adds to the layer with its requirements, in place of compile_bytecode.py, which is
compile_all.py here.

The layer below has the byte code of the requirements, and gave everything that it wrote one time. To compile them again
would give the same bytes, and put all of them into the upper layer once more.
"""

import multiprocessing
import os
from importlib.util import cache_from_source
from pathlib import Path

from compile_all import compile_file, installed

EPOCH = 315532800  # as in image.Dockerfile


def is_compiled(source: str) -> bool:
    code = Path(cache_from_source(source))
    return code.exists() and code.stat().st_mtime == EPOCH


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        pool.map(compile_file, [source for source in installed() if not is_compiled(source)], chunksize=16)
