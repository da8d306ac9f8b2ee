"""What both clients have in common: reading the sets, and getting over the loss of the server."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

from app.features import Records
from app.schemas import ClientType, Mode
from app.settings import Settings

log = logging.getLogger(__name__)

Key = tuple[str, str, str]

# Aerospike's result codes of one record in a batch.
OK, NOT_FOUND = 0, 2

CONNECT_AGAIN_S = 1.0
NEVER_TRIED = "not connected yet"


class StoreError(Exception):
    """No records to be had now; the message, for the body of a 503, says why."""

    @classmethod
    def of_record(cls, doing: str, key: tuple, result: int) -> Self:
        return cls(f"{doing} {tuple(key[:3])} failed with result code {result}")


class Store(ABC):
    """One client. Once it was connected it finds a server that comes back by itself; only the first
    connection must be tried again and again."""

    name: ClientType
    # Why this client can never work here, if so.
    not_installed: str | None = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._connected = False
        # What went wrong last; None when it works. Logged when that begins and ends, not each time.
        self._trouble: str | None = NEVER_TRIED

    async def keep_connecting(self) -> None:
        """Returns once connected, or when that can never be."""
        while not self._connected and not self.not_installed:
            try:
                await self._connect()
            except StoreError as error:
                self._note(str(error))
                await asyncio.sleep(CONNECT_AGAIN_S)
            except Exception as error:
                # A mistake of ours, which no other try can mend: each 503 and /ready say it.
                self._trouble = f"{type(error).__name__}: {error}"
                log.exception("cannot connect", extra={"client_type": self.name})
                return
            else:
                self._connected = True
                self._note(None)

    async def read(self, keys: Mapping[str, list[str]], mode: Mode) -> dict[str, Records]:
        """The bins of every key, set by set and in order; None where there is no record."""
        if self.not_installed:
            raise StoreError(self.not_installed)
        if not self._connected:
            raise StoreError(f"{self.name} has no connection to the Aerospike server: {self._trouble}")
        namespace = self.settings.namespace
        wanted = {name: [(namespace, name, key) for key in of_set] for name, of_set in keys.items()}
        try:
            read = await (self._read_single(wanted) if mode == "single" else self._read_sets(wanted, mode))
        except StoreError as error:
            self._note(str(error))
            raise
        self._note(None)
        return read

    async def _read_single(self, wanted: Mapping[str, list[Key]]) -> dict[str, Records]:
        """One batch over all sets. Taken apart by position, since sets share user keys."""
        found = await self._read_batch([key for of_set in wanted.values() for key in of_set])
        read, start = {}, 0
        for name, of_set in wanted.items():
            read[name] = found[start : start + len(of_set)]
            start += len(of_set)
        return read

    async def _read_sets(self, wanted: Mapping[str, list[Key]], mode: Mode) -> dict[str, Records]:
        """One batch per set, all at once."""
        found = await asyncio.gather(*(self._read_batch(of_set) for of_set in wanted.values()))
        return dict(zip(wanted, found, strict=True))

    def _note(self, trouble: str | None) -> None:
        was, self._trouble = self._trouble, trouble
        if trouble and (not was or was == NEVER_TRIED):
            log.warning("no Aerospike server", extra={"client_type": self.name, "reason": trouble})
        elif was and not trouble:
            log.info("reached the Aerospike server", extra={"client_type": self.name})

    @abstractmethod
    async def _connect(self) -> None:
        """Connects, or raises StoreError."""

    @abstractmethod
    async def _read_batch(self, keys: list[Key]) -> Records:
        """One batch read, or StoreError if it or one record failed. In the order of the keys."""

    @abstractmethod
    async def close(self) -> None: ...
