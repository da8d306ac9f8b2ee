"""What the suites need of a client, so that no scenario knows one: each client has a small file in clients/.

Such a file has a class `Adapter` below this one. Calls get what `connect` returned; each may be made
from any thread. What the client needs before the first thread starts is a precaution, by name.
"""

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

Key = tuple[str, str, str]
Bins = dict[str, Any]


class Adapter:
    # By name: what must have happened before the first thread starts.
    precautions: dict[str, Callable[[], None]] = {}
    # Part of the keys of all records that this run writes: another run may use the same server at the same time.
    run = ""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def connect(self) -> Any:  # noqa: ANN401
        raise NotImplementedError

    def close(self, client: Any) -> None:  # noqa: ANN401
        raise NotImplementedError

    def put(self, client: Any, key: Key, bins: Bins) -> None:  # noqa: ANN401
        raise NotImplementedError

    def get(self, client: Any, key: Key) -> Bins:  # noqa: ANN401
        raise NotImplementedError

    def batch_read(self, client: Any, keys: list[Key]) -> Any:  # noqa: ANN401
        """The client's own result, as it is."""
        raise NotImplementedError

    def rows(self, result: Any) -> list[Bins | None]:  # noqa: ANN401
        """What is in it, in the order of the keys, None for a record that is not there."""
        raise NotImplementedError

    def add(self, client: Any, key: Key, bin_name: str, number: int) -> int:  # noqa: ANN401
        """Adds to a bin and reads it, in one call with several operations."""
        raise NotImplementedError

    def query(self, client: Any, namespace: str, set_name: str) -> list[Bins]:  # noqa: ANN401
        """All of a set. Skipped where the server does not serve it."""
        raise NotImplementedError

    def mistakes(self, client: Any, missing: Key) -> list[tuple[Callable[[], Any], type[BaseException]]]:  # noqa: ANN401
        """Calls that must raise, and what."""
        raise NotImplementedError

    def details(self, error: BaseException) -> Any:  # noqa: ANN401
        """What an exception says about the call that raised it, for a comparison."""
        return type(error).__name__, error.args

    def server(self, client: Any) -> str:  # noqa: ANN401
        """What the server says it is."""
        return ""

    # A client that is synchronous only runs in the loop's pool of threads, as applications do it.
    async def connect_async(self) -> Any:  # noqa: ANN401
        return await asyncio.to_thread(self.connect)

    async def close_async(self, client: Any) -> None:  # noqa: ANN401
        await asyncio.to_thread(self.close, client)

    async def read_async(self, client: Any, keys: list[Key]) -> list[Bins | None]:  # noqa: ANN401
        return await asyncio.to_thread(lambda: self.rows(self.batch_read(client, keys)))


def load(file: str, host: str, port: int) -> Adapter:
    """The adapter in a file, whose name may be that of the package: it is not put on the path."""
    spec = importlib.util.spec_from_file_location(f"adapter_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"`{file}` is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Adapter(host, port)
