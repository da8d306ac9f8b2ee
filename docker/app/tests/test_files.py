"""README.md and the lock files against what they speak of."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from app.settings import Settings

HERE = Path(__file__).resolve().parent.parent
LOCKS = ("cp311", "cp314", "cp314t")
LINE = re.compile(r"([a-z0-9-]+)==(\S+) --hash=sha256:([0-9a-f]{64})")


def lock(name: str) -> dict[str, tuple[str, str]]:
    lines = (HERE / "locks" / f"{name}.txt").read_text().splitlines()
    found = [LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found), "each line is one package, one version, one hash"
    return {line[1]: (line[2], line[3]) for line in found if line}


def test_table_of_settings() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|(.*?)\|", (HERE / "README.md").read_text(), re.MULTILINE)
    documented = {name: default.strip(" `") for name, default in rows}
    ours = {name: default for name, default in documented.items() if default != "-"}
    assert ours == {each.metadata["name"]: each.metadata["default"] for each in fields(Settings)}


@pytest.mark.parametrize("abi", LOCKS)
def test_locks_have_all_that_is_needed(abi: str) -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    needed = {re.split("[<>=]", each)[0] for each in project["dependencies"]}
    assert needed <= lock(abi).keys()


def test_same_versions_for_every_abi() -> None:
    """Or the scores might differ, and what is compared would not be the interpreter."""
    versions = [{name: version for name, (version, _) in lock(abi).items()} for abi in LOCKS]
    assert versions[0] == versions[1] == versions[2]


def test_each_abi_has_its_own_wheels() -> None:
    compiled = ("numpy", "pydantic-core", "httptools", "uvloop")
    for package in compiled:
        assert len({lock(abi)[package][1] for abi in LOCKS}) == len(LOCKS), package


def test_locks_name_no_place() -> None:
    for path in (HERE / "locks").iterdir():
        assert "://" not in path.read_text()
