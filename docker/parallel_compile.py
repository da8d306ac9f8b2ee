"""Lets setuptools compile the files of an extension module side by side.

build_ext's own `parallel` builds modules side by side, the files of each one after another; most
packages have one module. setuptools calls `enable` through the entry point that build-wheel.sh
writes; neither setuptools nor the package's sources are changed.

Environment: JOBS, how many compilers run at once.
"""

import os
from concurrent.futures import ThreadPoolExecutor


def enable(distribution):
    """The entry point: setuptools calls it once for each setup()."""
    # Here, not above: setuptools puts its own `distutils` into place when it is imported.
    from distutils.ccompiler import CCompiler

    one_by_one = CCompiler.compile
    if getattr(one_by_one, "side_by_side", False):
        return
    # One pool for all modules, however many are built side by side.
    pool = ThreadPoolExecutor(int(os.environ["JOBS"]))

    def compile(self, sources, *args, **kwargs):
        jobs = [pool.submit(one_by_one, self, [source], *args, **kwargs) for source in sources]
        try:
            # In the order of the sources: it is the order in which they are linked.
            return [obj for job in jobs for obj in job.result()]
        finally:
            # After a failure nothing else is started.
            for job in jobs:
                job.cancel()

    compile.side_by_side = True
    CCompiler.compile = compile
