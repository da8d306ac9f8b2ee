"""How lock.py writes a wheel down, and that it names what has none."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lock

HASH = "ab" * 32
TORCH = "https://download.pytorch.org/whl/cpu"


def package(abi: str, **more: str) -> dict:
    wheel = f"torch-2.9.1%2Bcpu-cp314-{abi}-manylinux_2_28_x86_64.whl"
    return {
        "name": "torch",
        "version": "2.9.1+cpu",
        "wheels": [{"url": f"{TORCH}/{wheel}", "hashes": {"sha256": HASH}}],
        **more,
    }


def test_what_is_on_another_index_is_named_by_its_place() -> None:
    accepted = lock.tags("cp314t", "2.36")
    assert lock.requirement(package("cp314t"), accepted, "cp314t") == f"torch==2.9.1+cpu --hash=sha256:{HASH}\n"
    line = lock.requirement(package("cp314t", index=TORCH), accepted, "cp314t")
    assert line.startswith(f"torch @ {TORCH}/torch-2.9.1%2Bcpu-cp314-cp314t-")


def test_another_abi_is_no_wheel() -> None:
    with pytest.raises(SystemExit, match="no wheel for cp314t"):
        lock.requirement(package("cp314"), lock.tags("cp314t", "2.36"), "cp314t")
