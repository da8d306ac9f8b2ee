"""What must hold with many threads, also without the GIL."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram

from app import dlrm
from app.features import DENSE, TABLES

THREADS, TIMES = 16, 2000


def at_once(function: Callable[[int], object]) -> None:
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> None:
        barrier.wait()
        function(number)

    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(run, number) for number in range(THREADS)]:
            future.result()


def test_no_metric_is_lost() -> None:
    registry = CollectorRegistry()
    counter = Counter("c", "c", ["client_type", "mode"], registry=registry)
    histogram = Histogram("h", "h", ["client_type"], buckets=[0.5, 1.5], registry=registry)

    def work(number: int) -> None:
        for turn in range(TIMES):
            # labels() too: the first use of a label makes its series.
            counter.labels("official", str(turn % 50)).inc()
            histogram.labels("py-async").observe(number % 2)

    at_once(work)
    total = THREADS * TIMES
    for mode in range(50):
        assert (
            registry.get_sample_value("c_total", {"client_type": "official", "mode": str(mode)}) == total / 50
        )
    assert registry.get_sample_value("h_count", {"client_type": "py-async"}) == total
    assert registry.get_sample_value("h_sum", {"client_type": "py-async"}) == total / 2
    assert registry.get_sample_value("h_bucket", {"client_type": "py-async", "le": "0.5"}) == total / 2


def test_one_model_serves_many_threads() -> None:
    score = dlrm.engine("numpy", 42)
    random = np.random.default_rng(1)
    inputs = [
        (random.integers(0, list(TABLES.values()), (50, len(TABLES))), random.random((50, DENSE), np.float32))
        for _ in range(THREADS)
    ]
    expected = [score(*each) for each in inputs]

    def work(number: int) -> None:
        for _ in range(20):
            assert (score(*inputs[number]) == expected[number]).all()

    at_once(work)
