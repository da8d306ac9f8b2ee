"""Lets setuptools compile extension modules, and the files of each, in parallel.

setuptools alone compiles one file after another. Its own option `parallel` builds several modules at
a time in one folder for object files and with one compiler object, so that two modules with a source
file in common may be linked with each other's code. Here each module has its own folder, and whatever
might depend on the order is built as setuptools builds it: one after another.

setuptools calls `enable` through the entry point that build-wheel.sh writes; neither setuptools nor
the package's sources are changed.

Environment: PARALLEL_COMPILE_JOBS, the number of modules and the number of files at a time.
"""

import copy
import os
from concurrent.futures import ThreadPoolExecutor

# The packages whose code for building is known not to depend on the order of modules or files.
KNOWN = {"Cython", "distutils", "parallel_compile", "setuptools"}


def enable(distribution):
    """The entry point: setuptools calls it once for each setup()."""
    # Imported here, because setuptools replaces `distutils` by its own when it is imported.
    from distutils.ccompiler import CCompiler
    from distutils.command.build_ext import build_ext

    compile_serially = CCompiler.compile
    build_serially = build_ext._build_extensions_serial
    if compile_serially.__module__ == __name__:
        return
    jobs = int(os.environ["PARALLEL_COMPILE_JOBS"])
    # A module waits for its files, so they need a pool of their own.
    modules, files = ThreadPoolExecutor(jobs), ThreadPoolExecutor(jobs)

    def compile(self, sources, output_dir=None, *args, **kwargs):
        objects = [os.path.normpath(path) for path in self.object_filenames(sources, output_dir=output_dir)]
        if len(set(objects)) < len(objects) or not is_known(self) or saves_temporary_files(args, kwargs):
            return compile_serially(self, sources, output_dir, *args, **kwargs)

        def one(source):
            return compile_serially(self, [source], output_dir, *args, **kwargs)

        # In the order of the sources, because this is the order in which they are linked.
        return [path for paths in in_parallel(files, one, sources) for path in paths]

    def build_extensions(self):
        if len(self.extensions) < 2 or not is_independent(self):
            return build_serially(self)

        def one(extension):
            own = copy.copy(self)
            own.build_temp = object_folder(self, extension)
            with self._filter_build_errors(extension):
                own.build_extension(extension)

        in_parallel(modules, one, self.extensions)

    CCompiler.compile = compile
    build_ext._build_extensions_serial = build_extensions


def in_parallel(pool, function, arguments):
    """The results in the order of the arguments; after a failure no other call is started."""
    jobs = [pool.submit(function, argument) for argument in arguments]
    try:
        return [job.result() for job in jobs]
    finally:
        for job in jobs:
            job.cancel()


def object_folder(command, extension):
    return os.path.join(command.build_temp, extension.name)


def is_independent(command):
    """Whether no module of a build_ext command needs another one, or writes the same object file."""
    compiler, extensions = command.compiler, command.extensions
    # `shlibs` are shared libraries that setuptools builds for the other modules.
    if not is_known(command) or not is_known(compiler) or getattr(command, "shlibs", None):
        return False
    objects = []
    for extension in extensions:
        sources = extension.sources
        # Other files (SWIG, Cython) are translated to C first, beside the source.
        if any(os.path.splitext(source)[1] not in compiler.src_extensions for source in sources):
            return False
        # A file that another module may have made.
        linked = [*extension.extra_objects, *extension.extra_link_args]
        if any(str(path).endswith((".a", ".o", ".so")) for path in linked):
            return False
        own = compiler.object_filenames(sources, output_dir=object_folder(command, extension))
        objects += {os.path.normpath(path) for path in own}
    return len(set(objects)) == len(objects)


def is_known(instance):
    """Whether an object has no other code than that of setuptools.

    A subclass or a replaced method may change options between modules or files.
    """
    for cls in type(instance).__mro__:
        if cls is not object and not all(comes_from_known(code) for code in (cls, *vars(cls).values())):
            return False
    return not any(callable(value) for value in vars(instance).values())


def comes_from_known(value):
    module = getattr(value, "__module__", None) if callable(value) else None
    return module is None or module.partition(".")[0] in KNOWN


def saves_temporary_files(args, kwargs):
    """Whether the compiler is told to keep files that it names after the source, in the current folder."""
    lists = [value for value in (*args, *kwargs.values()) if isinstance(value, (list, tuple))]
    return any(str(flag).startswith("-save-temps") for flags in lists for flag in flags)
