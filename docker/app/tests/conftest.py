"""A store made of the records that load-data would write, and the application on a real socket."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn

from app.settings import Settings

# As the program does, before NumPy is first imported.
Settings.read({}).limit_blas()

from app.api import create_app
from app.stores import Store
from app.stores.official import OfficialStore
from app.stores.py_async import PyAsyncStore
from fakes import FakeOfficial, FakePyAsync, Server


@pytest.fixture
def server() -> Server:
    """The records that both fake clients read."""
    return Server()


@pytest.fixture
def stores(server: Server) -> list[Store]:
    settings = Settings.read({"AEROSPIKE_NAMESPACE": server.namespace})

    async def connect() -> FakePyAsync:
        return FakePyAsync(server)

    return [PyAsyncStore(settings, connect), OfficialStore(settings, lambda: FakeOfficial(server))]


@dataclass
class Answer:
    status: int
    body: str

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.body)

    @property
    def scores(self) -> dict[str, float]:
        return {each["adId"]: each["score"] for each in self.json["predictions"]}


Get = Callable[..., Answer]


def announce(port: int, path: str, length: int) -> Answer:
    """Sends the header of a request whose body is so long, and no body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode())


@contextmanager
def serve(stores: list[Store], settings: Settings) -> Iterator[Get]:
    """Runs the application; a test that fails ends it, too, or the process would wait for its thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    web = uvicorn.Server(
        uvicorn.Config(create_app(settings, stores), log_config=None, lifespan="on", ws="none")
    )
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()

    def get(path: str, body: dict | None = None, announced: int | None = None) -> Answer:
        if announced is not None:
            return announce(listener.getsockname()[1], path, announced)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=120) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())

    try:
        yield get
    finally:
        web.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def get(request: pytest.FixtureRequest, stores: list[Store]) -> Iterator[Get]:
    """The running application; a parameter is its COMPUTE_THREADS."""
    with serve(stores, Settings.read({"COMPUTE_THREADS": getattr(request, "param", "0")})) as get:
        yield get


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, as an image starts it."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
