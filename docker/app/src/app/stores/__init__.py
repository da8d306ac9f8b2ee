"""The two Aerospike clients behind one interface, so that all else does not know which one it has."""

from app.settings import Settings
from app.stores.base import Store, StoreError
from app.stores.official import OfficialStore
from app.stores.py_async import PyAsyncStore

__all__ = ["Store", "StoreError", "create"]


def create(settings: Settings) -> list[Store]:
    return [PyAsyncStore(settings), OfficialStore(settings)]
