"""The application as a process: the GIL, settings, signals, logs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from app.settings import Settings, SettingsError
from conftest import run_python

# Seconds after which a test has failed that waits for something. No test depends on how long it takes.
LIMIT = 120
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(process: subprocess.Popen[str], url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=LIMIT):
            return True
    except OSError:
        assert process.poll() is None, process.communicate()[1]
        return False


@contextmanager
def application(**environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AEROSPIKE_HOSTS": "127.0.0.1:1",
            "APP_HOST": "127.0.0.1",
            "APP_PORT": str(port),
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(process, f"{url}/health"))
        yield process, url
    finally:
        process.kill()
        process.communicate()


def test_runtime_logs_and_the_end() -> None:
    with application(IMAGE_LABELS='{"dev.wheel-matrix.gil": "off"}', AEROSPIKE_PASSWORD="secret") as (
        process,
        url,
    ):
        with urllib.request.urlopen(f"{url}/runtime") as answer:
            text = answer.read().decode()
        process.send_signal(signal.SIGTERM)
        stderr = process.communicate(timeout=LIMIT)[1]

    report = json.loads(text)
    now = getattr(sys, "_is_gil_enabled", lambda: True)
    assert report["interpreter"]["free_threaded"] == FREE_THREADED
    assert report["gil"]["at_start"] == (not FREE_THREADED)
    assert report["gil"]["forced_off"] == (os.environ.get("PYTHON_GIL") == "0")
    # Whatever is on now and was not at the start, a module did it.
    assert (report["gil"]["switched_on_by"] is not None) == (report["gil"]["now"] and FREE_THREADED)
    if not FREE_THREADED:
        assert report["gil"]["now"] == now()
    assert report["versions"]["numpy"]
    assert report["process"]["event_loop"].startswith("uvloop")
    assert report["image_labels"] == {"dev.wheel-matrix.gil": "off"}
    assert "secret" not in text + stderr

    lines = [json.loads(line) for line in stderr.splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    assert any("Shutting down" in line["message"] for line in lines)


def test_sigterm_finishes_what_is_under_way() -> None:
    """A request whose body is still coming when the signal arrives."""
    with application() as (process, url):
        port = int(url.rpartition(":")[2])
        body = b"{}"

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=LIMIT).close()
            except OSError:
                return True
            return False

        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as client:
            client.sendall(
                b"POST /predict/py-async HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            # The answer means that the request is under way.
            assert client.recv(100).startswith(b"HTTP/1.1 100")
            process.send_signal(signal.SIGTERM)
            wait_until(refused)
            assert process.poll() is None
            client.sendall(body)
            assert client.recv(100).startswith(b"HTTP/1.1 422")
        process.communicate(timeout=LIMIT)


def test_healthcheck() -> None:
    with application() as (_, url):
        port = url.rpartition(":")[2]
        assert run_python("-m", "app.healthcheck", APP_PORT=port).returncode == 0
        ready = run_python("-m", "app.healthcheck", "/ready", APP_PORT=port)
        assert ready.returncode == 1
        assert "answered 503" in ready.stderr
    gone = run_python("-m", "app.healthcheck", APP_PORT=port)
    assert gone.returncode == 1
    assert "no answer" in gone.stderr


@pytest.mark.skipif(not FREE_THREADED, reason="needs a free-threaded interpreter")
def test_who_switched_the_gil_on() -> None:
    """By a module that does not declare itself: the official client, or the interpreter's own example."""
    module = next((name for name in ("aerospike", "_testsinglephase") if find_spec(name)), None)
    if module is None:
        pytest.skip("there is no such module here")
    code = f"from app import gil; import {module}; print(gil.AT_START, gil.enabled(), gil.switched_on_by())"
    free = run_python("-W", "ignore", "-c", code, PYTHON_GIL="")
    assert free.stdout.split() == ["False", "True", module], free.stderr
    forced = run_python("-c", code, PYTHON_GIL="0")
    assert forced.stdout.split() == ["False", "False", "None"], forced.stderr


@pytest.mark.skipif(not find_spec("aerospike"), reason="needs the official client")
def test_what_the_official_client_looks_up_is_imported_before_any_thread() -> None:
    code = (
        "import app.api, os, sys\n"
        "print('aerospike_helpers.batch.records' in sys.modules, len(os.listdir('/proc/self/task')))"
    )
    done = run_python("-c", code, OPENBLAS_NUM_THREADS="1")
    assert done.stdout.split() == ["True", "1"], done.stderr


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one processor: one thread in any case")
@pytest.mark.parametrize("threads", [1, 2])
def test_blas_threads(threads: int) -> None:
    code = (
        "import os; from app.settings import Settings; Settings.read().limit_blas()\n"
        "import numpy as np; a = np.ones((1000, 1000)); a @ a; print(len(os.listdir('/proc/self/task')))"
    )
    done = run_python("-c", code, BLAS_THREADS=str(threads))
    assert done.stdout.strip() == str(threads), done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_PORT", "80000"),
        ("APP_PORT", "1_0"),
        ("AEROSPIKE_HOSTS", "localhost"),
        ("AEROSPIKE_HOSTS", "localhost:x"),
        ("APP_ACCESS_LOG", "maybe"),
        ("DLRM_ENGINE", "jax"),
        ("IMAGE_LABELS", "[]"),
        ("IMAGE_LABELS", "{"),
    ],
)
def test_bad_settings_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"environment variable {name}: `{re.escape(value)}`: "):
        Settings.read({name: value})


def test_bad_settings_end_the_program() -> None:
    done = run_python("-m", "app", APP_PORT="x")
    assert (done.returncode, done.stderr) == (
        1, "error: environment variable APP_PORT: `x`: not a whole number from 0 to 65535\n",
    )  # fmt: skip


def test_hosts() -> None:
    settings = Settings.read({"AEROSPIKE_HOSTS": "one:3000, two:3100,[::1]:3"})
    assert settings.hosts == (("one", 3000), ("two", 3100), ("::1", 3))


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(Settings.read({"AEROSPIKE_PASSWORD": "secret"}))
