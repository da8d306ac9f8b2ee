"""Writes locks/: one file per ABI with the one wheel of each dependency, by hash.

    uv run --no-project --with packaging docker/app/lock.py [--torch] --glibc 2.36 cp311 cp314t

`cargo xtask lock` calls it with the ABIs and the glibc of matrix.yaml.

With --torch it writes locks-torch/ instead, with PyTorch's CPU build from PyTorch's own index; as
`locks: docker/app/locks-torch` in matrix.yaml it makes images whose model PyTorch computes.

There is no environment marker for free threading, so uv cannot choose for it: it resolves, and the
wheel is chosen here, by the tags that the interpreter of that ABI accepts. A dependency without a
wheel for one of the ABIs is an error.
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

HERE = Path(__file__).resolve().parent
# As uv and PyTorch call it, and what its index has in its address.
TORCH_BACKEND = "cpu"
TORCH_INDEX = f"pytorch.org/whl/{TORCH_BACKEND}"


def version_of(abi: str) -> tuple[int, int]:
    """The version of Python of an ABI: `cp314t` is of 3.14."""
    digits = abi.removeprefix("cp").rstrip("t")
    return int(digits[0]), int(digits[1:])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", action="store_true", help="write locks-torch")
    parser.add_argument("--glibc", required=True, metavar="VERSION", help="glibc of the images: 2.36")
    parser.add_argument("abis", nargs="+", metavar="ABI", help="ABI tag: cp314t")
    return parser.parse_args()


def resolve(python: tuple[int, int], *options: str) -> dict[str, dict]:
    """Every package that is needed, by name."""
    version = ".".join(map(str, python))
    command = [
        "uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--universal", "--only-binary=:all:",
        "--python-version", version, "--format=pylock.toml", *options, "pyproject.toml",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True)
    here = {"sys_platform": "linux", "platform_system": "Linux", "python_version": version}
    return {
        package["name"]: package
        for package in tomllib.loads(done.stdout)["packages"]
        if Marker(package.get("marker", "python_version > '3'")).evaluate(here)
    }


def tags(abi: str, glibc: str) -> list[Tag]:
    """What an interpreter of that ABI accepts on x86-64, the best first."""
    python = version_of(abi)
    major, minor = map(int, glibc.split("."))
    platforms = [f"manylinux_{major}_{older}_x86_64" for older in range(minor, 4, -1)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    found = list(cpython_tags(python, [abi], platforms))
    if abi.endswith("t"):
        # A free-threaded interpreter cannot load the stable ABI of those with a GIL.
        found = [tag for tag in found if tag.abi != "abi3"]
    return found + list(compatible_tags(python, f"cp{python[0]}{python[1]}", platforms))


def requirement(package: dict, accepted: list[Tag], abi: str) -> str:
    def rank(wheel: dict) -> int:
        of_wheel = parse_wheel_filename(unquote(wheel["url"].rpartition("/")[2]))[3]
        return min((accepted.index(tag) for tag in of_wheel if tag in accepted), default=len(accepted))

    name, version = package["name"], package["version"]
    wheels = package.get("wheels", [])
    best = min(wheels, key=rank, default=None)
    if best is None or rank(best) == len(accepted):
        sys.exit(f"error: {name} {version} has no wheel for {abi}: take another version, or do without it")
    # What is not on the index that everybody uses is named by its place.
    named = f"{name} @ {best['url']}" if TORCH_INDEX in package.get("index", "") else f"{name}=={version}"
    return f"{named} --hash=sha256:{best['hashes']['sha256']}\n"


def write(path: Path, head: str, packages: dict[str, dict], accepted: list[Tag], abi: str) -> None:
    lines = [requirement(package, accepted, abi) for package in packages.values()]
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".new").write_text(f"# {head}\n# Made by lock.py from pyproject.toml.\n{''.join(lines)}")
    path.with_suffix(".new").rename(path)
    print(f"{path.relative_to(HERE)}: {len(lines)} packages")


def main(*, torch: bool, glibc: str, abis: list[str]) -> None:
    folder = HERE / ("locks-torch" if torch else "locks")
    options = ["--extra=torch", f"--torch-backend={TORCH_BACKEND}"] if torch else []
    for abi in abis:
        head = f"What the application needs, for {abi}, glibc {glibc}."
        write(folder / f"{abi}.txt", head, resolve(version_of(abi), *options), tags(abi, glibc), abi)
    if torch:
        return
    # Pure Python, so one file is good for all.
    first, python = abis[0], version_of(abis[0])
    needed = resolve(python)
    tests = resolve(python, "--extra=test")
    only_tests = {name: package for name, package in tests.items() if name not in needed}
    write(folder / "test.txt", "What its tests need besides.", only_tests, tags(first, glibc), first)


if __name__ == "__main__":
    main(**vars(arguments()))
