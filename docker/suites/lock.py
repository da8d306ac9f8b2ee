"""Writes locks/: for each ABI, the one wheel of each thing that the packages' own tests need, by hash.

    uv run --no-project --with packaging docker/suites/lock.py --glibc 2.36 cp311 cp314t

Resolved as the application's needs are, by the same code, from the pyproject.toml beside this file.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "app"))

import lock

lock.HERE = HERE


def main(*, torch: bool, glibc: str, abis: list[str]) -> None:
    assert not torch, "the tests need no PyTorch"
    for abi in abis:
        needed = lock.resolve(lock.version_of(abi))
        lock.write(HERE / "locks" / f"{abi}.txt", f"What the packages' own tests need, for {abi}.", needed, lock.tags(abi, glibc), abi)


if __name__ == "__main__":
    main(**vars(lock.arguments()))
