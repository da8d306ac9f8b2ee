"""Modules whose code depends on the order in which files are compiled, or on the folder of each."""

import os

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Sources above the folder of the build: all object files of `../answer.c` have the same path.
os.chdir("py")


class OptionsOfEach(build_ext):
    """Changes the compiler's options for one module, and for single files."""

    def build_extension(self, extension):
        options = self.compiler.compiler_so
        self.compiler.compiler_so = [*options, f"-DANSWER={extension.answer}"]
        super().build_extension(extension)
        self.compiler.compiler_so = options

    def build_extensions(self):
        compile_one = self.compiler._compile

        def compile_with_option(obj, source, *arguments):
            options = self.compiler.compiler_so
            self.compiler.compiler_so = [*options, f"-DFOLDER={os.path.basename(os.path.dirname(source))}"]
            compile_one(obj, source, *arguments)
            self.compiler.compiler_so = options

        self.compiler._compile = compile_with_option
        super().build_extensions()


def extension(name, answer, files=()):
    made = Extension(name, [f"{name}.c", "../answer.c", *files], include_dirs=[".."])
    made.answer = answer
    return made


setup(
    name="build-order",
    version="1.0",
    packages=[],
    cmdclass={"build_ext": OptionsOfEach},
    ext_modules=[
        extension("order_a", 1),
        extension("order_b", 2),
        extension("order_files", 3, ["../one/file.c", "../two/file.c"]),
    ],
)
