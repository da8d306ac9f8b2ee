"""What /runtime tells: interpreter, GIL, versions, threads, the image."""

import asyncio
import os
import platform
import sys
import sysconfig
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from app import gil
from app.settings import Settings

PACKAGES = (
    "benchmark-app",
    "aerospike-py",
    "aerospike",
    "fastapi",
    "httptools",
    "numpy",
    "prometheus-client",
    "pydantic",
    "pydantic-core",
    "starlette",
    "torch",
    "uvicorn",
    "uvloop",
)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def report(settings: Settings) -> dict[str, Any]:
    loop = type(asyncio.get_running_loop())
    return {
        "interpreter": {
            "version": platform.python_version(),
            "build": sys.version,
            "executable": sys.executable,
            "abi": sysconfig.get_config_var("SOABI"),
            "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            # As configured; Debian's interpreter names only part of what it was built with.
            "configure": sysconfig.get_config_var("CONFIG_ARGS"),
            "cflags": sysconfig.get_config_var("PY_CFLAGS"),
        },
        "gil": {
            "at_start": gil.AT_START,
            "now": gil.enabled(),
            "switched_on_by": gil.switched_on_by(),
            # If so, nothing could switch it on, and nobody can tell here who would have.
            "forced_off": gil.forced_off(),
            "python_gil": os.environ.get("PYTHON_GIL"),
        },
        "versions": {package: _version(package) for package in PACKAGES},
        "process": {
            "pid": os.getpid(),
            "cpus": len(os.sched_getaffinity(0)),
            "python_threads": threading.active_count(),
            "threads": len(os.listdir("/proc/self/task")),
            "event_loop": f"{loop.__module__}.{loop.__qualname__}",
        },
        "model": {
            "engine": settings.dlrm_engine,
            "seed": settings.dlrm_seed,
            "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"],
            "blas_threads": settings.blas_threads,
            "compute_threads": settings.compute_threads,
        },
        "aerospike": {
            "hosts": [f"{host}:{port}" for host, port in settings.hosts],
            "namespace": settings.namespace,
            "thread_pool_size": settings.thread_pool_size,
            "max_concurrent_ops": settings.max_concurrent_ops,
        },
        "image_labels": settings.image_labels,
    }
