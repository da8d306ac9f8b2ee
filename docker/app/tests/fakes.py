"""Both clients' objects at the point where app.stores takes hold of them, over records in memory."""

from typing import Any

from app.load import writes
from app.records import SAMPLE_CANDIDATES
from app.stores import StoreError
from app.stores.base import NOT_FOUND, OK, Key


class Server:
    namespace = "test"

    def __init__(self) -> None:
        self.records = dict(writes(self.namespace, SAMPLE_CANDIDATES))
        # What every read of a record answers, if not OK.
        self.result = OK
        self.lost = False
        # As the official client is when no node has the keys: no exception, and no records.
        self.silent = False
        # The keys of each batch read.
        self.batches: list[list[Key]] = []
        self.conversions: list[str] = []

    def read(self, keys: list[Key]) -> list[tuple[Key, int, dict | None]]:
        if self.lost:
            raise StoreError("the fake server is gone")
        self.batches.append(keys)
        bins = [self.records.get(key) for key in keys]
        return [
            (key, self.result or (NOT_FOUND if found is None else OK), found)
            for key, found in zip(keys, bins, strict=True)
        ]


class Record:
    def __init__(self, key: Key, result: int, bins: dict | None) -> None:
        self.key = key
        self.result = result
        self.record = None if bins is None else (key, {"gen": 1, "ttl": 0}, bins)


class Batch:
    def __init__(self, records: list[Record]) -> None:
        self.batch_records = records


class Lazy(Batch):
    """As aerospike-py's LazyBatchRecords: user keys alone name the records of a dict."""

    def __init__(self, records: list[Record], conversions: list[str]) -> None:
        super().__init__(records)
        self.conversions = conversions

    def found_count(self) -> int:
        return sum(record.result == OK for record in self.batch_records)

    def _dict(self) -> dict[str, dict]:
        return {each.key[2]: each.record[2] for each in self.batch_records if each.record}

    def to_dict(self) -> dict[str, dict]:
        self.conversions.append("to_dict")
        return self._dict()

    def to_list(self) -> list[dict | None]:
        self.conversions.append("to_list")
        return [each.record and each.record[2] for each in self.batch_records]

    @staticmethod
    def merge_to_dict(handles: list["Lazy"]) -> list[dict[str, dict]]:
        handles[0].conversions.append("merge_to_dict")
        return [handle._dict() for handle in handles]


class FakeOfficial:
    def __init__(self, server: Server) -> None:
        self.server = server

    def batch_read(self, keys: list[Key]) -> Batch:
        return Batch([] if self.server.silent else [Record(*each) for each in self.server.read(keys)])

    def close(self) -> None:
        pass


class FakePyAsync:
    def __init__(self, server: Server) -> None:
        self.server = server

    async def batch_read(self, keys: list[Key], policy: dict[str, Any]) -> Lazy:
        assert policy["total_timeout"] > 0
        return Lazy([Record(*each) for each in self.server.read(keys)], self.server.conversions)

    async def close(self) -> None:
        pass
