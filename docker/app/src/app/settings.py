"""Settings from the environment; README.md has the table of them, and a test compares the two."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any, Self

Host = tuple[str, int]


class SettingsError(ValueError):
    """A variable whose value cannot be used; the message names it."""


def flag(text: str) -> bool:
    words = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
    if text.lower() not in words:
        raise ValueError("not one of 0, 1, true, false, yes, no")
    return words[text.lower()]


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return text

    return parse


def engine(text: str) -> str:
    """Which lock file an image was made from says which engine it is to have: no second switch."""
    chosen = one_of("auto", "numpy", "torch")(text)
    return chosen if chosen != "auto" else "torch" if find_spec("torch") else "numpy"


def hosts(text: str) -> tuple[Host, ...]:
    port = whole(1, 65535)
    found = []
    for entry in text.split(","):
        # An IPv6 address stands in brackets: [::1]:3000.
        name, _, number = entry.strip().rpartition(":")
        if not name:
            raise ValueError("not HOST:PORT[,HOST:PORT...]")
        found.append((name.strip("[]"), port(number)))
    return tuple(found)


def labels(text: str) -> dict[str, str]:
    document = json.loads(text)
    if document is None:  # Docker's word for an image without labels.
        return {}
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def setting(name: str, default: str, parse: Callable[[str], Any], *, secret: bool = False) -> Any:  # noqa: ANN401
    return field(repr=not secret, metadata={"name": name, "default": default, "parse": parse})


@dataclass(frozen=True, kw_only=True)
class Settings:
    # Where the records are.
    hosts: tuple[Host, ...] = setting("AEROSPIKE_HOSTS", "127.0.0.1:3000", hosts)
    namespace: str = setting("AEROSPIKE_NAMESPACE", "test", str)
    user: str = setting("AEROSPIKE_USER", "", str)
    password: str = setting("AEROSPIKE_PASSWORD", "", str, secret=True)
    services_alternate: bool = setting("AEROSPIKE_SERVICES_ALTERNATE", "0", flag)
    timeout_ms: int = setting("AEROSPIKE_TIMEOUT_MS", "5000", whole(1, 600_000))

    # How much happens at once.
    max_concurrent_ops: int = setting("MAX_CONCURRENT_OPS", "512", whole(0, 1_000_000))
    thread_pool_size: int = setting("THREAD_POOL_SIZE", "16", whole(1, 1024))
    compute_threads: int = setting("COMPUTE_THREADS", "0", whole(0, 1024))
    blas_threads: int = setting("BLAS_THREADS", "1", whole(1, 1024))

    # The model.
    dlrm_engine: str = setting("DLRM_ENGINE", "auto", engine)
    dlrm_seed: int = setting("DLRM_SEED", "42", whole(0, 2**63))

    # The web server.
    host: str = setting("APP_HOST", "0.0.0.0", str)
    port: int = setting("APP_PORT", "8000", whole(0, 65535))
    loop: str = setting("APP_LOOP", "uvloop", one_of("uvloop", "asyncio"))
    http: str = setting("APP_HTTP", "httptools", one_of("httptools", "h11"))
    backlog: int = setting("APP_BACKLOG", "2048", whole(1, 65535))
    max_body: int = setting("APP_MAX_BODY", "1048576", whole(0, 2**30))
    keep_alive_s: int = setting("APP_KEEP_ALIVE_S", "65", whole(0, 86_400))
    shutdown_s: int = setting("APP_SHUTDOWN_S", "30", whole(0, 3600))
    access_log: bool = setting("APP_ACCESS_LOG", "0", flag)
    log_level: str = setting("APP_LOG_LEVEL", "info", one_of("debug", "info", "warning", "error"))

    # Labels are not to be seen from inside a container: who starts it hands them in.
    image_labels: dict[str, str] = setting("IMAGE_LABELS", "{}", labels)  # noqa: RUF009

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        values: dict[str, Any] = {}
        for each in fields(cls):
            name, default, parse = (each.metadata[key] for key in ("name", "default", "parse"))
            text = environment.get(name, default)
            try:
                values[each.name] = parse(text)
            except ValueError as error:
                shown = "the value" if not each.repr else f"`{text}`"
                raise SettingsError(f"environment variable {name}: {shown}: {error}") from None
        return cls(**values)

    def limit_blas(self, environment: dict[str, str] | None = None) -> None:
        """Must run before NumPy is first imported, which reads these once.

        One thread by default: a request's matrices are small, requests already run side by side,
        and a pool of OpenBLAS threads that they fight over would be measured instead of the GIL.
        """
        target = os.environ if environment is None else environment
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            target[name] = str(self.blas_threads)
