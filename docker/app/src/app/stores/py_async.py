"""aerospike-py: awaited directly, and its results converted to Python objects late and in one go."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from app.features import Records
from app.schemas import Mode
from app.settings import Settings
from app.stores.base import NOT_FOUND, OK, Key, Store, StoreError

try:
    import aerospike_py
except ModuleNotFoundError as error:
    if error.name != "aerospike_py":
        raise
    aerospike_py = None

NOT_INSTALLED = "`aerospike-py` is not installed in this image; use /predict/official"


class PyAsyncStore(Store):
    name = "py-async"

    def __init__(self, settings: Settings, connect: Callable[[], Awaitable[Any]] | None = None) -> None:
        super().__init__(settings)
        self._open = connect or (lambda: open_client(settings))
        self._client: Any = None
        self._policy = {
            "total_timeout": settings.timeout_ms,
            "socket_timeout": settings.timeout_ms,
            "max_retries": 2,
        }
        if not connect and aerospike_py is None:
            self.not_installed = NOT_INSTALLED

    async def _connect(self) -> None:
        with guarded():
            self._client = await self._open()

    async def _handle(self, keys: list[Key]) -> Any:  # noqa: ANN401
        """The raw results, not yet Python objects."""
        with guarded():
            handle = await self._client.batch_read(keys, policy=self._policy)
        if handle.found_count() < len(keys):
            # The conversions below say None for a missing record and for a failed one alike.
            for record in handle.batch_records:
                if record.result not in (OK, NOT_FOUND):
                    raise StoreError.of_record("py-async: reading", record.key, record.result)
        return handle

    async def _read_batch(self, keys: list[Key]) -> Records:
        return (await self._handle(keys)).to_list()

    async def _read_sets(self, wanted: Mapping[str, list[Key]], mode: Mode) -> dict[str, Records]:
        """`gather` converts each set when it arrives, `merge_gather` all of them in one call."""
        if mode == "gather":
            by_user_key = await asyncio.gather(*(self._read_dict(of_set) for of_set in wanted.values()))
        else:
            handles = await asyncio.gather(*(self._handle(of_set) for of_set in wanted.values()))
            by_user_key = type(handles[0]).merge_to_dict(handles)
        # Within one set a user key means one record, however often it is asked for.
        return {
            name: [found.get(user_key) for _, _, user_key in of_set]
            for (name, of_set), found in zip(wanted.items(), by_user_key, strict=True)
        }

    async def _read_dict(self, keys: list[Key]) -> dict[str, Mapping[str, Any]]:
        return (await self._handle(keys)).to_dict()

    async def close(self) -> None:
        if self._client is not None:
            with guarded():
                await self._client.close()


@contextmanager
def guarded() -> Iterator[None]:
    """Turns what the client raises into StoreError, but for what can only be a mistake of ours."""
    if aerospike_py is None:
        yield
        return
    try:
        yield
    except aerospike_py.exception.InvalidArgError:
        raise
    except aerospike_py.exception.AerospikeError as error:
        raise StoreError(f"py-async: {type(error).__name__}: {error}") from error


async def open_client(settings: Settings) -> Any:  # noqa: ANN401
    config = {
        "hosts": list(settings.hosts),
        "use_services_alternate": settings.services_alternate,
        "timeout": settings.timeout_ms,
        "max_concurrent_operations": settings.max_concurrent_ops,
    }
    if settings.user:
        config |= {"user": settings.user, "password": settings.password}
    return await aerospike_py.AsyncClient(config).connect()
