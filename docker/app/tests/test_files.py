"""README.md against what it speaks of."""

import re
from dataclasses import fields
from pathlib import Path

from app.settings import Settings

HERE = Path(__file__).resolve().parent.parent


def test_table_of_settings() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|(.*?)\|", (HERE / "README.md").read_text(), re.MULTILINE)
    documented = {name: default.strip(" `") for name, default in rows}
    ours = {name: default for name, default in documented.items() if default != "-"}
    assert ours == {each.metadata["name"]: each.metadata["default"] for each in fields(Settings)}
