"""The smoke suite: what each client must be able to do at all, and that clients read what others wrote."""

import importlib

from proving import records
from proving.client import Adapter


def set_of(client: str) -> str:
    return f"smoke-{client}"


def modules(names: list[str]) -> None:
    for name in names:
        importlib.import_module(name)


def alone(adapter: Adapter, name: str) -> None:
    """Writes, and reads what it wrote; the records stay, for the others."""
    client = adapter.connect()
    for number in range(10):
        adapter.put(client, records.key(number, set_of(name)), records.bins(number))
    read(adapter, client, name)
    adapter.close(client)


def other(adapter: Adapter, name: str) -> None:
    """Reads what the client of that name wrote."""
    client = adapter.connect()
    read(adapter, client, name)
    adapter.close(client)


def read(adapter: Adapter, client: object, name: str) -> None:
    keys = [records.key(number, set_of(name)) for number in range(10)]
    for number, key in enumerate(keys):
        records.check_one(number, adapter.get(client, key))
    missing = records.key(10, set_of(name))
    found = adapter.rows(adapter.batch_read(client, [*keys, missing]))
    if len(found) != len(keys) + 1 or found[-1] is not None:
        raise AssertionError(f"a batch read of ten records and one that is not there gave {found!r}")
    for number, got in enumerate(found[:-1]):
        records.check_one(number, got)
