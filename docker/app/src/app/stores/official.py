"""The official client: synchronous, run in a pool of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.features import Records
from app.settings import Settings
from app.stores.base import NOT_FOUND, OK, Key, Store, StoreError

try:
    # Not used here, but it must be imported before the first thread starts: the C code of batch_read
    # looks this module up in sys.modules. When threads make their first batch_read at once, with the
    # GIL forced off, one of them finds it half imported by another and the process dies (SIGSEGV).
    import aerospike_helpers.batch.records  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "aerospike_helpers":
        raise
    aerospike = None
else:
    import aerospike

NOT_INSTALLED = (
    "the official client `aerospike` is not installed in this image; use /predict/py-async, or an image "
    "that has both clients"
)


class OfficialStore(Store):
    name = "official"

    def __init__(self, settings: Settings, connect: Callable[[], Any] | None = None) -> None:
        super().__init__(settings)
        self._open = connect or (lambda: open_client(settings))
        self._client: Any = None
        self._pool = ThreadPoolExecutor(settings.thread_pool_size, thread_name_prefix="official")
        if not connect and aerospike is None:
            self.not_installed = NOT_INSTALLED

    async def _connect(self) -> None:
        self._client = await self._run(self._open)

    async def _read_batch(self, keys: list[Key]) -> Records:
        return await self._run(self._read, keys)

    async def close(self) -> None:
        if self._client is not None:
            await self._run(self._client.close)
        self._pool.shutdown()

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        return await asyncio.get_running_loop().run_in_executor(self._pool, guarded, function, *arguments)

    def _read(self, keys: list[Key]) -> Records:
        """Runs in a thread of the pool, the conversion too."""
        found = []
        done = self._client.batch_read(keys)
        # Where no node has the keys, the client raises nothing: it answers fewer than were asked for.
        if len(done.batch_records) != len(keys):
            answered = f"{len(done.batch_records)} of {len(keys)} keys were answered"
            raise StoreError(f"official: {answered} (result code {getattr(done, 'result', 'unknown')})")
        for record in done.batch_records:
            if record.result not in (OK, NOT_FOUND):
                raise StoreError.of_record("official: reading", record.key, record.result)
            found.append(record.record[2] if record.result == OK else None)
        return found


def guarded(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    """Turns what the client raises into StoreError, but for what can only be a mistake of ours."""
    if aerospike is None:
        return function(*arguments)
    try:
        return function(*arguments)
    except aerospike.exception.ParamError:
        raise
    except aerospike.exception.AerospikeError as error:
        raise StoreError(f"official: {type(error).__name__}: {error.msg} (code {error.code})") from error


def open_client(settings: Settings) -> Any:  # noqa: ANN401
    policy = {"total_timeout": settings.timeout_ms, "socket_timeout": settings.timeout_ms, "max_retries": 2}
    config = {
        "hosts": list(settings.hosts),
        "use_services_alternate": settings.services_alternate,
        "connect_timeout": settings.timeout_ms,
        "policies": {"batch": policy},
    }
    if settings.user:
        config |= {"user": settings.user, "password": settings.password}
    return aerospike.client(config).connect()
